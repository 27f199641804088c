"""Events answered in `nuwrap/1` by an async function: several sockets, a call at a time on each, one event loop."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Callable, Optional

from nuwrap_runtime.worker import native, protocol
from nuwrap_runtime.worker.answers import Piece, close
from nuwrap_runtime.worker.channel import Channel
from nuwrap_runtime.worker.connection import READ_BYTES
from nuwrap_runtime.worker.event import Event
from nuwrap_runtime.worker.link import Inbox, Lost, fitting_record
from nuwrap_runtime.worker.service import Answers, StreamWriter
from nuwrap_runtime.worker.streams import Stream, find_stream

if TYPE_CHECKING:
    import _socket as socket

    from nuwrap_runtime.worker.application import Application

_line: ContextVar[Optional[Line]] = ContextVar("nuwrap_line", default=None)  # of the call whose task it is


class Call:
    """One event under way."""

    __slots__ = ("event_id", "is_cancelled", "is_started", "task")

    def __init__(self, event_id: Any) -> None:
        self.event_id = event_id
        self.is_cancelled = False
        self.is_started = False
        self.task: Any = None

    def cancel(self) -> None:
        """Cancel the task; one that has not begun yet looks itself, since cancelled it would never answer."""
        self.is_cancelled = True
        if self.is_started:
            self.task.cancel()


class Line:
    """One socket and its call."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.call: Optional[Call] = None
        self.waiting: deque[Any] = deque()

    @property
    def is_done(self) -> bool:
        """Whether the host sends nothing more and has its answers."""
        return not self.channel.is_open and self.call is None and not self.waiting

    def send(self, pieces: Sequence[Piece]) -> None:
        """Write the messages, without waiting. Raises Lost."""
        for message, file in pieces:
            self.channel.send(message, file)
        if self.channel.is_lost:
            raise Lost("the host's end is closed")


class ConcurrentService:
    """An async worker."""

    def __init__(
        self,
        application: Application,
        peers: Sequence[socket.socket],
        pack: Callable[[Any], bytes],
        unpack: Callable[..., Any],
    ) -> None:
        self._application = application
        self._caller = application.caller
        self._loop = application.caller.loop
        self._answers = Answers(application, pack)
        view = memoryview(bytearray(READ_BYTES))  # one for all: what is read is taken in at once
        self._lines = [Line(Channel(self._loop, peer, Inbox(unpack), view)) for peer in peers]
        self._done: Any = self._loop.create_future()
        self._pid = os.getpid()

    def serve(self) -> None:
        """Answer every event until the host has closed its end of all sockets. Raises Lost, ProtocolError, OSError."""
        os.register_at_fork(after_in_child=lambda: self._loop.call_soon(self._end_child))
        for line in self._lines:
            self._listen(line)
        while not self._done.done():
            try:
                self._loop.run_until_complete(self._done)
            except OSError:  # the loop's own descriptors are gone
                raise
            except BaseException as exc:  # noqa: BLE001 - SystemExit of a task of the user's ends a loop, not a worker
                self._caller.end_child(exc)
                self._answers.log(exc)
        for line in self._lines:
            if line.channel.fault:
                raise line.channel.fault
            if line.channel.is_lost:
                raise Lost("it closed its end")

    def send_log(self, record: bytes) -> None:
        """Write one log record on the socket of the call that logs; threads' and other tasks' go on the first."""
        if os.getpid() != self._pid:
            if sys.stderr:
                sys.stderr.write(record.decode("ascii") + "\n")
            return
        line = _line.get()
        kind = protocol.LOG if line else native.STRAY
        (line or self._lines[0]).channel.send_log(native.encode_message(kind, fitting_record(record)))

    def flush(self) -> None:
        """Wait until what was logged last is written."""
        for line in self._lines:
            line.channel.flush()

    def _listen(self, line: Line) -> None:
        line.channel.listen(lambda message: self._take(line, message), self._check_done)

    def _check_done(self) -> None:
        if not self._done.done() and all(line.is_done for line in self._lines):
            self._done.set_result(None)

    def _end_child(self) -> None:
        text = "a child that was forked in an async function waits in its parent's event loop; use multiprocessing"
        self._caller.end_child(RuntimeError(text))

    def _take(self, line: Line, message: Any) -> None:
        if type(message) is dict and native.CANCEL in message:
            if line.call and line.call.event_id == message[native.CANCEL]:
                line.call.cancel()
        elif line.call:
            line.waiting.append(message)
        else:
            self._begin(line, message)

    def _begin(self, line: Line, message: Any) -> None:
        pieces = self._answers.without_call(message)
        if pieces is not None:
            self._finish(line, pieces)
            return
        line.call = Call(message.get("id"))
        line.call.task = self._loop.create_task(self._run(line, line.call, message))

    async def _run(self, line: Line, call: Call, message: dict[str, Any]) -> None:
        _line.set(line)
        call.is_started = True
        self._finish(line, self._answers.cancelled() if call.is_cancelled else await self._answer(line, call, message))

    def _finish(self, line: Line, pieces: Sequence[Piece]) -> None:
        """Send the answer's last messages and go on with what waits."""
        try:
            line.send(pieces)
        except Lost:  # its end is read as well
            line.waiting.clear()
        line.call = None
        if line.waiting:
            self._begin(line, line.waiting.popleft())
        elif not line.channel.is_open:
            self._check_done()

    async def _answer(self, line: Line, call: Call, message: dict[str, Any]) -> Sequence[Piece]:
        """Return the answer's messages, of a stream the last ones."""
        request = str(message.get("id") or "")
        try:
            value = await self._value(message)
            stream = find_stream(value)
            pieces = [] if stream else self._answers.of(value, request)
        except BaseException as exc:  # noqa: BLE001 - the user's handler may raise anything, SystemExit included
            self._caller.end_child(exc)
            return self._answers.failed(exc, request) if not call.is_cancelled else self._dropped(exc)
        self._caller.end_child(None)
        if call.is_cancelled:
            close(pieces)
            return self._answers.cancelled()
        return await self._stream(line, call, stream) if stream else pieces

    async def _value(self, message: dict[str, Any]) -> Any:
        application = self._application
        positional, named = application.arguments(Event(message))
        value = application.function(*positional, **named)
        return await value if inspect.isawaitable(value) else value

    def _dropped(self, exc: BaseException) -> list[Piece]:
        if not isinstance(exc, asyncio.CancelledError):
            self._answers.log(exc)
        return self._answers.cancelled()

    async def _stream(self, line: Line, call: Call, stream: Stream) -> Sequence[Piece]:
        writer = StreamWriter(self._answers, stream, str(call.event_id or ""))
        try:
            consume = self._consume_async if stream.is_async else self._consume_sync
            await consume(line, call, stream.values, writer)
            self._caller.end_child(None)
            return writer.broken(None) if call.is_cancelled else writer.end()
        except Lost:
            return []
        except BaseException as exc:  # noqa: BLE001 - as above
            self._caller.end_child(exc)
            return writer.broken(None if call.is_cancelled else exc)

    async def _consume_async(self, line: Line, call: Call, values: Any, writer: StreamWriter) -> None:
        try:
            async for item in values:
                if await self._item(line, call, writer.item(item)):
                    return
        finally:
            await values.aclose()

    async def _consume_sync(self, line: Line, call: Call, values: Any, writer: StreamWriter) -> None:
        try:
            for item in values:
                if await self._item(line, call, writer.item(item)):
                    return
        finally:
            values.close()

    async def _item(self, line: Line, call: Call, pieces: Sequence[Piece]) -> bool:
        """Send one item once the socket takes it; True when nobody wants more. Others get their turn."""
        self._caller.end_child(None)
        for piece in pieces:
            line.send([piece])
            await line.channel.drain()
        await asyncio.sleep(0)
        return call.is_cancelled
