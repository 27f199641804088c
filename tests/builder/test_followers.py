"""Runs that are handed over to the process that follows them; of a run that no history knows it lets go at once."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest
from waiting import until

from nuwrap.platforms import Placed
from nuwrap.runs import alive
from nuwrap.runs.followers import hand_over
from nuwrap.store import open_store


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
