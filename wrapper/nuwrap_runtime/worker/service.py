"""Events answered in `nuwrap/1`. `Answers` is what both kinds of worker need, `Service` the sync one on its socket."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Callable, Optional

from nuwrap_runtime.worker import binding, native, replies
from nuwrap_runtime.worker.answers import Encoder, Piece, chunks, close
from nuwrap_runtime.worker.application import Application
from nuwrap_runtime.worker.event import Event
from nuwrap_runtime.worker.link import Link, Lost, Unreadable
from nuwrap_runtime.worker.protocol import Reply
from nuwrap_runtime.worker.streams import Stream, find_stream

if TYPE_CHECKING:
    from nuwrap_runtime.worker.calls import Caller


class Cancelled(BaseException):
    """Nobody waits for the answer any more; no exception of the user's code, so that he does not catch it."""


class Answers:
    """What an answer is, sent by whoever."""

    def __init__(self, application: Application, pack: Callable[[Any], bytes]) -> None:
        self.application = application
        self.encoder = Encoder(pack)

    def without_call(self, message: Any) -> Optional[list[Piece]]:
        """Return the answer to what is no event: an order to describe, a batch, a frame that nobody can read."""
        if type(message) is not dict:
            return self.encoder.reply(self._refusal(message))
        if native.DESCRIBE in message:
            return self._description()
        return None

    def _refusal(self, message: Any) -> Reply:
        if not isinstance(message, Unreadable):
            return replies.error_reply(501, "batches of events are not supported", "")
        self.application.logger.error(f"an event could not be answered: {message}")
        return replies.error_reply(500, "the event could not be answered", "")

    def _description(self) -> list[Piece]:
        from nuwrap_runtime.worker.schemas import describe_service

        try:
            text = json.dumps(describe_service(self.application.function, self.application.spec))
            return self.encoder.reply(Reply(text, content_type=replies.JSON))
        except Exception as exc:  # noqa: BLE001 - annotations and defaults are the user's objects
            return self.failed(exc, "")

    def failed(self, exc: BaseException, request: str) -> list[Piece]:
        """Return the answer to an event whose call raised, the exception logged."""
        if isinstance(exc, binding.Unprocessable):
            return self.encoder.reply(replies.error_reply(422, str(exc), request))
        if not replies.is_answer(exc):
            self.log(exc)
        try:
            return self.encoder.reply(replies.exception_reply(exc, request))
        except Exception:  # noqa: BLE001 - what the user's exception carries as its response may be anything
            text = "the function raised an exception whose response is not valid"
            return self.encoder.reply(replies.error_reply(500, text, request))

    def of(self, value: Any, request: str) -> list[Piece]:
        """Return the answer of what the function returned. Raises TypeError or ValueError for what no client reads."""
        kind = type(value)
        if kind is bytes:
            return self.encoder.plain(value)
        if kind is str:
            return self.encoder.plain(replies.encode_text(value))
        return self.encoder.reply(replies.to_reply(value, request, self.application.returns))

    def log(self, exc: BaseException) -> None:
        """Log what the user's code raised."""
        from nuwrap_runtime.worker.tracebacks import log_exception

        log_exception(self.application.logger, exc)

    def cancelled(self) -> list[Piece]:
        """Return the answer that only ends an event."""
        return self.encoder.reply(Reply(status=native.CANCELLED))


class StreamWriter:
    """One stream's messages: the head with the first item, a chunk for each, the end."""

    def __init__(self, answers: Answers, stream: Stream, request: str) -> None:
        self._answers = answers
        self._stream = stream
        self._request = request
        self.is_begun = False

    def item(self, item: Any) -> list[Piece]:
        """Return the messages of one item. Raises TypeError or ValueError for what no client could read."""
        data = self._stream.chunk(item)
        if data is None or self._stream.head is None:
            return []
        if self.is_begun:
            return list(chunks(data))
        head = self._answers.encoder.head(self._stream.head)
        self.is_begun = True
        return [*head, *chunks(data)]

    def end(self) -> list[Piece]:
        """Return the messages after the last item; a stream of no items is an answer in one."""
        if self.is_begun:
            return [(native.encode_message(native.END), -1)]
        return self._answers.encoder.reply(self._stream.whole(b"", self._request))

    def broken(self, exc: Optional[BaseException]) -> list[Piece]:
        """Return the messages when the stream raised `exc`, or was cancelled (None)."""
        if not self.is_begun:
            return self._answers.cancelled() if exc is None else self._answers.failed(exc, self._request)
        if exc is not None:
            self._answers.log(exc)
        return [(native.encode_message(native.BROKEN), -1)]


class _Watch:
    """Whether a stream's event is cancelled. Used as a context manager it sees that while a generator waits, too."""

    def __init__(self, link: Link, event_id: Any, caller: Caller) -> None:
        self.is_cancelled = False
        self._link = link
        self._event_id = event_id
        self._caller = caller

    def look(self) -> bool:
        """Tell whether the host wants no more of it."""
        self.is_cancelled = self.is_cancelled or self._link.is_cancelled(self._event_id)
        return self.is_cancelled

    def __enter__(self) -> None:
        self._caller.loop.add_reader(self._link.socket.fileno(), self._hear)

    def __exit__(self, *_exc: object) -> None:
        self._caller.loop.remove_reader(self._link.socket.fileno())

    def _hear(self) -> None:
        if self.look() or not self._link.is_open:
            self.__exit__()
        if self.is_cancelled:
            self._caller.cancel()


class Service:
    """A sync worker: one socket, one event at a time."""

    def __init__(self, application: Application, link: Link, pack: Callable[[Any], bytes]) -> None:
        self._application = application
        self._link = link
        self._answers = Answers(application, pack)

    def serve(self) -> None:
        """Answer every event until the host closes its end. Raises Lost when it is gone before."""
        for message in self._link.messages():
            if type(message) is dict and native.CANCEL in message:
                continue  # its event is answered
            pieces = self._answers.without_call(message)
            self._send(self._answer(message) if pieces is None else pieces)

    def _answer(self, message: dict[str, Any]) -> list[Piece]:
        """Return the answer's messages, of a stream the last ones."""
        request = str(message.get("id") or "")
        self._answers.encoder.may_reuse = native.KEPT in message
        try:
            value = self._application.call(Event(message))
            stream = find_stream(value)
            if stream is None:
                return self._answers.of(value, request)
        except Lost:
            raise
        except BaseException as exc:  # noqa: BLE001 - the user's handler may raise anything, SystemExit included
            return self._answers.failed(exc, request)
        return self._stream(stream, message.get("id"))

    def _stream(self, stream: Stream, event_id: Any) -> list[Piece]:
        writer = StreamWriter(self._answers, stream, str(event_id or ""))
        watch = _Watch(self._link, event_id, self._application.caller)

        def put(item: Any) -> None:
            self._send(writer.item(item))
            if watch.look():
                raise Cancelled

        try:
            with watch if stream.is_async else nullcontext():
                self._application.caller.consume(stream.values, put)
            return writer.end()
        except Lost:
            raise
        except BaseException as exc:  # noqa: BLE001 - as above
            return writer.broken(None if watch.is_cancelled else exc)

    def _send(self, pieces: list[Piece]) -> None:
        try:
            if len(pieces) == 1:
                self._link.send(*pieces[0])
            elif pieces:
                for message, file in pieces:
                    self._link.send(message, file)
        finally:
            close(pieces)
