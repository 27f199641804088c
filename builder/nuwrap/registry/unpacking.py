"""Layers unpacked piece by piece as they come: gzip, zstd where this Python has it, or not packed at all."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Final, Protocol

PIECE_BYTES: Final = 256 * 1024  # unpacked in one go
GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
ZSTD_WINDOW_LOG: Final = 27  # 128 MiB, what zstd itself takes without being asked


class Unreadable(Exception):
    """A layer that is no tar, or packed in a way that cannot be undone here; the text says which."""


class _Zstd(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def unpack(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Return what the pieces have packed, in bounded pieces; the first bytes tell how. Reading raises Unreadable."""
    first = b""
    for piece in pieces:
        first += piece
        if len(first) >= len(ZSTD_MAGIC):
            break
    whole = chain([first], pieces)
    if first.startswith(GZIP_MAGIC):
        return _unpack_gzip(whole)
    return _unpack_zstd(whole) if first.startswith(ZSTD_MAGIC) else whole


def _unpack_gzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        for piece in pieces:
            left = piece
            while left:
                if engine.eof:  # one packed stream may follow the other
                    engine = zlib.decompressobj(16 + zlib.MAX_WBITS)
                data = engine.decompress(left, PIECE_BYTES)
                left = engine.unused_data if engine.eof else engine.unconsumed_tail
                if data:
                    yield data
        yield engine.flush()
    except zlib.error as exc:
        raise Unreadable(f"no gzip: {exc}") from exc


def _unpack_zstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    engine, error = _make_zstd()
    try:
        for piece in pieces:
            left = piece
            while left or not (engine.needs_input or engine.eof):
                if engine.eof:
                    engine, error = _make_zstd()
                data = engine.decompress(left, PIECE_BYTES)
                left = engine.unused_data if engine.eof else b""
                if data:
                    yield data
    except error as exc:
        raise Unreadable(f"no zstd: {exc}") from exc


def _make_zstd() -> tuple[_Zstd, type[Exception]]:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as exc:
        raise Unreadable("zstd needs Python 3.14 or the package backports.zstd") from exc
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}), zstd.ZstdError
