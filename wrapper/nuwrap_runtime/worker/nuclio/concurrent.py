"""An async function under a processor: one event at a time on each connection, all of them in one event loop.

Up to 1.14 there is one connection, which we make. In the processor's async mode (1.15) it makes several, each with its
own `s`; the loop goes on between events, so that what the function has started goes on too.
"""

from __future__ import annotations

import _thread
import asyncio
import inspect
import os
import signal
import socket
import sys
import time
from collections import deque
from contextvars import Context, ContextVar
from typing import Any, Callable, Optional, Union

from nuwrap_runtime.worker import protocol
from nuwrap_runtime.worker.application import Application
from nuwrap_runtime.worker.nuclio.answers import Answers, Frame
from nuwrap_runtime.worker.nuclio.settings import Settings
from nuwrap_runtime.worker.nuclio.signals import CONTINUE, DRAIN, TERMINATE, Signals
from nuwrap_runtime.worker.nuclio.streaming import JoinedLines, StreamLines
from nuwrap_runtime.worker.streams import Stream, find_stream

FLUSH_SECONDS = 5.0
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
        self._pid = os.getpid()
        self.is_lost = False

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
        self.is_lost = True
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
            self._worker.broke(self, exc)
            return
        self._go_on()

    def send(self, data: bytes) -> None:
        """Write whole lines, without waiting; a child that the function forked writes none."""
        if self._transport is not None and not self._transport.is_closing() and os.getpid() == self._pid:
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
            self._worker.send_late()
            self.send(line + b'm{"duration": %.9f}\n' % max(time.perf_counter() - begin, _TICK))
        finally:
            self._task = None
            self._worker.settle()
            self._go_on()


class ConcurrentWorker:
    """An async worker. `log_elsewhere` takes records of no event where the processor makes the connections."""

    def __init__(
        self,
        application: Application,
        settings: Settings,
        *,
        unpack: Callable[..., Any],
        signals: Signals,
        log_elsewhere: Callable[[bytes], None],
    ) -> None:
        self._application = application
        self._settings = settings
        self._signals = signals
        self._log_elsewhere = log_elsewhere
        self._answers = Answers(application, settings, unpack)
        self._pid = os.getpid()
        self._owner = _thread.get_ident()
        self._late: deque[tuple[Line, bytes]] = deque()
        self._lines: list[Line] = []
        self._due: list[str] = []
        self._started = b""
        self._fault: Optional[Exception] = None
        self._calling_back: Any = None
        self._loop = application.caller.loop
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._is_flushed = asyncio.Event()

    def serve(self, peer: socket.socket, started: bytes) -> None:
        """Say `started` on each connection and answer events, until the processor ends that or asks us to.

        `peer` is a connection, or listens for them. Raises ProtocolError, OSError.
        """
        self._started = started
        os.register_at_fork(after_in_child=self._become_child)
        served = self._loop.create_task(self._serve(peer))
        while not served.done():
            try:
                self._loop.run_until_complete(served)
            except BaseException as exc:  # SystemExit of a task of the user's ends a loop, not a worker
                if served.done() or isinstance(exc, OSError):  # of a listener, or of the loop's own descriptors
                    raise
                self._application.caller.end_child(exc)
                self._log(exc)
        if self._fault:
            raise self._fault

    async def _serve(self, peer: socket.socket) -> None:
        self._take_signals()
        peer.setblocking(False)  # noqa: FBT003
        server = None
        if self._settings.is_listening:
            server = await self._loop.create_server(lambda: Line(self), sock=peer)
        else:
            await self._loop.create_connection(lambda: Line(self), sock=peer)
        self.settle()
        await self._done
        if server is not None:
            server.close()
        await self._flush()

    def _take_signals(self) -> None:
        for number, act in ((TERMINATE, self._terminate), (DRAIN, self._drain), (CONTINUE, self._continue)):
            self._loop.add_signal_handler(number, act)
        self._due += self._signals.take_due()

    async def _flush(self) -> None:
        """Wait until the processor has taken the last answers."""
        self._is_flushed = asyncio.Event()
        for line in self._lines:
            line.close()
        if self._lines:
            try:
                await asyncio.wait_for(self._is_flushed.wait(), FLUSH_SECONDS)
            except asyncio.TimeoutError:
                pass

    def send_log(self, record: bytes) -> None:
        """Send a record on the connection of the event whose task logs it; one of no event where there is a way."""
        line = _line.get()
        if os.getpid() != self._pid:
            if sys.stderr:
                sys.stderr.write(record.decode("ascii") + "\n")
        elif line is None and self._settings.is_listening:
            self._log_elsewhere(record)
        elif line is not None or self._lines:
            self._send_soon(line or self._lines[0], protocol.encode_line(protocol.LOG, record))

    def _log(self, exc: BaseException) -> None:
        from nuwrap_runtime.worker.tracebacks import log_exception

        log_exception(self._application.logger, exc)

    def _send_soon(self, line: Line, data: bytes) -> None:
        """Send it in the loop's thread; a thread of the function's own may log too."""
        if _thread.get_ident() == self._owner:
            line.send(data)
        else:
            self._late.append((line, data))
            self._loop.call_soon_threadsafe(self.send_late)

    def send_late(self) -> None:
        """Send what other threads have logged; also before an answer, which may depend on it."""
        while self._late:
            line, data = self._late.popleft()
            line.send(data)

    def _become_child(self) -> None:
        """Have a child that the function forks end: it must neither answer nor hear its parent's signals.

        What it does until its function returns or waits is its own, as in a sync function.
        """
        if os.getppid() == self._pid:
            signal.set_wakeup_fd(-1)
            for number in (TERMINATE, DRAIN):
                signal.signal(number, signal.SIG_DFL)
            self._loop.call_soon(self._end_child)

    def _end_child(self) -> None:
        text = "a child that was forked in an async function waits in its parent's event loop; use multiprocessing"
        self._application.caller.end_child(RuntimeError(text))

    def opened(self, line: Line) -> None:
        """Say on a new connection that the worker has started."""
        self._lines.append(line)
        line.send(self._started)

    def closed(self, line: Line, exc: Optional[Exception]) -> None:
        """End with the only connection; where the processor makes them, another may come."""
        self._lines.remove(line)
        if not self._lines:
            self._is_flushed.set()
        if not self._settings.is_listening:
            self._finish(exc if isinstance(exc, OSError) and not isinstance(exc, ConnectionError) else None)

    def broke(self, line: Line, exc: Exception) -> None:
        """End with what cannot be followed any further: that connection, where the processor makes another."""
        if self._settings.is_listening:
            self._application.logger.error(f"a connection ends: {exc}")
            line.close()
        else:
            self._finish(exc)

    def end(self) -> None:
        """End from another thread: the processor is gone."""
        self._loop.call_soon_threadsafe(self._finish, None)

    def _finish(self, fault: Optional[Exception]) -> None:
        self._fault = self._fault or fault
        if not self._done.done():
            self._done.set_result(None)

    async def answer(self, line: Line, data: protocol.Data) -> bytes:
        """Return the lines that answer a frame, of a stream the last ones."""
        try:
            frame = self._answers.read(data)
        except Exception as exc:  # noqa: BLE001 - whatever a frame holds
            return self._answers.unreadable(exc)
        if self._signals.is_discarding:
            return self._answers.discarded(frame)
        try:
            value = await self._value(frame)
            self._application.caller.end_child(None)
            stream = find_stream(value)
            if stream is not None and frame.events is not None and stream.values is value:
                value, stream = await self._collect(stream), None
            if stream is None or frame.events is not None:
                return self._answers.of(value, frame)
        except BaseException as exc:  # noqa: BLE001 - the user's handler may raise anything, SystemExit included
            self._application.caller.end_child(exc)
            return self._failed(exc, line, frame)
        return await self._stream(line, stream, frame)

    def _failed(self, exc: BaseException, line: Line, frame: Frame) -> bytes:
        if line.is_lost:  # then it was cancelled, and nobody waits
            return b""
        return self._answers.failed(exc, frame)

    async def _value(self, frame: Frame) -> Any:
        positional, named = self._application.arguments(frame.argument)
        value = self._application.function(*positional, **named)
        return await value if inspect.isawaitable(value) else value

    async def _collect(self, stream: Stream) -> list[Any]:
        """Return what a batch's function yields: a value for each event, as in a list."""
        if stream.is_async:
            return [one async for one in stream.values]
        return list(stream.values)

    async def _stream(self, line: Line, stream: Stream, frame: Frame) -> bytes:
        lines = self._answers.lines
        is_sent = self._settings.takes_streams
        kind = StreamLines(lines, stream, frame.request, line.send) if is_sent else None
        writer = kind or JoinedLines(lines, stream, frame.request)
        consume = self._consume_async if stream.is_async else self._consume_sync
        try:
            await consume(line, stream.values, writer)
            return writer.end()
        except BaseException as exc:  # noqa: BLE001 - as above
            self._application.caller.end_child(exc)
            failed = self._failed(exc, line, frame)
            return writer.broken() if writer.is_begun else failed

    async def _consume_async(self, line: Line, values: Any, writer: Union[StreamLines, JoinedLines]) -> None:
        try:
            async for item in values:
                self._application.caller.end_child(None)
                writer.item(item)
                await line.drain()
        finally:
            await values.aclose()

    async def _consume_sync(self, line: Line, values: Any, writer: Union[StreamLines, JoinedLines]) -> None:
        try:
            for item in values:
                self._application.caller.end_child(None)
                writer.item(item)
                await line.drain()
                await asyncio.sleep(0)
        finally:
            values.close()

    def settle(self) -> None:
        """Call what is due, once no event is under way."""
        if self._due and not any(line.is_busy for line in self._lines):
            names, self._due = self._due, []
            self._calling_back = Context().run(self._loop.create_task, self._call_back(names))  # no event's records

    async def _call_back(self, names: list[str]) -> None:
        for name in names:
            try:
                callback = self._application.context.platform.callback(name)
                value = callback() if callback else None
                if inspect.isawaitable(value):
                    await value
            except BaseException as exc:  # noqa: BLE001 - the user's callback may raise anything
                self._log(exc)
            if name == "termination":
                self._finish(None)

    def _terminate(self) -> None:
        if not self._signals.is_ending:
            self._signals.is_ending = self._signals.is_discarding = True
            self._due.append("termination")
            self.settle()

    def _drain(self) -> None:
        if not self._signals.is_discarding:
            self._signals.is_discarding = True
            self._due.append("drain")
            self.settle()

    def _continue(self) -> None:
        self._signals.is_discarding = self._signals.is_ending
