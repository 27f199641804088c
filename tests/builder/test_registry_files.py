"""What the files of an image tell: `python3` on PATH through links and whiteouts, its libc; layers of any kind."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import sys
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pytest
from registries import make_layer

from nuwrap.registry.files import Files
from nuwrap.registry.tar import Entry, Layer
from nuwrap.registry.unpacking import Unreadable, unpack

GLIBC = b"\x7fELF" + bytes(700) + b"/lib64/ld-linux-x86-64.so.2\0" + bytes(8000)
MUSL = b"\x7fELF" + bytes(300) + b"/lib/ld-musl-aarch64.so.1\0" + bytes(100)
Content = Mapping[str, "bytes | str | None"]


def look(*layers: Content, path: str = "") -> Files:
    """Look at layers, the top one first, as far as it is needed."""
    files = Files(path)
    for layer in layers:
        files.add(iter([make_layer(layer)]))
        if files.is_settled:
            break
    return files


@pytest.mark.parametrize(
    ("layers", "path"),
    [
        ([{"usr/local/bin/python3": "-> python3.11", "usr/local/bin/python3.11": GLIBC}], ""),
        ([{"./usr/local/bin/python3": "-> python3.11", "./usr/local/bin/python3.11": GLIBC}], ""),
        ([{"/usr/local/bin/python3": "-> /usr/local/bin/python3.11", "/usr/local/bin/python3.11": GLIBC}], ""),
        ([{"usr/local/bin/python3": "-> python3.11"}, {"usr/local/bin/python3.11": GLIBC}], ""),
        ([{"usr/bin/python3.11": GLIBC, "usr/bin/python3": "=> usr/bin/python3.11"}], ""),
        ([{"usr/bin/python3": "-> ../../etc/alternatives/python3", "etc/alternatives/python3": "-> /usr/bin/python3.11",
           "usr/bin/python3.11": GLIBC}], ""),
        ([{"usr/bin/python3": "-> ../libexec/platform-python3.11", "usr/libexec/platform-python3.11": GLIBC}], ""),
        ([{"opt/venv/bin/python3": "-> python", "opt/venv/bin/python": "-> /usr/local/bin/python3.11"},
          {"usr/local/bin/python3.11": GLIBC, "usr/local/bin/python3": "-> python3.9"}], "/opt/venv/bin:/usr/bin"),
        ([{"opt/conda/bin/python3": "-> python3.11", "opt/conda/bin/python3.11": GLIBC}], "/opt/conda/bin"),
        ([{"usr/bin/python3": GLIBC, "usr/lib/python3.11/os.py": b""}], ""),
        ([{"usr/bin/python3": GLIBC}, {"usr/lib/python3.11/os.pyc": b""}], ""),
        ([{"bin": "-> usr/bin", "usr/bin/python3.11": GLIBC, "usr/bin/python3": "-> python3.11"}], "/bin"),
        ([{"opt/python": "-> cpython-3.11", "opt/cpython-3.11/bin/python3": "-> python3.11",
           "opt/cpython-3.11/bin/python3.11": GLIBC}], "/opt/python/bin"),
        ([{"usr/local/bin/python3": "-> python3.11", "usr/local/bin/python3.11": GLIBC},
          {"usr/local/bin/python3": "-> python3.9", "usr/local/bin/python3.9": MUSL}], ""),
        ([{"usr/local/bin/.wh.python3": b"", "usr/bin/python3": "-> python3.11", "usr/bin/python3.11": GLIBC},
          {"usr/local/bin/python3": "-> python3.9", "usr/local/bin/python3.9": MUSL}], ""),
        ([{"opt/conda/.wh..wh..opq": b"", "usr/bin/python3": "-> python3.11", "usr/bin/python3.11": GLIBC},
          {"opt/conda/bin/python3": "-> python3.9", "opt/conda/bin/python3.9": MUSL}], "/opt/conda/bin:/usr/bin"),
        ([{"opt/.wh.conda": b"", "usr/bin/python3": "-> python3.11", "usr/bin/python3.11": GLIBC},
          {"opt/conda/bin/python3": "-> python3.9", "opt/conda/bin/python3.9": MUSL}], "/opt/conda/bin:/usr/bin"),
    ],
    ids=[
        "link", "dot slash", "absolute", "link over layers", "hard link", "alternatives", "red hat", "venv", "conda",
        "by library", "library below", "folder is a link", "named folder is a link", "replaced", "taken away",
        "folder emptied", "folder taken away",
    ],
)  # fmt: skip
def test_the_version_is_that_of_the_first_python3_on_path(layers: list[Content], path: str) -> None:
    files = look(*layers, path=path)
    assert (files.python, files.libc, files.has_program) == ("3.11", "glibc", True)


@pytest.mark.parametrize(
    ("layers", "is_there"),
    [
        ([{"usr/bin/perl": b"", "usr/bin/python2": b""}], False),
        ([{"srv/python3": b"", "usr/lib/python3.11/os.py": b""}], False),
        ([{"usr/local/bin/.wh.python3": b""}, {"usr/local/bin/python3": "-> x"}], False),
        ([{"usr/bin/python3": b"#!/bin/sh"}], True),
        ([{"usr/bin/python3": "-> pypy3"}], True),
        ([{"usr/bin/python3": "-> python3"}], True),
        ([{"usr/bin/python3": GLIBC, "usr/lib/python3.9/os.py": b"", "usr/lib/python3.11/os.py": b""}], True),
    ],
    ids=["none", "elsewhere", "taken away", "a script", "pypy", "a loop", "two libraries"],
)
def test_what_has_no_version_is_none_or_unknown(layers: list[Content], *, is_there: bool) -> None:
    files = look(*layers)
    assert (files.python, files.has_program, files.is_settled) == ("", is_there, False)


@pytest.mark.parametrize(
    ("layer", "libc"),
    [
        ({"lib/ld-musl-x86_64.so.1": MUSL}, "musl"),
        ({"lib64/ld-linux-x86-64.so.2": "-> ../lib/ld"}, "glibc"),
        ({"usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1": GLIBC}, "glibc"),
        ({"lib64/ld64.so.2": GLIBC}, "glibc"),
        ({"lib/ld-musl-x86_64.so.1": MUSL, "lib/ld-linux-x86-64.so.2": GLIBC}, ""),
        ({"home/lib/ld-musl-x86_64.so.1": MUSL}, ""),
        ({}, ""),
    ],
    ids=["alpine", "debian", "arm", "power", "both", "elsewhere", "empty"],
)
def test_a_system_tells_its_libc_by_its_loader(layer: Content, libc: str) -> None:
    assert look(layer).libc == libc


def test_python_tells_its_libc_before_the_system() -> None:
    files = look(
        {"opt/conda/bin/python3": "-> python3.9", "opt/conda/bin/python3.9": GLIBC, "lib/ld-musl-x86_64.so.1": MUSL},
        path="/opt/conda/bin",
    )
    assert files.libc == "glibc"


def test_a_python_that_comes_later_on_path_waits_for_the_layers_below() -> None:
    files = Files("/opt/conda/bin:/usr/bin")
    files.add(iter([make_layer({"usr/bin/python3": "-> python3.11", "usr/bin/python3.11": GLIBC})]))
    assert not files.is_settled
    files.add(iter([make_layer({"opt/conda/bin/python3": "-> python3.9", "opt/conda/bin/python3.9": GLIBC})]))
    assert (files.is_settled, files.python) == (True, "3.9")


def test_a_layer_is_read_no_further_than_needed() -> None:
    data = make_layer({"usr/local/bin/python3": "-> python3.11", "usr/local/bin/python3.11": GLIBC, "z": bytes(10**6)})

    def pieces() -> Iterator[bytes]:
        yield data[:20_000]
        pytest.fail("more was read")

    files = Files()
    files.add(pieces())
    assert files.python == "3.11"


def long_names() -> bytes:
    """A tar with all the ways to write a long name: pax, GNU, and one in two halves."""
    parts = []
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            member = tarfile.TarInfo(f"{form}/" + "d" * 60 + "/" + "é" * 40)
            member.size = 5
            member.mtime = 1.5 if form == tarfile.PAX_FORMAT else 1
            archive.addfile(member, io.BytesIO(b"12345"))
            link = tarfile.TarInfo(f"{form}-link")
            link.type = tarfile.SYMTYPE
            link.linkname = "t" * (90 if form == tarfile.USTAR_FORMAT else 300)
            archive.addfile(link)
            end = archive.offset
        parts.append(buffer.getvalue()[:end])
    return b"".join(parts) + bytes(1024)


def read_all(data: bytes, size: int = 1000) -> list[Entry]:
    return list(Layer(data[at : at + size] for at in range(0, len(data), size)))


def test_long_names_are_whole() -> None:
    entries = read_all(long_names())
    assert [entry.path for entry in entries[::2]] == [f"{form}/" + "d" * 60 + "/" + "é" * 40 for form in (2, 1, 0)]
    assert [len(entry.target) for entry in entries[1::2]] == [300, 300, 90]


def test_the_reader_sees_what_tarfile_sees() -> None:
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w") as archive:
        archive.add(
            os.path.dirname(json.__file__),
            "json",
            filter=lambda member: None if "__pycache__" in member.name else member,
        )
    with tarfile.open(fileobj=io.BytesIO(source.getvalue())) as archive:
        expected = [member.name for member in archive]
    assert [entry.path for entry in read_all(source.getvalue(), 7777)] == expected


def packed(data: bytes, coding: str) -> bytes:
    name, _, twice = coding.partition(" ")
    if name == "plain":
        return data
    compress = gzip.compress if name == "gzip" else zstd().compress
    parts = (data[:700], data[700:]) if twice else (data,)
    return b"".join(compress(part) for part in parts)


def zstd() -> Any:
    return pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


@pytest.mark.parametrize("size", [1, 3, 100, 100_000])
@pytest.mark.parametrize("coding", ["plain", "gzip", "gzip twice", "zstd", "zstd twice"])
def test_a_layer_is_unpacked_however_it_arrives(coding: str, size: int) -> None:
    data = os.urandom(3000) + bytes(600_000)
    whole = packed(data, coding)
    assert b"".join(unpack(whole[at : at + size] for at in range(0, len(whole), size))) == data


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_unpacking_is_done_in_small_pieces(coding: str) -> None:
    pieces = unpack(iter([packed(bytes(50_000_000), coding)]))
    assert max(len(piece) for piece in pieces) <= 256 * 1024


def oversized(kind: bytes, size: bytes, *, prefix: bytes = b"", form: Literal[0, 1, 2] = 0) -> bytes:
    """A header that claims a size."""
    header = bytearray(tarfile.TarInfo("x").tobuf(form)[:512])
    header[124:136], header[156:157], header[345 : 345 + len(prefix)] = size, kind, prefix
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    return bytes(header)


@pytest.mark.parametrize(
    "data",
    [
        b"this is no tar" * 100,
        b"\x1f\x8bthis is no gzip",
        b"\x28\xb5\x2f\xfdthis is no zstd",
        make_layer({"a": bytes(5000)})[:2000],
        gzip.compress(make_layer({"a": bytes(5000)}))[:-30],
        oversized(b"x", b"77777777777\0"),
        oversized(b"L", b"\x80" + b"\xff" * 11),
        oversized(b"0", b"\x80" + b"\xff" * 11),
        oversized(b"0", b"not octal\0\0\0"),
        oversized(b"x", b"00000000012\0") + b"99 path=x\n" + bytes(502),
        oversized(b"x", b"00000000012\0") + b"10 size=x\n" + bytes(502),
    ],
    ids=[
        "text",
        "no gzip",
        "no zstd",
        "cut",
        "gzip cut",
        "pax",
        "long name",
        "endless",
        "size",
        "pax length",
        "pax size",
    ],
)
def test_what_is_no_layer_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        read_all(data)


@pytest.mark.parametrize("kind", [b"x", b"L", b"K"])
def test_a_header_that_claims_to_be_long_is_not_read(kind: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        yield oversized(kind, b"77777777777\0")
        pytest.fail("more was read")

    with pytest.raises(Unreadable, match="a header of 8589934591 bytes"):
        list(Layer(pieces()))


@pytest.mark.parametrize(
    ("form", "path"), [(tarfile.USTAR_FORMAT, "folder/x"), (tarfile.GNU_FORMAT, "x")], ids=["ustar", "gnu"]
)
def test_what_gnu_keeps_in_the_place_of_a_prefix_is_none(form: Literal[0, 1, 2], path: str) -> None:
    header = oversized(b"0", b"0".zfill(11) + b"\0", prefix=b"folder", form=form)
    assert [entry.path for entry in read_all(header + bytes(1024))] == [path]


@pytest.mark.parametrize("seed", range(30))
def test_damage_is_no_other_error(seed: int) -> None:
    damage = random.Random(seed)  # noqa: S311 - the same damage each time
    data = bytearray(long_names() if seed % 2 else gzip.compress(long_names()))
    for _ in range(5):
        data[damage.randrange(len(data))] = damage.randrange(256)
    try:
        read_all(bytes(data))
    except Unreadable:
        return


def test_names_that_leave_the_root_are_no_names() -> None:
    assert [entry.path for entry in read_all(make_layer({"../etc/x": b"", "a/../b": b"", "./c//d/": None}))] == [
        "",
        "",
        "c/d",
    ]
