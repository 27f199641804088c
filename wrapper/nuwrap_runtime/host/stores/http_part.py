"""A file on its way: what has come of it, beside the place where it is wanted."""

from __future__ import annotations

import os
import secrets
from typing import BinaryIO, Optional

from nuwrap_runtime.host.stores import Progress, StoreError


class Part:
    """The first `size` bytes of what becomes `target` by `finish`; leaving the `with` block removes all else.

    Counts through `progress`. Raises StoreError when the disk is full or the folder is not there.
    """

    def __init__(self, target: str, progress: Progress) -> None:
        self._target, self._progress = target, progress
        self._path = os.path.join(os.path.dirname(target), f".nuwrap-{secrets.token_hex(8)}.part")
        self._stream: Optional[BinaryIO] = None
        self._expected = 0
        self.size = 0

    def __enter__(self) -> Part:  # noqa: PYI034 - Self is not in 3.9's typing
        return self

    def __exit__(self, *exc: object) -> None:
        if self._stream:
            self._stream.close()
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass  # it is the target now

    def expect(self, total: int) -> None:
        """Tell how long the file will be; what was told of an earlier attempt is taken back."""
        if total != self._expected:
            change, self._expected = total - self._expected, total
            self._progress.expect(change)

    def write(self, block: bytes) -> None:
        """Append the block and count it."""
        try:
            self._append(block)
        except OSError as exc:
            raise StoreError(f"{self._target!r} cannot be written: {exc.strerror}") from exc
        self.size += len(block)
        self._progress.add(len(block))

    def restart(self) -> None:
        """Drop what has come: the next attempt brings another file, or all of this one."""
        if self._stream and self.size:
            self._stream.seek(0)
            self._stream.truncate()
            self.size, taken = 0, self.size
            self._progress.add(-taken)

    def finish(self) -> None:
        """Make it the target."""
        try:
            self._append(b"")  # an empty file is one too
            if self._stream:
                self._stream.close()  # a network's file system may refuse as late as here
            os.replace(self._path, self._target)
        except OSError as exc:
            raise StoreError(f"{self._target!r} cannot be written: {exc.strerror}") from exc

    def _append(self, block: bytes) -> None:
        if self._stream is None:
            self._stream = open(self._path, "xb", buffering=0)  # noqa: SIM115 - closed by __exit__
        written = 0
        while written < len(block):  # a disk that is almost full takes a part of it
            written += self._stream.write(memoryview(block)[written:]) or 0
