"""A worker's life under a processor: connect, load, init, say `s`, answer, and end as the processor expects.

An exit code of 0 is for an orderly end alone; at any other the processor ends too, and with it the container
(pkg/processor/runtime/rpc, watchWrapperProcess).
"""

from __future__ import annotations

import _socket
import _thread
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.worker import life, protocol
from nuwrap_runtime.worker.annotations import kind_of
from nuwrap_runtime.worker.application import Application
from nuwrap_runtime.worker.connection import Connection, connect
from nuwrap_runtime.worker.context import Logger
from nuwrap_runtime.worker.nuclio.control import Control
from nuwrap_runtime.worker.nuclio.group import Group
from nuwrap_runtime.worker.nuclio.platform import Platform
from nuwrap_runtime.worker.nuclio.settings import doubts, is_address, read_settings
from nuwrap_runtime.worker.nuclio.signals import Signals
from nuwrap_runtime.worker.nuclio.watch import Watch
from nuwrap_runtime.worker.spec import WorkerSpec

LEAVE_SECONDS = 2.0  # for a call under way when the processor is gone, and for threads that do not end

Unpack = Callable[..., Any]


def run(
    options: Mapping[str, str], environ: Mapping[str, str], spec: WorkerSpec, user_paths: Sequence[str], unpack: Unpack
) -> int:
    """Live one worker's life; return the exit code: 0 after the processor's end or its wish for ours."""
    try:
        worker = ProcessorWorker(options, environ, spec)
    except (OSError, PlatformError) as exc:
        from nuwrap_runtime.result import Failure
        from nuwrap_runtime.worker.nuclio.refusal import write_block

        write_block(Failure("platform", type(exc).__name__, str(exc)), PlatformError.exit_code)
        return PlatformError.exit_code
    return worker.run(user_paths, unpack)


def _open(options: Mapping[str, str], name: str, path: str) -> _socket.socket:
    """Return a socket, made or taken over from who has made it (`--event-socket-fd`). Raises OSError."""
    number = options.get(f"{name}-socket-fd", "")
    if number:
        os.set_inheritable(int(number), False)  # noqa: FBT003 - what the function starts shall not hold it
        return _socket.socket(fileno=int(number))
    if not is_address(path):
        return connect(path)
    from nuwrap_runtime.worker.nuclio.launching import listen

    try:
        return listen(path)
    except OSError as exc:
        raise PlatformError(f"the processor wants to connect at {path!r}, where nobody can listen: {exc}") from exc


class ProcessorWorker:
    """One worker under a processor."""

    def __init__(self, options: Mapping[str, str], environ: Mapping[str, str], spec: WorkerSpec) -> None:
        self.settings = read_settings(options, environ)
        self._doubts = doubts(environ)
        self.signals = Signals()
        self._group = Group(f"{options.get('trigger-name', '')}-{options.get('worker-id', '')}")
        self._group.lead()
        self.control = Control(_open(options, "control", self.settings.control)) if self.settings.control else None
        self._event = _open(options, "event", self.settings.event)
        self._connection = None if self.settings.is_listening else Connection(self._event)
        self._route: Callable[[bytes], None] = self._connection.send_log if self._connection else self._log_by_control
        logger = Logger(self._send_log, self.settings.log_level)
        self.application = Application(spec, options, logger)
        send = self.control.send if self.control else None
        self.application.context.use_platform(Platform(self.settings.kind, self.settings.namespace, send))
        self._end: Callable[[], None] = lambda: None

    def run(self, user_paths: Sequence[str], unpack: Unpack) -> int:
        """Return the exit code: 0 after the processor's end or its wish for ours, else that of the failed phase."""
        self.signals.install()
        Watch(self.signals, self.control.socket if self.control else None, self._on_gone).start()
        try:
            code = self._run(user_paths, unpack)
            _thread.start_new_thread(self._leave, (code,))
            self._close()
        finally:
            self.signals.ignore()
            self._group.end()
        return code

    def _run(self, user_paths: Sequence[str], unpack: Unpack) -> int:
        application = self.application
        for text in self._doubts:
            application.warn(text)
        try:
            seconds = life.start(application, application.spec, list(user_paths), is_ours=False)
        except BaseException as exc:  # noqa: BLE001 - the user's module and init may raise anything, SystemExit included
            if self.signals.is_ending:
                return 0
            from nuwrap_runtime.worker.nuclio.refusal import tell_refusal

            return tell_refusal(application, exc)
        try:
            self._serve(life.started_line(seconds), unpack)
        except (OSError, protocol.ProtocolError) as exc:
            return life.lost(exc)
        return 0

    def _serve(self, started: bytes, unpack: Unpack) -> None:
        if self.control:
            self.control.say_ready()
        is_async = kind_of(self.application.function) in ("async", "asyncgen")
        if is_async or self._connection is None:
            self._serve_concurrently(started, unpack)
            return
        from nuwrap_runtime.worker.nuclio.sync import SyncWorker

        signals = self.signals
        SyncWorker(self.application, self._connection, self.settings, unpack=unpack, signals=signals).serve(started)

    def _serve_concurrently(self, started: bytes, unpack: Unpack) -> None:
        import socket

        from nuwrap_runtime.worker.nuclio.concurrent import ConcurrentWorker

        peer = socket.socket(fileno=self._event.detach())
        worker = ConcurrentWorker(
            self.application, self.settings, unpack=unpack, signals=self.signals, log_elsewhere=self._log_by_control
        )
        self._route, self._end = worker.send_log, worker.end
        worker.serve(peer, started)

    def _close(self) -> None:
        """End what the function left in its event loop."""
        try:
            self.application.caller.close()
        except BaseException as exc:  # noqa: BLE001 - tasks of the user's may raise anything
            from nuwrap_runtime.worker.tracebacks import print_traceback

            print_traceback(exc)

    def _send_log(self, record: bytes) -> None:
        self._route(record)

    def _log_by_control(self, record: bytes) -> None:
        """Send a record as processors from 1.15 on read it; they are those that connect to us."""
        import json

        if self.control:
            self.control.send({"kind": "log", "attributes": json.loads(record)})

    def _on_gone(self) -> None:
        """End with all children, unless the main thread does in time: a call may last, and nobody hears its answer."""
        self._end()
        time.sleep(LEAVE_SECONDS)
        if sys.stderr:
            print("nuwrap: the processor is gone; the worker ends", file=sys.stderr, flush=True)
        self._group.kill(1)

    def _leave(self, code: int) -> None:
        """End, unless the main thread does in time: it waits for threads that the function has started."""
        time.sleep(LEAVE_SECONDS)
        os._exit(code)
