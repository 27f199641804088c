"""A worker's life under a processor: connect, load, init, say `s`, answer, and end as the processor expects.

An exit code of 0 is for an orderly end alone; at any other the processor ends too, and with it the container
(pkg/processor/runtime/rpc, watchWrapperProcess).
"""

from __future__ import annotations

import _socket
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from nuwrap_runtime.worker import life, protocol
from nuwrap_runtime.worker.annotations import kind_of
from nuwrap_runtime.worker.application import Application
from nuwrap_runtime.worker.connection import Connection, connect
from nuwrap_runtime.worker.context import Logger
from nuwrap_runtime.worker.nuclio.control import Control
from nuwrap_runtime.worker.nuclio.platform import Platform
from nuwrap_runtime.worker.nuclio.settings import Settings, read_settings
from nuwrap_runtime.worker.spec import WorkerSpec

LEAVE_SECONDS = 2.0  # for a worker whose processor was killed, and which is in the middle of a call

Unpack = Callable[..., Any]


def open_sockets(options: Mapping[str, str], settings: Settings) -> tuple[Optional[Connection], Optional[Control]]:
    """Return the connections to the processor, made or taken over from who has made them (`--event-socket-fd`)."""
    event = None if settings.is_listening else Connection(_peer(options, "event", settings.event))
    control = Control(_peer(options, "control", settings.control)) if settings.control else None
    return event, control


def _peer(options: Mapping[str, str], name: str, path: str) -> _socket.socket:
    number = options.get(f"{name}-socket-fd", "")
    if not number:
        return connect(path)
    os.set_inheritable(int(number), False)  # noqa: FBT003 - what the function starts shall not hold it
    return _socket.socket(fileno=int(number))


class ProcessorWorker:
    """One worker under a processor."""

    def __init__(self, options: Mapping[str, str], environ: Mapping[str, str], spec: WorkerSpec) -> None:
        self.settings = read_settings(options, environ)
        self._lead_group()
        self.connection, self.control = open_sockets(options, self.settings)
        self._route: Callable[[bytes], None] = self.connection.send_log if self.connection else self._log_by_control
        logger = Logger(self._send_log, self.settings.log_level)
        self.application = Application(spec, options, logger)
        send = self.control.send if self.control else None
        self.application.context.use_platform(Platform(self.settings.kind, self.settings.namespace, send))

    def run(self, user_paths: Sequence[str], unpack: Unpack) -> int:
        """Return the exit code: 0 after the processor's end or its wish for ours, else that of the failed phase."""
        application = self.application
        try:
            seconds = life.start(application, application.spec, list(user_paths), is_ours=False)
        except BaseException as exc:  # noqa: BLE001 - the user's module and init may raise anything, SystemExit included
            from nuwrap_runtime.worker.nuclio.refusal import tell_refusal

            return tell_refusal(application, exc)
        try:
            self._serve(seconds, unpack)
        except (OSError, protocol.ProtocolError) as exc:
            return life.lost(exc)
        finally:
            self._end_children()
        return 0

    def _serve(self, seconds: dict[str, float], unpack: Unpack) -> None:
        is_async = kind_of(self.application.function) in ("async", "asyncgen")
        if is_async or self.connection is None:
            self._serve_concurrently(seconds, unpack)
            return
        from nuwrap_runtime.worker.nuclio.sync import SyncWorker

        worker = SyncWorker(self.application, self.connection, self.settings, unpack)
        worker.signals.install()
        self.connection.send(life.started_line(seconds))
        self._begin(self._leave)
        worker.serve()

    def _serve_concurrently(self, seconds: dict[str, float], unpack: Unpack) -> None:
        import socket

        from nuwrap_runtime.worker.nuclio.concurrent import ConcurrentWorker

        peer = socket.socket(fileno=self.connection.socket.detach()) if self.connection else None
        worker = ConcurrentWorker(self.application, self.settings, unpack, life.started_line(seconds))
        self._route = worker.send_log if self.connection else self._log_by_control

        def gone() -> None:
            worker.end()
            self._leave()

        self._begin(gone)
        worker.serve(peer)

    def _begin(self, gone: Callable[[], None]) -> None:
        """Tell the processor what its own wrapper tells, and see it go."""
        if self.control:
            self.control.say_ready()
            self.control.watch(gone)

    def _send_log(self, record: bytes) -> None:
        self._route(record)

    def _log_by_control(self, record: bytes) -> None:
        """Send a record as processors from 1.15 on read it; they are those that connect to us."""
        import json

        if self.control:
            self.control.send({"kind": "log", "attributes": json.loads(record)})

    def _lead_group(self) -> None:
        """Lead a process group, so that what the function started ends with the worker; a Ctrl-C is the processor's."""
        try:
            os.setpgid(0, 0)
        except OSError:  # a session's leader cannot, and need not
            pass

    def _leave(self) -> None:
        """End with all children, when the processor is gone and a call takes long: nobody hears the answer."""
        time.sleep(LEAVE_SECONDS)
        if sys.stderr:
            print("nuwrap: the processor is gone; the worker ends", file=sys.stderr, flush=True)
        if os.getpgid(0) == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    def _end_children(self) -> None:
        """End what the function has started and left."""
        if os.getpgid(0) == os.getpid():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(os.getpid(), signal.SIGTERM)
