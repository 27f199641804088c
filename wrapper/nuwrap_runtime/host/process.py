"""The one gate to other programs: argument lists, own process group, lines as they come, secrets masked.

GitPython (sources/git.py) and the worker itself (workers.py) are the two named exceptions.
"""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Callable, Optional, cast

from nuwrap_runtime.errors import PlatformError

MASK = "***"
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)  # the last is our own, see cli.py
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ORPHAN_ROUNDS = 100
POLL_SECONDS = 0.05
OUTPUT_BYTES = 64 * 1024 * 1024  # of a standard output; what is run here answers with a few lines
PIPE_BYTES = 1024 * 1024  # most that a pipe holds on Linux (/proc/sys/fs/pipe-max-size)
_LINE_END = re.compile(rb"[\r\n]+")  # progress bars end their lines with \r


@dataclass(frozen=True)
class Command:
    """A program to run: the whole environment it gets, secrets that must not show, seconds until it is killed."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Optional[str] = None
    redact: Sequence[str] = ()
    timeout_s: Optional[float] = None


@dataclass(frozen=True)
class Completed:
    """How a program ended. `output` is its standard output, `log` its standard error's last lines, masked."""

    returncode: int
    output: bytes = b""
    log: Sequence[str] = field(default_factory=tuple)
    timed_out: bool = False


def run(command: Command, *, on_line: Callable[[str], None] = lambda _line: None, keep_lines: int = 400) -> Completed:
    """Run the program to its end; every line of its standard error goes to `on_line` as it comes, masked.

    When it takes too long, or anything is raised meanwhile (a stop included), its whole group is killed first.
    Raises PlatformError when it cannot be started, or prints without end.
    """
    with tempfile.TemporaryFile() as output:
        process, pipe = _start(command, output)
        timed_out, lines = False, deque[str](maxlen=keep_lines)
        try:
            for line in _lines(process, pipe, output, command.timeout_s):
                shown = mask(line, command.redact)
                lines.append(shown)
                on_line(shown)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            kill_group(process.pid)  # before its leader is reaped, so that the number cannot be another's yet
            process.wait()
            pipe.close()
        output.seek(0)
        return Completed(process.returncode, output.read(), tuple(lines), timed_out)


def mask(text: str, secrets: Sequence[str]) -> str:
    """Return the text with every secret value of 3 characters or more replaced, the longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 3:
            text = text.replace(secret, MASK)
    return text


def mask_all(value: Any, secrets: Sequence[str]) -> Any:
    """Return a JSON value with the secrets in all its texts and names replaced."""
    if isinstance(value, str):
        return mask(value, secrets)
    if isinstance(value, Mapping):
        return {mask(str(name), secrets): mask_all(item, secrets) for name, item in value.items()}
    return [mask_all(item, secrets) for item in value] if isinstance(value, (list, tuple)) else value


def kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal the process group that `pid` leads; nothing happens when all of it is gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        pass


def adopt_orphans() -> None:
    """Become the parent of what our children leave behind (Linux), so that `kill_orphans` finds it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_orphans() -> None:
    """Kill and reap all children of this process, those adopted meanwhile too: daemons that the function started.

    Only when none of our own is under way. Without `adopt_orphans`, or where there is no /proc, it does nothing.
    """
    for _ in range(ORPHAN_ROUNDS):  # each round adopts what the killed ones leave
        children = _children()
        if not children:
            return
        for pid in children:
            _kill(pid)
        for pid in children:
            _reap(pid)


def _children() -> list[int]:
    path = f"/proc/self/task/{os.getpid()}/children"
    try:
        with open(path, encoding="ascii") as stream:
            return [int(pid) for pid in stream.read().split()]
    except OSError:  # no Linux, or a kernel without CONFIG_PROC_CHILDREN
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def die_with_parent() -> Optional[Callable[[], None]]:
    """Return what, called in a child, makes it end when this process is killed (Linux); None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    library, parent = ctypes.CDLL(None), os.getpid()

    def in_child() -> None:
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was killed before this line
            os._exit(1)

    return in_child


def hold_stops() -> Callable[[], None]:
    """Keep STOPS back until the returned function is called, which raises what came meanwhile.

    For a fork: its hooks (logging has one) run Python code, and Python drops an exception that a signal raises there.
    A child calls it too, since it inherits what is kept back.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    return release


def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Optional[str] = None,
    in_child: Optional[Callable[[], None]] = None,
    **streams: Any,
) -> subprocess.Popen[bytes]:
    """Start a program as leader of its own session. A stop that comes meanwhile is raised once it is killed again.

    `in_child` is called in its process before it becomes the program. Raises OSError, ValueError.
    """
    release = hold_stops()

    def prepare_child() -> None:
        release()
        if in_child:
            in_child()

    try:
        process = subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=prepare_child,  # noqa: PLW1509 - the host has no threads
            **streams,
        )
    except BaseException:
        release()
        raise
    try:
        release()
    except BaseException:  # a stop
        kill_group(process.pid)
        process.wait()
        raise
    return process


def _start(command: Command, output: IO[bytes]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    try:
        process = start(
            command.argv,
            env=command.env,
            cwd=command.cwd,
            in_child=die_with_parent(),
            stdout=output,
            stderr=subprocess.PIPE,
        )
    except (OSError, ValueError) as exc:  # ValueError: a zero byte in an argument
        where = f" in {command.cwd!r}" if command.cwd else ""
        raise PlatformError(f"cannot start {command.argv[0]!r}{where}: {getattr(exc, 'strerror', exc)}") from exc
    return process, cast("IO[bytes]", process.stderr)


def _lines(
    process: subprocess.Popen[bytes], pipe: IO[bytes], output: IO[bytes], timeout_s: Optional[float]
) -> Iterator[str]:
    """Yield standard error's lines until the program ends; a child of it that keeps the pipe open is not waited for."""
    deadline = time.monotonic() + timeout_s if timeout_s else None
    parts: list[bytes] = []
    for data in _blocks(process, pipe, deadline):
        if os.fstat(output.fileno()).st_size > OUTPUT_BYTES:
            raise PlatformError(f"{process.args!r} was ended: it printed more than {OUTPUT_BYTES} bytes")
        if not data:
            continue
        if not _LINE_END.search(data):
            parts.append(data)  # joined once, when the line ends: a long one costs no more than its length
            continue
        *lines, rest = _LINE_END.split(b"".join(parts) + data)
        parts = [rest]
        yield from (line.decode("utf-8", "replace") for line in lines if line)
    if any(parts):
        yield b"".join(parts).decode("utf-8", "replace")


def _blocks(process: subprocess.Popen[bytes], pipe: IO[bytes], deadline: Optional[float]) -> Iterator[bytes]:
    """Yield what comes through the pipe while the program runs, and after its end what it has left in there.

    Where nothing comes for a moment that is nothing, so that the caller can look around.
    """
    left, pause = PIPE_BYTES, 0.0005
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while left > 0:
            if deadline and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(process.args, 0)
            ended = has_ended(process)
            data = os.read(pipe.fileno(), 65536) if selector.select(0 if ended else POLL_SECONDS) else None
            if data:
                yield data
                left -= len(data) if ended else 0  # others may write on without end
            elif ended:
                return
            else:
                yield b""
            if data == b"":  # it closed its standard error, most likely because it ends
                time.sleep(pause)
                pause = min(2 * pause, POLL_SECONDS)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the program is over, without reaping it where the system can: its number stays taken."""
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def reap_adopted(ours: Collection[int]) -> None:
    """Reap those adopted children that are over, and none of the ones that are started here."""
    for pid in _children():
        if pid not in ours:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
