"""The source cache: whole or not at all, whatever happens meanwhile. Real processes, real kills, real git over HTTP."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from git_server import GitServer, commit, fetch_to, git, make_repository, names_in

from nuwrap_runtime.errors import PlatformError, SourceError
from nuwrap_runtime.host.copying import KEPT_TIME
from nuwrap_runtime.host.source_cache import SourceCache, cache_bytes, find_kept, find_leftovers, key, open_cache
from nuwrap_runtime.launch import Limits

KEY = key("one")
# A child that does the work of its arguments, and says so and waits when it is about to copy a file's bytes.
WAITING = """
import sys, time
from nuwrap_runtime.host import copying, source_cache
from nuwrap_runtime.host.starting import stop
import signal
signal.signal(signal.SIGTERM, stop)
if {waits}:
    def wait(*arguments):
        print("copying", flush=True)
        time.sleep(60)
    copying._copy_bytes = wait
sys.stdin.readline()
work, folder, key, place = sys.argv[1:]
cache = source_cache.open_cache(folder)
cache.keep(key, place, {{"by": "child"}}) if work == "keep" else cache.copy(key, place)
"""
FETCHING = """
import os, sys
from nuwrap_runtime.host.sources import Source, fetch
found = fetch(Source("git+file", sys.argv[1], cache=sys.argv[2]), sys.argv[3], dict(os.environ))
print(found.from_cache, "git" in sys.modules)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "sources"


@pytest.fixture
def cache(folder: Path) -> SourceCache:
    return open_cache(str(folder))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of all that can be kept."""
    made = tmp_path / "tree"
    (made / "pkg" / "empty").mkdir(parents=True)
    (made / "main.py").write_text("x = 1\n")
    (made / "pkg" / "run").write_text("#!/bin/sh\n")
    (made / "pkg" / "run").chmod(0o755)
    (made / "pkg" / "large").write_bytes(b"ab" * 300_000)
    (made / "link").symlink_to("pkg/run")
    (made / "dangling").symlink_to("pkg/nothing")
    (made / "name\udcff").write_text("no UTF-8")
    return made


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start a child that keeps or copies and, with `waits`, stops half-way until it is killed."""
    with contextlib.ExitStack() as stack:

        def run(work: str, place: Path, *, waits: bool = True) -> subprocess.Popen[str]:
            place.mkdir(exist_ok=True)
            code = WAITING.format(waits=waits)
            argv = [sys.executable, "-c", code, work, str(folder), KEY, str(place)]
            child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            stack.enter_context(child)
            stack.callback(child.kill)
            if waits:
                go(child)
                assert child.stdout
                assert child.stdout.readline() == "copying\n"
            return child

        yield run


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin
    child.stdin.write("\n")
    child.stdin.flush()


def small(place: Path, size: int = 1000) -> str:
    """Make a tree of one file and return its path."""
    place.mkdir()
    (place / "main.py").write_text("#" * size)
    return str(place)


def copied(cache: SourceCache, place: Path, name: str = KEY) -> Any:
    place.mkdir()
    return cache.copy(name, str(place))


def kept_keys(folder: Path) -> set[str]:
    return {kept.key for kept in find_kept(str(folder))}


def test_a_tree_comes_back_as_it_was_and_can_be_written(cache: SourceCache, tree: Path, tmp_path: Path) -> None:
    cache.keep(KEY, str(tree), {"revision": "r"})
    facts = copied(cache, tmp_path / "into")
    into = tmp_path / "into"
    assert facts == {"revision": "r", "files": 6, "bytes": 6 + 10 + 600_000 + 7 + 11 + 8}
    assert names_in(into) == names_in(tree)
    assert (into / "pkg" / "empty").is_dir()
    assert (os.readlink(into / "link"), os.readlink(into / "dangling")) == ("pkg/run", "pkg/nothing")
    for path in (path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()):
        other = into / path.relative_to(tree)
        assert other.read_bytes() == path.read_bytes()
        assert other.stat().st_mode & 0o200
        assert bool(other.stat().st_mode & 0o100) == bool(path.stat().st_mode & 0o100)
        assert other.stat().st_mtime != KEPT_TIME


def test_what_is_kept_is_read_only_and_this_users_alone(cache: SourceCache, tree: Path, folder: Path) -> None:
    cache.keep(KEY, str(tree), {})
    inside = [path for path in (folder / KEY / "tree").rglob("*") if not path.is_symlink()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in inside} == {0o444, 0o555}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_was_not_kept_is_none(cache: SourceCache, tree: Path, tmp_path: Path) -> None:
    assert copied(cache, tmp_path / "a") is None
    assert cache.facts(KEY) is None
    for closed in (open_cache(""), open_cache(str(tmp_path / "none"), 0)):
        closed.keep(KEY, str(tree), {})
        closed.remember("n", {})
        assert (closed.copy(KEY, str(tmp_path / "a")), closed.facts(KEY), closed.recall("n")) == (None, None, None)
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(tree: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    cache = open_cache(str(folder))
    cache.keep(KEY, str(tree), {})
    assert (cache.is_open, list(folder.iterdir())) == (False, [])
    assert "belongs to uid 12345" in capsys.readouterr().err


def test_facts_are_remembered_by_name_for_every_process(cache: SourceCache, folder: Path) -> None:
    cache.remember("https://host/../../x", {"etag": '"1"'})
    cache.remember("https://host/../../x", {"etag": '"2"'})
    other = open_cache(str(folder))
    assert other.recall("https://host/../../x") == {"etag": '"2"'}
    assert other.recall("other") is None
    for path in (folder / "names").iterdir():
        path.write_text('{"etag"')
    assert other.recall("https://host/../../x") is None


def test_parts_of_a_key_are_kept_apart() -> None:
    assert len({key("a", "b"), key("ab"), key("a\0b"), key("a", "b", ""), key("\udcff")}) == 5


def test_the_limit_is_a_number_of_bytes() -> None:
    assert (cache_bytes({}), cache_bytes({"NUWRAP_CACHE_BYTES": "0"})) == (10_000_000_000, 0)
    for wrong in ("-1", "1e9", "10 GB", "٣"):
        with pytest.raises(PlatformError, match="is no number of bytes; allowed: 0"):
            cache_bytes({"NUWRAP_CACHE_BYTES": wrong})


def _shorten(entry: Path) -> None:
    (entry / "tree" / "main.py").chmod(0o600)
    os.truncate(entry / "tree" / "main.py", 3)
    os.utime(entry / "tree" / "main.py", (KEPT_TIME, KEPT_TIME))


def _lengthen(entry: Path) -> None:
    (entry / "tree" / "main.py").chmod(0o600)
    with (entry / "tree" / "main.py").open("a") as stream:
        stream.write("more than there was")
    os.utime(entry / "tree" / "main.py", (KEPT_TIME, KEPT_TIME))


def _rewrite(entry: Path) -> None:
    (entry / "tree" / "main.py").chmod(0o600)
    (entry / "tree" / "main.py").write_text("x = 2\n")


def _add(entry: Path) -> None:
    (entry / "tree").chmod(0o700)
    (entry / "tree" / "new").touch()
    os.utime(entry / "tree" / "new", (KEPT_TIME, KEPT_TIME))


def _lead_elsewhere(entry: Path) -> None:
    (entry / "tree").chmod(0o700)
    (entry / "tree" / "link").unlink()
    (entry / "tree" / "link").symlink_to("/etc/host")


def _remove_file(entry: Path) -> None:
    (entry / "tree").chmod(0o700)
    (entry / "tree" / "main.py").unlink()


def _remove_tree(entry: Path) -> None:
    (entry / "tree").rename(entry / "other")


@pytest.mark.parametrize(
    "damage",
    [
        _shorten,
        _lengthen,
        _rewrite,
        _add,
        _lead_elsewhere,
        _remove_file,
        _remove_tree,
        lambda entry: (entry / "facts.json").write_text(""),
        lambda entry: (entry / "facts.json").write_text('{"format": 1}'),
        lambda entry: (entry / "facts.json").write_text("[" * 100_000),
        lambda entry: (entry / "facts.json").unlink(),
    ],
)
def test_a_damaged_entry_counts_as_none_and_is_replaced(
    cache: SourceCache, tree: Path, folder: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    cache.keep(KEY, str(tree), {})
    damage(folder / KEY)
    assert copied(cache, tmp_path / "a") is None
    assert list((tmp_path / "a").iterdir()) == []
    cache.keep(KEY, str(tree), {})
    assert copied(cache, tmp_path / "b")
    assert names_in(tmp_path / "b") == names_in(tree)
    assert kept_keys(folder) == {KEY}
    assert find_leftovers(str(folder)) == []


def _make_pipe(tree: Path) -> None:
    os.mkfifo(tree / "pipe")


def _lead_out(tree: Path) -> None:
    (tree / "out").symlink_to("../elsewhere")


def _lead_out_by_a_link(tree: Path) -> None:
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "short").symlink_to("a/b")
    (tree / "out").symlink_to("short/../../../elsewhere")


def _lead_absolutely(tree: Path) -> None:
    (tree / "out").symlink_to(tree / "main.py")


def _go_deep(tree: Path) -> None:
    tree.joinpath(*["d"] * 201).mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_make_pipe, "neither a file"),
        (_lead_out, "leads out"),
        (_lead_out_by_a_link, "leads out"),
        (_lead_absolutely, "leads out"),
        (_go_deep, "200 levels"),
    ],
)
def test_what_cannot_be_kept_is_a_note_and_leaves_nothing(
    cache: SourceCache,
    tree: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], None],
    reason: str,
) -> None:
    make(tree)
    cache.keep(KEY, str(tree), {})
    assert reason in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_facts_that_are_no_json_are_a_note(
    cache: SourceCache, tree: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.keep(KEY, str(tree), {"fact": object()})
    assert "not kept" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_the_least_recently_used_goes_first(folder: Path, tmp_path: Path) -> None:
    cache = open_cache(str(folder), 3500)
    keys = [key(str(number)) for number in range(5)]
    for number in range(3):
        cache.keep(keys[number], small(tmp_path / str(number)), {})
        os.utime(folder / keys[number] / "facts.json", (number + 1, number + 1))
    assert copied(cache, tmp_path / "a", keys[0])
    cache.keep(keys[3], small(tmp_path / "3"), {})
    assert kept_keys(folder) == {keys[0], keys[2], keys[3]}
    cache.keep(keys[4], small(tmp_path / "4", 3000), {})
    assert kept_keys(folder) == {keys[4]}


def test_what_is_larger_than_the_limit_is_not_kept_and_displaces_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = open_cache(str(folder), 3500)
    cache.keep(key("small"), small(tmp_path / "small"), {})
    cache.keep(KEY, small(tmp_path / "large", 3501), {})
    assert kept_keys(folder) == {key("small")}
    assert "more than 3500 bytes (NUWRAP_CACHE_BYTES)" in capsys.readouterr().err


def test_many_processes_that_keep_the_same_leave_one_entry(
    start: Start, cache: SourceCache, tree: Path, folder: Path, tmp_path: Path
) -> None:
    children = [start("keep", tree, waits=False) for _ in range(4)]
    for child in children:
        go(child)
    outputs = [child.communicate(timeout=60) for child in children]
    assert ([child.returncode for child in children], outputs) == ([0] * 4, [("", "")] * 4)
    assert copied(cache, tmp_path / "into")["by"] == "child"
    assert sorted(os.listdir(folder)) == [KEY]


def test_what_a_killed_keep_leaves_goes_with_the_next_and_never_what_a_living_one_fills(
    start: Start, cache: SourceCache, tree: Path, folder: Path, tmp_path: Path
) -> None:
    child = start("keep", tree)
    cache.keep(key("other"), small(tmp_path / "other"), {})
    assert len(find_leftovers(str(folder))) == 1
    assert copied(cache, tmp_path / "a") is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    cache.keep(KEY, str(tree), {})
    assert sorted(os.listdir(folder)) == sorted([KEY, key("other")])
    assert copied(cache, tmp_path / "b")


def test_what_a_kill_leaves_before_the_lock_is_made_goes_after_a_minute(
    cache: SourceCache, tree: Path, folder: Path
) -> None:
    for name, age in ((".making-young", 0), (".making-old", 120), (".gone-now", 0)):
        (folder / name / "tree").mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    cache.keep(KEY, str(tree), {})
    assert sorted(os.listdir(folder)) == sorted([KEY, ".making-young"])


def test_what_is_being_copied_is_not_removed_until_its_copier_is_killed(
    start: Start, cache: SourceCache, tree: Path, folder: Path, tmp_path: Path
) -> None:
    cache.keep(KEY, str(tree), {})
    child = start("copy", tmp_path / "into")
    narrow = open_cache(str(folder), 600_500)
    narrow.keep(key("other"), small(tmp_path / "other"), {})
    assert kept_keys(folder) == {KEY, key("other")}
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert copied(cache, tmp_path / "again")
    os.utime(folder / KEY / "facts.json", (1, 1))
    narrow.keep(key("third"), small(tmp_path / "third"), {})
    assert kept_keys(folder) == {key("other"), key("third")}


@pytest.mark.parametrize("work", ["keep", "copy"])
def test_a_stop_half_way_leaves_nothing(
    start: Start, cache: SourceCache, tree: Path, folder: Path, tmp_path: Path, work: str
) -> None:
    if work == "copy":
        cache.keep(KEY, str(tree), {})
    child = start(work, tmp_path / "into" if work == "copy" else tree)
    child.terminate()
    assert "Stopped" in child.communicate(timeout=60)[1]
    assert kept_keys(folder) == ({KEY} if work == "copy" else set())
    assert find_leftovers(str(folder)) == []
    if work == "copy":
        assert list((tmp_path / "into").iterdir()) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as exc:
        pytest.skip(f"SKIPPED: cannot mount a small file system: {exc}")
    if done.returncode:
        pytest.skip(f"SKIPPED: cannot mount a small file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_keeps_nothing_and_says_so(disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = open_cache(str(disk / "sources"))
    cache.keep(key("small"), small(tmp_path / "small"), {})
    cache.keep(KEY, small(tmp_path / "large", 2_000_000), {})
    assert "No space left" in capsys.readouterr().err
    assert os.listdir(disk / "sources") == [key("small")]
    assert copied(cache, tmp_path / "into", key("small"))
    (disk / "fill").write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize))
    cache.remember("name", {"a": "b"})
    assert cache.recall("name") is None
    assert copied(cache, tmp_path / "again", key("small"))


def test_a_copy_to_a_full_disk_is_an_error_and_no_damage(
    cache: SourceCache, tree: Path, disk: Path, tmp_path: Path
) -> None:
    (tree / "more").write_bytes(b"x" * 1_000_000)
    cache.keep(KEY, str(tree), {})
    with pytest.raises(OSError, match="No space left"):
        copied(cache, disk / "into")
    assert list((disk / "into").iterdir()) == []
    assert copied(cache, tmp_path / "elsewhere")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repository(tmp_path.resolve() / "srv" / "repo")


def asked_of(server: GitServer, fetch: Callable[[], Any]) -> int:
    before = len(server.seen)
    fetch()
    return len(server.seen) - before


def test_a_commit_that_is_kept_is_not_fetched_again(tmp_path: Path, repo: Path, folder: Path) -> None:
    first = git(repo, "rev-parse", "HEAD")
    git(repo, "tag", "-a", "annotated", "-m", "a tag")
    git(repo, "tag", "light")
    with GitServer(repo.parent) as server:
        address = f"{server.url}/repo/.git"
        listing = asked_of(server, lambda: git(tmp_path, "ls-remote", address))
        assert not fetch_to(tmp_path / "first", f"git+{address}", cache=str(folder)).from_cache
        for number, ref in enumerate(("", "#HEAD", "#main", "#annotated", "#light", f"#{first}", "#refs/heads/main")):
            into, before = tmp_path / f"into{number}", len(server.seen)
            found = fetch_to(into, f"git+{address}{ref}", cache=str(folder))
            assert (found.root, found.revision, found.from_cache) == (str(into), first, True), ref
            assert len(server.seen) - before == listing, ref
            assert names_in(into) == names_in(tmp_path / "first") == ["main.py", "pkg/mod.py"]
        assert not fetch_to(tmp_path / "short", f"git+{address}#{first[:10]}", cache=str(folder)).from_cache
        second = commit(repo, {"new.py": ""})
        found = fetch_to(tmp_path / "second", f"git+{address}", cache=str(folder))
        assert (found.revision, found.from_cache) == (second, False)
    assert len(kept_keys(folder)) == 2


def test_a_start_from_what_is_kept_loads_no_gitpython(tmp_path: Path, repo: Path, folder: Path) -> None:
    told = []
    for number in range(2):
        (tmp_path / f"into{number}").mkdir()
        argv = [sys.executable, "-c", FETCHING, f"git+file://{repo}", str(folder), str(tmp_path / f"into{number}")]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        told.append(subprocess.run(argv, env=environ, capture_output=True, text=True, check=True).stdout.split())
    assert told == [["False", "True"], ["True", "False"]]


def test_parts_and_repositories_are_kept_apart_from_the_whole(tmp_path: Path, repo: Path, folder: Path) -> None:
    address = f"git+file://{repo}"
    for number in range(2):
        whole = fetch_to(tmp_path / f"whole{number}", address, cache=str(folder))
        part = fetch_to(tmp_path / f"part{number}", f"{address}?subdir=pkg", cache=str(folder))
        kept = fetch_to(tmp_path / f"git{number}", address, cache=str(folder), keep_git=True)
        assert [one.from_cache for one in (whole, part, kept)] == [bool(number)] * 3
        assert names_in(tmp_path / f"part{number}") == ["mod.py"]
        assert git(tmp_path / f"git{number}", "status", "--porcelain") == ""
        assert git(tmp_path / f"git{number}", "rev-parse", "HEAD") == kept.revision


def test_who_may_not_read_a_private_repository_gets_nothing_of_what_is_kept(
    tmp_path: Path, repo: Path, folder: Path
) -> None:
    right = {"GIT_USERNAME": "me", "GIT_PASSWORD": "right-one"}
    with GitServer(repo.parent, login="me:right-one") as server:
        address = f"git+{server.url}/repo/.git"
        pinned = f"{address}#{git(repo, 'rev-parse', 'HEAD')}"
        fetch_to(tmp_path / "first", address, right, cache=str(folder))
        for number, environ in enumerate(({}, {**right, "GIT_PASSWORD": "wrong-one"})):
            for ref, location in enumerate((address, pinned)):
                into = tmp_path / f"into{number}{ref}"
                with pytest.raises(SourceError, match="cannot read the repository"):
                    fetch_to(into, location, environ, cache=str(folder))
                assert list(into.iterdir()) == []
        assert fetch_to(tmp_path / "again", pinned, right, cache=str(folder)).from_cache
    (kept,) = find_kept(str(folder))
    assert kept.what.startswith(address)
    assert "right-one" not in (folder / kept.key / "facts.json").read_text()


def test_what_other_servers_or_programs_have_a_part_in_is_not_kept(tmp_path: Path, repo: Path, folder: Path) -> None:
    other = make_repository(tmp_path.resolve() / "srv" / "other")
    commit(other, {"data/.gitattributes": "*.bin filter=lfs -text\n"})
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub")
    commit(repo, {})
    for number, name in enumerate((repo, other)):
        fetch_to(tmp_path / f"into{number}", f"git+file://{name}", cache=str(folder))
    assert kept_keys(folder) == set()


def test_the_callers_own_limits_hold_for_what_is_kept_too(tmp_path: Path, repo: Path, folder: Path) -> None:
    address = f"git+file://{repo}"
    fetch_to(tmp_path / "first", address, cache=str(folder))
    for name, limits in (("files", Limits(files=1)), ("bytes", Limits(bytes=10))):
        with pytest.raises(SourceError, match=f"limits.{name}"):
            fetch_to(tmp_path / name, address, cache=str(folder), limits=limits)
        assert list((tmp_path / name).iterdir()) == []
    assert len(kept_keys(folder)) == 1


def test_a_damaged_entry_is_fetched_anew(tmp_path: Path, repo: Path, folder: Path) -> None:
    address = f"git+file://{repo}"
    fetch_to(tmp_path / "first", address, cache=str(folder))
    (kept,) = kept_keys(folder)
    _shorten(folder / kept)
    found = fetch_to(tmp_path / "second", address, cache=str(folder))
    assert (found.from_cache, names_in(tmp_path / "second")) == (False, ["main.py", "pkg/mod.py"])
    assert fetch_to(tmp_path / "third", address, cache=str(folder)).from_cache


def test_the_variable_limits_or_closes_the_cache(tmp_path: Path, repo: Path, folder: Path) -> None:
    address = f"git+file://{repo}"
    for size in ("0", "10"):
        fetch_to(tmp_path / size, address, {"NUWRAP_CACHE_BYTES": size}, cache=str(folder))
    assert kept_keys(folder) == set()
