"""`nuwrap show`: what the history knows of one thing, and what is said when the name is not enough."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import Nuwrap
from kept import add_ended, going_on, open_history, run_id
from store_records import add_project, entity, function

from nuwrap.store import CONSUMES, PRODUCES, LineageRecord, Store

FAILED: dict[str, Any] = {
    "results": {"rows": 3},
    "metrics": {"loss": [0.5], "seen": [1, 2]},
    "warnings": ["it was slow"],
    "source": {"code_src": "git+https://host/r", "revision": "abc123"},
    "failure": {
        "phase": "handler",
        "type": "ValueError",
        "message": "bad \x1b[2J",
        "frames": [{"file": "main.py", "line": 7, "function": "f", "code": "raise ValueError"}],
    },
}
TABLE = "store://p/dataitem/table/raw:1"
MODEL = "store://p/model/model/m:1"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Store]:
    with open_history(tmp_path) as store:
        yield store


@pytest.fixture
def show(run_nuwrap: Nuwrap, tmp_path: Path, history: Store) -> Nuwrap:
    return partial(run_nuwrap, "show", NUWRAP_HOME=str(tmp_path / "home"))


def add_function(store: Store, version: str, name: str = "f", project: str = "p", **spec: Any) -> None:
    fields = {"handler": "main:f", "python_version": "PYTHON3_11", **spec}
    store.add_function(function(version, name, project, spec=fields))


def add_lineage(store: Store) -> None:
    """Run 1 has read the table, made the model, and failed."""
    store.add_entity(entity("1", path="/nowhere/raw.csv", spec={"rows": 3}, metadata={"description": "prices"}))
    store.add_entity(entity("1", "m", "model", "model", path="s3://bucket/m"))
    lineage = [LineageRecord(run_id(1), CONSUMES, "table", TABLE), LineageRecord(run_id(1), PRODUCES, "best", MODEL)]
    outputs = {"best": {"type": "model", "kind": "model", "path": "s3://bucket/m", "key": MODEL}}
    spec = {"inputs": {"table": "raw.csv"}, "parameters": {"n": [1]}, "init_parameters": {"k": 2}, "timeout_s": 5}
    add_ended(store, 1, "handler: ValueError: bad", FAILED, spec=spec, outputs=outputs, lineage=lineage)


def lines(done: Any) -> list[str]:
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def test_a_run_that_failed_is_shown_with_all_that_it_was_given_and_left(show: Nuwrap, history: Store) -> None:
    add_lineage(history)
    done = show("00000001")
    shown = lines(done)
    for line in (
        f"run {run_id(1)}",
        "function p/f, version v1",
        "action job on local",
        "state ERROR",
        "exit code 1",
        f"folder /runs/{run_id(1)}",
        "source git+https://host/r",
        "revision abc123",
        f"table input {TABLE}",
        "n parameter [1]",
        "k init parameter 2",
        "timeout_s option 5",
        "best model s3://bucket/m",
        "rows result 3",
        "loss metric 0.5",
        "seen metric [1, 2]",
        "warning: it was slow",
        "failed in phase handler: ValueError: bad \\x1b[2J",
        "main.py:7 in f",
    ):
        assert line in shown
    assert [line.split()[2] for line in shown if line.startswith("2026-")] == ["RUNNING", "ERROR"]
    assert shown[shown.index("state ERROR") + 1].startswith("took ")  # the reason stands below, once
    assert "\x1b" not in done.stdout


def test_a_run_that_was_lost_is_shown_with_its_reason(show: Nuwrap, history: Store) -> None:
    add_ended(history, 1, "platform: its processes are gone\nand more")
    shown = lines(show(run_id(1)))
    assert shown[shown.index("reason platform: its processes are gone") + 1] == "and more"


def test_a_run_is_one_document(show: Nuwrap, history: Store) -> None:
    add_lineage(history)
    document = json.loads(show(run_id(1), "--json").stdout)
    assert (document["id"], document["state"], document["results"]) == (run_id(1), "ERROR", {"rows": 3})
    assert document["failure"]["message"] == "bad \x1b[2J"
    assert document["outputs"]["best"]["key"] == MODEL
    assert [one["state"] for one in document["states"]] == ["RUNNING", "ERROR"]
    assert {(one["relation"], one["key"]) for one in document["lineage"]} == {("consumes", TABLE), ("produces", MODEL)}


def test_a_service_is_shown_with_its_addresses(show: Nuwrap, history: Store, tmp_path: Path) -> None:
    service = {"url": "http://127.0.0.1:1", "admin_url": "http://127.0.0.1:2"}
    with going_on(history, tmp_path, 1, action="serve", service=service, attempt=2):
        shown = lines(show(run_id(1)))
    assert {"address http://127.0.0.1:1", "admin address http://127.0.0.1:2", "attempt 2"} <= set(shown)
    assert "state RUNNING" in shown


def test_a_function_is_shown_with_fields_versions_and_latest_runs(show: Nuwrap, history: Store) -> None:
    add_function(history, "old", code_src="a.py")
    code = "\n".join(f"line_{number} = '[b]'" for number in range(25))
    add_function(history, "new", code=code, requirements=["numpy"], labels=["a", "b"], description="counts")
    for number in range(1, 8):
        add_ended(history, number)
    shown = lines(show("f"))
    for line in ("function p/f", "version new", "description counts", "labels a, b", 'requirements ["numpy"]'):
        assert line in shown
    assert "line_19 = '[b]'" in shown
    assert "line_20 = '[b]'" not in shown
    assert "… 5 more lines; --json has all" in shown
    versions = [line.split() for line in shown if line.startswith(("old ", "new "))]
    assert [(one[0], one[-1]) for one in versions] == [("new", "code"), ("old", "a.py")]
    assert [line[:8] for line in shown if " p/f job " in line] == [f"{n:08x}" for n in (7, 6, 5, 4, 3)]
    document = json.loads(show("p/f", "--json").stdout)
    assert document["spec"]["code"] == code
    assert [one["id"] for one in document["versions"]] == ["new", "old"]


def test_a_function_of_one_version_that_never_ran_has_no_tables(show: Nuwrap, history: Store) -> None:
    add_function(history, "v1")
    assert not [line for line in lines(show("f")) if "──" in line]


def test_data_is_shown_with_the_runs_that_made_and_read_it(show: Nuwrap, history: Store, tmp_path: Path) -> None:
    add_lineage(history)
    shown = lines(show(TABLE))
    for line in ("dataitem p/raw", f"key {TABLE}", "path /nowhere/raw.csv", "size is not there any more", "rows 3"):
        assert line in shown
    assert "description prices" in shown
    assert "consumes 00000001 p/f table" in shown
    (tmp_path / "new.csv").write_bytes(b"x" * 1500)
    history.add_entity(entity("2", path=str(tmp_path / "new.csv")))
    shown = lines(show("store://p/dataitem/table/raw"))
    assert {f"key {TABLE[:-1]}2", "size 1.5 kB"} <= set(shown)
    assert [line.split()[0] for line in shown if line.endswith((".csv",)) and line[0].isdigit()] == ["2", "1"]
    document = json.loads(show(MODEL, "--json").stdout)
    assert document["spec"]["path"] == "s3://bucket/m"
    assert document["lineage"] == [{"run": run_id(1), "relation": "produces", "name": "best", "key": MODEL}]


def test_what_a_deleted_run_has_made_is_shown_without_it(show: Nuwrap, history: Store) -> None:
    add_lineage(history)
    assert "produces 00000001 p/f best" in lines(show(MODEL))
    history.delete_run(run_id(1))
    shown = lines(show(MODEL))
    assert f"key {MODEL}" in shown
    assert not [line for line in shown if "produces" in line]


def test_a_project_is_shown_by_key_or_where_no_function_has_its_name(show: Nuwrap, history: Store) -> None:
    add_function(history, "v1", code_src="a.py")
    for name in ("p", "store://p"):
        shown = lines(show(name))
        assert "project p" in shown
        assert "f main:f a.py" in shown
    document = json.loads(show("p", "--json").stdout)
    assert (document["key"], [one["name"] for one in document["functions"]]) == ("store://p", ["f"])
    add_function(history, "v2", name="p")
    assert "function p/p" in lines(show("p"))


def test_keys_of_runs_and_functions_are_shown_too(show: Nuwrap, history: Store) -> None:
    add_function(history, "v1")
    add_ended(history, 1)
    assert f"run {run_id(1)}" in lines(show(f"store://p/run/python+job:run/{run_id(1)}"))
    assert "version v1" in lines(show("store://p/function/python/f:v1"))


def test_a_name_of_two_projects_asks_which(show: Nuwrap, history: Store) -> None:
    add_project(history, "q")
    add_function(history, "p1")
    add_function(history, "q1", project="q")
    done = show("f")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nuwrap: 'f' is in several projects; write one of p/f, q/f, or add --project NAME\n"
    assert "version q1" in lines(show("q/f"))
    assert "version q1" in lines(show("f", "--project", "q"))
    done = show("q/f", "--project", "p")
    assert (done.returncode, "is of project 'q', and --project says 'p'" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ff", "did you mean 'f'?"),
        ("0000000", "8 characters"),
        ("raw", "data is named by its key: store://p/dataitem/table/raw\n"),
        ("store://p/dataitem/table/rav", "did you mean 'raw'?"),
        ("store://p/nothing/table/raw", "its form is store://"),
        ("store://p/run/python+job:run/zz", "there is no run"),
        ("store://zz", "there is no project 'zz'"),
        ("zz/f", "there is no project 'zz'"),
        ("p/", "names nothing"),
        ("", "names nothing"),
        ("\x1b[2J", "\\x1b[2J"),
    ],
    ids=repr,
)
def test_what_is_not_there_is_said_with_what_is_alike(show: Nuwrap, history: Store, text: str, told: str) -> None:
    add_function(history, "v1")
    add_lineage(history)
    done = show(text)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr
