"""Packed bytes, unpacked as they are read: gzip, bzip2, xz, zstd and a zip's members, in little memory."""

from __future__ import annotations

import io
import sys
import zlib
from dataclasses import dataclass
from typing import Any, Callable, Final, NoReturn, Optional, Protocol

from nuwrap_runtime.host.unpacking import Read

PACKED_BLOCK: Final = 64 * 1024
XZ_MEMORY: Final = 72 * 1024 * 1024  # bytes; `xz -9` takes 65 MiB
ZSTD_WINDOW_LOG: Final = 26  # 64 MiB; `zstd -19` takes 8


class Engine(Protocol):
    """What bz2's, lzma's and zstd's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True)
class Coding:
    """A way to pack: `make` gives an engine and the exception by which it tells a fault; `padded`: zeros may follow."""

    name: str
    magic: bytes
    make: Callable[[], tuple[Engine, type[Exception]]]
    padded: bool = False


class _Zlib:
    """zlib's decompressor as an Engine."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _make_gzip() -> tuple[Engine, type[Exception]]:
    return _Zlib(16 + zlib.MAX_WBITS), zlib.error


def _make_deflate() -> tuple[Engine, type[Exception]]:
    return _Zlib(-zlib.MAX_WBITS), zlib.error


def _make_bzip2() -> tuple[Engine, type[Exception]]:
    try:
        import bz2
    except ImportError:
        _refuse_missing("bzip2", "bz2")
    return bz2.BZ2Decompressor(), OSError


def _make_xz() -> tuple[Engine, type[Exception]]:
    try:
        import lzma
    except ImportError:
        _refuse_missing("xz", "lzma")
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY), lzma.LZMAError


def _make_zstd() -> tuple[Engine, type[Exception]]:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        _refuse_missing("zstd", "backports.zstd")
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}), zstd.ZstdError


def _refuse_missing(coding: str, module: str) -> NoReturn:
    raise ValueError(
        f"is packed with {coding}, for which the host's Python has no module {module}: pack it with gzip or as zip"
    ) from None


DEFLATE: Final = Coding("deflate", b"", _make_deflate)
BZIP2: Final = Coding("bzip2", b"BZh", _make_bzip2)
ZSTD: Final = Coding("zstd", b"\x28\xb5\x2f\xfd", _make_zstd)
OF_FILES: Final = (
    Coding("gzip", b"\x1f\x8b\x08", _make_gzip, padded=True),
    BZIP2,
    Coding("xz", b"\xfd7zXZ\x00", _make_xz, padded=True),
    ZSTD,
)


def find_coding(head: bytes) -> Optional[Coding]:
    """Return how a file that begins with these bytes is packed, None when it is not."""
    return next((coding for coding in OF_FILES if head.startswith(coding.magic)), None)


class Inflated(io.RawIOBase):
    """What `read` gives, unpacked; read to its end, it has been checked to be whole, sums included.

    `many`: one packed stream may follow the other, as gzip, bzip2, xz and zstd allow. Reading raises ValueError for
    what is damaged, cut off or followed by something else.
    """

    def __init__(self, read: Read, coding: Coding, *, many: bool = False) -> None:
        super().__init__()
        self._read, self._coding, self._many = read, coding, many
        self._engine, self._fault = coding.make()
        self._waiting = b""

    def readable(self) -> bool:
        """Return True, for io.BufferedReader."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one step of unpacking does; 0 at the end."""
        block = self._next_block(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def _next_block(self, most: int) -> bytes:
        while not self._engine.eof or self._has_next():
            is_hungry = self._engine.needs_input
            packed = self._take() if is_hungry else b""
            block = self._unpack(packed, most)
            if block:
                return block
            if is_hungry and not packed and not self._engine.eof:
                raise ValueError(f"is cut off: its {self._coding.name} data has no end")
        return b""

    def _unpack(self, packed: bytes, most: int) -> bytes:
        try:
            return self._engine.decompress(packed, most)
        except self._fault as exc:
            raise ValueError(f"is damaged or too large to unpack: its {self._coding.name} data: {exc}") from exc

    def _take(self) -> bytes:
        block, self._waiting = self._waiting, b""
        return block or self._read(PACKED_BLOCK)

    def _has_next(self) -> bool:
        """Begin the stream that follows, if one does."""
        self._waiting = self._engine.unused_data or self._waiting
        rest = self._take()
        while self._coding.padded and rest and not rest.lstrip(b"\0"):
            rest = self._take()
        if rest and not self._many:
            raise ValueError(f"is damaged: its {self._coding.name} data is followed by something else")
        self._waiting = rest.lstrip(b"\0") if self._coding.padded else rest
        if rest:
            self._engine, self._fault = self._coding.make()
        return bool(rest)
