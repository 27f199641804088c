"""A frame of a processor as events, and their answers as one line: single events, batches, events that nobody takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nuwrap_runtime.worker import replies
from nuwrap_runtime.worker.event import Event
from nuwrap_runtime.worker.nuclio.settings import Settings
from nuwrap_runtime.worker.protocol import Reply


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


def batch_replies(values: Any, events: list[Event], returns: replies.Returns) -> list[Reply]:
    """Return one reply for each event of a batch.

    The function returns a list: Responses that name their event by `event_id`, or one value an event in the events'
    order. Any other value answers them all. An event without an answer gets a 500: its client would wait for ever.
    """
    ids = [text_of(event.id) for event in events]
    if not isinstance(values, list):
        return [_one(values, request, returns) for request in ids]
    found = {}
    for index, value in enumerate(values):
        own = text_of(getattr(value, "event_id", None)) if replies.is_response(value) else ""
        request = own or (ids[index] if len(values) == len(ids) else "")
        if request in ids and request not in found:
            found[request] = _one(value, request, returns)
    lost = "the function's list has no answer for this event"
    return [found.get(request) or replies.error_reply(500, lost, request) for request in ids]


def _one(value: Any, request: str, returns: replies.Returns) -> Reply:
    try:
        reply = replies.to_reply(value, request, returns)
    except Exception as exc:  # noqa: BLE001 - one value that cannot be sent takes no other event's answer away
        return replies.exception_reply(exc, request)
    return Reply(reply.body, reply.status, reply.content_type, reply.headers, request)


def text_of(value: Any) -> str:
    """Return an id as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
