"""The entries of a layer's tar as they come. Nothing is written, and what is said of sizes is bounded.

The standard library's tarfile is no reader for this: a header that claims a long name is read into memory whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nuwrap.registry.unpacking import Unreadable, unpack

BLOCK: Final = 512
EXTENSION_BYTES: Final = 1024 * 1024  # of a long name, or of a pax header, which may have extended attributes
MOST_ENTRIES: Final = 2_000_000
_KINDS: Final = {b"0": "file", b"\0": "file", b"7": "file", b"1": "hard", b"2": "link", b"5": "folder"}
_PAX: Final = re.compile(rb"(\d+) ([^=]+)=")


@dataclass(frozen=True)
class Entry:
    """A file (`file`), hard link (`hard`), symbolic link (`link`), `folder` or `other`; `path` has no `/` at its ends.

    `target` is what a link says; a hard link's is a path like this one.
    """

    path: str
    kind: str
    target: str = ""


class Layer:
    """A layer's entries, once. Iterating raises Unreadable; so does `head`."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._source = _Source(unpack(pieces))
        self._left = 0  # of the entry's content
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        more: dict[str, str] = {}
        for _ in range(MOST_ENTRIES):
            self._source.skip(self._left + self._padding)
            header = self._source.read(BLOCK)
            if not header.strip(b"\0"):  # the end, or the stream's
                return
            _check(header)
            kind, size = header[156:157], _number(header[124:136])
            if kind in (b"L", b"K", b"x"):
                more.update(self._read_extension(kind, size))
                continue
            size = int(more.get("size") or size)
            self._left = 0 if kind in (b"1", b"2", b"5", b"3", b"4", b"6") else size
            self._padding = -self._left % BLOCK
            if kind != b"g":
                yield _make_entry(header, more)
            more = {}
        raise Unreadable(f"more than {MOST_ENTRIES} files")

    def head(self, count: int) -> bytes:
        """Return the first bytes of the content of the entry that has just come."""
        data = self._source.read(min(count, self._left))
        self._left -= len(data)
        return data

    def _read_extension(self, kind: bytes, size: int) -> dict[str, str]:
        if size > EXTENSION_BYTES:
            raise Unreadable(f"a header of {size} bytes")
        data = self._source.read(size)
        self._left, self._padding = 0, -size % BLOCK
        if kind == b"x":
            return _parse_pax(data)
        return {"path" if kind == b"L" else "linkpath": _text(data)}


def _check(header: bytes) -> None:
    if len(header) < BLOCK or sum(header) - sum(header[148:156]) + 8 * 32 != _number(header[148:156]):
        raise Unreadable("no tar")


def _number(field: bytes) -> int:
    """Return a header's number: octal, or from its first bit on in binary (GNU)."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise Unreadable("no tar") from None


def _make_entry(header: bytes, more: dict[str, str]) -> Entry:
    name, prefix = _text(header[:100]), _text(header[345:500])
    if header[257:263] == b"ustar\0" and prefix:  # GNU's own form has other things there
        name = f"{prefix}/{name}"
    kind = _KINDS.get(header[156:157], "other")
    target = more.get("linkpath") or _text(header[157:257])
    return Entry(_plain(more.get("path") or name), kind, _plain(target) if kind == "hard" else target)


def _parse_pax(data: bytes) -> dict[str, str]:
    found, at = {}, 0
    while match := _PAX.match(data, at):
        end = at + int(match[1])
        key = match[2].decode("utf-8", "replace")
        if end <= match.end() or end > len(data):
            raise Unreadable("no tar")
        if key in ("path", "linkpath", "size"):
            found[key] = data[match.end() : end - 1].decode("utf-8", "surrogateescape")
        at = end
    if not found.get("size", "0").isdecimal():
        raise Unreadable("no tar")
    return found


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _plain(path: str) -> str:
    """Return the path below the root, "" for one that leaves it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "" if ".." in parts else "/".join(parts)


class _Source:
    """Bytes in pieces, read by the count."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._ready = memoryview(b"")

    def read(self, count: int) -> bytes:
        """Return as many bytes, fewer at the end."""
        parts = []
        while count > 0 and (part := self._take(count)):
            parts.append(bytes(part))
            count -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Drop as many bytes. Raises Unreadable where the stream ends before."""
        while count > 0:
            part = self._take(count)
            if not part:
                raise Unreadable("it ends within a file")
            count -= len(part)

    def _take(self, most: int) -> memoryview:
        if not self._ready:
            self._ready = memoryview(next(self._pieces, b""))
        part, self._ready = self._ready[:most], self._ready[most:]
        return part
