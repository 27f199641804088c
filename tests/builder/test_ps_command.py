"""`nuwrap ps` and `nuwrap ls` on a history that the test has filled."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import BashComplete
from command_line import Nuwrap
from kept import add_ended, add_run, going_on, open_history, read_terminal, run_id
from store_records import add_project, entity, function

from nuwrap.cli.commands.history import KINDS as OFFERED
from nuwrap.cli.listing import KINDS
from nuwrap.cli.main import cli
from nuwrap.cli.moments import duration_text, moment_text, short_moment_text
from nuwrap.sdk import context
from nuwrap.store import ProjectRecord, Store
from nuwrap.store.secrets import Secrets


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Store]:
    with open_history(tmp_path) as store:
        yield store


@pytest.fixture
def type_(run_nuwrap: Nuwrap, tmp_path: Path, history: Store) -> Nuwrap:
    return partial(run_nuwrap, NUWRAP_HOME=str(tmp_path / "home"))


def rows(done: Any) -> list[list[str]]:
    """The cells of a table, without its head and the line below it."""
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [line.split() for line in done.stdout.splitlines()[2:-1]]


def ids(done: Any) -> list[int]:
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [int(one["id"][:8], 16) for one in json.loads(done.stdout)]


def test_ps_shows_what_goes_on_and_where_it_answers(type_: Nuwrap, history: Store, tmp_path: Path) -> None:
    add_ended(history, 1)
    service = {"url": "http://127.0.0.1:4711", "admin_url": "http://127.0.0.1:4712"}
    with going_on(history, tmp_path, 2, action="serve", service=service):
        done = type_("ps")
        assert done.stdout.splitlines()[0].split()[:4] == ["run", "function", "action", "state"]
        ((short, name, action, state, *_, address),) = rows(done)
        assert (short, name, action, state) == ("00000002", "p/f", "serve", "RUNNING")
        assert address == "http://127.0.0.1:4711"
        assert done.stdout.splitlines()[-1] == "1 run"


def test_ps_of_nothing_says_where_to_look(type_: Nuwrap, history: Store) -> None:
    add_ended(history, 1)
    done = type_("ps")
    assert done.stdout == "no run goes on; `nuwrap ps --all` lists those that have ended\n"
    assert json.loads(type_("ps", "--json").stdout) == []


def test_a_run_whose_processes_are_gone_has_ended(type_: Nuwrap, history: Store) -> None:
    add_run(history, 1, state="RUNNING")
    assert type_("ps").stdout.startswith("no run goes on")
    (row,) = rows(type_("ps", "--all"))
    assert row[3] == "ERROR"
    assert "its processes are gone" in " ".join(row)


def test_ps_all_has_the_newest_that_ended_and_all_that_goes_on(type_: Nuwrap, history: Store, tmp_path: Path) -> None:
    with going_on(history, tmp_path, 1):
        for number in range(2, 25):
            add_ended(history, number)
        assert ids(type_("ps", "--all", "--json")) == [*range(24, 4, -1), 1]
        assert ids(type_("ps", "--all", "--limit", "2", "--json")) == [24, 23, 1]
        last = type_("ps", "-a", "--limit", "2").stdout.splitlines()[-1]
        assert last == "3 runs, the newest 2 of those that have ended; --limit N shows more"
        assert type_("ps", "-a", "--limit", "23").stdout.splitlines()[-1] == "24 runs"


def test_ps_is_narrowed_by_state_function_and_project(type_: Nuwrap, history: Store, tmp_path: Path) -> None:
    add_project(history, "other")
    add_ended(history, 1, "it failed")
    add_ended(history, 2)
    add_ended(history, 3, project="other")
    with going_on(history, tmp_path, 4, function="g"):
        assert ids(type_("ps", "--json")) == [4]
        assert ids(type_("ps", "--state", "error", "--json")) == [1]
        assert ids(type_("ps", "--state", "ERROR", "--state", "running", "--json")) == [4, 1]
        assert ids(type_("ps", "--all", "--function", "g", "--json")) == [4]
        assert ids(type_("ps", "--all", "--project", "other", "--json")) == [3]
    assert (type_("ps", "--state", "DONE").returncode, type_("ps", "--limit", "0").returncode) == (2, 2)
    done = type_("ps", "--project", "othr")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no project 'othr'; did you mean 'other'?" in done.stderr


def test_a_run_as_a_document_is_its_record_without_its_result(type_: Nuwrap, history: Store) -> None:
    add_ended(history, 1, "no", {"results": {"a": 1}}, spec={"parameters": {"x": 1}})
    (document,) = json.loads(type_("ps", "--all", "--json").stdout)
    assert document["key"] == f"store://p/run/python+job:run/{run_id(1)}"
    assert document["spec"] == {"parameters": {"x": 1}}
    assert (document["state"], document["message"], document["exit_code"]) == ("ERROR", "no", 1)
    assert "result" not in document


def test_what_a_run_says_cannot_command_the_terminal(type_: Nuwrap, history: Store) -> None:
    add_ended(history, 1, "[red]x\x1b[2J" + "y" * 200 + "\nsecond line")
    done = type_("ps", "--all")
    assert "[red]x\\x1b[2Jyyy" in done.stdout
    assert "second line" not in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 200


def test_on_a_terminal_a_state_has_its_colour_and_a_message_has_none(history: Store, tmp_path: Path) -> None:
    add_ended(history, 1, "\x1b[2Jno")
    shown = read_terminal(tmp_path / "home", "ps", "--all")
    assert "\x1b[31mERROR" in shown
    assert "\\x1b[2Jno" in shown
    assert "\x1b[2J" not in shown


def test_in_a_pipe_no_line_is_folded(type_: Nuwrap, history: Store) -> None:
    path = "/" + "x" * 300
    history.add_entity(entity("1", path=path))
    assert f"   {path}   " in type_("ls", "dataitems").stdout
    assert f"  {path}\n" in type_("show", "store://p/dataitem/table/raw").stdout


@pytest.mark.parametrize("command", [("ps",), ("ls", "runs"), ("show", "f"), ("logs", "f"), ("stop", "f")])
def test_a_damaged_history_is_one_message(run_nuwrap: Nuwrap, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "store.db").write_text("no database" * 1000)
    done = run_nuwrap(*command, NUWRAP_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (10, "")
    assert "store.db" in done.stderr
    assert "Traceback" not in done.stderr


def fill(store: Store, home: Path) -> None:
    """One of each kind in two projects; the older version of each has another label."""
    store.add_project(ProjectRecord("q", "all of q", ("blue",)))
    for project, number in (("p", 1), ("q", 2)):
        for version, label in (("a", "old"), ("b", "new")):
            id_ = f"{project}{version}"
            spec = {"handler": "m:f", "python_version": "PYTHON3_11", "code": "x", "labels": [label]}
            store.add_function(function(id_, project=project, spec=spec))
            for one in ("dataitem", "artifact", "model"):
                store.add_entity(entity(f"{one}-{id_}", type=one, project=project, metadata={"labels": [label]}))
        add_ended(store, number, project=project)
        Secrets(str(home)).set(project, "API_KEY", "hunter2hunter2")


FULL = {
    "projects": ["q", "p"],
    "functions": ["q/f", "p/f"],
    "runs": ["00000002", "00000001"],
    "dataitems": ["q/raw", "p/raw"],
    "artifacts": ["q/raw", "p/raw"],
    "models": ["q/raw", "p/raw"],
    "secrets": ["API_KEY", "API_KEY"],
}


@pytest.mark.parametrize("kind", FULL)
def test_ls_lists_each_kind_newest_first(type_: Nuwrap, history: Store, tmp_path: Path, kind: str) -> None:
    fill(history, tmp_path / "home")
    done = type_("ls", kind)
    assert [row[0] for row in rows(done)] == FULL[kind]
    assert done.stdout.splitlines()[-1] == f"2 {kind}"
    assert "hunter2" not in done.stdout
    documents = json.loads(type_("ls", kind, "--json").stdout)
    assert [one["key"].split("/")[2] for one in documents] == ["q", "p"]
    assert len(json.loads(type_("ls", kind, "--limit", "1", "--json").stdout)) == 1
    if kind == "projects":
        refused = type_("ls", kind, "--project", "q")
        assert (refused.returncode, "projects have no project" in refused.stderr) == (2, True)
    else:
        done = type_("ls", kind, "--project", "q")
        assert [row[0] for row in rows(done)] == FULL[kind][:1]
        assert done.stdout.splitlines()[-1] == f"1 {kind.removesuffix('s')}"


@pytest.mark.parametrize("kind", ["functions", "dataitems", "artifacts", "models"])
def test_ls_knows_the_label_of_the_latest_version(type_: Nuwrap, history: Store, tmp_path: Path, kind: str) -> None:
    fill(history, tmp_path / "home")
    (row,) = rows(type_("ls", kind, "--project", "p", "--label", "new"))
    assert "new" in row
    assert type_("ls", kind, "--label", "old").stdout == f"0 {kind}\n"


def test_ls_alone_lists_projects_and_takes_their_label(type_: Nuwrap, history: Store, tmp_path: Path) -> None:
    fill(history, tmp_path / "home")
    assert type_("ls").stdout == type_("ls", "projects").stdout
    (document,) = json.loads(type_("ls", "--label", "blue", "--json").stdout)
    assert (document["name"], document["description"], document["labels"]) == ("q", "all of q", ["blue"])


def test_ls_refuses_what_a_kind_does_not_have(type_: Nuwrap) -> None:
    for kind in ("runs", "secrets"):
        done = type_("ls", kind, "--label", "x")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"nuwrap: --label 'x': {kind} have no label; leave it out\n"
    done = type_("ls", "function")
    assert done.returncode == 2
    assert "'functions'" in done.stderr


def test_each_kind_that_is_offered_is_there() -> None:
    assert tuple(KINDS) == OFFERED == tuple(FULL)


def test_a_shell_offers_the_names_of_the_history(
    history: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offered(words: str, home: Path) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        monkeypatch.setenv("NUWRAP_HOME", str(home))
        return BashComplete(cli, {}, "nuwrap", "").complete().split()

    fill(history, tmp_path / "home")
    history.add_function(function("g1", "greet"))
    add_run(history, 9)
    assert offered("nuwrap logs ", tmp_path / "home") == ["plain,f", "plain,greet", "plain,00000009"]
    assert offered("nuwrap stop gr", tmp_path / "home") == ["plain,greet"]
    assert offered("nuwrap ps --project ", tmp_path / "home") == ["plain,p", "plain,q"]
    (tmp_path / "store.db").write_text("no database" * 1000)
    assert offered("nuwrap logs ", tmp_path) == offered("nuwrap ls --project ", tmp_path) == []
    context.close()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1.0 min"), (5400, "1.5 h"), (86_400 * 3, "3.0 d")],
)
def test_a_time_span_is_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_moment_is_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert moment_text("") == ""
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        assert moment_text("2026-11-24T23:19:06.661+00:00") == "2026-11-25 01:19:06"
        assert short_moment_text("2026-11-24T23:19:06.661+00:00") == "2026-11-25"
        assert len(short_moment_text(datetime.now(timezone.utc).isoformat())) == len("01:19:06")
    finally:
        monkeypatch.undo()
        time.tzset()
