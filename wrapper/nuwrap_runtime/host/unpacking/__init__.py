"""What an archive holds, as files below one folder. Each form (tar, zip) is a module beside this one.

All here raise ValueError with a reason that `host/archive.py` puts behind the archive's name.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Callable, Final

from nuwrap_runtime.host.names import CONTROL, DEPTH, PATH_BYTES, Names, clean, fold, quoted
from nuwrap_runtime.launch import Limits

BLOCK: Final = 256 * 1024
FREE_BYTES: Final = 10_000_000  # small archives of likeness pack better than any ratio, and cannot hurt
_LINKS = 40  # as many as Linux follows in one path
_NEWEST = 2**33  # seconds: the year 2242

Read = Callable[[int], bytes]


@dataclass(frozen=True)
class File:
    """One file of an archive; of `mode` its owner's right to execute counts, `mtime` is in seconds since 1970."""

    name: str
    size: int
    mode: int
    mtime: float


@dataclass(frozen=True)
class Unpacked:
    """Files and links made, and their bytes."""

    files: int
    bytes: int


class Folder:
    """A folder that gets what an archive of `packed` bytes holds, within its limits; links come last.

    So nothing is ever written through a link, and every name is made fresh.
    """

    def __init__(self, root: str, limits: Limits, packed: int) -> None:
        self._root, self._limits, self._packed = root, limits, packed
        self._names = Names(limits.files)
        self._made = {""}
        self._links: dict[str, str] = {}
        self._files = self._bytes = 0

    def add_folder(self, name: str) -> None:
        """Make a folder, unless it is there."""
        self._make_folder(self._names.take(name, "folder"))

    def add_file(self, file: File, read: Read) -> None:
        """Make a file of the `file.size` bytes that `read` gives; it may give fewer at a time, b"" when cut off."""
        path = self._names.take(file.name, "file")
        self._claim(file.size)
        self._make_folder(os.path.dirname(path))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(os.path.join(self._root, path), flags, 0o600)
        try:
            _copy(file, read, descriptor)
            os.fchmod(descriptor, 0o755 if file.mode & stat.S_IXUSR else 0o644)
            mtime = file.mtime if 0 <= file.mtime <= _NEWEST else 0  # NaN too
            os.utime(descriptor, (mtime, mtime))
        finally:
            os.close(descriptor)
        self._files += 1

    def add_copy(self, name: str, target: str) -> None:
        """Make a copy of a file made before: what a hard link in an archive stands for."""
        path = os.path.join(self._root, clean(target))
        try:
            found = os.lstat(path)
        except OSError:
            found = None
        if not found or not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{quoted(name)} is a hard link to {quoted(target)}, which is no file before it")
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as stream:
            self.add_file(File(name, found.st_size, found.st_mode, found.st_mtime), stream.read)

    def add_link(self, name: str, target: str) -> None:
        """Note a symbolic link; `finish` makes it."""
        path = self._names.take(name, "link")
        _check_target(path, target)
        self._make_folder(os.path.dirname(path))
        self._links[path] = target
        self._files += 1

    def finish(self) -> Unpacked:
        """Make the links, once all of them are known to stay in the folder. Raises ValueError for an empty archive."""
        links = {fold(path): target for path, target in self._links.items()}
        for path, target in self._links.items():
            _check_link(path, target, links)
        for path, target in self._links.items():
            os.symlink(target, os.path.join(self._root, path))
        if not self._files and self._made == {""}:
            raise ValueError("the archive is empty")
        return Unpacked(self._files, self._bytes)

    def _make_folder(self, path: str) -> None:
        if path in self._made:
            return
        self._make_folder(os.path.dirname(path))
        whole = os.path.join(self._root, path)
        os.mkdir(whole)
        os.chmod(whole, 0o755)  # noqa: S103 - as code is delivered: others may read it, whatever the umask
        self._made.add(path)

    def _claim(self, size: int) -> None:
        """Count bytes before they are written."""
        self._bytes += size
        limits = self._limits
        if self._bytes > limits.bytes:
            raise ValueError(f"unpacks to more than {limits.bytes} bytes, the most that is allowed (limits.bytes)")
        if self._bytes > max(FREE_BYTES, limits.ratio * self._packed):
            raise ValueError(
                f"unpacks to more than {limits.ratio} times its {self._packed} bytes, the most that is allowed "
                "(limits.ratio)"
            )


def read_exactly(read: Read, size: int) -> bytes:
    """Return `size` bytes, fewer only where `read` has no more."""
    blocks = []
    while size:
        block = read(size)
        if not block:
            break
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


def _copy(file: File, read: Read, descriptor: int) -> None:
    left = file.size
    while left:
        block = read(min(BLOCK, left))
        if not block:
            raise ValueError(f"is cut off in {quoted(file.name)}: {left} of {file.size} bytes are missing")
        left -= len(block)
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _check_target(path: str, target: str) -> None:
    try:
        size = len(target.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the link {quoted(path)} leads to {quoted(target)}, which is no valid Unicode") from None
    is_plain = not CONTROL.search(target) and "\\" not in target and not target.startswith("/")
    if not target or not is_plain or size > PATH_BYTES or target.count("/") > DEPTH:
        _refuse_link(path, target)


def _check_link(path: str, target: str, links: dict[str, str]) -> None:
    """Follow a link as the system would, all others in place, and see that it never gets above the root.

    Lexically `a/..` is nothing; where `a` is a link it is another folder. `links` has folded paths: a file system may
    find `A` for `a`.
    """
    at = path.split(os.sep)[:-1]
    waiting, followed = target.split("/")[::-1], 0
    while waiting:
        part = waiting.pop()
        if part == ".." and not at:
            _refuse_link(path, target)
        if part == "..":
            at.pop()
        elif part not in ("", "."):
            at.append(part)
            further = links.get(fold(os.sep.join(at)))
            if further is not None:
                at.pop()
                waiting += further.split("/")[::-1]
                followed += 1
        if followed > _LINKS:
            raise ValueError(f"the link {quoted(path)} leads through more than {_LINKS} links")


def _refuse_link(path: str, target: str) -> None:
    raise ValueError(f"the link {quoted(path)} leads to {quoted(target)}; allowed: relative links inside the archive")
