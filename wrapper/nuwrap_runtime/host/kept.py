"""What is kept in the cache, of any kind, and what killed starts have left: its size, its use, its removal."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from nuwrap_runtime.host.holds import claim
from nuwrap_runtime.host.workspace import remove_tree

LEFTOVER: Final = "leftover"
GONE: Final = ".gone-"  # what is being removed; what a killed removal has left


@dataclass(frozen=True)
class Kept:
    """Something that lies in the cache, or was left by a killed start: `path` goes when nobody holds `lock`.

    `what` is for a person and holds no secret, `used` is the time of its last use. `is_useless` tells that it goes
    at any age: nothing would ever use it again.
    """

    kind: str
    key: str
    path: str
    lock: str
    used: float
    what: str = ""
    is_useless: bool = False


def is_in_use(kept: Kept) -> bool:
    """Tell whether a living process holds it."""
    claimed = claim(kept.lock)
    if claimed is None:
        return os.path.lexists(kept.lock)
    os.close(claimed)
    return False


def remove(kept: Kept, *, only_look: bool = False) -> bool:
    """Remove it and return True, unless it is in use or gone. With `only_look` it stays, and the answer is the same."""
    claimed = claim(kept.lock)
    if claimed is None:
        return False
    try:
        return only_look or _remove(kept)
    finally:
        os.close(claimed)


def _remove(kept: Kept) -> bool:
    """Remove it, under another name unless it is a leftover: there is no half of it for anybody to find."""
    path = kept.path
    if kept.kind != LEFTOVER:
        path = os.path.join(os.path.dirname(kept.path), GONE + os.urandom(8).hex())
        try:
            os.chmod(kept.path, 0o700)  # some systems move no read-only folder
            os.rename(kept.path, path)
        except OSError:
            return False
    remove_tree(path)
    return not os.path.lexists(path)


def size_of(path: str) -> int:
    """Return the bytes of all files below, links not followed."""
    total, waiting = 0, [path]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # it is being removed
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            else:
                total += _size(entry)
    return total


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0


def used_at(path: str) -> float:
    """Return the time of a last use, as `touch` leaves it; now where there is nothing."""
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return time.time()


def touch(held: int) -> None:
    """Make now the time of its last use. It is no failure where that cannot be written."""
    try:
        os.utime(held)
    except OSError:
        pass


def remove_old(path: str, before: float) -> None:
    """Remove a small file that was last written before that time."""
    if used_at(path) < before:
        try:
            os.unlink(path)
        except OSError:
            pass


def names_in(folder: str) -> list[str]:
    """Return the names of what is in the folder, none where there is no folder."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def leftovers(folder: str, prefix: str = GONE) -> list[Kept]:
    """Return what killed processes have left in the folder under such a name."""
    paths = [os.path.join(folder, name) for name in names_in(folder) if name.startswith(prefix)]
    return [leftover(path) for path in paths]


def leftover(path: str, lock: str = "") -> Kept:
    """Return what a killed process has left, to be removed at any age when nobody holds it."""
    return Kept(LEFTOVER, os.path.basename(path), path, lock or path, used_at(path), is_useless=True)
