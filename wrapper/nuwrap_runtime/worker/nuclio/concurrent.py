"""An async function under a processor: one event at a time on each connection, all of them in one event loop.

Up to 1.14 there is one connection, which we make. In the processor's async mode (1.15) it makes several, each with its
own `s`; the loop goes on between events, so that what the function has started goes on too.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import time
from collections import deque
from contextvars import ContextVar
from typing import Any, Callable, Optional

from nuwrap_runtime.worker import protocol
from nuwrap_runtime.worker.application import Application
from nuwrap_runtime.worker.nuclio.answers import Answers, Frame
from nuwrap_runtime.worker.nuclio.settings import Settings
from nuwrap_runtime.worker.nuclio.signals import CONTINUE, DRAIN, TERMINATE
from nuwrap_runtime.worker.nuclio.streaming import JoinedLines, StreamLines
from nuwrap_runtime.worker.streams import Stream, find_stream

_TICK = 1e-9
_line: ContextVar[Optional[Line]] = ContextVar("nuwrap_line", default=None)  # of the event whose task it is


class Line(asyncio.Protocol):
    """One connection and its event."""

    def __init__(self, worker: ConcurrentWorker) -> None:
        self._worker = worker
        self._decoder = protocol.FrameDecoder()
        self._waiting: deque[protocol.Data] = deque()
        self._task: Any = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._transport: Any = None

    @property
    def is_busy(self) -> bool:
        """Whether an event is being answered."""
        return self._task is not None

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        self._transport = transport
        self._worker.opened(self)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """See asyncio.Protocol. Nobody waits for what is under way any more."""
        self._may_write.set()
        if self._task is not None:
            self._task.cancel()
        self._worker.closed(self, exc)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            self._waiting.extend(self._decoder.feed(data))
        except protocol.ProtocolError as exc:
            self._worker.broke(exc)
            return
        self._go_on()

    def send(self, data: bytes) -> None:
        """Write whole lines, without waiting."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the processor has taken most of what was written."""
        await self._may_write.wait()

    def close(self) -> None:
        """End the connection when all is written."""
        if self._transport is not None:
            self._transport.close()

    def _go_on(self) -> None:
        if self._task is None and self._waiting:
            self._task = asyncio.ensure_future(self._answer(self._waiting.popleft()))

    async def _answer(self, data: protocol.Data) -> None:
        _line.set(self)
        begin = time.perf_counter()
        try:
            line = await self._worker.answer(self, data)
            self.send(line + b'm{"duration": %.9f}\n' % max(time.perf_counter() - begin, _TICK))
        finally:
            self._task = None
            self._worker.settle()
            self._go_on()


class ConcurrentWorker:
    """An async worker. `control_send` is where records go that belong to no connection."""

    def __init__(
        self, application: Application, settings: Settings, unpack: Callable[..., Any], started: bytes
    ) -> None:
        self._application = application
        self._settings = settings
        self._unpack = unpack
        self._started = started
        self._answers = Answers(application, settings)
        self._pid = os.getpid()
        self._lines: list[Line] = []
        self._due: list[str] = []
        self._done: Optional[asyncio.Future[None]] = None
        self._fault: Optional[Exception] = None
        self._is_discarding = self._is_ending = False
        self._calling_back: Any = None
        self._loop = application.caller.loop

    def serve(self, peer: Optional[socket.socket]) -> None:
        """Answer events until the processor closes its end or asks for ours; without a `peer` listen for it.

        Raises ProtocolError, OSError.
        """
        self._loop.run_until_complete(self._serve(peer))
        if self._fault:
            raise self._fault

    async def _serve(self, peer: Optional[socket.socket]) -> None:
        loop = self._loop
        self._done = loop.create_future()
        for number, act in ((TERMINATE, self._terminate), (DRAIN, self._drain), (CONTINUE, self._continue)):
            loop.add_signal_handler(number, act)
        if peer is not None:
            peer.setblocking(False)  # noqa: FBT003
            await loop.create_connection(lambda: Line(self), sock=peer)
            await self._done
            return
        server = await self._listen()
        try:
            await self._done
        finally:
            server.close()

    async def _listen(self) -> Any:
        if self._settings.listener >= 0:
            os.set_inheritable(self._settings.listener, False)  # noqa: FBT003 - as in life.py
            listener = socket.socket(fileno=self._settings.listener)
            return await self._loop.create_server(lambda: Line(self), sock=listener)
        host, _, port = self._settings.event.rpartition(":")
        return await self._loop.create_server(lambda: Line(self), host.strip("[]") or "127.0.0.1", int(port))

    def send_log(self, record: bytes) -> None:
        """Send a record on the connection of the event whose task logs it, else on the first that there is."""
        line = _line.get() or (self._lines[0] if self._lines else None)
        if line is not None and os.getpid() == self._pid:
            self._in_loop(line.send, protocol.encode_line(protocol.LOG, record))

    def _in_loop(self, act: Callable[..., Any], *arguments: Any) -> None:
        """Call it in the loop's thread; a thread of the function's own may log too."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            act(*arguments)
        else:
            self._loop.call_soon_threadsafe(act, *arguments)

    def opened(self, line: Line) -> None:
        """Say on a new connection that the worker has started."""
        self._lines.append(line)
        line.send(self._started)

    def closed(self, line: Line, exc: Optional[Exception]) -> None:
        """End with the only connection; where the processor makes them, another may come."""
        self._lines.remove(line)
        if not self._settings.is_listening:
            self._finish(exc if isinstance(exc, OSError) and not isinstance(exc, ConnectionError) else None)

    def broke(self, exc: Exception) -> None:
        """End with what cannot be followed any further."""
        self._finish(exc)

    def end(self) -> None:
        """End from another thread: the processor is gone."""
        self._loop.call_soon_threadsafe(self._finish, None)

    def _finish(self, fault: Optional[Exception]) -> None:
        self._fault = self._fault or fault
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def answer(self, line: Line, data: protocol.Data) -> bytes:
        """Return the lines that answer a frame, of a stream the last ones."""
        is_raw = self._settings.is_raw
        errors = None if is_raw else "surrogateescape"
        try:
            message = self._unpack(data, raw=is_raw, unicode_errors=errors, strict_map_key=False, timestamp=3)
            frame = Frame(message, self._settings)
        except Exception as exc:  # noqa: BLE001 - whatever a frame holds
            return self._answers.unreadable(exc)
        if self._is_discarding:
            return self._answers.discarded(frame)
        try:
            value = await self._value(frame)
            self._application.caller.end_child(None)
            stream = find_stream(value)
            if stream is None:
                return self._answers.of(value, frame)
        except BaseException as exc:  # noqa: BLE001 - the user's handler may raise anything, SystemExit included
            self._application.caller.end_child(exc)
            return self._answers.failed(exc, frame)
        return await self._stream(line, stream, frame)

    async def _value(self, frame: Frame) -> Any:
        positional, named = self._application.arguments(frame.argument)
        value = self._application.function(*positional, **named)
        return await value if inspect.isawaitable(value) else value

    async def _stream(self, line: Line, stream: Stream, frame: Frame) -> bytes:
        lines = self._answers.lines
        is_sent = self._settings.takes_streams and frame.events is None
        kind = StreamLines(lines, stream, frame.request, line.send) if is_sent else None
        writer = kind or JoinedLines(lines, stream, frame.request)
        try:
            if stream.is_async:
                async for item in stream.values:
                    writer.item(item)
                    await line.drain()
            else:
                for item in stream.values:
                    writer.item(item)
                    await asyncio.sleep(0)
            return writer.end()
        except BaseException as exc:  # noqa: BLE001 - as above
            failed = self._answers.failed(exc, frame)
            return writer.broken() if writer.is_begun else failed

    def settle(self) -> None:
        """Call what is due, once no event is under way."""
        if self._due and not any(line.is_busy for line in self._lines):
            names, self._due = self._due, []
            self._calling_back = asyncio.ensure_future(self._call_back(names))

    async def _call_back(self, names: list[str]) -> None:
        for name in names:
            try:
                callback = self._application.context.platform.callback(name)
                value = callback() if callback else None
                if inspect.isawaitable(value):
                    await value
            except BaseException as exc:  # noqa: BLE001 - the user's callback may raise anything
                from nuwrap_runtime.worker.tracebacks import log_exception

                log_exception(self._application.logger, exc)
            if name == "termination":
                self._finish(None)

    def _terminate(self) -> None:
        if not self._is_ending:
            self._is_ending = self._is_discarding = True
            self._due.append("termination")
            self.settle()

    def _drain(self) -> None:
        if not self._is_discarding:
            self._is_discarding = True
            self._due.append("drain")
            self.settle()

    def _continue(self) -> None:
        self._is_discarding = self._is_ending
