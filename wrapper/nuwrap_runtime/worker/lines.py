"""Events answered in the processor's own form, one line each: what a foreign processor and a job's host read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Callable

from nuwrap_runtime.worker import binding, protocol, replies
from nuwrap_runtime.worker.application import Application
from nuwrap_runtime.worker.connection import Connection
from nuwrap_runtime.worker.event import Event
from nuwrap_runtime.worker.streams import Stream, find_stream


def serve(application: Application, connection: Connection, unpack: Callable[..., Any]) -> None:
    """Answer every frame with exactly one reply, until the host closes the socket."""
    for frame in connection.frames():
        begin = time.perf_counter()
        reply = _reply_line(application, frame, unpack)
        metric = b'{"duration": %.9f}' % max(time.perf_counter() - begin, 1e-9)
        connection.send(protocol.encode_line(protocol.METRIC, metric) + reply)


def _reply_line(application: Application, frame: protocol.Data, unpack: Callable[..., Any]) -> bytes:
    try:
        message = unpack(frame, raw=False, unicode_errors="surrogateescape", strict_map_key=False, timestamp=3)
        return protocol.encode_reply(_answer(application, message))
    except Exception as exc:  # noqa: BLE001 - a frame that is no event must not shift later answers
        application.logger.error(f"an event could not be answered: {type(exc).__name__}: {exc}")
        return protocol.encode_reply(replies.error_reply(500, "the event could not be answered", ""))


def _answer(application: Application, message: Any) -> protocol.Reply:
    if not isinstance(message, dict):
        return replies.error_reply(501, "batches of events are not supported", "")
    event = Event(message)
    if application.spec.mode == "check":
        return _json_reply(binding.describe(application.function, application.spec))
    if application.spec.mode == "job":
        from nuwrap_runtime.worker import job

        return _json_reply(job.answer(application, event))
    return _answer_event(application, event)


def _answer_event(application: Application, event: Event) -> protocol.Reply:
    request = str(event.id or "")
    try:
        value = application.call(event)
        stream = find_stream(value)
        if stream is not None:
            return _join(application, stream, request)
        return replies.to_reply(value, request, application.returns)
    except binding.Unprocessable as exc:
        return replies.error_reply(422, str(exc), request)
    except BaseException as exc:  # noqa: BLE001 - the user's handler may raise anything, SystemExit included
        from nuwrap_runtime.worker.tracebacks import print_traceback

        if not replies.is_answer(exc):
            print_traceback(exc)
        return replies.exception_reply(exc, request)


def _join(application: Application, stream: Stream, request: str) -> protocol.Reply:
    """Return all that the stream gives as one reply: a line of this form ends an answer."""
    parts: list[bytes] = []
    application.caller.consume(stream.values, lambda item: parts.append(stream.chunk(item) or b""))
    return stream.whole(b"".join(parts), request)


def _json_reply(document: Mapping[str, Any]) -> protocol.Reply:
    return protocol.Reply(json.dumps(document), content_type="application/json")
