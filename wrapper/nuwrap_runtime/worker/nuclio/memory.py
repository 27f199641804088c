"""Files of workers in /dev/shm: their names tell whose they are, so that what a killed worker left can be found."""

from __future__ import annotations

import os
from collections.abc import Iterator

FOLDER = "/dev/shm"  # noqa: S108 - names are new ones, O_EXCL
_KINDS = "nuclio-{kind}-by-nuwrap-{namespace}-"


def prefix_of(kind: str) -> str:
    """Return how the names of such files begin, up to the worker's process id.

    Containers of a pod may share the folder where an id means another process in each: so the names say where.
    """
    try:
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        namespace = "0"
    return _KINDS.format(kind=kind, namespace=namespace)


def left_files(prefix: str) -> Iterator[tuple[int, str, str]]:
    """Yield process id, rest of the name and path of each file of this user's whose worker is gone."""
    try:
        names = [name for name in os.listdir(FOLDER) if name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        pid, _, rest = name[len(prefix) :].partition("-")
        path = os.path.join(FOLDER, name)
        if pid.isdigit() and is_gone(int(pid)) and _is_own(path):
            yield int(pid), rest, path


def create(name: str) -> int:
    """Return the descriptor of a new file. Raises OSError."""
    path = os.path.join(FOLDER, name)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def remove(path: str) -> None:
    """Remove the file, if it is there and may be."""
    try:
        os.unlink(path)
    except OSError:  # another was first
        pass


def is_gone(pid: int) -> bool:
    """Tell whether there is surely no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _is_own(path: str) -> bool:
    try:
        return os.lstat(path).st_uid == os.getuid()
    except OSError:
        return False
