"""Archives: what comes out of good ones, and that nothing comes out of the others."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from hostile_archives import (
    HOSTILE,
    LIMITS,
    MEGABYTE,
    Entry,
    Hostile,
    gzip_of,
    link,
    member,
    pax,
    record,
    spoiled,
    tar,
    xz_of,
    zip_link,
    zipped,
    zstd_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import nuwrap_runtime
from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.archive import form_of, is_archive_name, unpack
from nuwrap_runtime.host.names import Names
from nuwrap_runtime.host.unpacking import Unpacked
from nuwrap_runtime.launch import ARCHIVES, Limits

FILES = {
    "main.py": b"def f(): return 7\n",
    "pkg/__init__.py": b"",
    "pkg/größe/日本 1.txt": b"\xff\x00" * 70_000,
    "a/" * 60 + "deep.bin": bytes(range(256)) * 3000,
    "run.sh": b"#!/bin/sh\n",
}
MTIME = 1_600_000_000
DEFAULT = Limits()
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, "gzip": gzip_of, "bzip2": bz2.compress, "xz": xz_of, "zstd": zstd_of,
}  # fmt: skip
FEW = settings(deadline=None, max_examples=40)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "outer" / "into"
    folder.mkdir(parents=True)
    return folder


def unpacked(content: bytes, into: Path, limits: Limits = DEFAULT) -> Unpacked:
    archive = into.parent.parent / "archive"
    archive.write_bytes(content)
    return unpack(str(archive), str(into), limits, shown="code_src 'x'")


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def tar_of(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar as Python writes it, with a link and an empty folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), MTIME, 0o6777 if name.endswith(".sh") else 0o600
            archive.addfile(info, io.BytesIO(content))
        empty, inner = tarfile.TarInfo("empty"), tarfile.TarInfo("pkg/up.py")
        empty.type, inner.type, inner.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "../main.py"
        archive.addfile(empty)
        archive.addfile(inner)
    return stream.getvalue()


def zip_of(files: dict[str, bytes], method: int, stream: Any = None) -> bytes:
    """Return a zip as Python writes it, likewise; to a stream that cannot seek, sizes follow the members."""
    stream = stream or io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, time.localtime(MTIME)[:6])
            info.external_attr = (0o106777 if name.endswith(".sh") else 0o100600) << 16
            archive.writestr(info, content, method)
        archive.writestr("empty/", b"")
        inner = zipfile.ZipInfo("pkg/up.py")
        inner.external_attr = 0o120777 << 16
        archive.writestr(inner, "../main.py")
    return bytes(stream.getvalue())


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise io.UnsupportedOperation

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation


GOOD: dict[str, Callable[[], bytes]] = {
    "tar, ustar": lambda: tar_of(FILES, tarfile.USTAR_FORMAT),
    "tar, gnu": lambda: tar_of(FILES, tarfile.GNU_FORMAT),
    "tar, pax": lambda: tar_of(FILES),
    **{f"tar in {name}": lambda pack=pack: pack(tar_of(FILES)) for name, pack in PACKERS.items()},
    "tar in two gzips": lambda: gzip_of(tar_of(FILES)[:7000]) + gzip_of(tar_of(FILES)[7000:]) + bytes(100),
    "tar in two xz": lambda: xz_of(tar_of(FILES)[:7000]) + bytes(8) + xz_of(tar_of(FILES)[7000:]),
    "tar in two zstds": lambda: zstd_of(tar_of(FILES)[:7000]) + zstd_of(tar_of(FILES)[7000:]),
    "tar in two bzip2s": lambda: bz2.compress(tar_of(FILES)[:7000]) + bz2.compress(tar_of(FILES)[7000:]),
    "zip, stored": lambda: zip_of(FILES, zipfile.ZIP_STORED),
    "zip, deflate": lambda: zip_of(FILES, zipfile.ZIP_DEFLATED),
    "zip, bzip2": lambda: zip_of(FILES, zipfile.ZIP_BZIP2),
    "zip, streamed": lambda: zip_of(FILES, zipfile.ZIP_DEFLATED, Unseekable()),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD.keys())
def test_all_that_a_good_archive_holds_comes_out(into: Path, make: Callable[[], bytes]) -> None:
    content = make()
    done = unpacked(content, into)
    assert contents(into) == FILES
    assert done == Unpacked(len(FILES) + 1, sum(map(len, FILES.values())))
    assert os.readlink(into / "pkg" / "up.py") == "../main.py"
    assert (into / "empty").is_dir()
    assert os.stat(into / "main.py").st_mtime == MTIME
    assert form_of(str(into.parent.parent / "archive")) == ("zip" if content.startswith(b"PK") else "tar")


@pytest.mark.parametrize("content", [tar_of(FILES), zip_of(FILES, 8)], ids=["tar", "zip"])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_are_plain_whatever_the_archive_and_the_umask(into: Path, content: bytes, umask: int) -> None:
    before = os.umask(umask)
    try:
        unpacked(content, into)
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE(os.lstat(into / name).st_mode) for name in ("main.py", "run.sh", "pkg", "empty")}
    assert modes == {"main.py": 0o644, "run.sh": 0o755, "pkg": 0o755, "empty": 0o755}


@pytest.mark.parametrize("program", ["tar", "zip"])
def test_what_the_usual_programs_pack_comes_out(tmp_path: Path, into: Path, program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    source = tmp_path / "source"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    (source / "empty").mkdir()
    (source / "alias").symlink_to("pkg")
    os.link(source / "main.py", source / "twin.py")
    argv = {"tar": ["tar", "czf", "../packed", "."], "zip": ["zip", "-qry", "../packed.zip", "."]}[program]
    subprocess.run(argv, cwd=source, check=True)
    packed = next(tmp_path.glob("packed*")).read_bytes()
    unpacked(packed, into)
    assert contents(into) == {**FILES, "twin.py": FILES["main.py"]}
    assert listing(into) == listing(source)
    assert abs(os.stat(into / "main.py").st_mtime - os.stat(source / "main.py").st_mtime) < 1
    assert os.stat(into / "twin.py").st_nlink == 1


@pytest.mark.parametrize("case", HOSTILE, ids=[case.name for case in HOSTILE])
def test_of_a_hostile_archive_nothing_comes_out(tmp_path: Path, into: Path, case: Hostile) -> None:
    with pytest.raises(SourceError, match=case.words) as caught:
        unpacked(case.make(), into, LIMITS)
    assert str(caught.value).startswith("code_src 'x': ")
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == ["archive", "outer", "outer/into"]
    assert not os.path.lexists("/nuwrap-evil")


def test_the_hostile_archives_are_many_and_each_has_its_name() -> None:
    assert len({case.name for case in HOSTILE}) == len(HOSTILE) > 200


def test_a_hard_link_is_a_copy(into: Path) -> None:
    first = member("a/b.sh", b"12345", mode=0o755)
    done = unpacked(tar(first, member("c", type=b"1", linkname="./a/b.sh")), into)
    assert contents(into) == {"a/b.sh": b"12345", "c": b"12345"}
    assert done == Unpacked(2, 10)
    assert os.stat(into / "c").st_nlink == 1
    assert os.access(into / "c", os.X_OK)


LINKS = {"up": ".", "a/top": "../up/f", "dangling": "a/not-there", "a/through": "../a/./top", "long": "a/../a/../f"}


@pytest.mark.parametrize(
    "content",
    [
        tar(member("f", b"1"), *(link(*one) for one in LINKS.items())),
        tar(*(link(*one) for one in LINKS.items()), member("f", b"1")),
        zipped(*(zip_link(*one) for one in LINKS.items()), Entry(b"f", b"1")),
    ],
    ids=["tar", "tar, links first", "zip"],
)
def test_links_inside_stay_links(into: Path, content: bytes) -> None:
    assert unpacked(content, into).files == 6
    assert {name: os.readlink(into / name) for name in LINKS} == LINKS
    assert (into / "a" / "top").read_bytes() == b"1"


def test_pax_headers_are_for_the_next_member_and_global_ones_for_all(into: Path) -> None:
    common = pax(record("mtime", "1000.5") + record("comment", "x"), b"g")
    one = pax(record("path", "ä/" + "n" * 200) + record("size", "3")) + member("short", b"abc")
    unpacked(tar(common, one, member("other", b"de")), into)
    assert contents(into) == {"ä/" + "n" * 200: b"abc", "other": b"de"}
    assert os.stat(into / "other").st_mtime == 1000.5


def test_a_hidden_member_in_the_size_that_pax_overrules_is_data(into: Path) -> None:
    inner = tar(member("hidden", b"evil"))
    outer = pax(record("size", str(len(inner)))) + member("outer") + inner
    unpacked(tar(outer), into)
    assert contents(into) == {"outer": inner}


@pytest.mark.parametrize("mtime", [-5, 2**62, 0])
def test_a_time_that_is_none_is_the_first(into: Path, mtime: int) -> None:
    unpacked(tar(member("a", mtime=mtime)), into)
    assert os.stat(into / "a").st_mtime == 0


@pytest.mark.parametrize("value", ["nan", "inf", "-1e300"])
def test_a_pax_time_that_is_none_is_the_first(into: Path, value: str) -> None:
    unpacked(tar(pax(record("mtime", value)), member("a")), into)
    assert os.stat(into / "a").st_mtime == 0


@pytest.mark.parametrize(
    ("name", "flags", "path"),
    [
        ("größe".encode(), 0x800, "größe"),
        ("größe".encode(), 0, "größe"),
        ("größe".encode("cp437"), 0, "größe"),
    ],
    ids=["UTF-8 with its flag", "UTF-8 without", "code page 437"],
)
def test_a_zip_has_names_in_either_encoding(into: Path, name: bytes, flags: int, path: str) -> None:
    unpacked(zipped(Entry(name, b"1", flags=flags)), into)
    assert listing(into) == [path]


def test_a_zip64_is_read_and_a_comment_may_follow(into: Path) -> None:
    field = struct.pack("<2HQ", 1, 8, 3)
    content = zipped(Entry(b"a", b"abc", size=0xFFFFFFFF, extra=field), wide=True, comment=b"PK\x05\x06 more")
    assert unpacked(content, into) == Unpacked(1, 3)


def test_a_zip_tells_times_in_utc_where_it_has_them(into: Path) -> None:
    field = struct.pack("<2HBl", 0x5455, 5, 1, MTIME)
    unpacked(zipped(Entry(b"a", b"", extra=field)), into)
    assert os.stat(into / "a").st_mtime == MTIME


def test_a_zip_of_another_system_has_no_modes(into: Path) -> None:
    unpacked(zipped(Entry(b"a", b"../x", mode=0o120777, system=0)), into)
    assert (into / "a").read_bytes() == b"../x"
    assert not (into / "a").is_symlink()


@pytest.mark.parametrize("size", [4_000_000, 9_990_000])
@pytest.mark.parametrize("form", ["tar", "zip"])
def test_the_ratio_counts_from_ten_megabytes_on(into: Path, size: int, form: str) -> None:
    content = gzip_of(tar(member("a", bytes(size)))) if form == "tar" else zipped(Entry(b"a", bytes(size), 8))
    assert size > 200 * len(content) or size == 4_000_000
    assert unpacked(content, into, Limits(ratio=1)).bytes == size


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_the_ratio_is_that_of_the_whole_archive(into: Path, form: str) -> None:
    files = {"zeros": bytes(15 * MEGABYTE), "noise": os.urandom(300_000)}
    content = gzip_of(tar_of(files)) if form == "tar" else zip_of(files, 8)
    assert unpacked(content, into).files == 3


TWO_TAR = tar(member("a", b"12345"), member("b", b"12345"))
TWO_ZIP = zipped(Entry(b"a", b"12345"), Entry(b"b", b"12345"))


@pytest.mark.parametrize(
    ("limits", "key"),
    [(Limits(bytes=9), "bytes"), (Limits(files=1), "files"), (Limits(bytes=0), "bytes"), (Limits(files=0), "files")],
)
@pytest.mark.parametrize("content", [TWO_TAR, TWO_ZIP], ids=["tar", "zip"])
def test_a_limit_is_named(into: Path, content: bytes, limits: Limits, key: str) -> None:
    with pytest.raises(SourceError, match=rf"more than \d+ {key}, the most that is allowed \(limits\.{key}\)|lists 2"):
        unpacked(content, into, limits)
    assert listing(into) == []
    assert unpacked(content, into, Limits(bytes=10, files=2)) == Unpacked(2, 10)


@pytest.mark.parametrize(
    ("name", "is_archive"),
    [*((f"https://h/x{suffix}", True) for suffix in ARCHIVES), ("A.ZIP", True), ("x.TGZ", True)]
    + [(name, False) for name in ("x.py", "zip", "x.gz", "x.zip.txt", "tar", "x.whl", "")],
)
def test_an_archive_is_known_by_its_suffix(name: str, is_archive: bool) -> None:
    assert is_archive_name(name) is is_archive


@pytest.mark.parametrize(
    "content",
    [b"", b"text", gzip_of(b"text"), gzip_of(tar_of(FILES))[:30], bytes(2000), b"PK", gzip_of(zipped(Entry(b"a")))],
    ids=["nothing", "text", "text in gzip", "cut", "zeros", "two letters", "a zip in gzip"],
)
def test_what_is_no_archive_has_no_form(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert form_of(str(tmp_path / "x")) == ""


@pytest.mark.parametrize(("module", "pack"), [("backports.zstd", zstd_of), ("lzma", xz_of), ("bz2", bz2.compress)])
def test_a_python_without_the_module_says_so(tmp_path: Path, module: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "x").write_bytes(pack(tar_of(FILES)))
    blocked = f"import sys; sys.modules[{module!r}] = sys.modules['compression'] = None\n"
    said = run_child(tmp_path, blocked + "unpack(archive, into, Limits(), shown='x')", check=False)
    assert f"has no module {module}: pack it with gzip or as zip" in said
    assert listing(tmp_path / "into") == []


def child(folder: Path, code: str) -> subprocess.Popen[str]:
    """Start a Python with `archive` (the file x of the folder) and `into` (an empty folder in it)."""
    (folder / "into").mkdir()
    head = (
        "import os, signal\nfrom nuwrap_runtime.errors import Stopped\nfrom nuwrap_runtime.launch import Limits\n"
        "from nuwrap_runtime.host.archive import unpack\n"
        f"archive, into = {str(folder / 'x')!r}, {str(folder / 'into')!r}\n"
    )
    root = str(Path(nuwrap_runtime.__file__).parent.parent)
    environ = {**os.environ, "PYTHONPATH": root}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", head + code], stdout=pipe, stderr=pipe, text=True, env=environ)


def run_child(folder: Path, code: str, *, check: bool = True) -> str:
    with child(folder, code) as process:
        output, errors = process.communicate(timeout=120)
    assert not check or process.returncode == 0, errors[-2000:]
    return output if check else errors


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bz2.compress(tar(member("a", bytes(300 * MEGABYTE)))), ""),
        (lambda: tar(member("a", b"x" * 50 * MEGABYTE, type=b"x")), "allowed: 1048576"),
        (lambda: gzip_of(tar(*[pax(record("comment", "x" * 900_000))] * 100)), ""),
        (lambda: zip_of({f"{number}.txt": b"x" for number in range(50_000)}, 0), ""),
        (lambda: tar_of({f"{number}.txt": b"x" for number in range(50_000)}), ""),
        (lambda: gzip_of(tar(member("a", b"1")) + bytes(200 * MEGABYTE)), ""),
    ],
    ids=["a large file", "a large header", "many large headers", "many files, zip", "many files, tar", "zeros"],
)
def test_memory_stays_small(tmp_path: Path, make: Callable[[], bytes], words: str) -> None:
    (tmp_path / "x").write_bytes(make())
    code = (
        "try: unpack(archive, into, Limits(ratio=10**9), shown='x')\nexcept Exception as exc: print(exc)\n"
        "print(open('/proc/self/status').read())"
    )
    said = run_child(tmp_path, code)
    assert words in said
    found = re.search(r"VmHWM:\s+(\d+) kB", said)
    assert found
    assert int(found.group(1)) < 120_000


@pytest.fixture
def many(tmp_path: Path) -> int:
    """An archive that takes a while."""
    (tmp_path / "x").write_bytes(tar_of({f"d{number % 50}/{number}": b"x" for number in range(20_000)}))
    return 20_000


def wait_for_files(folder: Path) -> None:
    end = time.monotonic() + 60
    while not any(folder.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_kill_in_the_middle_leaves_no_more_than_a_part_below_the_folder(tmp_path: Path, many: int) -> None:
    with child(tmp_path, "unpack(archive, into, Limits(), shown='x')") as process:
        wait_for_files(tmp_path / "into")
        process.kill()
        process.wait()
    assert len(listing(tmp_path / "into")) < many
    assert sorted(os.listdir(tmp_path)) == ["into", "x"]


def test_a_stop_in_the_middle_leaves_nothing(tmp_path: Path, many: int) -> None:
    code = (
        "def stop(*_): raise Stopped('stopped')\nsignal.signal(signal.SIGTERM, stop)\n"
        "try: unpack(archive, into, Limits(), shown='x')\nexcept Stopped: print('stopped', os.listdir(into))"
    )
    with child(tmp_path, code) as process:
        wait_for_files(tmp_path / "into")
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60) == ("stopped []\n", "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("NOT TESTED, a full disk: there is no program mount")
    if done.returncode:
        pytest.skip(f"NOT TESTED, a full disk: this user may not mount one ({done.stderr.strip()})")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path, small_disk: Path, form: str) -> None:
    files = {f"folder/{number}": os.urandom(300_000) for number in range(6)}
    (tmp_path / "x").write_bytes(tar_of(files) if form == "tar" else zip_of(files, 8))
    into = small_disk / "into"
    into.mkdir()
    with pytest.raises(SourceError, match=r"^code_src 'x': cannot be unpacked: No space left on device$"):
        unpack(str(tmp_path / "x"), str(into), Limits(), shown="code_src 'x'")
    assert listing(small_disk) == ["into"]


def test_an_archive_that_is_not_there_is_an_error(into: Path) -> None:
    with pytest.raises(SourceError, match=r"^x: cannot be unpacked: No such file or directory$"):
        unpack(str(into / "missing"), str(into), LIMITS, shown="x")


PARTS = st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="/\\"), min_size=1, max_size=20)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
TREES = st.dictionaries(PATHS, st.binary(max_size=3000), min_size=1, max_size=12)


def fitting(tree: dict[str, bytes]) -> dict[str, bytes]:
    """Return those files whose names are allowed beside the others and beside what `tar_of` and `zip_of` add."""
    names, found = Names(1000), {}
    names.take("empty", "folder")
    names.take("pkg/up.py", "link")
    for name, content in tree.items():
        try:
            found[names.take(name, "file")] = content
        except ValueError:
            continue
    return found


@FEW
@given(tree=TREES, pack=st.sampled_from(["zip", *PACKERS]))
def test_any_tree_comes_back_as_it_was(tree: dict[str, bytes], pack: str) -> None:
    files = fitting({"main.py": b"1", **tree})
    content = zip_of(files, zipfile.ZIP_DEFLATED) if pack == "zip" else PACKERS[pack](tar_of(files))
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder, "outer", "into")
        into.mkdir(parents=True)
        unpacked(content, into)
        assert contents(into) == files


BASES = tuple(make() for make in GOOD.values())


@settings(FEW, max_examples=150)
@given(base=st.sampled_from(BASES), data=st.data())
def test_a_spoiled_archive_is_an_error_or_harmless(base: bytes, data: st.DataObject) -> None:
    change = data.draw(st.one_of(st.binary(min_size=1, max_size=8), st.just(b"")))
    at = data.draw(st.one_of(st.integers(0, 3000), st.integers(-3000, -1)))
    content = spoiled(base, at, change) if change else base[: at % len(base)]
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder, "outer", "into")
        into.mkdir(parents=True)
        try:
            unpacked(content, into)
        except SourceError:
            assert listing(into) == []
        assert listing(into.parent.parent)[:2] == ["archive", "outer"]
        assert os.listdir(into.parent) == ["into"]


def test_reading_an_archive_leaves_it_as_it_is(tmp_path: Path, into: Path) -> None:
    content = tar_of(FILES)
    unpacked(content, into)
    assert (tmp_path / "archive").read_bytes() == content


def test_xz_of_the_highest_level_is_unpacked(into: Path) -> None:
    assert unpacked(lzma.compress(tar_of(FILES), preset=9), into).files == 6
    shutil.rmtree(into)
    into.mkdir()
    assert unpacked(zstd_of(tar_of(FILES), compression_level=19), into).files == 6
