"""A zip archive, read member by member along its central directory: memory does not grow with their number.

Stricter than `zipfile` where a reader must not guess: no bytes before the first member or behind the end record, one
name for each member, no member inside another. Source: PKWARE's APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import os
import stat
import struct
import time
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final, Optional

from nuwrap_runtime.host.names import PATH_BYTES, quoted
from nuwrap_runtime.host.unpacking import BLOCK, File, Folder, Read, read_exactly
from nuwrap_runtime.host.unpacking.streams import BZIP2, DEFLATE, ZSTD, Coding, Inflated
from nuwrap_runtime.launch import Limits

MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"PK00PK")  # the last two begin one of several disks
METHODS: Final[Mapping[int, Optional[Coding]]] = {0: None, 8: DEFLATE, 12: BZIP2, 93: ZSTD}
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_UTF8: Final = 0x800
_UNIX: Final = (3, 19)  # systems of which the upper half of the attributes is a mode: Unix, macOS
_ZIP64, _TIMES = 0x1, 0x5455
_UNKNOWN: Final = 0xFFFFFFFF  # the value is in the zip64 field

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_MEMBER = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True)
class _Directory:
    """Where the members are listed, and how many."""

    offset: int
    size: int
    members: int


@dataclass(frozen=True)
class _Member:
    """One entry of the central directory; `name` as it came, `file` decoded."""

    name: bytes
    file: File
    flags: int
    method: int
    crc: int
    packed: int
    offset: int


def unpack(path: str, folder: Folder, limits: Limits) -> None:
    """Put all members into the folder. Raises ValueError."""
    with open(path, "rb") as listing, open(path, "rb", buffering=BLOCK) as data:
        directory = _find_directory(listing)
        if directory.members > 2 * limits.files:  # files and folders
            raise ValueError(
                f"lists {directory.members} members; allowed: {limits.files} files and as many folders (limits.files)"
            )
        listing.seek(directory.offset)
        begins, ends = array("Q"), array("Q")
        for _ in range(directory.members):
            member = _read_member(listing)
            begins.append(member.offset)
            ends.append(_deliver(member, data, folder))
        if listing.tell() != directory.offset + directory.size:
            raise ValueError("is damaged: its list of members has another length than its end says")
    _check_overlap(begins, ends, directory.offset)


def _check_overlap(begins: array[int], ends: array[int], listing: int) -> None:
    end = 0
    for number in sorted(range(len(begins)), key=begins.__getitem__):
        if begins[number] < end:
            raise ValueError(f"is damaged: two members overlap at byte {begins[number]}")
        end = ends[number]
    if end > listing:
        raise ValueError("is damaged: a member overlaps the list of members")


def _find_directory(stream: BinaryIO) -> _Directory:
    size = stream.seek(0, os.SEEK_END)
    begin = max(0, size - _END.size - 0xFFFF - _LOCATOR.size)
    stream.seek(begin)
    tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0 and not _ends_with(tail, at):
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        raise ValueError("is cut off or followed by something else: it has no end record")
    _, disk, first_disk, here, members, length, offset, _ = _END.unpack_from(tail, at)
    end = begin + at
    if tail[max(0, at - _LOCATOR.size) : at].startswith(b"PK\x06\x07"):
        return _find_directory64(stream, end - _LOCATOR.size)
    return _check_directory(_Directory(offset, length, members), end, is_one=(disk, first_disk) == (0, 0), here=here)


def _ends_with(tail: bytes, at: int) -> bool:
    """Tell whether the end record at this place, with its comment, is the last thing."""
    return at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail)


def _find_directory64(stream: BinaryIO, locator: int) -> _Directory:
    stream.seek(locator)
    _, disk, place, disks = _LOCATOR.unpack(stream.read(_LOCATOR.size))
    stream.seek(min(place, locator))
    record = stream.read(_END64.size)
    if len(record) < _END64.size or not record.startswith(b"PK\x06\x06"):
        raise ValueError("is damaged: its zip64 end record is not where it should be")
    _, length, _, _, this_disk, first_disk, here, members, size, offset = _END64.unpack(record)
    if place + 12 + length != locator:
        raise ValueError("is damaged: its zip64 end record has another length than it says")
    is_one = disk == this_disk == first_disk == 0 and disks <= 1
    return _check_directory(_Directory(offset, size, members), place, is_one=is_one, here=here)


def _check_directory(directory: _Directory, end: int, *, is_one: bool, here: int) -> _Directory:
    if not is_one or here != directory.members:
        raise ValueError("is one part of an archive of several disks, which is not supported")
    if directory.offset + directory.size != end:
        raise ValueError("is damaged: its list of members is not where its end record says")
    if directory.members * _MEMBER.size > directory.size:
        raise ValueError(f"is damaged: its list of {directory.members} members has {directory.size} bytes only")
    return directory


def _read_member(stream: BinaryIO) -> _Member:
    head = stream.read(_MEMBER.size)
    if len(head) < _MEMBER.size or not head.startswith(b"PK\x01\x02"):
        raise ValueError("is damaged: its list of members cannot be read")
    _, made, _, flags, method, dos_time, dos_date, crc, packed, size, *rest = _MEMBER.unpack(head)
    name_size, extra_size, comment_size, disk, _, attributes, offset = rest
    name = stream.read(name_size)
    extra = _parse_extra(stream.read(extra_size))
    stream.read(comment_size)
    size, packed, offset = _widen(extra.get(_ZIP64, b""), size, packed, offset)
    if disk not in (0, 0xFFFF):
        raise ValueError(f"{quoted(_decode(name, flags))} lies on another disk, which is not supported")
    mode = attributes >> 16 if made >> 8 in _UNIX else 0
    mtime = _read_time(extra.get(_TIMES, b""), dos_date, dos_time)
    return _Member(name, File(_decode(name, flags), size, mode, mtime), flags, method, crc, packed, offset)


def _decode(name: bytes, flags: int) -> str:
    """Return a name as text: without the flag many programs write UTF-8 all the same; the rest is code page 437."""
    if flags & _UTF8:
        return name.decode("utf-8", "surrogateescape")
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("cp437")


def _parse_extra(extra: bytes) -> dict[int, bytes]:
    """Return the extra fields by their id; what is too short at their end is left out, as all programs do."""
    fields: dict[int, bytes] = {}
    while len(extra) >= 4:
        number, length = struct.unpack_from("<2H", extra)
        fields.setdefault(number, extra[4 : 4 + length])
        extra = extra[4 + length :]
    return fields


def _widen(field: bytes, *values: int) -> tuple[int, ...]:
    """Return size, packed size and offset, each from the zip64 field where the entry has no room for it."""
    wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
    found = tuple(next(wide, -1) if value == _UNKNOWN else value for value in values)
    if -1 in found:
        raise ValueError("is damaged: a zip64 field is missing")
    return found


def _read_time(field: bytes, date: int, clock: int) -> float:
    if len(field) >= 5 and field[0] & 1:
        return float(struct.unpack_from("<l", field, 1)[0])
    day = (1980 + (date >> 9), date >> 5 & 15, date & 31)
    try:  # without a zone: the packer's own is not known
        return time.mktime((*day, clock >> 11, clock >> 5 & 63, (clock & 31) * 2, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0


def _deliver(member: _Member, data: BinaryIO, folder: Folder) -> int:
    """Unpack one member; return the offset of its end."""
    name = member.file.name
    if member.flags & _ENCRYPTED:
        raise ValueError(f"{quoted(name)} is encrypted, which is not supported")
    if member.method not in METHODS:
        raise ValueError(f"{quoted(name)} is packed by method {member.method}; allowed: stored, deflate, bzip2, zstd")
    begin = _find_content(member, data)
    content = _Content(member, data)
    kind = stat.S_IFMT(member.file.mode)
    if kind == stat.S_IFLNK:
        folder.add_link(name, content.read_target())
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"{quoted(name)} is a device or a pipe; allowed: files, folders and links")
    elif name.endswith("/") or kind == stat.S_IFDIR:
        if member.file.size:
            raise ValueError(f"{quoted(name)} is a folder with content")
        folder.add_folder(name)
    else:
        folder.add_file(member.file, content.read)
    content.check_end()
    return begin + member.packed


def _find_content(member: _Member, data: BinaryIO) -> int:
    """Go to a member's content, past its own header, which must be for the same name."""
    data.seek(member.offset)
    head = data.read(_LOCAL.size)
    shown = quoted(member.file.name)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
        raise ValueError(f"is damaged: {shown} is not where the list of members says")
    _, _, flags, method, _, _, _, _, _, name_size, extra_size = _LOCAL.unpack(head)
    name = data.read(name_size)
    if name != member.name:
        raise ValueError(f"is damaged: {shown} has another name in its own header: {quoted(_decode(name, flags))}")
    if method != member.method or (flags ^ member.flags) & _ENCRYPTED:
        raise ValueError(f"is damaged: {shown} is packed in another way in its own header")
    return data.seek(extra_size, os.SEEK_CUR)


class _Content:
    """A member's content, unpacked as it is read, and its sum."""

    def __init__(self, member: _Member, data: BinaryIO) -> None:
        self._member, self._data = member, data
        self._left, self._crc = member.packed, 0
        coding = METHODS[member.method]
        self._unpacked: Read = Inflated(self._packed, coding).read if coding else self._packed

    def _packed(self, size: int) -> bytes:
        block = self._data.read(min(size, self._left))
        self._left -= len(block)
        return block

    def read(self, size: int) -> bytes:
        block = self._unpacked(size)
        self._crc = zlib.crc32(block, self._crc)
        return block

    def read_target(self) -> str:
        """Return the content of a link."""
        name, size = quoted(self._member.file.name), self._member.file.size
        if size > PATH_BYTES:
            raise ValueError(f"the link {name} has a target of {size} bytes")
        target = read_exactly(self.read, size)
        if len(target) < size:
            raise ValueError(f"is cut off in the link {name}")
        return target.decode("utf-8", "surrogateescape")

    def check_end(self) -> None:
        """See that nothing follows and that the sum is right."""
        name = quoted(self._member.file.name)
        if self._unpacked(1):
            raise ValueError(f"is damaged: {name} has more than its {self._member.file.size} bytes")
        if self._crc != self._member.crc:
            raise ValueError(f"is damaged: the checksum of {name} is wrong")
