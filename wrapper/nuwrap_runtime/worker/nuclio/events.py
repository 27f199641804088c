"""A frame of a processor as events, and their answers as one line: single events, batches, events that nobody takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, Union

from nuwrap_runtime.worker import replies
from nuwrap_runtime.worker.event import Event
from nuwrap_runtime.worker.nuclio.lines import Lines
from nuwrap_runtime.worker.nuclio.settings import Settings
from nuwrap_runtime.worker.protocol import Reply
from nuwrap_runtime.worker.streams import Stream, find_stream

Log = Callable[[BaseException, str], None]


def make_event(message: Any, settings: Settings) -> Event:
    """Return the event of a message. Raises TypeError for what is no map.

    A request without a body has None. The HTTP trigger sends nothing or an empty body for the same request, as the
    buffer that it takes was used before or not (fasthttp).
    """
    if type(message) is not dict:
        raise TypeError(f"a frame holds {type(message).__name__}, not an event")
    event = Event(from_raw(message) if settings.is_raw else message)
    if settings.is_http and event.body == b"":
        event.body = None
    return event


def from_raw(message: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the message of a processor that wants its texts undecoded: keys are text all the same."""
    found = {text_of(key): one for key, one in message.items()}
    trigger = found.get("trigger")
    if isinstance(trigger, dict):
        found["trigger"] = from_raw(trigger)
    return found


def discarded(request: str) -> Reply:
    """Return the answer to an event that comes while the worker takes none."""
    return replies.error_reply(503, "this worker takes no events now; send it again", request)


def batch_documents(values: Any, events: list[Event], lines: Lines, log: Log) -> list[bytes]:
    """Return one reply's document for each event of a batch; `log` gets what is wrong with a value, and whose it is.

    The function returns a list: Responses that name their event by `event_id`, or one value an event in the events'
    order. Any other value answers them all. An event without an answer gets a 500: its client would wait for ever.
    """
    ids = [text_of(event.id) for event in events]
    if not isinstance(values, list):
        reply = _reply(values, ", ".join(ids), lines, log)
        return [_document(reply, request, lines, log) for request in ids]
    found: dict[str, bytes] = {}
    for index, value in enumerate(values):
        own = text_of(getattr(value, "event_id", None)) if replies.is_response(value) else ""
        request = own or (ids[index] if len(values) == len(ids) else "")
        if request in ids and request not in found:
            found[request] = _document(_reply(value, request, lines, log), request, lines, log)
    without = [request for request in ids if request not in found]
    if without:
        text = _UNANSWERED.format(len(values), len(ids))
        log(replies.ReplyError(text), ", ".join(without))
    lost = "the function's list has no answer for this event"
    return [found.get(one) or lines.document(replies.error_reply(500, lost, one)) for one in ids]


_UNANSWERED = (
    "a list of {} for a batch of {} events; return one value for each, in their order, or Responses whose event_id is "
    "their event's"
)


def _reply(value: Any, request: str, lines: Lines, log: Log) -> Union[Reply, Exception]:
    """Return the reply of one value, or why it cannot be sent, which takes no other event's answer away."""
    try:
        stream = find_stream(value)
        return replies.to_reply(value, "", lines.returns) if stream is None else _joined(stream)
    except Exception as exc:  # noqa: BLE001 - the value's own methods may raise anything
        log(exc, request)
        return exc


def _document(reply: Union[Reply, Exception], request: str, lines: Lines, log: Log) -> bytes:
    if isinstance(reply, Reply):
        try:
            return lines.document(replace(reply, event_id=request))
        except Exception as exc:  # noqa: BLE001 - as above
            log(exc, request)
            reply = exc
    return lines.document(replies.exception_reply(reply, request))


def _joined(stream: Stream) -> Reply:
    if stream.is_async:
        raise replies.ReplyError("an async generator in a batch's list; return [one async for one in it]")
    return stream.whole(b"".join(stream.chunk(item) or b"" for item in stream.values))


def text_of(value: Any) -> str:
    """Return an id as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
