"""From a frame to its one answer, whoever calls the function: what both kinds of worker share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Optional

from nuwrap_runtime.worker import binding, protocol, replies
from nuwrap_runtime.worker.application import Application
from nuwrap_runtime.worker.event import Event
from nuwrap_runtime.worker.nuclio.events import batch_documents, discarded, make_event, text_of
from nuwrap_runtime.worker.nuclio.lines import NO_ID, Lines
from nuwrap_runtime.worker.nuclio.settings import Settings
from nuwrap_runtime.worker.protocol import Reply

NAMES = 1000


class Frame:
    """What one frame holds: an event, or a batch of them."""

    __slots__ = ("argument", "events", "request")

    def __init__(self, message: Any, settings: Settings) -> None:
        self.events: Optional[list[Event]] = None
        if type(message) is list:
            if not message:
                raise ValueError("a batch of no events")
            self.events = [make_event(one, settings) for one in message]
            self.argument: Any = self.events
            self.request = ""
        else:
            self.argument = make_event(message, settings)
            self.request = text_of(self.argument.id)


class Answers:
    """Frames, and lines for values, exceptions and refusals."""

    def __init__(self, application: Application, settings: Settings, unpack: Callable[..., Any]) -> None:
        self._application = application
        self._settings = settings
        self._unpack = unpack
        self._errors = None if settings.is_raw else "surrogateescape"
        self._failures: dict[str, int] = {}
        self.lines = Lines(settings, application.returns)

    def read(self, data: protocol.Data) -> Frame:
        """Return what a frame holds. Raises whatever one of an event that cannot be read makes of it."""
        message = self._unpack(
            data, raw=self._settings.is_raw, unicode_errors=self._errors, strict_map_key=False, timestamp=3
        )
        return Frame(message, self._settings)

    def of(self, value: Any, frame: Frame) -> bytes:
        """Return the line for what the function returned. Raises what the value itself raises."""
        if frame.events is None:
            return self.lines.of(value, frame.request)
        return self.lines.batch(batch_documents(value, frame.events, self.lines, self._log))

    def failed(self, exc: BaseException, frame: Frame) -> bytes:
        """Return the line for a call that raised; its traceback is the log's alone."""
        ids = [self._name(frame.request)] if frame.events is None else [text_of(one.id) for one in frame.events]
        if not isinstance(exc, binding.Unprocessable) and not replies.is_answer(exc):
            self._log(exc, ", ".join(ids))
        if frame.events is None:
            return self.lines.reply(self._reply(exc, ids[0]))
        return self.lines.batch([self.lines.document(self._reply(exc, one)) for one in ids])

    def discarded(self, frame: Frame) -> bytes:
        """Return the line for events that this worker does not take."""
        if frame.events is None:
            return self.lines.reply(discarded(frame.request))
        return self.lines.batch([self.lines.document(discarded(text_of(one.id))) for one in frame.events])

    def unreadable(self, exc: BaseException) -> bytes:
        """Return the line for a frame that is no event: each frame has an answer, or all later ones would shift."""
        self._application.logger.error(f"an event could not be answered: {type(exc).__name__}: {exc}")
        reply = replies.error_reply(500, "the event could not be answered", "")
        return self.lines.reply(replace(reply, event_id=NO_ID))

    def _name(self, request: str) -> str:
        """Return an id that no other failure has: of the HTTP trigger each worker has one id, for all its events."""
        if len(self._failures) > NAMES:  # then ids are one for each event
            self._failures.clear()
        self._failures[request] = count = self._failures.get(request, 0) + 1
        return request if count == 1 else f"{request}-{count}"

    def _log(self, exc: BaseException, request: str) -> None:
        """Log it with the id that the client gets."""
        from nuwrap_runtime.worker.tracebacks import log_exception

        log_exception(self._application.logger.copy().bind(request_id=request), exc)

    def _reply(self, exc: BaseException, request: str) -> Reply:
        if isinstance(exc, binding.Unprocessable):
            return replies.error_reply(422, str(exc), request)
        try:
            reply = replies.exception_reply(exc, request)
            self.lines.reply(reply)  # what the user's exception carries as its response may be anything
        except Exception:  # noqa: BLE001
            return replies.error_reply(500, "the function raised an exception whose response is not valid", request)
        return reply
