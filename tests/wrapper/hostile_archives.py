"""Archives that must not be unpacked, made byte by byte: a name, the bytes, words that the error must have."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Callable

from nuwrap_runtime.launch import Limits

LIMITS = Limits(bytes=20_000_000, files=50, ratio=200)  # what the table below is refused by
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Hostile:
    """`words` is a regular expression."""

    name: str
    make: Callable[[], bytes]
    words: str


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: str, data: bytes = b"", **fields: Any) -> bytes:
    """Return a tar member; `fields` are those of TarInfo, `type` among them."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + pad(data)


def tar(*members: bytes) -> bytes:
    return b"".join(members) + bytes(1024)


def pax(text: bytes, kind: bytes = b"x") -> bytes:
    return member("PaxHeaders/x", text, type=kind)


def record(keyword: str, value: str) -> bytes:
    """Return a pax record, whose length counts itself."""
    rest = f" {keyword}={value}\n".encode("utf-8", "surrogateescape")
    length = len(rest) + 1
    while length != len(str(length)) + len(rest):
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def spoiled(data: bytes, at: int, change: bytes) -> bytes:
    """Return the data with some bytes replaced."""
    at %= len(data)
    return data[:at] + change + data[at + len(change) :]


@dataclass(frozen=True)
class Entry:
    """A zip's member: what its own header and the central directory say, in truth or not."""

    name: bytes
    data: bytes = b""
    method: int = 0
    mode: int = 0o100644
    flags: int = 0
    size: int = -1
    crc: int = -1
    own_name: bytes = b""
    offset: int = -1
    extra: bytes = b""
    disk: int = 0
    own_flags: int = -1
    system: int = 3

    @property
    def packed(self) -> bytes:
        if self.method == 8:
            engine = zlib.compressobj(9, zlib.DEFLATED, -15)
            return engine.compress(self.data) + engine.flush()
        return bz2.compress(self.data) if self.method == 12 else self.data

    @property
    def numbers(self) -> tuple[int, int, int]:
        size = len(self.data) if self.size < 0 else self.size
        return (zlib.crc32(self.data) if self.crc < 0 else self.crc), len(self.packed), size

    def own_header(self) -> bytes:
        name, flags = self.own_name or self.name, self.flags if self.own_flags < 0 else self.own_flags
        return (
            struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, flags, self.method, 0, 33, *self.numbers, len(name), 0) + name
        )

    def listed(self, offset: int) -> bytes:
        made = self.system << 8 | 20
        place = offset if self.offset < 0 else self.offset
        head = struct.pack("<4s6H3L", b"PK\x01\x02", made, 20, self.flags, self.method, 0, 33, *self.numbers)
        lengths = struct.pack("<5H2L", len(self.name), len(self.extra), 0, self.disk, 0, self.mode << 16, place)
        return head + lengths + self.name + self.extra


def zipped(*entries: Entry, comment: bytes = b"", wide: bool = False, **end: int) -> bytes:
    """Return a zip; `end` (disk, first_disk, here, members, size, offset) is what its end record says instead.

    `wide`: a zip64 end record holds the numbers.
    """
    body, listing = b"", b""
    for entry in entries:
        listing += entry.listed(len(body))
        if entry.offset < 0:
            body += entry.own_header() + entry.packed
    truth = {
        "disk": 0, "first_disk": 0, "here": len(entries), "members": len(entries), "size": len(listing),
        "offset": len(body),
    }  # fmt: skip
    numbers = list({**truth, **end}.values())
    tail = b""
    if wide:
        place = len(body) + len(listing)
        tail = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, *numbers)
        tail += struct.pack("<4sLQL", b"PK\x06\x07", 0, place, 1)
        numbers = [0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF]
    return body + listing + tail + struct.pack("<4s4H2LH", b"PK\x05\x06", *numbers, len(comment)) + comment


def zstd_of(data: bytes, **options: int) -> bytes:
    from backports import zstd

    chosen = {
        getattr(zstd.CompressionParameter, name): value for name, value in {"checksum_flag": 1, **options}.items()
    }
    packer = zstd.ZstdCompressor(options=chosen)
    return packer.compress(data[:1]) + packer.compress(data[1:], zstd.ZstdCompressor.FLUSH_FRAME)


def gzip_of(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def xz_of(data: bytes, **options: int) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, **options}]
    return lzma.compress(data, lzma.FORMAT_XZ, filters=filters)


NAMES = (
    ("a way up", "../evil", r"'\.\./evil' leads out"),
    ("a way up from within", "a/../../evil", "leads out"),
    ("a way up that stays", "a/../evil", "leads out"),
    ("an absolute name", "/nuwrap-evil", "'/nuwrap-evil' is absolute"),
    ("two slashes", "//nuwrap-evil", "is absolute"),
    ("a backslash", "..\\evil", "has a backslash"),
    ("a drive", "C:/evil", "begins with a drive"),
    ("a drive without a slash", "c:evil", "begins with a drive"),
    ("a control character", "a\nb", r"'a\\nb' has a control character"),
    ("an escape", "a\x1b[2Jb", "has a control character"),
    ("a C1 control", "a\x9bb", "has a control character"),
    ("a long part", "x" * 256, "a part of more than 255 bytes"),
    ("a long part in UTF-8", "ü" * 128, "a part of more than 255 bytes"),
    ("a long path", "/".join(["x" * 200] * 16), "more than 3072 bytes"),
    ("a deep path", "d/" * 201 + "f", "lies in more than 200 folders"),
    ("half a surrogate", "a\udc80b", "no valid Unicode"),
    ("no name but a dot", ".", "that of the folder itself"),
)
PAIRS = (
    ("a name twice", "a", "a", "'a' comes twice"),
    ("a name twice, otherwise spelled", "a/b", "./a//b", "'a/b' comes twice"),
    ("names that differ by case", "README", "readme", "differ by case or Unicode form"),
    ("names that differ by Unicode form", "u\u0308", "\u00fc", "differ by case or Unicode form"),
    ("names that differ by compatibility", "\ufb01", "fi", "differ by case or Unicode form"),
    ("folders that differ by case", "A/x", "a/y", "'A' and 'a' differ"),
    ("a name below a file", "a", "a/b", "'a/b' lies below 'a', which is no folder"),
    ("a name below a file of other case", "A", "a/b", "'A' and 'a' differ"),
    ("a file in place of a folder", "a/b", "a", "'a' comes twice"),
)


def _names() -> Iterator[Hostile]:
    for title, name, words in NAMES:
        yield Hostile(f"tar: {title}", lambda name=name: tar(member("ok"), member(name, b"evil")), words)
        yield Hostile(f"zip: {title}", lambda name=name: zipped(Entry(b"ok"), _entry(name)), words)
    for title, first, second, words in PAIRS:
        yield Hostile(f"tar: {title}", lambda a=first, b=second: tar(member(a, b"1"), member(b, b"2")), words)
        yield Hostile(f"zip: {title}", lambda a=first, b=second: zipped(_entry(a), _entry(b)), words)


def _entry(name: str) -> Entry:
    return Entry(name.encode("utf-8", "surrogateescape"), b"evil", flags=0x800)


def link(name: str, target: str) -> bytes:
    return member(name, type=b"2", linkname=target)


def zip_link(name: str, target: str) -> Entry:
    return Entry(name.encode(), target.encode(), mode=0o120777)


LINKS: tuple[tuple[str, tuple[tuple[str, str], ...], str], ...] = (
    ("a link up", (("l", "../evil"),), r"link 'l' leads to '\.\./evil'"),
    ("a link up from a folder", (("a/l", "../../evil"),), "link 'a/l' leads to"),
    ("an absolute link", (("l", "/etc/passwd"),), "'/etc/passwd'; allowed: relative links"),
    ("a link out by way of the root's own name", (("l", "../into/ok"),), "link 'l' leads to"),
    ("a link out by way of another", (("a/up", ".."), ("l", "a/up/../evil")), "link 'l' leads to"),
    ("a link out by the root", (("here", "."), ("l", "here/../evil")), "link 'l' leads to"),
    ("a link out that is spelled otherwise", (("Here", "."), ("l", "here/../evil")), "link 'l' leads to"),
    ("links in a ring", (("a", "b"), ("b", "a")), "through more than 40 links"),
    ("a link with a backslash", (("l", "..\\evil"),), "link 'l' leads to"),
    ("a link with a control character", (("l", "a\nb"),), "link 'l' leads to"),
)


def _links() -> Iterator[Hostile]:
    for title, links, words in LINKS:
        yield Hostile(f"tar: {title}", lambda links=links: tar(member("ok"), *(link(*one) for one in links)), words)
        yield Hostile(f"zip: {title}", lambda links=links: zipped(*(zip_link(*one) for one in links)), words)
    below = "'l/evil' lies below 'l', which is no folder"
    yield Hostile("tar: a file through a link", lambda: tar(link("l", "a"), member("l/evil", b"evil")), below)
    yield Hostile("zip: a file through a link", lambda: zipped(zip_link("l", "a"), Entry(b"l/evil")), below)
    yield Hostile("tar: a file in place of a link", lambda: tar(link("l", "a"), member("l", b"evil")), "comes twice")
    yield Hostile("tar: a link in place of a folder", lambda: tar(member("d/x"), link("d", "a")), "comes twice")
    yield Hostile("tar: an empty link", lambda: tar(link("l", "")), "link 'l' leads to ''")
    long = "a/" * 5000
    yield Hostile("tar: a long link", lambda: tar(link("l", long)), "link 'l' leads to")
    yield Hostile("zip: a long link", lambda: zipped(zip_link("l", long)), "'l' has a target of 10000 bytes")
    yield Hostile(
        "zip: a link that is cut", lambda: zipped(replace(zip_link("l", "ab"), size=5)), "cut off in the link 'l'"
    )


HARD_LINKS = (
    ("a hard link out", ("h", "../evil"), "leads out"),
    ("an absolute hard link", ("h", "/etc/passwd"), "'/etc/passwd' is absolute"),
    ("a hard link to nothing", ("h", "missing"), "'h' is a hard link to 'missing', which is no file"),
    ("a hard link to itself", ("h", "h"), "which is no file before it"),
    ("a hard link to a link", ("h", "l"), "which is no file before it"),
    ("a hard link to a folder", ("h", "d"), "'d', which is no file before it"),
    ("a hard link below a file", ("h", "ok/x"), "which is no file before it"),
    ("a hard link in place of its file", ("ok", "ok"), "'ok' comes twice"),
)


def _tars() -> Iterator[Hostile]:
    before = (member("ok", b"ok"), link("l", "ok"), member("d", type=b"5"))
    for title, (name, target), words in HARD_LINKS:
        hard = member(name, type=b"1", linkname=target)
        yield Hostile(f"tar: {title}", lambda hard=hard: tar(*before, hard), words)
    kinds = ((b"3", "a device"), (b"4", "a device"), (b"6", "a pipe"), (b"S", "a sparse"), (b"V", "unknown kind 'V'"))
    for kind, words in kinds:
        yield Hostile(
            f"tar: kind {kind!r}",
            lambda kind=kind: tar(before[0], member("x", type=kind)),
            f"'x' is {words}|of the {words}",
        )
    sparse = pax(record("GNU.sparse.major", "1") + record("GNU.sparse.name", "x"))
    yield Hostile("tar: a sparse file by pax", lambda: tar(sparse, member("x", b"1\n0\n")), "is a sparse file")
    yield Hostile(
        "tar: a file with a folder's name", lambda: tar(member("x/", b"1", mode=0o755, type=b"7")), "name of a folder"
    )
    yield from _tar_headers()
    yield from _tar_ends()


def _tar_headers() -> Iterator[Hostile]:
    evil = pax(record("path", "../evil"))
    yield Hostile("tar: a way up by pax", lambda: tar(evil, member("a", b"1")), "leads out")
    yield Hostile("tar: a way up for all", lambda: tar(pax(record("path", "../evil"), b"g"), member("a")), "leads out")
    yield Hostile(
        "tar: a way up by a long name", lambda: tar(member("L", b"../evil\0", type=b"L"), member("a")), "leads"
    )
    yield Hostile("tar: a NUL by pax", lambda: tar(pax(record("path", "a\0b")), member("a")), "control character")
    linked = pax(record("linkpath", "../evil"))
    yield Hostile("tar: a link up by pax", lambda: tar(linked, link("l", "ok")), "link 'l' leads to")
    yield Hostile("tar: a size below 0 by pax", lambda: tar(pax(record("size", "-512")), member("a")), "size or a time")
    yield Hostile("tar: a size that is none", lambda: tar(pax(record("size", "1e3")), member("a")), "size or a time")
    yield Hostile("tar: a size below 0", lambda: tar(member("ok"), member("a", size=-512)), "has a size below 0")
    yield Hostile("tar: a huge size", lambda: tar(member("a", size=2**60)), r"limits\.bytes")
    yield Hostile("tar: a huge size by pax", lambda: tar(pax(record("size", "9" * 30)), member("a")), r"limits\.bytes")
    for kind in (b"x", b"g", b"L", b"K"):
        yield Hostile(
            f"tar: a huge header {kind!r}",
            lambda kind=kind: tar(member("a", size=2**40, type=kind)),
            "allowed: 1048576",
        )
    for text in (b"5 a=b", b"0 a=b\n", b"99 a=b\n", b"x a=b\n", b"-5 a=b\n", b"6 ab\n", b"\xff" * 30, b"3 \n"):
        yield Hostile(
            f"tar: pax header {text!r}", lambda text=text: tar(pax(text), member("a")), "pax header of it cannot"
        )
    yield Hostile("tar: a header for nothing", lambda: tar(pax(record("path", "b"))), "last header has no member")
    yield Hostile("tar: a bomb of headers", lambda: gzip_of(_headers()), r"around its files \(limits\.bytes\)")
    bad = spoiled(tar(member("a", b"1"), member("b", b"2")), 1024 + 148, b"999999")
    yield Hostile("tar: a header with a wrong sum", lambda: bad, "is damaged: a header")
    yield Hostile(
        "tar: something else after a member", lambda: member("a", b"1") + b"\xff" * 2048, "is damaged: a header"
    )


def _headers() -> bytes:
    return tar(*[pax(record("comment", "x" * 1_000_000))] * 25)


def _tar_ends() -> Iterator[Hostile]:
    good = tar(member("a", os.urandom(3000)), member("b", b"2"))
    yield Hostile("tar: cut in a file", lambda: good[:2000], "is cut off in 'a'")
    yield Hostile("tar: cut in a header", lambda: good[: 512 + 3072 + 100], "is cut off")
    yield Hostile("tar: cut after a member", lambda: good[: 512 + 3072], "is cut off: it has no end mark")
    yield Hostile("tar: followed by text", lambda: good + b"evil", "end is followed by something else")
    yield Hostile("tar: followed by another", lambda: good + good, "end is followed by something else")
    yield Hostile("tar: a second end of zeros", lambda: gzip_of(good + bytes(30 * MEGABYTE)), "around its files")
    yield Hostile("tar: zeros alone", lambda: bytes(10240), "is no archive, or an empty one")
    yield Hostile("tar: nothing but its own folder", lambda: tar(member("./", type=b"5")), "the archive is empty")
    for coding, pack in (("gzip", gzip_of), ("bzip2", bz2.compress), ("xz", xz_of), ("zstd", zstd_of)):
        packed = pack(good)
        yield Hostile(f"tar in {coding}: cut", lambda packed=packed: packed[:-5], f"{coding} data has no end")
        yield Hostile(f"tar in {coding}: cut early", lambda packed=packed: packed[:30], f"{coding} data has no end")
        yield Hostile(
            f"tar in {coding}: followed by text",
            lambda packed=packed: packed + b"evil text, long enough for a header",
            f"damaged.*{coding}",
        )
        yield Hostile(
            f"tar in {coding}: spoiled", lambda packed=packed: spoiled(packed, -300, b"evil"), f"is damaged.*{coding}"
        )
        yield Hostile(f"tar in {coding}: a bomb", lambda pack=pack: pack(_bomb()), r"limits\.ratio")
        yield Hostile(f"tar in {coding}: text", lambda pack=pack: pack(b"some text" * 99), "is no archive")
    yield Hostile("gzip: wrong sum", lambda: spoiled(gzip_of(good), -6, b"\0\0"), "gzip data")
    yield Hostile("xz: a huge dictionary", lambda: xz_of(good, dict_size=2**30), "too large to unpack.*xz data")
    yield Hostile("zstd: a huge window", lambda: zstd_of(good, window_log=30), "too large to unpack.*zstd data")


def _bomb() -> bytes:
    return tar(member("zeros", bytes(15 * MEGABYTE)))


def _zips() -> Iterator[Hostile]:
    ok = Entry(b"ok", b"fine")
    for flags in (0x1, 0x40, 0x2000):
        yield Hostile(
            f"zip: encrypted, {flags:#x}",
            lambda flags=flags: zipped(Entry(b"x", b"1", flags=flags)),
            "'x' is encrypted",
        )
    for method in (1, 6, 9, 14, 98, 99):
        yield Hostile(
            f"zip: method {method}",
            lambda method=method: zipped(Entry(b"x", b"1", method=method)),
            f"'x' is packed by method {method}",
        )
    for kind in (0o010644, 0o020644, 0o060644, 0o140644):
        yield Hostile(
            f"zip: mode {kind:o}", lambda kind=kind: zipped(Entry(b"x", mode=kind)), "'x' is a device or a pipe"
        )
    yield Hostile("zip: a NUL", lambda: zipped(Entry(b"ok\0.py")), "has a control character")
    yield Hostile("zip: a folder with content", lambda: zipped(Entry(b"d/", b"1")), "'d/' is a folder with content")
    other = Entry(b"ok", b"1", own_name=b"../x")
    yield Hostile(
        "zip: another name in the member's own header",
        lambda: zipped(other),
        r"another name in its own header: '\.\./x'",
    )
    hidden = Entry(b"ok", b"1", own_flags=1)
    yield Hostile("zip: encrypted by its own header", lambda: zipped(hidden), "packed in another way in its own")
    yield Hostile("zip: a wrong sum", lambda: zipped(Entry(b"x", b"1", crc=1)), "checksum of 'x' is wrong")
    yield Hostile(
        "zip: a wrong sum of an empty file", lambda: zipped(Entry(b"x", b"", crc=1)), "checksum of 'x' is wrong"
    )
    for method in (0, 8, 12):
        less = Entry(b"x", b"1" * 100, method, size=99)
        yield Hostile(
            f"zip: more than it says, {method}", lambda less=less: zipped(less), "'x' has more than its 99 bytes"
        )
        more = Entry(b"x", b"1" * 100, method, size=101)
        yield Hostile(
            f"zip: less than it says, {method}", lambda more=more: zipped(more), "is cut off in 'x': 1 of 101"
        )
    yield Hostile(
        "zip: spoiled data", lambda: spoiled(zipped(Entry(b"x", os.urandom(99), 8)), 31, b"\xff" * 40), "damaged"
    )
    yield Hostile("zip: a bomb", lambda: zipped(Entry(b"x", bytes(15 * MEGABYTE), 8)), r"limits\.ratio")
    yield Hostile("zip: a huge size", lambda: zipped(Entry(b"x", b"1", 8, size=2**31)), r"limits\.bytes")
    parts = [Entry(f"{number}".encode(), bytes(2 * MEGABYTE), 8) for number in range(8)]
    yield Hostile("zip: a bomb in parts", lambda: zipped(*parts), r"limits\.ratio")
    yield Hostile("zip: a member inside another", _quoted_overlap, "two members overlap")
    yield Hostile("zip: a member twice", lambda: zipped(ok, replace(ok, offset=0)), "'ok' comes twice")
    over = Entry(b"x", b"1" * 40)
    yield Hostile(
        "zip: a member over the list", lambda: _grown(zipped(over)), "overlaps the list of members|checksum|damaged"
    )
    yield from _zip_ends(ok)


def _quoted_overlap() -> bytes:
    """A member whose content is another member."""
    inner = Entry(b"inner", b"x" * 50)
    outer = Entry(b"outer", inner.own_header() + inner.packed)
    return zipped(outer, replace(inner, offset=len(outer.own_header())))


def _grown(data: bytes) -> bytes:
    """Let the one stored member reach 10 bytes into the list of members."""
    at = data.index(b"PK\x01\x02")
    return spoiled(
        spoiled(data, at + 20, struct.pack("<2L", 50, 50)), at + 16, struct.pack("<L", zlib.crc32(data[31 : at + 10]))
    )


def _zip_ends(ok: Entry) -> Iterator[Hostile]:
    good = zipped(ok, Entry(b"b", b"1" * 100, 8))
    yield Hostile("zip: empty", zipped, "the archive is empty")
    yield Hostile("zip: cut", lambda: good[:-1], "cut off or followed")
    yield Hostile("zip: cut in the middle", lambda: good[: len(good) // 2], "cut off or followed")
    yield Hostile("zip: followed by text", lambda: good + b"evil", "cut off or followed")
    yield Hostile("zip: behind a script", lambda: b"#!/bin/sh\n" + good, "is no archive")
    yield Hostile("zip: behind another", lambda: good + good, "not where its end record says")
    yield Hostile("zip: bytes before the list", lambda: zipped(ok, offset=10), "not where its end record says")
    for field in ("disk", "first_disk", "here"):
        yield Hostile(f"zip: {field} of several", lambda field=field: zipped(ok, **{field: 5}), "several disks")
        yield Hostile(
            f"zip64: {field} of several", lambda field=field: zipped(ok, wide=True, **{field: 5}), "several disks"
        )
    yield Hostile("zip: a member on another disk", lambda: zipped(Entry(b"x", disk=3)), "'x' lies on another disk")
    yield Hostile("zip: the mark of several disks", lambda: b"PK\x07\x08" + good, "not where its end record says")
    yield Hostile(
        "zip: fewer members than listed", lambda: zipped(ok, Entry(b"b"), here=1, members=1), "another length"
    )
    yield Hostile("zip: more members than listed", lambda: zipped(ok, here=2, members=2), "members has 48 bytes only")
    many = {"here": 2**40, "members": 2**40}
    yield Hostile(
        "zip64: very many members", lambda: zipped(ok, wide=True, **many), "list of 1099511627776 members has"
    )
    names = [Entry(f"{number}".encode()) for number in range(101)]
    yield Hostile("zip: more members than allowed", lambda: zipped(*names), r"lists 101 members; .*\(limits\.files\)")
    wide = zipped(ok, wide=True)
    yield Hostile("zip64: no end record there", lambda: spoiled(wide, -42 + 8, b"\1"), "zip64 end record is not where")
    record_at = wide.index(b"PK\x06\x06")
    yield Hostile("zip64: a wrong length", lambda: spoiled(wide, record_at + 4, b"\x2d"), "another length than it says")
    unknown = Entry(b"x", b"1", size=0xFFFFFFFF)
    yield Hostile("zip64: a missing field", lambda: zipped(unknown), "a zip64 field is missing")
    field = struct.pack("<2HQ", 1, 8, 2**62)
    yield Hostile("zip64: a huge size", lambda: zipped(replace(unknown, extra=field)), r"limits\.bytes")
    yield Hostile("zip: a member that is not there", lambda: zipped(ok, Entry(b"b", offset=5)), "'b' is not where")
    yield Hostile("zip: a member behind the end", lambda: zipped(ok, Entry(b"b", offset=2**30)), "'b' is not where")
    comment = b"PK\x05\x06" + bytes(18)
    yield Hostile(
        "zip: an end record in the comment", lambda: zipped(ok, comment=comment), "not where its end record says"
    )


def _limits() -> Iterator[Hostile]:
    several = [member(f"{number}") for number in range(51)]
    yield Hostile("tar: too many files", lambda: tar(*several), r"more than 50 files.*\(limits\.files\)")
    folders = [member(f"{number}", type=b"5") for number in range(51)]
    yield Hostile("tar: too many folders", lambda: tar(*folders), r"more than 50 folders.*\(limits\.files\)")
    yield Hostile("tar: one folder again and again", lambda: tar(*[folders[0]] * 51), "more than 50 folders")
    yield Hostile("tar: too many folders above", lambda: tar(member("/".join("d" * 51) + "/f")), "more than 50 folders")
    links = [link(f"{number}", "a") for number in range(51)]
    yield Hostile("tar: too many links", lambda: tar(*links), "more than 50 files")
    blob = [member(f"{number}", bytes(7 * MEGABYTE)) for number in range(3)]
    yield Hostile("tar: too many bytes", lambda: tar(*blob), r"more than 20000000 bytes.*\(limits\.bytes\)")
    hard = [member(f"h{number}", type=b"1", linkname="0") for number in range(2)]
    yield Hostile("tar: too many bytes by hard links", lambda: tar(blob[0], *hard), r"\(limits\.bytes\)")


def _others() -> Iterator[Hostile]:
    for title, data in (("nothing", b""), ("text", b"some text"), ("zeros", bytes(100)), ("a script", b"#!/bin/sh\n")):
        yield Hostile(title, lambda data=data: data, "is no archive, or an empty one; allowed: zip, tar")
    yield Hostile("a packed archive in a packed archive", lambda: gzip_of(gzip_of(tar(member("a")))), "is no archive")
    yield Hostile("a zip in gzip", lambda: gzip_of(zipped(Entry(b"a", b"1"))), "is no archive")
    yield Hostile("gzip of nothing", lambda: b"\x1f\x8b\x08" + bytes(40), "gzip data has no end|gzip data")


HOSTILE = tuple(one for make in (_names, _links, _tars, _zips, _limits, _others) for one in make())
