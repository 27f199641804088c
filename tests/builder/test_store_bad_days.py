"""The history where it cannot be kept: read-only, full, damaged, another's. One error each, with what to do."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store_records import add_project, entity, function, run

from nuwrap.errors import StoreError
from nuwrap.store import ProjectRecord, Store, open_store
from nuwrap.store.journal import file_system

# What disks do on which processes share no memory: the mapping is refused.
NO_SHARED_MEMORY = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
void *mmap(void *at, size_t size, int access, int flags, int file, off_t offset) {
  if (file >= 0 && (flags & MAP_SHARED) && (access & PROT_WRITE)) { errno = ENODEV; return MAP_FAILED; }
  return (void *)syscall(SYS_mmap, at, size, access, flags, file, offset);
}
void *mmap64(void *at, size_t size, int access, int flags, int file, off_t offset) {
  return mmap(at, size, access, flags, file, offset);
}
"""
ADD_PROJECT = """
import sqlite3, sys
from nuwrap.store import ProjectRecord, Store, open_store
store = open_store(sys.argv[1])
store.add_project(ProjectRecord(sys.argv[2]))
print(*[one.name for one in store.list_projects()])
store.close()
"""

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a file system in the test's folder, or skip the test loudly."""
    places: list[Path] = []

    def act(name: str, *arguments: str) -> Path:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        done = subprocess.run(["mount", *arguments, str(place)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"NOT TESTED: this user may not mount a file system ({done.stderr.strip()})")
        places.append(place)
        return place

    yield act
    for place in reversed(places):
        subprocess.run(["umount", str(place)], check=True)


def make_history(home: Path, runs: int = 3) -> None:
    store = open_store(str(home))
    add_project(store)
    store.add_function(function("v1"))
    store.add_entity(entity("1"))
    for number in range(runs):
        store.add_run(run(f"run-{number}", spec={"parameters": {"text": "x" * 200}}))
    store.close()


def add_runs(store: Store, count: int) -> None:
    for number in range(count):
        store.add_run(run(f"run-{number}", spec={"text": "x" * 20_000}))


def read_all(home: Path) -> None:
    store = open_store(str(home))
    try:
        for project in store.list_projects():
            store.list_functions(project.name)
            store.list_entities(project.name, "dataitem")
        for one in store.list_runs():
            store.get_run(one.id)
            store.run_states(one.id)
            store.lineage(run=one.id)
        store.add_project(ProjectRecord("another"))
    finally:
        store.close()


def refused(home: Path) -> str:
    with pytest.raises(StoreError) as caught:
        read_all(home)
    return str(caught.value)


class TestReadOnly:
    def test_disk(self, tmp_path: Path, mount: Mount) -> None:
        make_history(tmp_path / "home")
        mount("home", "--bind", str(tmp_path / "home"))
        subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path / "home")], check=True)
        text = refused(tmp_path / "home")
        assert "store.db' is read-only: this user may not write the file" in text
        assert "set NUWRAP_HOME to another folder" in text

    def test_disk_without_a_history(self, tmp_path: Path, mount: Mount) -> None:
        place = mount("disk", "-t", "tmpfs", "-o", "ro", "tmpfs")
        assert "cannot make the history" in refused(place)
        assert "cannot make the folder" in refused(place / "home")

    @pytest.mark.skipif(os.geteuid() == 0, reason="NOT TESTED: root may write everything")
    @pytest.mark.parametrize(("place", "mode"), [("store.db", 0o400), ("", 0o500)])
    def test_by_its_mode(self, tmp_path: Path, place: str, mode: int) -> None:
        make_history(tmp_path / "home")
        (tmp_path / "home" / place).chmod(mode)
        text = refused(tmp_path / "home")
        (tmp_path / "home").chmod(0o700)
        assert "read-only" in text


class TestNotAFile:
    def test_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "store.db").mkdir()
        assert "store.db' is not a file; move it away" in refused(tmp_path)

    def test_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "store.db")
        assert "store.db' is not a file; move it away" in refused(tmp_path)

    @pytest.mark.parametrize("below", ["", "a", "a/b"])
    def test_a_home_that_is_a_file(self, tmp_path: Path, below: str) -> None:
        (tmp_path / "home").touch()
        text = refused(tmp_path / "home" / below)
        assert "cannot make the folder" in text
        assert "set NUWRAP_HOME" in text

    def test_a_link_to_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "store.db").symlink_to(tmp_path / "gone")
        assert "is not a file" in refused(tmp_path)


class TestFullDisk:
    def test_what_was_kept_is_there_and_writing_goes_on_with_room(self, mount: Mount) -> None:
        place = mount("disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs")
        store = open_store(str(place / "home"))
        add_project(store)
        with pytest.raises(StoreError) as caught:
            add_runs(store, 1000)
        kept = len(store.list_runs())
        assert "make room, then try again" in str(caught.value)
        assert {one.id for one in store.list_runs()} == {f"run-{number}" for number in range(kept)}
        assert kept > 10
        assert store.get_run(f"run-{kept}") is None
        subprocess.run(["mount", "-o", "remount,size=4m", str(place)], check=True)
        store.add_run(run("run-with-room"))
        assert len(store.list_runs()) == kept + 1
        store.close()
        assert integrity(place / "home") == "ok"

    def test_no_room_for_a_new_one(self, mount: Mount) -> None:
        place = mount("disk", "-t", "tmpfs", "-o", "size=64k", "tmpfs")
        with pytest.raises(OSError, match="No space"):
            (place / "full").write_bytes(b"x" * 100_000)
        assert "make room" in refused(place)
        (place / "full").unlink()
        subprocess.run(["mount", "-o", "remount,size=4m", str(place)], check=True)
        make_history(place)


class TestDamaged:
    def test_an_empty_file_is_a_new_history(self, tmp_path: Path) -> None:
        (tmp_path / "store.db").touch()
        make_history(tmp_path)
        read_all(tmp_path)

    @pytest.mark.parametrize("content", [b"no\n", b"no database\n" * 1000, bytes(range(255, -1, -1)) * 80])
    def test_what_is_no_database(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "store.db").write_bytes(content)
        text = refused(tmp_path)
        assert "file is not a database" in text
        assert "move it away to begin a new one" in text
        assert (tmp_path / "store.db").read_bytes() == content

    def test_another_programs_database(self, tmp_path: Path) -> None:
        connection = sqlite3.connect(tmp_path / "store.db")
        connection.execute("CREATE TABLE bookmarks (url)")
        connection.close()
        before = (tmp_path / "store.db").read_bytes()
        assert "is a database, but not nuwrap's history" in refused(tmp_path)
        assert (tmp_path / "store.db").read_bytes() == before

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
    def test_a_truncated_one(self, tmp_path: Path, part: float) -> None:
        make_history(tmp_path, runs=200)
        os.truncate(tmp_path / "store.db", int((tmp_path / "store.db").stat().st_size * part))
        assert "it is damaged; move it away to begin a new one" in refused(tmp_path)

    def test_whatever_byte_is_wrong_the_answer_is_ours(self, tmp_path: Path) -> None:
        make_history(tmp_path / "good", runs=40)
        content = (tmp_path / "good" / "store.db").read_bytes()
        refusals = 0
        for seed in range(60):
            chance = random.Random(seed)  # noqa: S311 - the same damage each time
            damaged = bytearray(content)
            for _ in range(40):
                damaged[chance.randrange(100, len(damaged))] = chance.randrange(256)
            home = tmp_path / f"damaged-{seed}"
            home.mkdir()
            (home / "store.db").write_bytes(damaged)
            try:
                read_all(home)
            except StoreError:
                refusals += 1
        assert refusals > 20


@pytest.mark.skipif(not shutil.which("cc"), reason="NOT TESTED: a disk without shared memory is played by a C function")
def test_a_disk_without_shared_memory_has_the_other_journal(tmp_path: Path) -> None:
    (tmp_path / "no_memory.c").write_text(NO_SHARED_MEMORY)
    library = tmp_path / "no_memory.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "no_memory.c"], check=True)
    home = tmp_path / "home"

    def add(name: str, **more: str) -> str:
        command = [sys.executable, "-W", "error", "-c", ADD_PROJECT, str(home), name]
        return subprocess.run(
            command, env={**os.environ, **more}, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    without = {"LD_PRELOAD": str(library)}
    assert add("a", **without) == "a"
    assert journal(home) == "delete"
    assert add("b") == "b a"
    assert journal(home) == "wal"
    assert add("c", **without) == "c b a"  # a folder that moved from a good disk to such a one
    assert journal(home) == "delete"


def test_a_disk_of_several_machines_is_known_by_its_name(mount: Mount) -> None:
    place = mount("disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    assert (file_system(str(place)), file_system("/proc")) == ("tmpfs", "proc")


def journal(home: Path) -> str:
    """Return the journal that the file's header tells (offset 18: 1 is the rollback journal, 2 is WAL)."""
    return {1: "delete", 2: "wal"}[(home / "store.db").read_bytes()[18]]


def integrity(home: Path) -> str:
    connection = sqlite3.connect(home / "store.db")
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()
