"""Runs that are handed over to the process that follows them; of a run that no history knows it lets go at once."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest
from store_records import add_project
from store_records import run as run_record
from waiting import until

from nuwrap.platforms import Placed
from nuwrap.platforms.kubernetes_wanted import Wanted, write_wanted
from nuwrap.runs import alive
from nuwrap.runs.followers import hand_over
from nuwrap.store import open_store

KUBECONFIG = """\
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {}}]
"""


@pytest.fixture
def home(tmp_path: Path) -> str:
    folder = str(tmp_path / "deeper-than-a-sockets-address-may-be" / ("x" * 120))
    with closing(open_store(folder)):
        return folder


def here(folder: Path, **variables: str) -> Placed:
    return Placed(str(folder), str(folder), {**os.environ, **variables})


def files(home: str) -> list[str]:
    return sorted(os.listdir(os.path.join(home, alive.FOLDER)))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a socket's address has its folder's whole length")
def test_a_run_is_handed_over_with_its_lock_and_nothing_is_left_when_none_is_followed(
    home: str, tmp_path: Path
) -> None:
    for run in ("a", "b"):
        hand_over(home, run, alive.take(home, run), here(tmp_path))
        until(lambda run=run: not alive.is_held(home, run))  # type: ignore[misc]
    assert len(files(home)) == 2  # one socket and its lock
    until(lambda: files(home) == [])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a socket's address has its folder's whole length")
def test_what_goes_wrong_with_a_run_stands_in_its_own_log(home: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(KUBECONFIG)
    for run in ("a", "b"):
        folder = tmp_path / run
        folder.mkdir()
        launch = {"api": "nuwrap/v1", "handler": "f", "code": "x"}
        write_wanted(str(folder), Wanted("c", "n", "job", "name", run, launch, objects={"pod": "none"}))
        with closing(open_store(home)) as store:
            add_project(store)
            store.add_run(run_record(run, platform="kubernetes", folder=str(folder)))
        hand_over(home, run, alive.take(home, run), here(tmp_path, KUBECONFIG=str(tmp_path / "config")))
        until(lambda run=run: not alive.is_held(home, run))  # type: ignore[misc]
    for run, other in ("ab", "ba"):
        log = (tmp_path / run / "log.txt").read_text()
        assert f"nuwrap: run {run}: Traceback" in log
        assert f"run {other}:" not in log
    until(lambda: files(home) == [])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a socket's address has its folder's whole length")
def test_another_environment_has_a_process_of_its_own(home: str, tmp_path: Path) -> None:
    for run, context in (("a", "one"), ("b", "another")):
        hand_over(home, run, alive.take(home, run), here(tmp_path, KUBECONFIG=context))
    assert len([name for name in files(home) if name.startswith("follower-") and "." not in name]) == 2
    until(lambda: files(home) == [])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a socket's address has its folder's whole length")
def test_a_socket_that_a_killed_process_has_left_is_nobody(home: str, tmp_path: Path) -> None:
    hand_over(home, "a", alive.take(home, "a"), here(tmp_path))
    (name,) = (name for name in files(home) if name.startswith("follower-") and "." not in name)
    until(lambda: files(home) == [])
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as left:
        folder = os.open(os.path.join(home, alive.FOLDER), os.O_RDONLY)
        left.bind(f"/proc/self/fd/{folder}/{name}")
        os.close(folder)
    hand_over(home, "b", alive.take(home, "b"), here(tmp_path))
    until(lambda: not alive.is_held(home, "b"))
    until(lambda: files(home) == [])


def test_a_run_that_cannot_be_handed_over_keeps_its_lock_with_who_has_it(home: str, tmp_path: Path) -> None:
    held = alive.take(home, "a")
    with pytest.raises(Exception, match=r"cannot write .*log\.txt"):
        hand_over(home, "a", held, Placed(str(tmp_path / "gone"), str(tmp_path), dict(os.environ)))
    assert alive.is_held(home, "a")
    assert files(home) == ["a.lock"]
    alive.release(home, "a", held)
