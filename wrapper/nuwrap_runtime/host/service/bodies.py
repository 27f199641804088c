"""Bodies in files in memory: a request's while it comes, and an answer's on its way from a worker to the client.

A large upload so costs the host no memory of its own, and an answer's bytes are never copied into it. A new file of
1 MB costs its writer more than its bytes do, for the pages are cleared first: files up to `KEPT_BYTES` are used again.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from typing import Any, Optional

from nuwrap_runtime.worker.native import INLINE_BYTES, KEPT_BYTES, open_body_file

KEPT_FILES = 4  # for uploads to come
READ_BYTES = 64 * 1024  # of an answer's file at once, where the socket takes no more by itself
WRITE_BYTES = 1024 * 1024

_kept: list[int] = []


class Body:
    """The bytes of one request's body. `size` is what came so far; `close` must be called once.

    `is_read` says that the worker has read it, so that its file may get another body.
    """

    __slots__ = ("_fd", "_is_inline", "_parts", "is_read", "size")

    def __init__(self) -> None:
        self.size = 0
        self.is_read = False
        self._parts: list[bytes] = []
        self._fd: Optional[int] = None
        self._is_inline = False  # there is no file, or no room in it

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        self._parts.append(data)
        if self._fd is not None or (self.size > INLINE_BYTES and not self._is_inline):
            self._spill()

    def _spill(self) -> None:
        """Move what is here to the file; where there is none, or no room in it, all of it stays here."""
        try:
            if self._fd is None:
                self._fd = _kept.pop() if _kept else open_body_file()
            while self._parts:
                written = os.write(self._fd, self._parts[0])
                self._parts[0] = self._parts[0][written:]
                if not self._parts[0]:
                    del self._parts[0]
        except OSError:
            self._take_back()

    def _take_back(self) -> None:
        self._is_inline = True
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            self._parts.insert(0, os.pread(fd, os.lseek(fd, 0, os.SEEK_CUR), 0))
        finally:
            os.close(fd)

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


class FileSender:
    """An answer's file on its way into a connection, no faster than the client takes it."""

    __slots__ = ("_file", "_left", "_offset", "_transport")

    def __init__(self, transport: asyncio.Transport, file: AnswerFile, size: int) -> None:
        self._transport = transport
        self._file = file
        self._offset = 0
        self._left = size

    @property
    def is_whole(self) -> bool:
        """Whether all of it is sent."""
        return not self._left

    def pump(self) -> bool:
        """Send what the client takes now; True at the end, which may come too early: see `is_whole`."""
        while self._left and not self._is_held():
            sent = self._send_some()
            if not sent:
                break
            self._offset += sent
            self._left -= sent
        if self._is_held():
            return False
        self._file.done()
        return True

    def drop(self) -> None:
        """Send no more of it."""
        self._file.done()

    def _is_held(self) -> bool:
        return bool(self._transport.get_write_buffer_size()) or self._transport.is_closing()

    def _send_some(self) -> int:
        """Send bytes of the file and return how many; 0 when it has fewer than was said."""
        target: Any = self._transport.get_extra_info("socket")
        try:
            return self._file.send(target.fileno(), self._offset, min(self._left, WRITE_BYTES))
        except OSError:  # full: the transport waits for room, with a piece of its own; gone: it says so itself
            data = self._file.read(self._offset, min(self._left, READ_BYTES))
            self._transport.write(data)
            return len(data)
