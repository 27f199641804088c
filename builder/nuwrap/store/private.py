"""Small files for this user alone, written whole or not at all, in folders that no link leads out of.

Folders are open descriptors: what is checked is what is used, whoever renames things meanwhile.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_UNFINISHED: Final = ".new-"
_ABANDONED_S: Final = 60.0


@contextmanager
def open_folder(path: str, parent: int | None = None, *, make: bool = False) -> Iterator[int]:
    """Open a folder, by name inside an open one; with `make` it is made for this user alone. Raises OSError."""
    if make:
        with suppress(FileExistsError):
            os.mkdir(path, 0o700, dir_fd=parent)
    folder = os.open(path, _FOLDER, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)


def write_whole(folder: int, name: str, content: bytes) -> None:
    """Make or replace the file, mode 0600; a reader sees the old or the new content. Raises OSError."""
    _sweep(folder)
    unfinished = _UNFINISHED + secrets.token_hex(8)
    try:
        with open(os.open(unfinished, _NEW, 0o600, dir_fd=folder), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished, dir_fd=folder)
        raise


def read_file(folder: int, name: str, limit: int) -> bytes:
    """Return the content. Raises OSError, also for a link, for what is no file, for one of more than `limit` bytes."""
    with open(os.open(name, _READ, dir_fd=folder), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is not a file")
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"has more than {limit} bytes")
    return content


def say_why(exc: OSError) -> str:
    """Return the reason as a person says it."""
    if exc.errno in (errno.ELOOP, errno.ENOTDIR):
        return "it is a link or no folder, and links are not followed here"
    return exc.strerror or str(exc)


def _sweep(folder: int) -> None:
    """Remove what writers that were killed have left."""
    for name in os.listdir(folder):
        if name.startswith(_UNFINISHED):
            with suppress(FileNotFoundError):
                if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < time.time() - _ABANDONED_S:
                    os.unlink(name, dir_fd=folder)
