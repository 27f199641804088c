"""The toolkit's one gate to other programs: argument lists, secrets masked, bytes as they come, signals handed on."""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from nuwrap.errors import PlatformError

MASK = b"***"
POLL_SECONDS = 0.05  # only how soon the end is seen of a program whose own children keep its pipes open
READ_BYTES = 64 * 1024
PIPE_BYTES = 1024 * 1024  # most that a pipe holds on Linux (/proc/sys/fs/pipe-max-size)
SHORT_BYTES = 64 * 1024  # most that a program run for its answer may print
PR_SET_DUMPABLE = 4  # linux/prctl.h
STOPPED_CODE = 143
LINE_CHARACTERS = 8  # of a secret of several lines, shorter lines (`{`, `},`) stand in other texts too


@dataclass(frozen=True)
class Command:
    """A program to run: the whole environment it gets, and the values that must not show in what it prints.

    `keep_open` are descriptors that it gets open, beside its standard streams.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: str | None = None
    redact: Sequence[str] = field(default=(), repr=False)
    keep_open: Sequence[int] = ()


@dataclass(frozen=True)
class Completed:
    """How a short program ended, with its standard output."""

    returncode: int
    output: bytes


class Mask:
    """Replace secret values in a stream of bytes, also where one is cut in two by the way it arrives.

    Values of less than 3 characters are left: they would hide half of every line. Of a value of several lines each
    line of 8 characters or more is a secret too: a program may print it line by line.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        texts = [secret.strip() for secret in secrets if len(secret.strip()) >= 3]
        texts += [line.strip() for text in texts for line in text.splitlines() if len(line.strip()) >= LINE_CHARACTERS]
        values = {text.encode("utf-8", "surrogateescape") for text in texts}
        self._secrets = sorted(values, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(re.escape(secret) for secret in self._secrets) or rb"(?!)")
        self._kept = b""

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """Return what can be shown now; the begin of what may become a secret is kept for the next call."""
        data, self._kept = self._kept + data, b""
        shown: list[bytes] = []
        at = 0
        while True:
            unsure = len(data) if last else self._unsure(data, at)
            found = self._pattern.search(data, at)
            if not found or found.start() >= unsure:
                self._kept = data[unsure:]
                return b"".join([*shown, data[at:unsure]])
            shown += [data[at : found.start()], MASK]
            at = found.end()

    def _unsure(self, data: bytes, at: int) -> int:
        """Return where the earliest begin of a secret stands that the end of the data cuts off."""
        longest = len(self._secrets[0]) if self._secrets else 1
        for start in range(max(at, len(data) - longest + 1), len(data)):
            if any(len(data) - start < len(one) and one.startswith(data[start:]) for one in self._secrets):
                return start
        return len(data)


def hide_environment() -> None:
    """Keep other processes of this user, the function's above all, from reading this one's environment (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def run(command: Command, *, timeout_s: float) -> Completed:
    """Run a short program to its end, its standard error dropped; nothing of its process group is left then.

    Raises PlatformError when it cannot be started, takes longer than `timeout_s` or prints more than 64 KiB.
    """
    process = _start(command, stderr=subprocess.DEVNULL)
    try:
        output = _answer(process, time.monotonic() + timeout_s)
    except subprocess.TimeoutExpired:
        raise PlatformError(f"cannot run {command.argv[0]!r}: timed out after {timeout_s:g} seconds") from None
    finally:
        _kill_group(process)
        if process.stdout:
            process.stdout.close()
    if len(output) > SHORT_BYTES:
        raise PlatformError(f"cannot run {command.argv[0]!r}: it prints more than {SHORT_BYTES} bytes")
    return Completed(process.returncode, output)


def _answer(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """Return what the program prints until it ends, and no more than one byte above the bound."""
    output = b""
    with selectors.DefaultSelector() as selector:
        if process.stdout:
            selector.register(process.stdout, selectors.EVENT_READ)
        while len(output) <= SHORT_BYTES:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(process.args, 0)
            ended = process.poll() is not None
            ready = selector.select(0 if ended else POLL_SECONDS)
            data = os.read(ready[0][0].fd, SHORT_BYTES + 1 - len(output)) if ready else None
            output += data or b""
            if data == b"":
                process.wait(max(0.0, deadline - time.monotonic()))
            if data == b"" or (ended and not data):
                break
    return output


def stream(
    command: Command,
    *,
    out: Sequence[int],
    err: Sequence[int],
    on_start: Callable[[int], None] = lambda _pid: None,
    is_hard: bool = False,
) -> int:
    """Run a program to its end and return its exit code, 128 + n when signal n ended it.

    What it writes goes, masked and as it comes, to the file descriptors `out` and `err`. Each stop that reaches this
    process (Ctrl-C, SIGTERM, a closed terminal) is handed on once and then waited for. The program leads a session
    of its own, so that a terminal's Ctrl-C does not reach it a second time. What its own children write after its end
    is not waited for. `on_start` gets its process id. With `is_hard` a second stop kills the program and its process
    group, which is exit code 143. Raises PlatformError when it cannot be started.
    """
    with _stops() as stops:
        stops.is_hard = is_hard
        process = _start(command)
        try:
            stops.hand_on_to(process)
            on_start(process.pid)
            _pump_until_stopped(process, stops, command.redact, (out, err))
            code = process.wait()
        except BaseException:  # nothing that we started outlives us
            _kill_group(process)
            raise
        finally:
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()
    if stops.has_killed:
        return STOPPED_CODE
    return code if code >= 0 else 128 - code


def _start(
    command: Command, *, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(command.argv),
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=tuple(command.keep_open),
        )
    except OSError as exc:
        raise PlatformError(f"cannot start {command.argv[0]!r} in {command.cwd!r}: {exc.strerror}") from exc


_detached: list[subprocess.Popen[bytes]] = []


def start_detached(command: Command, *, log: str) -> int:
    """Start a program that outlives this process, in a session of its own, and return its process id.

    What it prints is appended to the file `log`. Raises PlatformError when it cannot be started.
    """
    _detached[:] = [one for one in _detached if one.poll() is None]  # those that have ended wait to be asked
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise PlatformError(f"cannot write {log!r}: {exc.strerror}") from exc
    try:
        _detached.append(_start(command, stdout=output, stderr=output))
    finally:
        os.close(output)
    return _detached[-1].pid


@atexit.register
def _leave_detached() -> None:
    """Let the detached ones go on without Python's warning of processes that nobody waits for."""
    for process in _detached:
        process.returncode = process.poll() or 0


class _LateStop(Exception):
    """A stop has come after the program's end."""


class _Stops:
    """The stops that came, each sent on once; one from before the program's start is sent when it has started.

    While `is_pumping`, one from after its end raises _LateStop: a write that nobody takes is left by that alone.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self.is_pumping = False
        self.is_hard = False
        self.has_killed = False
        self._has_sent = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        wanted = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        if self._process:
            self._send(self._process, wanted)
            if self.is_pumping and self._process.returncode is not None:  # as send_signal has just seen
                self.is_pumping = False
                raise _LateStop
        else:
            self._early.append(wanted)

    def hand_on_to(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        for number in self._early:
            self._send(process, number)

    def _send(self, process: subprocess.Popen[bytes], number: int) -> None:
        """Send the stop on; one that is to be hard, and not the first, is a kill where the program is still there."""
        if self.is_hard and self._has_sent and process.poll() is None:
            self.has_killed = True
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.send_signal(number)
        self._has_sent = True


@contextmanager
def _stops() -> Iterator[_Stops]:
    """Take the stop signals over for the time of the body; a thread that is not the main one cannot, and does not."""
    stops, before = _Stops(), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a shell's background job
                before[number] = signal.signal(number, stops)
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pump_until_stopped(
    process: subprocess.Popen[bytes], stops: _Stops, secrets: Sequence[str], targets: tuple[Sequence[int], ...]
) -> None:
    try:
        stops.is_pumping = True
        _pump(process, secrets, *targets)
        stops.is_pumping = False
    except _LateStop:
        return


def _pump(process: subprocess.Popen[bytes], secrets: Sequence[str], out: Sequence[int], err: Sequence[int]) -> None:
    with selectors.DefaultSelector() as selector:
        for pipe, targets in ((process.stdout, out), (process.stderr, err)):
            if pipe:
                selector.register(pipe, selectors.EVENT_READ, (Mask(secrets), list(targets)))
        left = dict.fromkeys(selector.get_map(), PIPE_BYTES)
        while selector.get_map():
            ended = process.poll() is not None
            ready = selector.select(0 if ended else POLL_SECONDS)
            for key, _ in ready:
                count = _move(key)
                left[key.fd] -= count if ended else 0  # the program's own children may write on without end
                if not count or left[key.fd] <= 0:
                    _flush(selector.unregister(key.fileobj))
            if ended and not ready:
                break
        for key in list(selector.get_map().values()):
            _flush(key)


def _move(key: selectors.SelectorKey) -> int:
    """Pass on what the pipe has and return its length, 0 at its end."""
    mask, targets = key.data
    data = os.read(key.fd, READ_BYTES)
    _write(targets, mask.feed(data))
    return len(data)


def _flush(key: selectors.SelectorKey) -> None:
    mask, targets = key.data
    _write(targets, mask.feed(b"", last=True))


def _write(targets: list[int], data: bytes) -> None:
    """Write to each target; one that takes no more (`nuwrap run … | head`, a full disk) is dropped."""
    for target in list(targets):
        left = memoryview(data)
        try:
            while left:
                left = left[_write_some(target, left) :]
        except OSError:
            targets.remove(target)


def _write_some(target: int, data: memoryview) -> int:
    try:
        return os.write(target, data)
    except BlockingIOError:  # a terminal that another program left non-blocking
        select.select([], [target], [])
        return 0


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # none is left; macOS says the latter of a zombie
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
