"""Whatever is done to the history, in whatever order: it answers as a simple model of it does."""

# ruff: noqa: A001, A002 - as the records' fields are called

from __future__ import annotations

import itertools
import tempfile
from dataclasses import fields, is_dataclass, replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store_model import Model
from store_records import entity, function, run

from nuwrap.errors import NuwrapError
from nuwrap.store import (
    CONSUMES,
    ENDED,
    ERROR,
    PENDING,
    PRODUCES,
    RUNNING,
    LineageRecord,
    ProjectRecord,
    StateChange,
    TaskRecord,
    open_store,
)

TIMES = {"created", "updated", "started", "finished", "at"}
PROJECTS, NAMES, VERSIONS = ("p", "q"), ("f", "g"), ("v1", "v2", "v3")
RUNS = ("aaaaaaaa-1", "aaaaaaaa-2", "bbbbbbbb-1")
KEYS = [
    f"store://{project}/dataitem/{kind}/{name}{id}"
    for project, kind, name, id in itertools.product(PROJECTS, ("table", "other"), NAMES, ("", ":v1", ":v2"))
]
projects = st.sampled_from("pppq")  # most of what happens, happens in one
names, versions, runs = st.sampled_from(NAMES), st.sampled_from(VERSIONS), st.sampled_from(RUNS)
kinds = st.sampled_from(["table", "other"])
seldom = st.sampled_from([False] * 9 + [True])
labels = st.sampled_from(["", "a"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(st.text(max_size=4), values, max_size=3) | st.just({"labels": ["a"]})
keys = st.sampled_from(KEYS)


def plain(found: Any) -> Any:
    """Return an answer without times and without ids that the store makes up."""
    if isinstance(found, (list, tuple)):
        return [plain(one) for one in found]
    if isinstance(found, StateChange):
        return [found.state, found.message]
    if isinstance(found, TaskRecord):
        found = replace(found, id="")
    if is_dataclass(found) and not isinstance(found, type):
        return {one.name: getattr(found, one.name) for one in fields(found) if one.name not in TIMES}
    return found


class Histories(RuleBasedStateMachine):
    """A real store beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory()
        self.store = open_store(self.home.name)
        self.model = Model()
        for name in PROJECTS:
            self.add_project(name, "")

    def teardown(self) -> None:
        self.store.close()
        self.home.cleanup()

    def both(self, method: str, *arguments: Any, **more: Any) -> None:
        answers = []
        for one in (self.store, self.model):
            try:
                answers.append(plain(getattr(one, method)(*arguments, **more)))
            except NuwrapError as exc:
                answers.append(type(exc))
        assert answers[0] == answers[1]

    @rule(name=projects, text=texts)
    def add_project(self, name: str, text: str) -> None:
        self.both("add_project", ProjectRecord(name, text))

    @rule(name=projects, text=texts, label=labels)
    def update_project(self, name: str, text: str, label: str) -> None:
        self.both("update_project", ProjectRecord(name, text, (label,)))

    @rule(name=projects, cascade=seldom)
    def delete_project(self, name: str, cascade: bool) -> None:
        self.both("delete_project", name, cascade=cascade)

    @rule(id=versions, name=names, project=projects, spec=documents)
    def add_function(self, id: str, name: str, project: str, spec: Any) -> None:
        self.both("add_function", function(id, name, project, spec=spec))

    @rule(id=versions, project=projects, spec=documents, folder=texts)
    def update_function(self, id: str, project: str, spec: Any, folder: str) -> None:
        self.both("update_function", function(id, "any", project, spec=spec, folder=folder))

    @rule(project=projects, name=names, id=versions, is_all=seldom)
    def delete_function(self, project: str, name: str, id: str, is_all: bool) -> None:
        self.both("delete_function", project, name, id="" if is_all else id)

    @rule(id=versions, spec=documents)
    def ensure_task(self, id: str, spec: Any) -> None:
        known = self.store.get_function("p", id=id) or self.store.get_function("q", id=id)
        self.both("ensure_task", known or function(id), "job", spec)

    @rule(id=runs, project=projects, name=names, spec=documents, key=keys)
    def add_run(self, id: str, project: str, name: str, spec: Any, key: str) -> None:
        record = run(id, project, function=name, spec=spec, action="serve" if name == "g" else "job")
        self.both("add_run", record, [LineageRecord(id, CONSUMES, "di", key)])

    @rule(id=runs, state=st.sampled_from([PENDING, RUNNING, ERROR]), text=texts, service=documents)
    def change_run(self, id: str, state: str, text: str, service: Any) -> None:
        self.both("change_run", id, state, text, service=service)

    @rule(id=runs, attempt=st.integers(2, 9))
    def resume_run(self, id: str, attempt: int) -> None:
        self.both("change_run", id, PENDING, resume=True, attempt=attempt)

    @rule(id=runs, state=st.sampled_from(sorted(ENDED)), result=documents, outputs=documents, version=versions)
    def finish_run(self, id: str, state: str, result: Any, outputs: Any, version: str) -> None:
        record = self.store.get_run(id)
        made = entity(version, "f", project=record.project if record else "p")
        lineage = [LineageRecord(id, PRODUCES, "f", made.key)]
        left = {"exit_code": 1, "outputs": outputs, "result": result, "entities": [made], "lineage": lineage}
        self.both("finish_run", id, state, "over", **left)

    @rule(id=runs)
    def delete_run(self, id: str) -> None:
        self.both("delete_run", id)

    @rule(id=versions, name=names, kind=kinds, project=projects, metadata=documents)
    def add_entity(self, id: str, name: str, kind: str, project: str, metadata: Any) -> None:
        self.both("add_entity", entity(id, name, kind, project=project, metadata=metadata))

    @rule(key=keys)
    def delete_entity(self, key: str) -> None:
        self.both("delete_entity", key)

    @rule()
    def open_anew(self) -> None:
        self.store.close()
        self.store = open_store(self.home.name)

    @invariant()
    def lists_agree(self) -> None:
        self.both("list_projects")
        self.both("list_runs")
        for project in PROJECTS:
            self.both("list_functions", project)
            self.both("list_entities", project, "dataitem")
            self.both("lineage", key=f"store://{project}/dataitem/table/f")
        for id in RUNS:
            self.both("lineage", run=id)

    @rule()
    def every_look_up(self) -> None:
        for project, name in itertools.product(PROJECTS, NAMES):
            self.both("get_project", project)
            self.both("get_function", project, name)
            self.both("get_function_versions", project, name)
            self.both("list_functions", project, label="a")
            self.both("find_entity", project, "dataitem", name)
            self.both("get_entity_versions", project, "dataitem", name)
            self.both("list_entities", project, "dataitem", label="a")
            self.both("list_runs", project, function=name, limit=2)
            self.both("list_runs", project, action="job", states=[RUNNING, ERROR])
            for id in VERSIONS:
                self.both("get_function", project, name, id)
                self.both("get_function", project, id=id)
        for id in (*RUNS, "aaaaaaaa", "bbbbbbbb", "bbbbbbb"):
            self.both("get_run", id)
            self.both("run_states", id)
        for key in KEYS:
            self.both("get_entity", key)
            self.both("lineage", key=key)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
