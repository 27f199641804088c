"""The toolkit's one gate to other programs: argument lists, secrets masked, bytes as they come, signals handed on."""

from __future__ import annotations

import os
import re
import select
import selectors
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from nuwrap.errors import PlatformError

MASK = b"***"
POLL_SECONDS = 0.05  # only how soon the end is seen of a program whose own children keep its pipes open
READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Command:
    """A program to run: the whole environment it gets, and the values that must not show in what it prints."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: str | None = None
    redact: Sequence[str] = field(default=(), repr=False)


@dataclass(frozen=True)
class Completed:
    """How a short program ended, with its standard output."""

    returncode: int
    output: bytes


class Mask:
    """Replace secret values in a stream of bytes, also where one is cut in two by the way it arrives.

    Values of less than 3 characters are left: they would hide half of every line.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        values = {secret.strip().encode("utf-8", "surrogateescape") for secret in secrets if len(secret.strip()) >= 3}
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


def run(command: Command, *, timeout_s: float) -> Completed:
    """Run a short program to its end, its standard error dropped.

    Raises PlatformError when it cannot be started or takes longer than `timeout_s`.
    """
    try:
        done = subprocess.run(
            list(command.argv),
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise PlatformError(f"cannot run {command.argv[0]!r}: {exc}") from exc
    return Completed(done.returncode, done.stdout)


def stream(command: Command, *, out: Sequence[int], err: Sequence[int]) -> int:
    """Run a program to its end and return its exit code, 128 + n when signal n ended it.

    What it writes goes, masked and as it comes, to the file descriptors `out` and `err`. Each stop that reaches this
    process (Ctrl-C, SIGTERM, a closed terminal) is handed on once and then waited for. The program leads a session
    of its own, so that a terminal's Ctrl-C does not reach it a second time. Raises PlatformError when it cannot be
    started.
    """
    with _stops() as stops:
        process = _start(command)
        try:
            stops.hand_on_to(process)
            _pump(process, command.redact, out, err)
            code = process.wait()
        except BaseException:
            _kill_group(process)
            raise
        finally:
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()
    return code if code >= 0 else 128 - code


def _start(command: Command) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(command.argv),
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as exc:
        raise PlatformError(f"cannot start {command.argv[0]!r} in {command.cwd!r}: {exc.strerror}") from exc


class _Stops:
    """The stops that came, each sent on once; one from before the program's start is sent when it has started."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        wanted = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        if self._process:
            self._process.send_signal(wanted)
        else:
            self._early.append(wanted)

    def hand_on_to(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        for number in self._early:
            process.send_signal(number)


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


def _pump(process: subprocess.Popen[bytes], secrets: Sequence[str], out: Sequence[int], err: Sequence[int]) -> None:
    with selectors.DefaultSelector() as selector:
        for pipe, targets in ((process.stdout, out), (process.stderr, err)):
            if pipe:
                selector.register(pipe, selectors.EVENT_READ, (Mask(secrets), list(targets)))
        while selector.get_map():
            ended = process.poll() is not None
            ready = selector.select(0 if ended else POLL_SECONDS)
            for key, _ in ready:
                _move(key, selector)
            if ended and not ready:
                break
        for key in list(selector.get_map().values()):
            _write(key.data[1], key.data[0].feed(b"", last=True))


def _move(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    mask, targets = key.data
    data = os.read(key.fd, READ_BYTES)
    _write(targets, mask.feed(data, last=not data))
    if not data:
        selector.unregister(key.fileobj)


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
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
