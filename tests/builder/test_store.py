"""What the history keeps, and how it is asked for."""

# ruff: noqa: A001, A002 - as the records' fields are called

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from store_records import add_project, entity, function, run

from nuwrap.errors import NotFound, StoreError
from nuwrap.store import (
    COMPLETED,
    CONSUMES,
    CREATED,
    ERROR,
    PENDING,
    PRODUCES,
    RUNNING,
    STOPPED,
    LineageRecord,
    ProjectRecord,
    Store,
    open_store,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "home"))
    yield opened
    opened.close()


@pytest.fixture
def p(store: Store) -> Store:
    """The store with project `p`."""
    add_project(store)
    return store


def finish(store: Store, id: str, state: str = COMPLETED, **left: Any) -> Any:
    return store.finish_run(id, state, "", **{"exit_code": 0, "outputs": {}, "result": {}, **left})


def names(records: list[Any]) -> list[str]:
    return [one.name for one in records]


def ids(records: list[Any]) -> list[str]:
    return [one.id for one in records]


class TestFile:
    def test_it_belongs_to_its_user_alone(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            store = open_store(str(tmp_path / "data" / "home"))
            add_project(store)
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").rglob("*")}
            store.close()
        finally:
            os.umask(before)
        assert modes == {"home": 0o700, "store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}

    def test_closing_leaves_nothing_open_nor_beside_the_file(self, tmp_path: Path) -> None:
        def opened() -> list[str]:
            return [one for one in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if str(tmp_path) in one]

        store = open_store(str(tmp_path / "home"))
        add_project(store)
        assert opened()
        store.close()
        store.close()
        assert opened() == []
        assert [path.name for path in (tmp_path / "home").iterdir()] == ["store.db"]

    def test_a_closed_one_says_so(self, store: Store) -> None:
        store.close()
        with pytest.raises(StoreError, match=r"store\.db' is closed; open it anew"):
            store.list_projects()

    def test_what_was_kept_is_there_for_the_next_one(self, tmp_path: Path) -> None:
        for _ in range(2):
            store = open_store(str(tmp_path))
            made = store.add_project(ProjectRecord("p", "Straße — 日本", ("größe", "b")))
            store.close()
        assert (made[0].description, made[0].labels, made[1]) == ("Straße — 日本", ("größe", "b"), False)

    def test_a_child_by_fork_is_refused_and_harms_nothing(self, p: Store) -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                p.list_projects()
            except StoreError as exc:
                p.close()
                os.write(writing, str(exc).encode())
            os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        with open(reading, "rb") as stream:
            assert b"was opened by another process; open it anew in this one" in stream.read()
        p.add_run(run("after-the-fork"))
        assert p.get_run("after-the-fork")

    def test_threads_take_turns(self, p: Store) -> None:
        def work(number: int) -> None:
            for i in range(20):
                p.add_run(run(f"run-{number}-{i:02}"))
                p.change_run(f"run-{number}-{i:02}", RUNNING)
                assert p.list_runs("p", limit=1)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {one.state for one in p.list_runs("p")} == {RUNNING}
        assert len(p.list_runs("p")) == 160


class TestProjects:
    def test_the_second_to_make_one_gets_the_first(self, store: Store) -> None:
        first, is_new = store.add_project(ProjectRecord("p", "mine", ("a",)))
        assert is_new
        assert store.add_project(ProjectRecord("p", "other")) == (first, False)
        assert store.get_project("p") == first
        assert first.created == first.updated
        assert first.created.endswith("+00:00")

    def test_newest_first(self, store: Store) -> None:
        for name in "bca":
            add_project(store, name)
        assert names(store.list_projects()) == ["a", "c", "b"]

    def test_one_that_is_not_there(self, store: Store) -> None:
        assert store.get_project("p") is None
        for act in (store.update_project, lambda one: store.delete_project(one.name, cascade=True)):
            with pytest.raises(NotFound, match="no project 'p'"):
                act(ProjectRecord("p"))

    def test_update_replaces_description_and_labels(self, store: Store) -> None:
        first = add_project(store)
        changed = store.update_project(ProjectRecord("p", "new", ("x", "y")))
        assert changed == store.get_project("p")
        assert (changed.description, changed.labels, changed.created) == ("new", ("x", "y"), first.created)

    @pytest.mark.parametrize(
        ("add", "named"),
        [
            (lambda store: store.add_function(function("v1")), "1 functions;"),
            (lambda store: store.add_run(run("run-1")), "1 runs;"),
            (lambda store: store.add_entity(entity("1")), "1 entities;"),
        ],
    )
    def test_one_that_holds_something_goes_by_cascade_alone(self, p: Store, add: Any, named: str) -> None:
        add(p)
        add_project(p, "other")
        p.add_run(run("of-another", project="other"))
        with pytest.raises(StoreError, match=f"project 'p' has {named} delete it with cascade=True"):
            p.delete_project("p", cascade=False)
        p.delete_project("p", cascade=True)
        assert names(p.list_projects()) == ["other"]
        assert p.get_function("p", "f") is p.get_run("run-1") is p.find_entity("p", "dataitem", "raw") is None
        assert ids(p.list_runs()) == ["of-another"]

    def test_an_empty_one_goes_without_cascade(self, p: Store) -> None:
        p.delete_project("p", cascade=False)
        assert p.list_projects() == []

    @pytest.mark.parametrize("act", ["function", "run", "entity"])
    def test_nothing_is_added_to_one_that_is_not_there(self, store: Store, act: str) -> None:
        adding = {
            "function": lambda: store.add_function(function("v1")),
            "run": lambda: store.add_run(run("run-1")),
            "entity": lambda: store.add_entity(entity("1")),
        }
        with pytest.raises(NotFound, match="no project 'p'"):
            adding[act]()


class TestFunctions:
    def test_the_latest_version_is_the_one_added_last(self, p: Store) -> None:
        p.add_function(function("v1", created="2030-01-01T00:00:00.000+00:00"))  # a clock that was ahead
        p.add_function(function("other", "g"))
        newest = p.add_function(function("v2", spec={"handler": "f", "requirements": ["a==1"]}, folder="/src/ä"))
        assert p.get_function("p", "f") == newest
        assert ids(p.get_function_versions("p", "f")) == ["v2", "v1"]
        assert ids(p.list_functions("p")) == ["v2", "other"]

    def test_a_version_by_its_id(self, p: Store) -> None:
        first = p.add_function(function("v1"))
        p.add_function(function("v2"))
        assert p.get_function("p", id="v1") == p.get_function("p", "f", "v1") == first
        assert p.get_function("p", "g", "v1") is p.get_function("q", id="v1") is p.get_function("p", "g") is None

    def test_an_id_is_given_once(self, p: Store) -> None:
        p.add_function(function("v1"))
        with pytest.raises(StoreError, match=r"has it already.*'v1'"):
            p.add_function(function("v1", "g"))
        assert names(p.list_functions("p")) == ["f"]

    def test_a_label_is_looked_for_in_the_latest_version(self, p: Store) -> None:
        p.add_function(function("v1", "f", spec={"labels": ["a", "ö"]}))
        p.add_function(function("v2", "g", spec={"labels": ["a"]}))
        p.add_function(function("v3", "g", spec={}))
        assert names(p.list_functions("p", label="a")) == names(p.list_functions("p", label="ö")) == ["f"]

    def test_update_in_place_makes_no_version(self, p: Store) -> None:
        p.add_function(function("v1"))
        p.add_function(function("v2"))
        changed = p.update_function(function("v1", spec={"handler": "g"}, folder="/new"))
        assert (changed.spec, changed.folder) == ({"handler": "g"}, "/new")
        assert ids(p.get_function_versions("p", "f")) == ["v2", "v1"]
        with pytest.raises(NotFound, match="no version 'v9' of function 'f'"):
            p.update_function(function("v9"))

    def test_deleting_counts_versions_and_leaves_runs(self, p: Store) -> None:
        for id in ("v1", "v2", "v3"):
            p.ensure_task(p.add_function(function(id)), "job", {})
        p.add_run(run("run-1", function_id="v1"))
        assert p.delete_function("p", "f", id="v3") == 1
        assert ids(p.get_function_versions("p", "f")) == ["v2", "v1"]
        assert p.delete_function("p", "f") == 2
        assert ids(p.list_runs("p", function="f")) == ["run-1"]
        with pytest.raises(NotFound, match=r"project 'p' has no function 'f'$"):
            p.delete_function("p", "f")
        with pytest.raises(NotFound, match="no function 'f', version 'v1'"):
            p.delete_function("p", "f", id="v1")

    def test_one_task_for_an_action_of_a_version(self, p: Store) -> None:
        first, second = p.add_function(function("v1")), p.add_function(function("v2"))
        made = p.ensure_task(first, "job", {"resources": {"cpu": "1"}})
        again = p.ensure_task(first, "job", {"resources": {"cpu": "2"}})
        assert (again.id, again.created, again.spec) == (made.id, made.created, {"resources": {"cpu": "2"}})
        assert len({made.id, p.ensure_task(first, "serve", {}).id, p.ensure_task(second, "job", {}).id}) == 3

    def test_a_task_of_no_version(self, p: Store) -> None:
        with pytest.raises(NotFound, match="no version 'v1' of 'f'"):
            p.ensure_task(function("v1"), "job", {})


class TestRuns:
    def test_a_run_comes_back_as_it_was_given(self, p: Store) -> None:
        documents = {"a": [1, 2.5, None, True, "ü\ud800"], "b": {"c": {}}}
        record = run("run-1", spec=documents, service=documents, outputs=documents, result=documents, exit_code=3)
        added = p.add_run(record)
        assert p.get_run("run-1") == added
        assert (added.spec, added.result) == (documents, documents)
        assert [(one.at, one.state) for one in p.run_states("run-1")] == [(added.created, CREATED)]

    def test_a_mapping_is_as_good_as_a_dict(self, p: Store) -> None:
        added = p.add_run(run("run-1", spec=MappingProxyType({"a": MappingProxyType({"b": 1})})))
        assert added.spec["a"]["b"] == 1
        assert (found := p.get_run("run-1"))
        assert found.spec == {"a": {"b": 1}}

    def test_what_is_no_json_is_refused_and_leaves_nothing(self, p: Store) -> None:
        with pytest.raises(TypeError, match="a set is no JSON value"):
            p.add_run(run("run-1", spec={"a": {"ab"}}))
        assert p.list_runs() == []

    def test_an_id_is_given_once(self, p: Store) -> None:
        p.add_run(run("run-1"))
        with pytest.raises(StoreError, match=r"has it already.*'run-1'"):
            p.add_run(run("run-1", action="serve"))
        assert [one.action for one in p.list_runs()] == ["job"]

    def test_by_the_beginning_of_its_id(self, p: Store) -> None:
        for id in ("aaaaaaaa-1", "aaaaaaaa-2", "bbbbbbbb-1", "bbbbbbbb"):
            p.add_run(run(id))
        found = {asked: p.get_run(asked) for asked in ("aaaaaaaa", "aaaaaaaa-", "aaaaaaaa-2", "bbbbbbb", "bbbbbbbb")}
        assert {asked: one and one.id for asked, one in found.items()} == {
            "aaaaaaaa": None,
            "aaaaaaaa-": None,
            "aaaaaaaa-2": "aaaaaaaa-2",
            "bbbbbbb": None,  # seven characters
            "bbbbbbbb": "bbbbbbbb",
        }
        assert p.get_run("%%%%%%%%") is p.get_run("________") is p.get_run("") is None

    def test_its_life(self, p: Store) -> None:
        p.add_run(run("run-1"))
        assert p.change_run("run-1", PENDING).started == ""
        running = p.change_run("run-1", RUNNING, "up", service={"url": "http://127.0.0.1:1"})
        assert (running.service, running.finished) == ({"url": "http://127.0.0.1:1"}, "")
        assert running.started == p.run_states("run-1")[-1].at
        ended = finish(p, "run-1", outputs={"o": {"path": "/x"}}, result={"results": {"n": 1}})
        assert (ended.state, ended.exit_code, ended.started) == (COMPLETED, 0, running.started)
        assert ended == p.get_run("run-1")
        states = [(one.state, one.message) for one in p.run_states("run-1")]
        assert states == [(CREATED, ""), (PENDING, ""), (RUNNING, "up"), (COMPLETED, "")]
        assert ended.finished == p.run_states("run-1")[-1].at

    def test_of_two_who_end_it_the_first_counts(self, p: Store) -> None:
        p.add_run(run("run-1"))
        stopped = p.change_run("run-1", STOPPED, "by hand")
        assert stopped.finished
        assert finish(p, "run-1", entities=[entity("1")], result={"a": 1}) == stopped
        assert p.change_run("run-1", RUNNING) == p.change_run("run-1", ERROR, "late") == stopped
        assert p.list_entities("p", "dataitem") == []
        assert len(p.run_states("run-1")) == 2

    def test_a_resumed_run_begins_without_what_the_first_attempt_left(self, p: Store) -> None:
        p.add_run(run("run-1"), [LineageRecord("run-1", CONSUMES, "di", "store://p/dataitem/table/raw:0")])
        p.change_run("run-1", RUNNING)
        first = entity("1", "clean")
        produced = LineageRecord("run-1", PRODUCES, "clean", first.key)
        left = {"outputs": {"clean": {"key": first.key}}, "result": {"a": 1}, "entities": [first]}
        finish(p, "run-1", ERROR, exit_code=1, lineage=[produced], **left)
        again = p.change_run("run-1", PENDING, resume=True, attempt=2, folder="/runs/run-1-2")
        assert (again.attempt, again.folder, again.state) == (2, "/runs/run-1-2", PENDING)
        assert (again.started, again.finished, again.exit_code, again.outputs, again.result) == ("", "", None, {}, {})
        assert p.get_run("run-1") == again
        assert [one.relation for one in p.lineage(run="run-1")] == [CONSUMES]
        second = entity("2", "clean")
        finish(p, "run-1", entities=[second], lineage=[LineageRecord("run-1", PRODUCES, "clean", second.key)])
        assert {one.key for one in p.lineage(run="run-1")} == {"store://p/dataitem/table/raw:0", second.key}
        assert ids(p.get_entity_versions("p", "dataitem", "clean")) == ["2", "1"]

    def test_an_output_of_the_same_key_takes_the_earlier_ones_place(self, p: Store) -> None:
        p.add_run(run("run-1"))
        finish(p, "run-1", ERROR, entities=[entity("1", path="/old"), entity("2")])
        p.change_run("run-1", PENDING, resume=True)
        finish(p, "run-1", entities=[entity("1", path="/new")])
        assert [(one.id, one.path) for one in p.get_entity_versions("p", "dataitem", "raw")] == [
            ("1", "/new"),
            ("2", "/data/2"),
        ]

    def test_of_two_who_resume_it_one_does(self, p: Store) -> None:
        p.add_run(run("run-1"))
        p.change_run("run-1", ERROR)
        p.change_run("run-1", PENDING, resume=True, attempt=2)
        with pytest.raises(StoreError, match="'run-1' is PENDING: what has not ended is not resumed"):
            p.change_run("run-1", PENDING, resume=True, attempt=2)

    def test_what_a_run_is_does_not_change(self, p: Store) -> None:
        p.add_run(run("run-1"))
        with pytest.raises(TypeError, match=r"not function, wrong$"):
            p.change_run("run-1", RUNNING, function="g", wrong=1, attempt=2)

    def test_a_message_that_is_no_unicode_ends_a_run_too(self, p: Store) -> None:
        p.add_run(run("run-1"))
        assert p.change_run("run-1", ERROR, "bad \ud800 letter").message == "bad \\ud800 letter"

    def test_lists(self, p: Store) -> None:
        add_project(p, "q")
        p.add_run(run("run-1", result={"large": "x"}))
        p.add_run(run("run-2", function="g", action="serve"))
        p.add_run(run("run-3", project="q"))
        p.change_run("run-2", RUNNING)
        finish(p, "run-3")
        assert ids(p.list_runs()) == ["run-3", "run-2", "run-1"]
        assert ids(p.list_runs("p")) == ["run-2", "run-1"]
        assert ids(p.list_runs("p", function="f")) == ids(p.list_runs("p", action="job")) == ["run-1"]
        assert ids(p.list_runs(states=[RUNNING, COMPLETED])) == ids(p.list_runs(limit=2)) == ["run-3", "run-2"]
        assert ids(p.list_runs("p", function="f", action="serve")) == p.list_runs("r") == p.list_runs(limit=0) == []
        assert p.list_runs("p", function="f")[0].result == {}

    def test_one_that_is_not_there(self, p: Store) -> None:
        assert p.get_run("run-1") is None
        assert p.run_states("run-1") == p.lineage(run="run-1") == []
        for act in (lambda: p.change_run("run-1", RUNNING), lambda: finish(p, "run-1"), lambda: p.delete_run("run-1")):
            with pytest.raises(NotFound, match="no run 'run-1'"):
                act()

    def test_an_ended_one_is_deleted_and_what_it_made_stays(self, p: Store) -> None:
        made = entity("1")
        p.add_run(run("run-1"))
        with pytest.raises(StoreError, match="is CREATED; stop it first"):
            p.delete_run("run-1")
        finish(
            p, "run-1", entities=[made], lineage=[LineageRecord("run-1", PRODUCES, "raw", made.key)], result={"a": 1}
        )
        p.delete_run("run-1")
        assert p.list_runs() == p.run_states("run-1") == p.lineage(key=made.key) == []
        assert p.get_entity(made.key)
        p.add_run(run("run-1"))
        assert (again := p.get_run("run-1"))
        assert again.result == {}

    def test_a_large_result(self, p: Store) -> None:
        large = {"results": {"text": "ü" * 25_000_000}}
        p.add_run(run("run-1"))
        finish(p, "run-1", result=large)
        assert (found := p.get_run("run-1"))
        assert found.result == large
        assert p.list_runs()[0].result == {}


class TestEntities:
    def test_a_version_comes_back_as_it_was_given(self, p: Store) -> None:
        given = entity("1", spec={"schema": [{"name": "größe"}]}, metadata={"labels": ["a"]}, path="s3://b/k")
        added = p.add_entity(given)
        assert p.get_entity(given.key) == added
        assert (added.spec, added.metadata, added.path) == (given.spec, given.metadata, "s3://b/k")

    def test_a_key_without_id_is_the_latest_of_its_kind(self, p: Store) -> None:
        for id, kind in (("1", "table"), ("2", "table"), ("3", "croissant")):
            p.add_entity(entity(id, kind=kind))
        p.add_entity(entity("4", type="artifact"))
        latest = p.get_entity("store://p/dataitem/table/raw")
        assert latest
        assert latest.id == "2"
        assert (found := p.find_entity("p", "dataitem", "raw"))
        assert found.id == "3"
        assert ids(p.get_entity_versions("p", "dataitem", "raw")) == ["3", "2", "1"]
        assert ids(p.list_entities("p", "dataitem")) == ["3"]

    @pytest.mark.parametrize("key", ["", "raw", "store://p/dataitem/table/raw:9", "store://p/dataitem/raw", "s3://b/k"])
    def test_a_key_that_names_none(self, p: Store, key: str) -> None:
        p.add_entity(entity("1"))
        assert p.get_entity(key) is None
        with pytest.raises(NotFound, match="the history has no"):
            p.delete_entity(key)

    def test_a_key_is_given_once(self, p: Store) -> None:
        p.add_entity(entity("1"))
        with pytest.raises(StoreError, match="has it already"):
            p.add_entity(entity("1"))

    def test_a_label_is_looked_for_in_the_latest_version(self, p: Store) -> None:
        p.add_entity(entity("1", "a", metadata={"labels": ["x"]}))
        p.add_entity(entity("2", "b", metadata={"labels": None}))
        p.add_entity(entity("3", "c", metadata={"labels": ["x", "y"]}))
        assert names(p.list_entities("p", "dataitem", label="x")) == ["c", "a"]

    def test_deleting_one_or_all(self, p: Store) -> None:
        for id in ("1", "2", "3"):
            p.add_entity(entity(id))
        p.add_entity(entity("4", "other"))
        p.delete_entity("store://p/dataitem/table/raw:3")
        assert ids(p.get_entity_versions("p", "dataitem", "raw")) == ["2", "1"]
        p.delete_entity("store://p/dataitem/table/raw")
        assert names(p.list_entities("p", "dataitem")) == ["other"]

    def test_lineage_both_ways(self, p: Store) -> None:
        raw, clean = p.add_entity(entity("1")), entity("2", "clean")
        consumed = LineageRecord("run-1", CONSUMES, "di", raw.key)
        produced = LineageRecord("run-1", PRODUCES, "clean", clean.key)
        p.add_run(run("run-1"), [consumed])
        finish(p, "run-1", entities=[clean], lineage=[consumed, produced])
        read_again = LineageRecord("run-2", CONSUMES, "x", clean.key)
        p.add_run(run("run-2"), [read_again])
        assert p.lineage(run="run-1") == [produced, consumed]
        assert p.lineage(key=clean.key) == p.lineage(key="store://p/dataitem/table/clean") == [read_again, produced]
        p.delete_entity(clean.key)
        assert p.lineage(key=clean.key) == [read_again, produced]
        assert p.lineage(key="store://p/dataitem/table/clean") == p.lineage(key="store://p/model/x/y:1") == []


def test_the_latest_is_one_look_up_and_a_list_no_sorting(p: Store, tmp_path: Path) -> None:
    """10,000 runs are listed within 200 ms: benchmarks/history.py measures it, this holds its reason."""
    import sqlite3

    connection = sqlite3.connect(tmp_path / "home" / "store.db")
    plans = {
        "SELECT * FROM functions WHERE project = ? AND name = ? ORDER BY seq DESC LIMIT 1": "INDEX functions_latest",
        "SELECT * FROM entities WHERE project = ? AND type = ? AND name = ? ORDER BY seq DESC": "INDEX entities_latest",
        "SELECT * FROM runs WHERE project = ? ORDER BY seq DESC": "INDEX runs_project",
        "SELECT * FROM runs WHERE project = ? AND function = ? ORDER BY seq DESC": "INDEX runs_function",
        "SELECT * FROM runs WHERE id >= ? AND id < ? LIMIT 2": "INDEX sqlite_autoindex_runs_1",
        "SELECT * FROM states WHERE run = ? ORDER BY seq": "INDEX states_run",
        "SELECT * FROM lineage WHERE key = ? ORDER BY seq DESC": "INDEX lineage_key",
    }
    for query, index in plans.items():
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", ["x"] * query.count("?"))]
        assert len(steps) == 1, steps
        assert f"USING {index}" in steps[0], steps
    connection.close()
