"""Records that tests of the store begin with."""

# ruff: noqa: A002 - as the records' fields are called

from __future__ import annotations

from typing import Any

from nuwrap.store import EntityRecord, FunctionRecord, ProjectRecord, RunRecord, Store


def add_project(store: Store, name: str = "p") -> ProjectRecord:
    return store.add_project(ProjectRecord(name))[0]


def function(id: str, name: str = "f", project: str = "p", **more: Any) -> FunctionRecord:
    return FunctionRecord(**{"id": id, "project": project, "name": name, "spec": {"handler": "main:f"}, **more})


def run(id: str, project: str = "p", **more: Any) -> RunRecord:
    plain = {"function": "f", "function_id": "v1", "task": "t1", "action": "job", "platform": "local"}
    return RunRecord(**{"id": id, "project": project, "spec": {}, "folder": f"/runs/{id}", **plain, **more})


def entity(id: str, name: str = "raw", kind: str = "table", type: str = "dataitem", **more: Any) -> EntityRecord:
    project = more.pop("project", "p")
    key = f"store://{project}/{type}/{kind}/{name}:{id}"
    return EntityRecord(key, project, type, kind, name, id, **{"path": f"/data/{id}", **more})
