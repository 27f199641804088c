"""One process follows all remote runs of a history that are begun from one environment: who begins a run hands it over.

A run is handed over with its lock (`alive`): the open file goes through a socket in the same folder, and with it the
lock. It is let go when the process ends that has it by then, be it on its way yet.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from nuwrap import errors
from nuwrap.command import Command, own_program, start_detached
from nuwrap.errors import PlatformError
from nuwrap.platforms import Placed
from nuwrap.platforms.run_folder import LOG
from nuwrap.runs import alive
from nuwrap.store.private import say_why

WAITING = 4096  # connections that are not taken yet, as long as the process starts
RUN_BYTES = 256


def hand_over(home: str, run: str, held: int, here: Placed) -> None:
    """Give the run and its lock to the process that follows runs of this environment; one is started where none is.

    `held` is closed here. Raises PlatformError when there can be none; it stays open then.
    """
    name = _name_for(here)
    try:
        with exclusive(home, name):
            try:
                _send(home, name, run, held)
            except (FileNotFoundError, ConnectionRefusedError):  # none is there, or it was killed
                _start(home, name, run, held, here)
    except OSError as exc:
        raise PlatformError(f"cannot hand the run over to a process that follows it: {say_why(exc)}") from exc
    os.close(held)


@contextmanager
def exclusive(home: str, name: str, *, waits: bool = True) -> Iterator[bool]:
    """Keep others from handing runs over, and give True; without `waits` False where somebody does it just now."""
    lock = _lock(_path(home, f"{name}.lock"), waits=waits)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def _lock(path: str, *, waits: bool) -> int | None:
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(lock)
            return None
        if os.fstat(lock).st_nlink:  # else it was removed between the two lines
            return lock
        os.close(lock)


def forget(home: str, name: str) -> None:
    """Remove the socket and its lock, which is held: who comes next starts another process."""
    for one in (name, f"{name}.lock"):
        with suppress(FileNotFoundError):
            os.unlink(_path(home, one))


def receive(connection: socket.socket) -> tuple[str, int]:
    """Return the run and its open lock. Raises OSError, ValueError."""
    data, files, _flags, _address = socket.recv_fds(connection, RUN_BYTES, 1)
    if len(files) != 1:
        raise ValueError("no lock came with the run")
    os.set_inheritable(files[0], False)  # noqa: FBT003 - a log-in's program shall not keep the run alive
    return str(json.loads(data)), files[0]


def _name_for(here: Placed) -> str:
    """Return a name for all that a process takes over from who starts it: variables, folder, Python, our own code."""
    told = [sorted(here.environ.items()), here.start, sys.executable, str(errors.__file__)]
    return "follower-" + hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _send(home: str, name: str, run: str, held: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _address(home, name) as address:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(run).encode()], [held])


def _start(home: str, name: str, run: str, held: int, here: Placed) -> None:
    """Start the process with a socket that has the run already. Raises PlatformError, OSError."""
    with suppress(FileNotFoundError):
        os.unlink(_path(home, name))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with _address(home, name) as address:
            listener.bind(address)
        try:
            listener.listen(WAITING)
            _send(home, name, run, held)
            argv = own_program("nuwrap.runs.follower", home, name, str(listener.fileno()), is_bare=False)
            command = Command(argv, here.environ, cwd=here.start, keep_open=(listener.fileno(),))
            start_detached(command, log=os.path.join(here.folder, LOG))
        except BaseException:  # a stop too: who comes next starts another
            forget(home, name)
            raise


@contextmanager
def _address(home: str, name: str) -> Iterator[str]:
    """Give the socket's address, short however deep its folder where there is /proc: 107 bytes are allowed, unix(7)."""
    folder = os.open(os.path.dirname(_path(home, name)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{folder}"
        yield os.path.join(short if os.path.isdir(short) else os.path.dirname(_path(home, name)), name)
    finally:
        os.close(folder)


def _path(home: str, name: str) -> str:
    return os.path.join(home, alive.FOLDER, name)
