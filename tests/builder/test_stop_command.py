"""`nuwrap stop`, `nuwrap resume`, `nuwrap rm`: runs that are real, and runs that are only written down."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import Nuwrap
from kept import add_ended, add_run, going_on, open_history, run_id
from sdk_functions import make
from store_records import entity

from nuwrap.store import PRODUCES, LineageRecord, Store

CODE = """
import os, pathlib, time

def f(path, seconds):
    with open(path, "a") as stream:
        stream.write("run\\n")
    if pathlib.Path(path).stat().st_size == 4:
        time.sleep(seconds)
    return 7
"""


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Store]:
    with open_history(tmp_path) as store:
        yield store


@pytest.fixture
def type_(run_nuwrap: Nuwrap, tmp_path: Path) -> Nuwrap:
    return partial(run_nuwrap, NUWRAP_HOME=str(tmp_path / "home"))


def start_job(dh: Any, tmp_path: Path) -> Any:
    """Start a job that would take a minute, and return it when the function has begun; a second attempt is short."""
    path = tmp_path / "runs.txt"
    run = make(dh, CODE).run("job", parameters={"path": str(path), "seconds": 60})
    while not path.exists():
        assert run.state in ("PENDING", "RUNNING"), run.logs()
        time.sleep(0.02)
    return run


def test_a_run_is_stopped_resumed_and_removed_by_its_functions_name(dh: Any, type_: Nuwrap, tmp_path: Path) -> None:
    run = start_job(dh, tmp_path)
    name = f"run {run.id[:8]} of p/fn"
    assert type_("stop", "fn").stdout == f"{name}: STOPPED\n"
    assert run.state == "STOPPED"
    assert type_("stop", "fn").stdout == f"{name}: STOPPED already\n"

    done = type_("resume", "fn")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{name}: PENDING, attempt 2; `nuwrap logs -f {run.id[:8]}`")
    assert run.refresh().wait().results() == {"output_0": 7}

    first, second = str(tmp_path / "work/.nuwrap/runs" / run.id), run.folder
    assert second == f"{first}-2"
    done = type_("rm", "fn", "--folder")
    assert (done.returncode, done.stdout) == (0, f"{name}: removed, with {first} and {second}\n")
    assert os.listdir(tmp_path / "work/.nuwrap/runs") == []
    assert json.loads(type_("ls", "runs", "--json").stdout) == []


def test_stop_means_the_run_that_goes_on_before_later_ones_that_ended(dh: Any, type_: Nuwrap, tmp_path: Path) -> None:
    run = start_job(dh, tmp_path)
    later = run.function.run("job", parameters={**run.spec.parameters}, wait=True)
    assert later.state == "COMPLETED"
    done = type_("stop", "fn", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert [(one["id"], one["state"]) for one in json.loads(done.stdout)] == [(run.id, "STOPPED")]


def test_a_run_whose_processes_are_gone_has_ended_already(type_: Nuwrap, history: Store) -> None:
    add_run(history, 1, state="RUNNING")
    assert type_("stop", "f").stdout == "run 00000001 of p/f: ERROR already\n"


def test_one_name_that_is_wrong_stops_nothing(dh: Any, type_: Nuwrap, tmp_path: Path) -> None:
    run = start_job(dh, tmp_path)
    for command in (("stop",), ("rm", "--folder")):
        done = type_(*command, run.id, "nobody")
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is no run 'nobody'" in done.stderr
    assert run.state == "RUNNING"
    assert type_("stop", run.id, run.id[:8], "--project", "p").stdout == f"run {run.id[:8]} of p/fn: STOPPED\n"


def test_what_goes_on_is_neither_removed_nor_resumed(type_: Nuwrap, history: Store, tmp_path: Path) -> None:
    add_ended(history, 1)
    with going_on(history, tmp_path, 2):
        for command in ("rm", "resume"):
            done = type_(command, run_id(2))
            assert (done.returncode, done.stdout) == (10, "")
            assert "is RUNNING" in done.stderr
        done = type_("rm", "00000002", "00000001", "--json")  # the other goes all the same
        assert done.returncode == 10
        assert [one["id"] for one in json.loads(done.stdout)] == [run_id(1)]
        assert [one.id for one in history.list_runs()] == [run_id(2)]


def test_rm_alone_leaves_the_folder(type_: Nuwrap, history: Store, tmp_path: Path) -> None:
    folder = tmp_path / ".nuwrap" / "runs" / run_id(1)
    folder.mkdir(parents=True)
    add_ended(history, 1, folder=str(folder))
    assert type_("rm", "f").stdout == "run 00000001 of p/f: removed\n"
    assert folder.is_dir()


def test_rm_says_which_data_loses_its_file(type_: Nuwrap, history: Store, tmp_path: Path) -> None:
    runs = tmp_path / ".nuwrap" / "runs"
    folder = runs / run_id(1)
    (folder / "outputs").mkdir(parents=True)
    (folder / "outputs" / "a.csv").touch()
    (runs / f"{run_id(1)}-2.old").mkdir()
    (runs / run_id(3)).mkdir()
    os.symlink(runs / run_id(3), runs / f"{run_id(1)}-2")
    inside, outside = entity("1", path=str(folder / "outputs/a.csv")), entity("2", "b", path="s3://bucket/b")
    for one in (inside, outside):
        history.add_entity(one)
    lineage = [LineageRecord(run_id(1), PRODUCES, one.name, one.key) for one in (inside, outside)]
    add_ended(history, 1, folder=str(folder), lineage=lineage)
    done = type_("rm", "f", "--folder")
    assert (done.returncode, done.stdout) == (0, f"run 00000001 of p/f: removed, with {folder}\n")
    told = f"nuwrap: {inside.key} lay in the run's folder: the history still names it, its file is gone\n"
    assert done.stderr == told
    assert sorted(os.listdir(runs)) == sorted([f"{run_id(1)}-2", f"{run_id(1)}-2.old", run_id(3)])


@pytest.mark.parametrize(
    "place",
    ["data", ".nuwrap/runs", ".nuwrap/runs/00000002-0000-4000-8000-000000000000", "runs/{}", ".nuwrap/runs/{}x"],
)
def test_a_folder_that_is_not_the_runs_own_is_not_removed(
    type_: Nuwrap, history: Store, tmp_path: Path, place: str
) -> None:
    folder = tmp_path / place.format(run_id(1))
    folder.mkdir(parents=True)
    (folder / "kept").touch()
    add_ended(history, 1, folder=str(folder))
    done = type_("rm", "00000001", "--folder")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{str(folder)!r}, is none that nuwrap has made" in done.stderr
    assert (folder / "kept").exists()
    assert len(history.list_runs()) == 1


def test_a_run_whose_folder_is_gone_is_removed_all_the_same(type_: Nuwrap, history: Store, tmp_path: Path) -> None:
    add_ended(history, 1, folder=str(tmp_path / ".nuwrap" / "runs" / run_id(1)))
    assert type_("rm", "f", "--folder").stdout == "run 00000001 of p/f: removed\n"


def test_a_run_whose_function_was_deleted_is_not_resumed(type_: Nuwrap, history: Store) -> None:
    add_ended(history, 1)
    done = type_("resume", "f")
    assert (done.returncode, done.stdout) == (2, "")
    assert "its version of function 'f' was deleted" in done.stderr
