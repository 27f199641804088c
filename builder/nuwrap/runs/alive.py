"""Whether somebody still runs a run: a file in the home folder that its processes hold locked as long as they live.

The lock goes with the last of them, however they ended: killed, or with the machine. Process ids stand in the file for
who wants to stop them; a number that another process has by now is told apart by its start time.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress

from nuwrap.errors import StoreError
from nuwrap.store.home import make_folder
from nuwrap.store.private import say_why

FOLDER = "running"
TAKE_SECONDS = 2.0  # a look at a lock holds it too, for microseconds
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def take(home: str, run: str) -> int:
    """Return the open and locked file of the run. Raises StoreError when its processes have it, or no file can be."""
    path = _path(home, run)
    make_folder(home)
    make_folder(os.path.dirname(path))
    deadline = time.monotonic() + TAKE_SECONDS
    while True:
        try:
            held = os.open(path, _MAKE, 0o600)
        except OSError as exc:
            raise StoreError(f"cannot write {path!r}: {say_why(exc)}") from exc
        if _lock(held, fcntl.LOCK_EX) and os.fstat(held).st_nlink:
            os.truncate(held, 0)
            return held
        os.close(held)
        if time.monotonic() > deadline:
            raise StoreError(f"run {run!r} is being started or run by another process; see `nuwrap ps`")
        time.sleep(0.01)


def release(home: str, run: str, held: int) -> None:
    """Let the run go, and remove its file."""
    with suppress(OSError):
        os.unlink(_path(home, run))
    os.close(held)


def is_held(home: str, run: str) -> bool:
    """Tell whether a process of the run lives."""
    try:
        looked = os.open(_path(home, run), _READ)
    except OSError:
        return False
    try:
        return not _lock(looked, fcntl.LOCK_SH)
    finally:
        os.close(looked)


def clear(home: str, run: str) -> None:
    """Remove the file of a run whose processes died before they could; one that somebody holds stays."""
    try:
        left = os.open(_path(home, run), _READ)
    except OSError:
        return
    try:
        if _lock(left, fcntl.LOCK_EX) and os.fstat(left).st_nlink:  # nobody takes it between the look and the removal
            with suppress(OSError):
                os.unlink(_path(home, run))
    finally:
        os.close(left)


def add_process(held: int, role: str, pid: int) -> None:
    """Write a process of the run down: `supervisor` or `host`."""
    os.write(held, f"{role} {pid} {_started(pid)}\n".encode("ascii"))


def who_runs(home: str, run: str) -> str:
    """Return who takes a stop of the run: `supervisor`, `host` where that is gone, "" where both are."""
    there = [role for role, pid, started in _processes(home, run) if _started(pid) == started]
    return next((role for role in ("supervisor", "host") if role in there), "")


def kill(home: str, run: str, role: str, number: int) -> None:
    """Send a signal to one of the run's processes; one that is gone hears nothing."""
    for one, pid, started in _processes(home, run):
        if one == role and _started(pid) == started:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _processes(home: str, run: str) -> list[tuple[str, int, str]]:
    try:
        with open(os.open(_path(home, run), _READ), encoding="ascii", errors="replace") as stream:
            parts = [line.split() for line in stream]
    except OSError:
        return []
    return [(one[0], int(one[1]), one[2]) for one in parts if len(one) == 3 and one[1].isdigit()]


def _path(home: str, run: str) -> str:
    return os.path.join(home, FOLDER, f"{run}.lock")


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _started(pid: int) -> str:
    """Return when the process was started, in ticks since the machine was (Linux, proc(5)); "-" elsewhere.

    Of one that is gone it is "", also when its parent has not asked for its end yet.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            parts = stream.read().rpartition(b")")[2].split()
        return "" if parts[0] in (b"Z", b"X") else parts[19].decode("ascii")
    except (OSError, IndexError):
        return "" if os.path.exists("/proc/self/stat") else "-"
