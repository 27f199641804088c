"""`nuwrap-host cache`: what it lists, what it removes, and above all what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from nuwrap_runtime.host import environments
from nuwrap_runtime.host.cache_command import main
from nuwrap_runtime.host.environments import Environment, Place
from nuwrap_runtime.host.source_cache import key, open_cache
from nuwrap_runtime.host.workspace import open_workspace, remove_tree

DAY = 86_400
LONG_AGO = 31 * DAY
# A child that holds what `code` gives until it is killed; what it starts before that goes on.
HOLDING = """
import os, sys, time
from nuwrap_runtime.host import environments, workspace
from nuwrap_runtime.host.environments import Environment, Place
{code}
print("held", flush=True)
time.sleep(60)
"""
Hold = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a temporary folder of this test's own."""
    folder = tmp_path.resolve() / "cache"
    folder.mkdir(mode=0o700)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path.resolve() / "tmp"))
    yield folder
    remove_tree(str(folder))


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    with contextlib.ExitStack() as stack:

        def start(code: str) -> subprocess.Popen[str]:
            environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path.resolve() / "tmp")}
            argv = [sys.executable, "-c", HOLDING.format(code=code)]
            child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environ)
            stack.enter_context(child)
            stack.callback(child.kill)
            assert child.stdout
            assert child.stdout.readline() == "held\n"
            return child

        yield start


@pytest.fixture
def ask(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command and return its answer."""

    def run(*argv: str) -> Any:
        assert main(argv, {"NUWRAP_CACHE": str(own_cache)}) == 0
        return json.loads(capsys.readouterr().out)

    return run


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def make_source(own_cache: Path, name: str, used: float = 0, address: str = "") -> Path:
    tree = own_cache.parent / f"tree-{name}"
    tree.mkdir()
    (tree / "main.py").write_text("#" * 1000)
    open_cache(str(own_cache / "sources")).keep(key(name), str(tree), {"address": address, "revision": "abc"})
    entry = own_cache / "sources" / key(name)
    age(entry / "facts.json", used)
    return entry


def make_environment(own_cache: Path, name: str, used: float = 0, number: int = 1) -> Environment:
    """Make a finished environment that serves the request `name`, in the place of an earlier one."""
    place = Place(str(own_cache / "envs"), name)
    folder = Path(place.folder) / f"made{number}"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    (folder / "large").write_bytes(b"x" * 1000)
    Path(place.lock).touch()
    environments.finish(str(folder), {"requirements": ["leaf==1.0", "twig==2.0"], "base": sys.executable})
    age(folder / environments.MARKER, used)
    environment = Environment(str(folder / "bin" / "python"), ("leaf==1.0", "twig==2.0"), installed=True, key=name)
    environments.save_answer(place, environment)
    return environment


def folder_of(environment: Environment) -> Path:
    return Path(environment.python).parent.parent


def removed(answer: Any) -> dict[str, str]:
    return {one["key"]: one["kind"] for one in answer["removed"]}


def test_an_empty_cache_has_nothing_and_cleans_nothing(ask: Callable[..., Any], own_cache: Path) -> None:
    empty: dict[str, Any] = {"folder": str(own_cache), "sources": [], "environments": [], "trees": [], "bytes": 0}
    assert ask("ls") == empty
    assert ask("clean", "--all") == {"folder": str(own_cache), "dry_run": False, "removed": [], "bytes": 0}


def test_the_list_says_what_each_thing_is(ask: Callable[..., Any], own_cache: Path) -> None:
    make_source(own_cache, "a", 3600, "https://me:pass-word@host/code.zip?X-Amz-Signature=signed#x")
    make_environment(own_cache, "e")
    listed = ask("ls")
    (source,), (environment,) = listed["sources"], listed["environments"]
    assert source["key"] == key("a")
    assert source["what"] == "https://***@host/code.zip at abc"
    assert (source["in_use"], source["used"][-6:]) == (False, "+00:00")
    assert source["bytes"] >= 1000
    assert (environment["key"], environment["what"]) == ("e/made1", "leaf==1.0, twig==2.0")
    assert listed["bytes"] == source["bytes"] + environment["bytes"]


def test_what_was_not_used_for_a_month_goes(ask: Callable[..., Any], own_cache: Path) -> None:
    old, new = make_source(own_cache, "old", LONG_AGO), make_source(own_cache, "new", 29 * DAY)
    stale, fresh = make_environment(own_cache, "stale", LONG_AGO), make_environment(own_cache, "fresh", 29 * DAY)
    open_cache(str(own_cache / "sources")).remember("name", {})
    (remembered,) = (own_cache / "sources" / "names").iterdir()
    wanted = {old.name: "source", "stale/made1": "environment"}
    told = ask("clean", "--dry-run")
    assert (removed(told), told["dry_run"], old.exists(), folder_of(stale).exists()) == (wanted, True, True, True)
    done = ask("clean")
    assert (removed(done), done["bytes"]) == (wanted, told["bytes"])
    assert [path.exists() for path in (old, folder_of(stale), new, folder_of(fresh), remembered)] == [
        *(False, False),
        *(True, True, True),
    ]
    assert removed(ask("clean")) == {}


def test_the_age_is_a_choice(ask: Callable[..., Any], own_cache: Path) -> None:
    make_source(own_cache, "a", 2 * DAY)
    assert removed(ask("clean", "--older-than", "2.5")) == {}
    assert removed(ask("clean", "--older-than", "1.5")) == {key("a"): "source"}


def test_all_goes_that_nobody_uses(ask: Callable[..., Any], own_cache: Path) -> None:
    make_source(own_cache, "a")
    make_environment(own_cache, "e")
    open_cache(str(own_cache / "sources")).remember("name", {})
    assert set(removed(ask("clean", "--all")).values()) == {"source", "environment"}
    assert ask("ls")["bytes"] == 0
    assert os.listdir(own_cache / "sources" / "names") == []
    assert sorted(os.listdir(own_cache / "envs")) == ["e", "e.lock"]


@pytest.mark.parametrize("flag", [("--older-than", "-1"), ("--older-than", "x"), ("--older-than", "nan"), ("--most",)])
def test_a_wrong_flag_is_a_usage_error(
    ask: Callable[..., Any], flag: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        ask("clean", *flag)
    assert caught.value.code == 2
    assert flag[-1] in capsys.readouterr().err


def test_an_environment_in_use_stays_until_its_host_is_killed(
    ask: Callable[..., Any], own_cache: Path, hold: Hold
) -> None:
    used, other = make_environment(own_cache, "used", LONG_AGO), make_environment(own_cache, "other", LONG_AGO)
    child = hold(f"held = environments.hold_environment(Environment({used.python!r}))")
    assert environments.is_environment_in_use(used)
    assert [one["in_use"] for one in ask("ls")["environments"]] == [False, True]
    assert removed(ask("clean", "--all")) == {"other/made1": "environment"}
    assert folder_of(used).exists()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not environments.is_environment_in_use(used)
    assert removed(ask("clean", "--all")) == {"used/made1": "environment"}
    assert environments.hold_environment(other) is None


def test_an_environment_that_was_held_counts_as_used_then(ask: Callable[..., Any], own_cache: Path) -> None:
    made = make_environment(own_cache, "e", LONG_AGO)
    held = environments.hold_environment(made)
    assert held is not None
    os.close(held)
    assert removed(ask("clean")) == {}


def test_a_replaced_environment_goes_at_any_age_once_nobody_uses_it(
    ask: Callable[..., Any], own_cache: Path, hold: Hold
) -> None:
    first = make_environment(own_cache, "e")
    second = make_environment(own_cache, "e", number=2)
    third = make_environment(own_cache, "e", number=3)
    child = hold(f"held = environments.hold_environment(Environment({first.python!r}))")
    assert removed(ask("clean")) == {"e/made2": "environment"}
    assert [folder_of(one).exists() for one in (first, second, third)] == [True, False, True]
    child.kill()
    child.wait()
    assert removed(ask("clean")) == {"e/made1": "environment"}
    assert folder_of(third).exists()


def test_nothing_of_a_request_goes_while_an_environment_is_made_for_it(
    ask: Callable[..., Any], own_cache: Path, hold: Hold
) -> None:
    made = make_environment(own_cache, "e", LONG_AGO)
    half = own_cache / "envs" / "e" / "half"
    half.mkdir()
    child = hold(
        f"lock = environments.locked(Place({str(own_cache / 'envs')!r}, 'e'), print, seconds=9); lock.__enter__()"
    )
    assert removed(ask("clean", "--all")) == {}
    child.kill()
    child.wait()
    assert removed(ask("clean", "--all")) == {"half": "leftover", "e/made1": "environment"}
    assert not folder_of(made).exists()


def test_what_a_killed_removal_has_left_goes(ask: Callable[..., Any], own_cache: Path) -> None:
    make_environment(own_cache, "e")
    make_source(own_cache, "a")
    for place in ("envs/e", "sources"):
        (own_cache / place / ".gone-1" / "read-only").mkdir(parents=True)
        (own_cache / place / ".gone-1" / "read-only").chmod(0o500)
    assert removed(ask("clean")) == {".gone-1": "leftover"}
    assert not (own_cache / "envs" / "e" / ".gone-1").exists()
    assert not (own_cache / "sources" / ".gone-1").exists()
    with environments.new_folder(Place(str(own_cache / "envs"), "e")):
        pass


def make_trees(own_cache: Path) -> dict[str, Path]:
    """Make two trees with packages each, and packages of no tree."""
    trees = own_cache / "trees"
    made = {name: trees / name for name in ("one", "two", "packages-1", "packages-2", "packages-3", ".making-x")}
    for name, path in made.items():
        (path / "host").mkdir(parents=True) if name.startswith("packages") else path.mkdir(parents=True)
    for number, name in enumerate(("one", "two"), start=1):
        (made[name] / "host").symlink_to(f"../packages-{number}/host")
    (trees / ".lock").touch()
    for path in made.values():
        age(path, LONG_AGO)
    return made


def test_old_trees_go_and_then_the_packages_that_no_tree_needs(
    ask: Callable[..., Any], own_cache: Path, hold: Hold
) -> None:
    made = make_trees(own_cache)
    hold(f"from nuwrap_runtime.host import holds; held = holds.hold({str(made['one'])!r})")
    age(made["packages-3"], 0)
    wanted = {".making-x": "leftover", "two": "tree", "packages-2": "tree"}
    assert removed(ask("clean", "--dry-run")) == wanted
    assert removed(ask("clean")) == wanted
    assert [name for name, path in made.items() if path.exists()] == ["one", "packages-1", "packages-3"]
    assert removed(ask("clean", "--all")) == {"packages-3": "tree"}


def test_trees_stay_while_one_is_made(ask: Callable[..., Any], own_cache: Path, hold: Hold) -> None:
    make_trees(own_cache)
    hold(f"from nuwrap_runtime.host import holds; held = holds.claim({str(own_cache / 'trees' / '.lock')!r})")
    assert removed(ask("clean", "--all")) == {}


def test_the_tree_that_the_host_runs_from_stays(tree: str, own_cache: Path) -> None:
    trees = own_cache / "trees"
    packages = os.path.dirname(os.path.realpath(os.path.join(tree, "host")))
    for folder in (tree, packages):
        shutil.copytree(folder, trees / os.path.basename(folder), symlinks=True, copy_function=os.link)
        age(trees / os.path.basename(folder), LONG_AGO)
    (trees / ".lock").touch()
    (trees / "other").mkdir()
    entry = trees / os.path.basename(tree) / "worker" / "nuwrap_runtime" / "host" / "entry.py"
    argv = [sys.executable, "-I", "-S", str(entry), "cache"]
    temporary = own_cache.parent / "tmp"  # work folders that others have left on this machine are none of the test's
    temporary.mkdir(exist_ok=True)
    environ = {"PATH": os.environ["PATH"], "NUWRAP_CACHE": str(own_cache), "TMPDIR": str(temporary)}
    done = subprocess.run([*argv, "clean", "--all"], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, removed(json.loads(done.stdout))) == (0, "", {"other": "tree"})
    done = subprocess.run([*argv, "ls"], env=environ, capture_output=True, text=True, check=True)
    assert [one["in_use"] for one in json.loads(done.stdout)["trees"]] == [True, True]


def work_folders(own_cache: Path) -> set[str]:
    return set(os.listdir(own_cache.parent / "tmp"))


@pytest.mark.parametrize("sweeper", ["start", "clean"])
def test_work_folders_of_killed_starts_go_and_those_of_living_ones_stay(
    ask: Callable[..., Any], own_cache: Path, hold: Hold, sweeper: str
) -> None:
    code = "place = workspace.open_workspace({}); folder = place.__enter__().folder; os.mkdir(folder + '/source')"
    children = {}
    for _ in range(3):
        before = work_folders(own_cache)
        child = hold(code)
        children[(work_folders(own_cache) - before).pop()] = child
    living, killed, just_killed = children
    for name in (killed, just_killed):
        children[name].kill()
        children[name].wait()
    for name in (living, killed):
        (own_cache.parent / "tmp" / name / "source").chmod(0o500)
        age(own_cache.parent / "tmp" / name, 61)
    if sweeper == "clean":
        assert killed in removed(ask("clean"))
    else:
        with open_workspace({}):
            pass
    assert work_folders(own_cache) == {living, just_killed}


def test_folders_that_only_look_like_ours_stay(ask: Callable[..., Any], own_cache: Path) -> None:
    temporary = own_cache.parent / "tmp"
    for name in ("nuwrap-work-x", "nuwrap-cache-0", "nuwrap-abcdefgh", "nuwrap-work-abcdefgh-mine"):
        (temporary / name).mkdir()
    (temporary / "nuwrap-work-aaaaaaaa").touch()
    (temporary / "nuwrap-work-bbbbbbbb").symlink_to("nuwrap-work-x")
    for path in temporary.iterdir():
        os.utime(path, (1, 1), follow_symlinks=False)
    if os.getuid() == 0:
        (temporary / "nuwrap-work-cccccccc").mkdir()
        os.chown(temporary / "nuwrap-work-cccccccc", 12345, 12345)
        age(temporary / "nuwrap-work-cccccccc", 61)
    before = work_folders(own_cache)
    with open_workspace({}):
        pass
    ask("clean", "--all")
    assert work_folders(own_cache) == before
