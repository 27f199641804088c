"""Copy trees of files into the source cache and out of it: by descriptors, so that no path is too long or replaced."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import Callable, Final, Optional

from nuwrap_runtime.host.sources import DEPTH

KEPT_TIME: Final = 946_684_800  # of each kept file, a whole second that every file system can hold: a change shows
SMALL_BYTES: Final = 256 * 1024
BLOCK_BYTES: Final = 1024 * 1024
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_IN_KERNEL: Final[Optional[Callable[[int, int, int], int]]] = getattr(os, "copy_file_range", None)  # Linux


class UnfitTree(Exception):
    """A tree that cannot be kept, or is no longer as it was when it was kept; the text says why."""


class Copying:
    """One copy of a tree, with the count of its `files` (links too) and `bytes`.

    `is_keeping`: the copy is read-only, and what would lead out of the tree is refused. Otherwise the tree is one that
    was kept so, and the copy gets the modes of new files. Raises UnfitTree, OSError.
    """

    def __init__(self, *, is_keeping: bool, max_bytes: int) -> None:
        self.files = self.bytes = 0
        self._is_keeping, self._max_bytes = is_keeping, max_bytes
        self._root = ""
        self._total = hashlib.sha256()

    def digest(self) -> str:
        """Return what tells whether a kept tree is still whole: its names, sizes and modes, and where links lead.

        Contents are not read: a power cut shortens files, who writes to one changes its time.
        """
        return self._total.hexdigest()

    def copy(self, tree: str, into: str) -> None:
        """Copy what is in the one folder into the other, which is empty."""
        self._root = os.path.realpath(tree)
        source = os.open(tree, _FOLDER)
        try:
            target = os.open(into, _FOLDER)
            try:
                self._copy_folder(source, target, "", 0)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _copy_folder(self, source: int, target: int, path: str, depth: int) -> None:
        with os.scandir(source) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            below = f"{path}/{entry.name}" if path else entry.name
            if entry.is_symlink():
                self._copy_link(entry.name, source, target, below)
            elif entry.is_dir(follow_symlinks=False):
                self._enter(entry.name, source, target, (below, depth + 1))
            elif entry.is_file(follow_symlinks=False):
                self._copy_file(entry.name, source, target, below)
            else:
                raise UnfitTree(f"{below!r} is neither a file, a folder nor a link")
        if self._is_keeping:
            os.fchmod(target, 0o555)

    def _enter(self, name: str, source: int, target: int, place: tuple[str, int]) -> None:
        if place[1] > DEPTH:
            raise UnfitTree(f"it has folders in more than {DEPTH} levels")
        self._tell("folder", place[0])
        os.mkdir(name, dir_fd=target)
        from_ = os.open(name, _FOLDER, dir_fd=source)
        try:
            to = os.open(name, _FOLDER, dir_fd=target)
            try:
                self._copy_folder(from_, to, *place)
            finally:
                os.close(to)
        finally:
            os.close(from_)

    def _copy_link(self, name: str, source: int, target: int, path: str) -> None:
        leads_to = os.readlink(name, dir_fd=source)
        if self._is_keeping:
            end = os.path.realpath(os.path.join(self._root, path))
            if os.path.isabs(leads_to) or os.path.commonpath([self._root, end]) != self._root:
                raise UnfitTree(f"the link {path!r} leads out of the folder")
        self._count(len(os.fsencode(leads_to)))
        self._tell("link", path, leads_to)
        os.symlink(leads_to, name, dir_fd=target)

    def _copy_file(self, name: str, source: int, target: int, path: str) -> None:
        reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=source)
        try:
            found = os.fstat(reading)
            is_program = bool(found.st_mode & stat.S_IXUSR)
            if not self._is_keeping and found.st_mtime != KEPT_TIME:
                raise UnfitTree(f"{path!r} was changed")
            self._count(found.st_size)
            mode = 0o777 if is_program else 0o666
            writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, dir_fd=target)
            try:
                done = _copy_bytes(reading, writing, found.st_size)
                if self._is_keeping:
                    os.fchmod(writing, 0o555 if is_program else 0o444)
                    os.utime(writing, (KEPT_TIME, KEPT_TIME))
            finally:
                os.close(writing)
        finally:
            os.close(reading)
        self._tell("program" if is_program else "file", path, str(done))

    def _count(self, size: int) -> None:
        self.files, self.bytes = self.files + 1, self.bytes + size
        if self.bytes > self._max_bytes:
            raise UnfitTree(f"it has more than {self._max_bytes} bytes (NUWRAP_CACHE_BYTES)")

    def _tell(self, *texts: str) -> None:
        for text in texts:
            self._total.update(os.fsencode(text) + b"\0")


def _copy_bytes(reading: int, writing: int, size: int) -> int:
    """Copy `size` bytes, or as many as there are, and return their number."""
    done = _copy_in_kernel(reading, writing, size) if size > SMALL_BYTES else 0
    while done < size:
        data = os.read(reading, min(size - done, BLOCK_BYTES))
        if not data:
            break
        left = memoryview(data)
        while left:
            left = left[os.write(writing, left) :]
        done += len(data)
    return done


def _copy_in_kernel(reading: int, writing: int, size: int) -> int:
    """Copy as much as the system does by itself, without a way through this process; some share the blocks instead."""
    done = 0
    while _IN_KERNEL and done < size:
        try:
            count = _IN_KERNEL(reading, writing, size - done)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            break  # not between these two file systems
        if not count:
            break
        done += count
    return done
