"""Start a worker, hear what it says, end it with all its children. One of the places that start a process."""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from nuwrap_runtime.errors import PlatformError, Stopped
from nuwrap_runtime.host import endings
from nuwrap_runtime.host.endings import WorkerEnded
from nuwrap_runtime.host.prepare import Prepared
from nuwrap_runtime.host.process import die_with_parent, kill_group, kill_orphans, reap_adopted, start
from nuwrap_runtime.result import SCHEMA, Failure
from nuwrap_runtime.schema import faults
from nuwrap_runtime.worker import msgpack, protocol

MAIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "worker", "main.py")
POLL_SECONDS = 0.05  # only where there is no pidfd (macOS)
READ_BYTES = 256 * 1024
WAKE_SECONDS = 0.2
FILES = 65536
REAP_SECONDS = 1.0  # a job's daemons end while it runs, and nobody else waits for them: this is PID 1, or acts so
END_SECONDS = 5.0  # from the end of its event socket to the end of the process


class TimedOut(Exception):
    """The worker did not answer within the time of one call."""


class Worker:
    """One worker process and its two sockets, from its start to the end of its process group."""

    def __init__(
        self,
        prepared: Prepared,
        folder: str,
        *,
        on_log: Callable[[Mapping[str, Any]], None],
        stdout: Optional[int] = None,
    ) -> None:
        """Start the process; `folder` gets the sockets. Raises PlatformError when it cannot be started."""
        self._on_log = on_log
        self._decoder = protocol.LineDecoder()
        self._failure: Optional[Failure] = None
        self.phase = "load"
        self._lines: list[tuple[bytes, bytes]] = []
        self._pack = msgpack.load()[0]
        self._listeners = [_listen(os.path.join(folder, name)) for name in ("e", "c")]
        sockets = {"event": os.path.join(folder, "e"), "control": os.path.join(folder, "c")}
        self._process = start_worker(prepared, sockets, stdout=stdout)
        self._pidfd = _pidfd(self._process.pid)
        self._event: Optional[socket.socket] = None
        self._control: Optional[socket.socket] = None
        self._ended = False

    @property
    def pid(self) -> int:
        """The process id, which is the group's too."""
        return self._process.pid

    @property
    def is_connected(self) -> bool:
        """Tell whether it came as far as our own code; what ended before may be no Python that we can use."""
        return self._event is not None

    def wait_started(self) -> Mapping[str, float]:
        """Return the worker's own seconds of load and init once it is ready; there is no limit on init.

        Raises WorkerEnded with the reason when it ends before.
        """
        self._event = self._accept(self._listeners[0])
        self._control = self._accept(self._listeners[1])
        payload = self._wait_line(protocol.START, None)
        self.phase = "handler"
        try:
            told = json.loads(payload) if payload else {}
        except (ValueError, RecursionError):  # by the user's code, on our socket
            return {}
        return {} if faults(told, SCHEMA["properties"]["seconds"]) else dict(told)

    def ask(self, event: Mapping[str, Any], *, timeout_s: Optional[float] = None) -> protocol.Reply:
        """Return the worker's reply to one event. Raises TimedOut, WorkerEnded."""
        frame = protocol.encode_frame(self._pack(event))
        deadline = time.monotonic() + timeout_s if timeout_s else None
        try:
            self._peer().sendall(frame)
        except (BrokenPipeError, ConnectionResetError):  # it ended meanwhile; the wait below says how
            pass
        return protocol.decode_reply(self._wait_line(protocol.REPLY, deadline))

    def terminate(self, grace_s: float) -> bool:
        """Send SIGTERM, hear the worker out for `grace_s`, then kill its group. True when it ended by itself.

        A function that answers all the same ends its process too: no further event comes.
        """
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        try:
            if self._event is None:  # it has not come that far
                self._linger(deadline)
                return self._has_exited()
            self._event.shutdown(socket.SHUT_WR)
            while time.monotonic() < deadline:
                self._hear_out(min(deadline, time.monotonic() + WAKE_SECONDS))
                self._signal(protocol.WAKE)
        except (WorkerEnded, protocol.ProtocolError):
            return True
        except (Stopped, OSError):  # a second stop is impatient; the socket may be closed by now
            pass
        finally:
            self.close()
        return False

    def _hear_out(self, until: float) -> None:
        try:
            self._wait_line(b"", until)
        except TimedOut:
            pass

    def finish(self, grace_s: float) -> None:
        """Tell the worker that there are no more events, hear it out for `grace_s`, then kill its group.

        Its threads and exit handlers run until then, and may log.
        """
        try:
            self._peer().shutdown(socket.SHUT_WR)
            self._wait_line(b"", time.monotonic() + grace_s)
        except (
            WorkerEnded,
            TimedOut,
            Stopped,
            OSError,
            protocol.ProtocolError,
        ):  # its answer is here, so nothing of this changes the outcome
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close the sockets and kill what is left of the process's group."""
        for peer in (self._event, self._control):
            if peer:
                peer.close()
        self._event = self._control = None
        if self._process.returncode is None:  # before the leader is reaped: then the number may be another's
            kill_group(self.pid)
            self._process.wait()
        kill_orphans()
        for listener in self._listeners:
            listener.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _peer(self) -> socket.socket:
        if self._event is None:
            raise RuntimeError("the worker is not started")
        return self._event

    def _accept(self, listener: socket.socket) -> socket.socket:
        while True:
            if self._wait_readable(listener, None):
                return listener.accept()[0]
            if self._has_exited():
                raise self._end()

    def _wait_line(self, wanted: bytes, deadline: Optional[float]) -> bytes:
        """Return the payload of the next line of the wanted kind; logs on the way are handed on."""
        while True:
            while self._lines:
                kind, payload = self._lines.pop(0)
                if kind == wanted:
                    return payload
                if kind == protocol.LOG:
                    self._take_log(payload)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimedOut
            readable = self._wait_readable(self._peer(), deadline)
            if not readable and not self._has_exited():
                continue
            data = _receive(self._peer()) if readable else b""
            if not data:
                raise self._end()
            self._lines += self._decoder.feed(data)

    def _wait_readable(self, peer: socket.socket, deadline: Optional[float]) -> bool:
        """Tell whether something came; False after a moment in which what the function left behind was reaped."""
        reap_adopted((self.pid,))
        left = REAP_SECONDS if deadline is None else min(REAP_SECONDS, max(0.0, deadline - time.monotonic()))
        with selectors.DefaultSelector() as selector:
            selector.register(peer, selectors.EVENT_READ)
            if self._pidfd >= 0:
                selector.register(self._pidfd, selectors.EVENT_READ)
            else:
                left = min(left, POLL_SECONDS)
            return any(key.fileobj is peer for key, _ in selector.select(left))

    def _take_log(self, payload: bytes) -> None:
        try:
            record = json.loads(payload)
        except (ValueError, RecursionError):
            return
        if not isinstance(record, dict):  # written by the user's code, on our socket
            return
        fields = record.get("with")
        told = fields.get("nuwrap_failure") if isinstance(fields, dict) else None
        if isinstance(fields, dict) and fields.get("nuwrap_phase") == "init" and self.phase == "load":
            self.phase = "init"
        elif isinstance(told, dict) and not faults(told, SCHEMA["properties"]["failure"]):
            self._failure = Failure.from_document(told)
        else:
            self._on_log(record)

    def _end(self) -> WorkerEnded:
        """Say how the worker ended: by the failure it told, by a signal that was not ours, or by itself."""
        self._linger(time.monotonic() + END_SECONDS)
        went_on = not self._has_exited()
        kill_group(self.pid)
        code = self._process.wait()
        return endings.lost(self.phase) if went_on else endings.ended(self.phase, code, self._failure)

    def _has_exited(self) -> bool:
        """Tell whether the process is over, without reaping it where the system can (its number stays taken)."""
        if self._ended:
            return True
        if hasattr(os, "waitid"):
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            try:
                self._ended = os.waitid(os.P_PID, self.pid, flags) is not None
            except ChildProcessError:
                self._ended = True
        else:
            self._ended = self._process.poll() is not None
        return self._ended

    def _linger(self, deadline: float) -> None:
        """Wait until the process is over, or until the deadline."""
        while not self._has_exited() and time.monotonic() < deadline:
            self._wait_exit(min(deadline - time.monotonic(), 1.0))

    def _wait_exit(self, seconds: float) -> None:
        if self._pidfd < 0:
            time.sleep(min(seconds, POLL_SECONDS))
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self._pidfd, selectors.EVENT_READ)
            selector.select(seconds)

    def _signal(self, number: int) -> None:
        if not self._has_exited():
            self._process.send_signal(number)


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(64)
    return listener


def _receive(peer: socket.socket) -> bytes:
    try:
        return peer.recv(READ_BYTES)
    except ConnectionResetError:
        return b""


def start_worker(
    prepared: Prepared, sockets: Mapping[str, str], *, number: int = 0, stdout: Optional[int] = None
) -> subprocess.Popen[bytes]:
    """Start the worker's process; `sockets` are `event` and, for the processor's form, `control`.

    It gets the limit on open files that this process was started with. Raises PlatformError.
    """
    argv = [prepared.python, "-u", MAIN, "--handler", prepared.spec.handler]
    for name, path in sockets.items():
        argv += [f"--{name}-socket-path", path]
    argv += ["--platform-kind", "local", "--namespace", "", "--worker-id", str(number)]
    kind = "http" if prepared.spec.mode == "event" else prepared.spec.mode
    argv += ["--trigger-kind", kind, "--trigger-name", kind, "--decode-event-strings"]
    argv += ["--worker-spec", prepared.spec_path]
    try:
        return start(argv, env=prepared.environ, cwd=prepared.spec.root, in_child=in_worker(), stdout=stdout)
    except OSError as exc:
        raise PlatformError(f"cannot start the interpreter {prepared.python!r}: {exc.strerror}") from exc


_own_limit: list[tuple[int, int]] = []


def raise_file_limit() -> int:
    """Let this process open as many files as it may, and return how many: each connection is one.

    Its workers keep the limit as it was.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _own_limit[:] = [(soft, hard)]
    wanted = allowed_files()
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has a limit of its kernel below an unlimited `hard`
            return soft
    return wanted


def allowed_files() -> int:
    """Return how many files this process may open once its limit is raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    return most if soft == resource.RLIM_INFINITY else max(soft, most)


def in_worker() -> Optional[Callable[[], None]]:
    """Return what a worker's process calls before it becomes the interpreter."""
    die = die_with_parent()
    limits = list(_own_limit)
    if not limits:
        return die

    def prepare_child() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits[0])
        if die:
            die()

    return prepare_child


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an old kernel, or a sandbox that has not this call
        return -1
