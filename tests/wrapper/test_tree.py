"""The folder that host and worker run from: made once, whole or not at all, closed to what the caller has installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.tree import PACKAGE, digest, ensure_tree

RUNTIME = str(Path(PACKAGE).parent)

# Lines that put a runtime of our own, or a copy of one, first, then make the tree.
MAKE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from nuwrap_runtime.host.tree import ensure_tree
print(ensure_tree(os.environ))
"""


@pytest.fixture
def packages(tree: str, tmp_path: Path) -> dict[str, str]:
    """Variables of a cache that has the packages but not our own package yet: a tree costs no download."""
    trees = tmp_path / "cache" / "trees"
    trees.mkdir(parents=True, mode=0o700)
    found = os.path.dirname(os.path.realpath(os.path.join(tree, "host")))
    (trees / os.path.basename(found)).symlink_to(found)
    (tmp_path / "cache").chmod(0o700)
    return {**os.environ, "NUWRAP_CACHE": str(tmp_path / "cache")}


def listed(environ: dict[str, str]) -> list[str]:
    names = os.listdir(os.path.join(environ["NUWRAP_CACHE"], "trees"))
    return sorted(name for name in names if not name.startswith("packages-"))


def start(environ: dict[str, str], runtime: str = RUNTIME, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-I", "-c", MAKE, runtime]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True, **options)


def test_a_tree_has_four_parts_that_host_and_worker_know(tree: str) -> None:
    assert {"worker", "host", "sdk", "abi"} <= set(os.listdir(tree))
    assert os.path.isfile(os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py"))
    assert {"cp39", "cp310", "cp311", "cp312", "cp313", "pure"} <= set(os.listdir(os.path.join(tree, "abi")))
    compiled = [name for _, _, names in os.walk(os.path.join(tree, "host")) for name in names if name.endswith(".so")]
    assert compiled == []


def test_a_second_start_makes_nothing_and_needs_nothing(packages: dict[str, str]) -> None:
    first = ensure_tree(packages)
    before = os.stat(first).st_ino
    offline = {"NUWRAP_CACHE": packages["NUWRAP_CACHE"], "PATH": "/nowhere", "NUWRAP_UV": "/nowhere"}
    assert ensure_tree(offline) == first
    assert os.stat(first).st_ino == before


def test_starts_at_the_same_time_make_it_once(packages: dict[str, str]) -> None:
    started = [start(packages) for _ in range(4)]
    answers = {process.communicate(timeout=120)[0] for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert len(answers) == 1
    assert listed(packages) == [".lock", os.path.basename(answers.pop().strip())]


def test_other_content_is_another_tree(packages: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "copy" / "nuwrap_runtime", ignore=shutil.ignore_patterns("__pycache__"))
    first = ensure_tree(packages)
    again, _ = start(packages, str(tmp_path / "copy")).communicate(timeout=60)
    (tmp_path / "copy" / "nuwrap_runtime" / "more.py").write_text("")
    other, _ = start(packages, str(tmp_path / "copy")).communicate(timeout=60)
    assert again.strip() == first != other.strip()
    assert os.path.isfile(os.path.join(other.strip(), "worker", "nuwrap_runtime", "more.py"))


def test_a_digest_is_of_names_and_contents_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    first = digest(str(tmp_path))
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "x.pyc").write_text("1")
    os.utime(tmp_path / "a" / "x.py", (1, 1))
    assert digest(str(tmp_path)) == first
    (tmp_path / "a" / "x.py").rename(tmp_path / "a" / "y.py")
    assert digest(str(tmp_path)) != first


def test_a_start_killed_in_the_middle_leaves_no_half_tree(packages: dict[str, str]) -> None:
    blocked = """
import compileall, time
compileall.compile_dir = lambda *_, **__: (print("now", flush=True), time.sleep(600))
"""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", blocked + MAKE, RUNTIME], env=packages, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [name for name in listed(packages) if not name.startswith(".")] == []
    assert [name for name in listed(packages) if name.startswith(".making-")]
    root = ensure_tree(packages)
    assert listed(packages) == [".lock", os.path.basename(root)]


def test_a_moved_cache_still_works(packages: dict[str, str], tmp_path: Path) -> None:
    root = ensure_tree(packages)
    os.rename(tmp_path / "cache", tmp_path / "moved")
    moved = root.replace(str(tmp_path / "cache"), str(tmp_path / "moved"))
    assert os.path.isdir(os.path.join(moved, "host", "packaging"))


def test_a_place_without_room_or_rights_is_named(tmp_path: Path) -> None:
    (tmp_path / "trees").touch()
    tmp_path.chmod(0o700)
    with pytest.raises(PlatformError, match="cannot set up the host's own files in"):
        ensure_tree({"NUWRAP_CACHE": str(tmp_path)})


def test_the_host_sees_nothing_of_what_its_caller_has(cache: str, tree: str, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for name in ("json", "git", "tempfile", "random", "logging", "subprocess", "packaging", "argparse", "msgpack"):
        (hostile / f"{name}.py").write_text("raise SystemExit('hostile ' + __name__)")
    path = f"{hostile}{os.pathsep}{os.path.join(tree, 'worker')}"
    environ = {**os.environ, "NUWRAP_CACHE": cache, "NUWRAP_WORK": str(tmp_path / "work"), "PYTHONPATH": path}
    command = [sys.executable, "-m", "nuwrap_runtime.host", "fetch", "--handler", "f"]
    command += ["--code-src", f"git+file://{tmp_path}/nowhere"]  # the child that fetches imports `git`
    done = subprocess.run(command, env=environ, cwd=hostile, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "hostile " not in done.stderr
    assert "nowhere" in done.stderr


def test_without_uv_pip_makes_the_packages(tmp_path: Path) -> None:
    from nuwrap_runtime.host.installer import install_locked

    target, environ = str(tmp_path / "sdk"), {**os.environ, "NUWRAP_UV": "/nowhere"}
    install_locked(os.path.join(PACKAGE, "host", "locks", "sdk.lock"), target, "3.9", environ)
    assert os.path.isdir(os.path.join(target, "nuclio_sdk"))


@pytest.mark.parametrize("uv", ["", "/nowhere"], ids=["uv", "pip"])
def test_a_package_of_another_hash_is_not_installed(tmp_path: Path, uv: str) -> None:
    from nuwrap_runtime.host.installer import install_locked

    lock = tmp_path / "bad.lock"
    lock.write_text(f"nuclio-sdk==0.6.3 --hash=sha256:{'0' * 64}\n")
    environ = {**os.environ, "NUWRAP_UV": uv}
    with pytest.raises(PlatformError, match=r"cannot set up the host's packages from bad\.lock"):
        install_locked(str(lock), str(tmp_path / "sdk"), "3.9", environ)
    assert not (tmp_path / "sdk" / "nuclio_sdk").exists()


def test_digest_is_of_sources_and_not_of_what_another_start_compiles(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    before = digest(str(tmp_path))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.cpython-312.pyc.140245").write_text("half of it")
    assert digest(str(tmp_path)) == before
