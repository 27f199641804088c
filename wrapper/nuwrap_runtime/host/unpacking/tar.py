"""A tar archive, read once from its beginning to its end: v7, ustar, GNU's and pax's long names; no sparse files.

`tarfile` parses the headers alone: its own loop takes a damaged header for the end, keeps every member, and takes
as much memory as a header asks for.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from typing import Final

from nuwrap_runtime.host.names import quoted
from nuwrap_runtime.host.unpacking import BLOCK, FREE_BYTES, File, Folder, Read

RECORD: Final = 512
HEADER_BYTES: Final = 1024 * 1024  # most that a pax header or a long name may have
_END = bytes(RECORD)

_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LONG: Mapping[bytes, str] = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENSIONS = (*_LONG, *_PAX, tarfile.XGLTYPE)
_REFUSED: Mapping[bytes, str] = {
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


def is_tar(head: bytes) -> bool:
    """Tell whether these are the first bytes of a tar archive that has members."""
    try:
        _parse_header(head[:RECORD])
    except ValueError:
        return False
    return True


def unpack(read: Read, folder: Folder, max_bytes: int) -> None:
    """Put all members into the folder. `read` gives fewer bytes than asked for at the end only.

    Up to `max_bytes` may lie around the files' own bytes, that is in headers and zeros. Raises ValueError.
    """
    reader = _Reader(read, max(FREE_BYTES, max_bytes))
    for_all: dict[str, str] = {}
    for_next: dict[str, str] = {}
    for block in reader.headers():
        header = _parse_header(block)
        if header.type not in _EXTENSIONS:
            _deliver(header, {**for_all, **for_next}, reader, folder)
            for_next = {}
        elif header.type == tarfile.XGLTYPE:
            for_all.update(_read_extension(header, reader))
        else:
            for_next.update(_read_extension(header, reader))
    if for_next:
        raise ValueError("is cut off: its last header has no member")


class _Reader:
    """The archive's bytes, counted where they belong to no file."""

    def __init__(self, read: Read, max_around: int) -> None:
        self.read = read
        self._left = self._max = max_around

    def headers(self) -> Iterator[bytes]:
        """Yield the records up to the zeros at the end, after which nothing else may come."""
        while True:
            record = self.around(RECORD)
            if record == _END:
                break
            yield record
        while True:
            block = self._counted(BLOCK)
            if not block:
                return
            if block.strip(b"\0"):
                raise ValueError("is damaged: its end is followed by something else")

    def around(self, size: int) -> bytes:
        """Return bytes that belong to no file."""
        block = self._counted(size)
        if len(block) < size:
            raise ValueError("is cut off: it has no end mark")
        return block

    def _counted(self, size: int) -> bytes:
        block = self.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise ValueError(f"has more than {self._max} bytes around its files (limits.bytes)")
        return block


def _parse_header(record: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(record, "utf-8", "surrogateescape")
    except tarfile.HeaderError as exc:
        raise ValueError(f"is damaged: a header of it is none ({exc})") from exc
    if header.size < 0:
        raise ValueError(f"is damaged: {quoted(header.name)} has a size below 0")
    return header


def _read_extension(header: tarfile.TarInfo, reader: _Reader) -> dict[str, str]:
    """Return what a header says of the one that follows, by pax's keywords."""
    if header.size > HEADER_BYTES:
        raise ValueError(f"has a header of {header.size} bytes; allowed: {HEADER_BYTES}")
    data = reader.around(header.size)
    reader.around(-header.size % RECORD)
    if header.type in _LONG:
        return {_LONG[header.type]: _decode(data.partition(b"\0")[0])}
    try:
        return dict(_parse_pax(data))
    except ValueError:
        raise ValueError("is damaged: a pax header of it cannot be read") from None


def _parse_pax(data: bytes) -> Iterator[tuple[str, str]]:
    r"""Yield the records `LENGTH KEYWORD=VALUE\n` that count here. Source: POSIX.1-2017, pax, extended header."""
    at = 0
    while at < len(data):
        space = data.index(b" ", at, at + 20)
        end = at + int(data[at:space])
        keyword, equals, value = data[space + 1 : end].partition(b"=")
        if not at + 1 < end <= len(data) or not equals or not value.endswith(b"\n"):
            raise ValueError
        if keyword in (b"path", b"linkpath", b"size", b"mtime") or keyword.startswith(b"GNU.sparse."):
            yield keyword.decode(), _decode(value[:-1])
        at = end


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _deliver(header: tarfile.TarInfo, said: Mapping[str, str], reader: _Reader, folder: Folder) -> None:
    name = said.get("path") or header.name
    if any(keyword.startswith("GNU.sparse.") for keyword in said):
        raise ValueError(f"{quoted(name)} is a sparse file, which is not supported: pack it without --sparse")
    target = said.get("linkpath") or header.linkname
    if header.type == tarfile.DIRTYPE:
        folder.add_folder(name)
    elif header.type == tarfile.SYMTYPE:
        folder.add_link(name, target)
    elif header.type == tarfile.LNKTYPE:
        folder.add_copy(name, target)
    elif header.type in _REGULAR:
        _deliver_file(_describe(header, name, said), reader, folder)
    else:
        kind = _REFUSED.get(header.type, f"of the unknown kind {header.type.decode('latin-1')!r}")
        raise ValueError(f"{quoted(name)} is {kind}; allowed: files, folders and links")


def _deliver_file(file: File, reader: _Reader, folder: Folder) -> None:
    if file.name.endswith("/"):
        raise ValueError(f"{quoted(file.name)} is a file with the name of a folder")
    folder.add_file(file, reader.read)
    reader.around(-file.size % RECORD)


def _describe(header: tarfile.TarInfo, name: str, said: Mapping[str, str]) -> File:
    try:
        size = int(said.get("size") or header.size)
        mtime = float(said.get("mtime") or header.mtime)
    except (ValueError, OverflowError):
        size, mtime = -1, 0.0
    if size < 0:
        raise ValueError(f"is damaged: {quoted(name)} has a size or a time that is none")
    return File(name, size, header.mode, mtime)
