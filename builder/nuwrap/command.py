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
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

from nuwrap import errors
from nuwrap.errors import PlatformError
from nuwrap_runtime import errors as runtime_errors

MASK = b"***"
POLL_SECONDS = 0.05  # only how soon the end is seen of a program whose own children keep its pipes open
READ_BYTES = 64 * 1024
PIPE_BYTES = 1024 * 1024  # most that a pipe holds on Linux (/proc/sys/fs/pipe-max-size)
SHORT_BYTES = 64 * 1024  # most that a program run for its answer may print
PR_SET_DUMPABLE = 4  # linux/prctl.h
STOPPED_CODE = 143
TIMEOUT_CODE = 124
GRACE_SECONDS = 10  # for a program whose time is over to end by itself
LINE_CHARACTERS = 8  # of a secret of several lines, shorter lines (`{`, `},`) stand in other texts too


@dataclass(frozen=True)
class Command:
    """A program to run: the whole environment it gets, and the values that must not show in what it prints.

    `stdin` is the descriptor that it reads, none for an empty input. `keep_open` are others that it gets open.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: str | None = None
    redact: Sequence[str] = field(default=(), repr=False)
    keep_open: Sequence[int] = ()
    stdin: int | None = None


@dataclass(frozen=True)
class Completed:
    """How a short program ended, with its standard output as it is; `errors` is its standard error, masked."""

    returncode: int
    output: bytes
    errors: bytes = b""


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


def run(command: Command, *, timeout_s: float, most_bytes: int = SHORT_BYTES) -> Completed:
    """Run a short program to its end; nothing of its process group is left then.

    Of its standard error the first 64 KiB are kept. Raises PlatformError when it cannot be started, takes longer than
    `timeout_s` or prints more than `most_bytes`.
    """
    process = _start(command)
    try:
        output, errors = _answer(process, time.monotonic() + timeout_s, most_bytes)
    except subprocess.TimeoutExpired:
        raise PlatformError(f"cannot run {command.argv[0]!r}: timed out after {timeout_s:g} seconds") from None
    finally:
        _kill_group(process)
        _close_pipes(process)
    if len(output) > most_bytes:
        raise PlatformError(f"cannot run {command.argv[0]!r}: it prints more than {most_bytes} bytes")
    return Completed(process.returncode, output, Mask(command.redact).feed(errors[:SHORT_BYTES], last=True))


def _answer(process: subprocess.Popen[bytes], deadline: float, most_bytes: int) -> tuple[bytes, bytes]:
    """Return what the program prints until it ends, of standard output not much more than the bound."""
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe, kept in ((process.stdout, output), (process.stderr, errors)):
            if pipe:
                selector.register(pipe, selectors.EVENT_READ, kept)
        while selector.get_map() and len(output) <= most_bytes:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(process.args, 0)
            ended = process.poll() is not None
            ready = selector.select(0 if ended else POLL_SECONDS)
            for key, _ in ready:
                data = os.read(key.fd, READ_BYTES)
                is_full = key.data is errors and len(errors) > SHORT_BYTES
                key.data.extend(b"" if is_full else data)
                if not data or (ended and is_full):  # the program's own children may write on without end
                    selector.unregister(key.fileobj)
            if ended and not ready:
                break
    if len(output) <= most_bytes:
        process.wait(max(0.0, deadline - time.monotonic()))
    return bytes(output), bytes(errors)


def stream(
    command: Command,
    *,
    out: Sequence[int],
    err: Sequence[int],
    on_start: Callable[[int], None] = lambda _pid: None,
    on_output: Callable[[bytes], None] = lambda _data: None,
    is_hard: bool = False,
    timeout_s: float | None = None,
    stops: Stops | None = None,
) -> int:
    """Run a program to its end and return its exit code, 128 + n when signal n ended it.

    What it writes goes, masked and as it comes, to the file descriptors `out` and `err`. Each stop that reaches this
    process (Ctrl-C, SIGTERM, a closed terminal) is handed on once and then waited for. The program leads a session
    of its own, so that a terminal's Ctrl-C does not reach it a second time. What its own children write after its end
    is not waited for. `on_start` gets its process id, `on_output` each piece of what it writes, masked too. With
    `is_hard` a second stop kills the program and its process group, which is exit code 143. After `timeout_s` it gets
    SIGTERM, and 10 seconds later it is killed like that: exit code 124. `stops` are those that the caller has taken
    over. Raises PlatformError when it cannot be started.
    """
    deadline = _Deadline(timeout_s)
    with nullcontext(stops) if stops else take_stops() as taken:
        taken.is_hard = is_hard
        process = _start(command)
        try:
            taken.hand_on_to(process)
            on_start(process.pid)
            _pump_until_stopped(process, taken, deadline, _channels(process, command.redact, (out, err), on_output))
            code = deadline.wait(process)
        except BaseException:  # nothing that we started outlives us
            _kill_group(process)
            raise
        finally:
            taken.hand_on_to(None)
            _close_pipes(process)
    if taken.has_killed:
        return STOPPED_CODE
    if deadline.is_over:
        return TIMEOUT_CODE
    return code if code >= 0 else 128 - code


def _start(
    command: Command, *, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(command.argv),
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL if command.stdin is None else command.stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=tuple(command.keep_open),
        )
    except OSError as exc:
        raise PlatformError(f"cannot start {command.argv[0]!r} in {command.cwd!r}: {exc.strerror}") from exc


_detached: list[subprocess.Popen[bytes]] = []
_in_threads: list[Stops] = []


def own_program(module: str, *arguments: str, is_bare: bool) -> list[str]:
    """Return the argument list that calls `main` of a module of ours with texts, isolated as the host is
    (`platforms.local`); with `is_bare` without site-packages, which is half of a start.
    """
    files = (str(errors.__file__), str(runtime_errors.__file__))
    places = [os.path.dirname(os.path.dirname(os.path.abspath(one))) for one in files]
    code = f"import sys; sys.path.extend(sys.argv.pop(1).split('\\n')); from {module} import main; "
    code += "sys.exit(main(*sys.argv[1:]))"
    return [sys.executable, "-I", *(["-S"] if is_bare else []), "-c", code, "\n".join(places), *arguments]


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


class Stops:
    """The stops that came, each sent on once to the program that runs; one that came while none ran is sent to the
    next.

    `has_come` tells that there was one, `has_killed` that a second one killed the program. While `is_pumping`, one
    from after the program's end raises _LateStop: a write that nobody takes is left by that alone.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self.is_pumping = False
        self.is_hard = False
        self.has_come = False
        self.has_killed = False
        self._has_sent = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.has_come = True
        wanted = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        if self._process:
            self._send(self._process, wanted)
            if self.is_pumping and self._process.returncode is not None:  # as send_signal has just seen
                self.is_pumping = False
                raise _LateStop
        else:
            self._early.append(wanted)

    def hand_on_to(self, process: subprocess.Popen[bytes] | None) -> None:
        """Send the stops to this program from now on, None when it is over."""
        self._process, self._has_sent = process, False
        while process and self._early:
            self._send(process, self._early.pop(0))

    def _send(self, process: subprocess.Popen[bytes], number: int) -> None:
        """Send the stop on; one that is to be hard, and not the first, is a kill where the program is still there."""
        if self.is_hard and self._has_sent and process.poll() is None:
            self.has_killed = True
            _signal_group(process)
        process.send_signal(number)
        self._has_sent = True


@contextmanager
def take_stops() -> Iterator[Stops]:
    """Take the stop signals over for the time of the body; in another thread than the main one, what `stop_threads`
    hands on.
    """
    stops, before = Stops(), {}
    is_main = threading.current_thread() is threading.main_thread()
    if is_main:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a shell's background job
                before[number] = signal.signal(number, stops)
    else:
        _in_threads.append(stops)
    try:
        yield stops
    finally:
        if not is_main:
            _in_threads.remove(stops)
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_threads(number: int) -> None:
    """Hand a stop on to all threads that take stops."""
    for stops in tuple(_in_threads):
        stops(number, None)


class _Deadline:
    """The end of a program's time: it is asked to end then, and killed with its group when it does not."""

    def __init__(self, timeout_s: float | None) -> None:
        self._at = None if timeout_s is None else time.monotonic() + timeout_s
        self.is_over = False

    def enforce(self, process: subprocess.Popen[bytes]) -> None:
        if self._at is None or time.monotonic() < self._at or process.poll() is not None:
            return
        if self.is_over:
            _signal_group(process)
        process.terminate()
        self._at = time.monotonic() + GRACE_SECONDS
        self.is_over = True

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a program that has closed its pipes."""
        while True:
            try:
                return process.wait(None if self._at is None else max(0.0, self._at - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.enforce(process)


class _Channel:
    """One of the program's pipes: its mask, and who gets what comes out of it."""

    def __init__(
        self, pipe: IO[bytes], secrets: Sequence[str], targets: Sequence[int], on_output: Callable[[bytes], None]
    ) -> None:
        self.pipe = pipe
        self._mask = Mask(secrets)
        self._targets = list(targets)
        self._on_output = on_output

    def move(self) -> int:
        """Pass on what the pipe has and return its length, 0 at its end."""
        data = os.read(self.pipe.fileno(), READ_BYTES)
        self._pass_on(self._mask.feed(data))
        return len(data)

    def flush(self) -> None:
        self._pass_on(self._mask.feed(b"", last=True))

    def _pass_on(self, data: bytes) -> None:
        if data:
            self._on_output(data)
        _write(self._targets, data)


def _channels(
    process: subprocess.Popen[bytes],
    secrets: Sequence[str],
    targets: tuple[Sequence[int], Sequence[int]],
    on_output: Callable[[bytes], None],
) -> list[_Channel]:
    pipes = zip((process.stdout, process.stderr), targets, strict=True)
    return [_Channel(pipe, secrets, ends, on_output) for pipe, ends in pipes if pipe]


def _pump_until_stopped(
    process: subprocess.Popen[bytes], stops: Stops, deadline: _Deadline, channels: Sequence[_Channel]
) -> None:
    try:
        stops.is_pumping = True
        _pump(process, deadline, channels)
        stops.is_pumping = False
    except _LateStop:
        return


def _pump(process: subprocess.Popen[bytes], deadline: _Deadline, channels: Sequence[_Channel]) -> None:
    with selectors.DefaultSelector() as selector:
        for channel in channels:
            selector.register(channel.pipe, selectors.EVENT_READ, channel)
        left = dict.fromkeys(selector.get_map(), PIPE_BYTES)
        while selector.get_map():
            ended = process.poll() is not None
            ready = selector.select(0 if ended else POLL_SECONDS)
            for key, _ in ready:
                count = key.data.move()
                left[key.fd] -= count if ended else 0  # the program's own children may write on without end
                if not count or left[key.fd] <= 0:
                    selector.unregister(key.fileobj).data.flush()
            if ended and not ready:
                break
            deadline.enforce(process)
        for key in list(selector.get_map().values()):
            key.data.flush()


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


def _signal_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # none is left; macOS says the latter of a zombie
        os.killpg(process.pid, signal.SIGKILL)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    _signal_group(process)
    process.wait()


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()
