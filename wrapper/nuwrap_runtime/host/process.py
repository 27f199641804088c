"""The one gate to other programs: argument lists, own process group, lines as they come, secrets masked.

GitPython (sources/git.py) and the worker itself (workers.py) are the two named exceptions.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Callable, Optional, cast

from nuwrap_runtime.errors import PlatformError

MASK = "***"


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
    Raises PlatformError when it cannot be started.
    """
    with tempfile.TemporaryFile() as output:
        process, pipe = _start(command, output)
        timed_out, lines = False, []
        try:
            for line in _lines(process, pipe, command.timeout_s):
                lines.append(mask(line, command.redact))
                del lines[:-keep_lines]
                on_line(lines[-1])
            process.wait()
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            kill_group(process.pid)
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


def kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal the process group that `pid` leads; nothing happens when all of it is gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        pass


def _start(command: Command, output: IO[bytes]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    try:
        process = subprocess.Popen(
            list(command.argv),
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as exc:
        raise PlatformError(f"cannot start {command.argv[0]!r}: {exc.strerror}") from exc
    return process, cast("IO[bytes]", process.stderr)


def _lines(process: subprocess.Popen[bytes], pipe: IO[bytes], timeout_s: Optional[float]) -> Iterator[str]:
    """Yield standard error's lines until the program ends; a child of it that keeps the pipe open is not waited for."""
    deadline = time.monotonic() + timeout_s if timeout_s else None
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if deadline and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(process.args, timeout_s or 0)
            ended = process.poll() is not None
            data = os.read(pipe.fileno(), 65536) if selector.select(0 if ended else 0.05) else b""
            *lines, pending = re.split(rb"[\r\n]+", pending + data)  # progress bars end their lines with \r
            yield from (line.decode("utf-8", "replace") for line in lines if line)
            if not data and ended:
                break
    if pending:
        yield pending.decode("utf-8", "replace")
