"""A sync function under a processor: one event at a time, no event loop on the way."""

from __future__ import annotations

import _socket as socket
import time
from typing import Any, Callable

from nuwrap_runtime.worker import protocol
from nuwrap_runtime.worker.application import Application
from nuwrap_runtime.worker.connection import Connection
from nuwrap_runtime.worker.nuclio.answers import Answers, Frame
from nuwrap_runtime.worker.nuclio.settings import Settings
from nuwrap_runtime.worker.nuclio.signals import Signals, run_callback
from nuwrap_runtime.worker.nuclio.streaming import JoinedLines, StreamLines
from nuwrap_runtime.worker.streams import Stream, find_stream

_TICK = 1e-9  # a duration of 0 is an error in the processor's log


class SyncWorker:
    """One connection, from the first event to its end."""

    def __init__(
        self,
        application: Application,
        connection: Connection,
        settings: Settings,
        *,
        unpack: Callable[..., Any],
        signals: Signals,
    ) -> None:
        self._application = application
        self._connection = connection
        self._settings = settings
        self._answers = Answers(application, settings, unpack)
        self._signals = signals

    def serve(self, started: bytes) -> None:
        """Say `started` and answer every frame with exactly one reply, until the processor ends that or asks us to."""
        signals, send = self._signals, self._connection.send
        signals.begin(self._call_back, self._end)
        send(started)
        signals.free()
        for data in self._connection.frames():
            signals.is_busy = True
            begin = time.perf_counter()
            line = self._answer(data)
            send(b'%bm{"duration": %.9f}\n' % (line, max(time.perf_counter() - begin, _TICK)))
            signals.free()

    def _answer(self, data: protocol.Data) -> bytes:
        """Return the answer's lines, of a stream the last ones."""
        try:
            frame = self._answers.read(data)
        except Exception as exc:  # noqa: BLE001 - whatever a frame holds
            return self._answers.unreadable(exc)
        if self._signals.is_discarding:
            return self._answers.discarded(frame)
        try:
            value = self._application.call(frame.argument)
            stream = find_stream(value)
            if stream is not None and frame.events is not None and stream.values is value:
                value, stream = self._collect(value), None
            if stream is None or frame.events is not None:
                return self._answers.of(value, frame)
        except BaseException as exc:  # noqa: BLE001 - the user's handler may raise anything, SystemExit included
            return self._answers.failed(exc, frame)
        return self._stream(stream, frame)

    def _collect(self, values: Any) -> list[Any]:
        """Return what a batch's function yields: a value for each event, as in a list."""
        found: list[Any] = []
        self._application.caller.consume(values, found.append)
        return found

    def _stream(self, stream: Stream, frame: Frame) -> bytes:
        lines = self._answers.lines
        is_sent = self._settings.takes_streams
        kind = StreamLines(lines, stream, frame.request, self._connection.send) if is_sent else None
        writer = kind or JoinedLines(lines, stream, frame.request)
        try:
            self._application.caller.consume(stream.values, writer.item)
            return writer.end()
        except BaseException as exc:  # noqa: BLE001 - as above
            failed = self._answers.failed(exc, frame)
            return writer.broken() if writer.is_begun else failed

    def _call_back(self, name: str) -> None:
        try:
            run_callback(self._application.caller.call, self._application.context.platform.callback(name))
        except BaseException as exc:  # noqa: BLE001 - the user's callback may raise anything; the signal counts all the same
            from nuwrap_runtime.worker.tracebacks import log_exception

            log_exception(self._application.logger, exc)

    def _end(self) -> None:
        """End the wait for events, and what a processor still sends: `frames` sees the socket's end."""
        try:
            self._connection.socket.shutdown(socket.SHUT_RD)
        except OSError:  # it is gone already
            pass
