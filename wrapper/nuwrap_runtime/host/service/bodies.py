"""A request's body while it comes: in this process as long as it is small, then in a file in memory.

So a large upload costs the host no memory of its own, and the worker gets it by a descriptor.
"""

from __future__ import annotations

import os
from typing import Optional

from nuwrap_runtime.worker.native import INLINE_BYTES, open_body_file


class Body:
    """The bytes of one body. `size` is what came so far; `close` must be called once."""

    __slots__ = ("_fd", "_parts", "size")

    def __init__(self) -> None:
        self.size = 0
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
                self._fd = open_body_file()
            while self._parts:
                left = memoryview(self._parts[0])
                while left:
                    left = left[os.write(self._fd, left) :]
                del self._parts[0]
        except OSError:
            if self._fd is not None and os.fstat(self._fd).st_size == 0:
                os.close(self._fd)
                self._fd = None
            elif self._fd is not None:
                raise

    def take(self) -> tuple[Optional[bytes], Optional[int]]:
        """Return the bytes, None when there are none, or the file that has them; the file stays this body's."""
        if self._fd is not None:
            return None, self._fd
        return b"".join(self._parts) or None, None

    def close(self) -> None:
        """Let go of all of it."""
        self._parts = []
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
