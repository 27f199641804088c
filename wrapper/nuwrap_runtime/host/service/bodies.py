"""Bodies in files in memory: a request's while it comes, and an answer's on its way from a worker to the client.

A large upload so costs the host no memory of its own, and an answer's bytes are never copied into it. A new file of
1 MB costs its writer more than its bytes do, for the pages are cleared first: files up to `KEPT_BYTES` are used again.
"""

from __future__ import annotations

import mmap
import os
from typing import Optional

from nuwrap_runtime.worker.native import INLINE_BYTES, KEPT_BYTES, open_body_file

KEPT_FILES = 4  # for uploads to come

_kept: list[int] = []


class Body:
    """The bytes of one request's body. `size` is what came so far; `close` must be called once.

    `is_read` says that the worker has read it, so that its file may get another body.
    """

    __slots__ = ("_fd", "_parts", "is_read", "size")

    def __init__(self) -> None:
        self.size = 0
        self.is_read = False
        self._parts: list[bytes] = []
        self._fd: Optional[int] = None

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        self._parts.append(data)
        if self._fd is not None or self.size > INLINE_BYTES:
            self._spill()

    def _spill(self) -> None:
        """Move what is here to the file; where there is no such file it stays here."""
        try:
            if self._fd is None:
                self._fd = _kept.pop() if _kept else open_body_file()
        except OSError:
            return
        while self._parts:
            left = memoryview(self._parts[0])
            while left:
                left = left[os.write(self._fd, left) :]
            del self._parts[0]

    def take(self) -> tuple[Optional[bytes], Optional[int]]:
        """Return the bytes, None when there are none, or the file that has them; the file stays this body's."""
        if self._fd is not None:
            return None, self._fd
        return b"".join(self._parts) or None, None

    def close(self) -> None:
        """Let go of all of it."""
        self._parts = []
        fd, self._fd = self._fd, None
        if fd is None:
            return
        if self.is_read and len(_kept) < KEPT_FILES and os.fstat(fd).st_size <= KEPT_BYTES:
            os.lseek(fd, 0, os.SEEK_SET)
            _kept.append(fd)
        else:
            os.close(fd)


class AnswerFile:
    """A file that a worker has written an answer into. `is_busy` until that answer is sent: then it may write again."""

    __slots__ = ("_fd", "_is_dropped", "_pages", "_view", "is_busy")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pages: Optional[mmap.mmap] = None
        self._view = memoryview(b"")
        self._is_dropped = False
        self.is_busy = False

    @property
    def size(self) -> int:
        """The file's bytes now; a worker can change them at any time."""
        return os.fstat(self._fd).st_size

    def begin(self, size: int) -> None:
        """Begin to send so many bytes. Raises OSError, ValueError."""
        if size > len(self._view):
            self._unmap()
            self._pages = mmap.mmap(self._fd, size, prot=mmap.PROT_READ)
            self._view = memoryview(self._pages)
        self.is_busy = True

    def send(self, target: int, offset: int, count: int) -> int:
        """Write bytes of it to a descriptor and return how many. Raises OSError.

        The pages are only ever read by the system: for one that the worker has cut off meanwhile it says EFAULT, where
        reading it here would end this process. Not by `sendfile`: the socket would hold the pages themselves until
        the client has them, and the worker's next answer would change these bytes on their way.
        """
        return os.write(target, self._view[offset : offset + count])

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes of it, fewer when it has no more."""
        return os.pread(self._fd, count, offset)

    def done(self) -> None:
        """Take note that its answer is sent, or never will be."""
        self.is_busy = False
        if self._is_dropped:
            self._close()

    def drop(self) -> None:
        """Close it, once its answer is sent."""
        self._is_dropped = True
        if not self.is_busy:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            self._unmap()
            os.close(self._fd)
            self._fd = -1

    def _unmap(self) -> None:
        self._view.release()
        if self._pages is not None:
            self._pages.close()
            self._pages = None
        self._view = memoryview(b"")
