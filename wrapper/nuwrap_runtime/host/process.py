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
import traceback
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Callable, NoReturn, Optional, Protocol, cast

from nuwrap_runtime.errors import PlatformError

MASK = "***"
LINES_KEPT = 400
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)  # the last is our own, see cli.py
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ORPHAN_ROUNDS = 100
POLL_SECONDS = 0.05
SPARED: set[int] = set()  # children of this process that outlive what it runs: who keeps its log
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


class Process(Protocol):
    """A child process, as subprocess has it."""

    pid: int
    args: Any
    returncode: Optional[int]

    def poll(self) -> Optional[int]:
        """Return its exit code, None while it runs."""
        ...

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        ...


@dataclass(frozen=True)
class Completed:
    """How a program ended. `output` is its standard output, `log` its standard error's last lines, masked."""

    returncode: int
    output: bytes = b""
    log: Sequence[str] = field(default_factory=tuple)
    timed_out: bool = False


def run(
    command: Command, *, on_line: Callable[[str], None] = lambda _line: None, keep_lines: int = LINES_KEPT
) -> Completed:
    """Run the program to its end; every line of its standard error goes to `on_line` as it comes, masked.

    When it takes too long, or anything is raised meanwhile (a stop included), its whole group is killed first.
    Raises PlatformError when it cannot be started, or prints without end.
    """
    with tempfile.TemporaryFile() as output:
        process, pipe = _start(command, output)
        return _watch(_Watched(process, pipe, output, command.redact, command.timeout_s, keep_lines), on_line)


def call(
    work: Callable[[], bytes],
    environ: Mapping[str, str],
    *,
    redact: Sequence[str],
    timeout_s: float,
    on_line: Callable[[str], None],
) -> Completed:
    """Do the work in a forked child with these variables; `output` is what it returned. See `run`.

    The child has all that is imported here, so it starts in a millisecond, and the group and end of a program's.
    """
    with tempfile.TemporaryFile() as output:
        process, pipe = _fork(work, environ, output)
        return _watch(_Watched(process, pipe, output, redact, timeout_s, LINES_KEPT), on_line)


@dataclass(frozen=True)
class _Watched:
    """A child and what it prints: `pipe` is its standard error, `output` the file that is its standard output."""

    process: Process
    pipe: IO[bytes]
    output: IO[bytes]
    redact: Sequence[str]
    timeout_s: Optional[float]
    keep_lines: int


def _watch(watched: _Watched, on_line: Callable[[str], None]) -> Completed:
    process, timed_out, lines = watched.process, False, deque[str](maxlen=watched.keep_lines)
    try:
        for line in _lines(process, watched.pipe, watched.output, watched.timeout_s):
            shown = mask(line, watched.redact)
            lines.append(shown)
            on_line(shown)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        kill_group(process.pid)  # before its leader is reaped, so that the number cannot be another's yet
        if process.returncode is None:
            _kill(process.pid)  # a forked one may not lead its group yet
        process.wait()
        watched.pipe.close()
    watched.output.seek(0)
    return Completed(process.returncode or 0, watched.output.read(), tuple(lines), timed_out)


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


def adopt_orphans(*, wanted: bool = True) -> None:
    """Become the parent of what our children leave behind (Linux), so that `kill_orphans` finds it; or be it no more.

    What this process becomes by an exec is it too.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


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
            found = [int(pid) for pid in stream.read().split()]
    except OSError:  # no Linux, or a kernel without CONFIG_PROC_CHILDREN
        return []
    return [pid for pid in found if pid not in SPARED]


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
    leads_session: bool = True,
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
            start_new_session=leads_session,
            preexec_fn=prepare_child,  # noqa: PLW1509 - the host has no threads
            **streams,
        )
    except BaseException:
        release()
        raise
    try:
        release()
    except BaseException:  # a stop
        if leads_session:
            kill_group(process.pid)
        process.kill()
        process.wait()
        raise
    return process


def start_piped(argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a program whose standard output and error the caller reads; see `start`."""
    return start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


class _Forked:
    """A forked child as a Process."""

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self.args = [name]
        self.returncode: Optional[int] = None

    def poll(self) -> Optional[int]:
        """See `Process.poll`."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """See `Process.wait`."""
        return self._reap(0) or 0

    def _reap(self, options: int) -> Optional[int]:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:  # somebody else has reaped it
                pid, status = self.pid, 0
            if pid:
                self.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return self.returncode


def _fork(work: Callable[[], bytes], environ: Mapping[str, str], output: IO[bytes]) -> tuple[Process, IO[bytes]]:
    die = die_with_parent()
    reading, writing = os.pipe()
    release = hold_stops()
    try:
        pid = os.fork()
    except OSError as exc:
        release()
        raise PlatformError(f"cannot start a process: {exc.strerror}") from exc
    if not pid:
        _be_child(work, environ, (output.fileno(), writing), (release, die))
    os.close(writing)
    process = _Forked(pid, getattr(work, "__name__", "child"))
    try:
        release()
    except BaseException:  # a stop
        kill_group(pid)
        _kill(pid)  # it may not lead its group yet
        process.wait()
        os.close(reading)
        raise
    return process, open(reading, "rb", buffering=0)


def _be_child(
    work: Callable[[], bytes],
    environ: Mapping[str, str],
    streams: tuple[int, int],
    first: tuple[Callable[[], None], Optional[Callable[[], None]]],
) -> NoReturn:
    """Do the work and end, with exit code 1 and a traceback when it raises: the body of a forked child."""
    code = 1
    try:
        os.setsid()
        release, die = first
        if die:
            die()
        for target, source in enumerate(streams, start=1):
            os.dup2(source, target)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - to its end
        os.environ.clear()
        os.environ.update(environ)
        release()
        answer = memoryview(work())
        while answer:
            answer = answer[os.write(1, answer) :]
        code = 0
    except BaseException:  # noqa: BLE001 - a child must end here whatever happens
        traceback.print_exc()
    finally:
        if sys.stderr:
            sys.stderr.flush()
        os._exit(code)


def _start(command: Command, output: IO[bytes]) -> tuple[Process, IO[bytes]]:
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


def _lines(process: Process, pipe: IO[bytes], output: IO[bytes], timeout_s: Optional[float]) -> Iterator[str]:
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


def _blocks(process: Process, pipe: IO[bytes], deadline: Optional[float]) -> Iterator[bytes]:
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


def has_ended(process: Process) -> bool:
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
