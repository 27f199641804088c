"""The history as plain lists: what `Store` says, said once more in the simplest way. Newest last; no times."""

# ruff: noqa: A002 - as the records' fields are called

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from nuwrap.errors import NotFound, StoreError
from nuwrap.store import (
    ENDED,
    PRODUCES,
    Document,
    EntityRecord,
    FunctionRecord,
    LineageRecord,
    ProjectRecord,
    RunRecord,
    TaskRecord,
)

R = TypeVar("R")
FRESH: dict[str, Any] = {"exit_code": None, "service": {}, "outputs": {}, "result": {}}


def newest(records: Iterable[R], wanted: Callable[[R], bool]) -> list[R]:
    return [one for one in reversed(list(records)) if wanted(one)]


def latest_of_each(records: list[Any]) -> list[Any]:
    """Of records with the newest first, the first of each name."""
    return [one for place, one in enumerate(records) if one.name not in [other.name for other in records[:place]]]


class Model:
    """A store without a file."""

    def __init__(self) -> None:
        self.projects: list[ProjectRecord] = []
        self.functions: list[FunctionRecord] = []
        self.tasks: list[TaskRecord] = []
        self.runs: list[RunRecord] = []
        self.states: list[tuple[str, str, str]] = []
        self.entities: list[EntityRecord] = []
        self.lines: list[LineageRecord] = []

    def add_project(self, record: ProjectRecord) -> tuple[ProjectRecord, bool]:
        if there := self.get_project(record.name):
            return there, False
        self.projects.append(record)
        return record, True

    def get_project(self, name: str) -> ProjectRecord | None:
        return next((one for one in self.projects if one.name == name), None)

    def list_projects(self) -> list[ProjectRecord]:
        return self.projects[::-1]

    def update_project(self, record: ProjectRecord) -> ProjectRecord:
        self._project(record.name)
        self.projects = [record if one.name == record.name else one for one in self.projects]
        return record

    def delete_project(self, name: str, *, cascade: bool) -> None:
        held = [one for one in (*self.functions, *self.runs, *self.entities) if one.project == name]
        if held and not cascade:
            raise StoreError("holds something")
        self._project(name)
        self.projects = [one for one in self.projects if one.name != name]
        self.functions = [one for one in self.functions if one.project != name]
        self.tasks = [one for one in self.tasks if one.project != name]
        self.entities = [one for one in self.entities if one.project != name]
        for run in [one for one in self.runs if one.project == name]:
            self._drop(run)

    def add_function(self, record: FunctionRecord) -> FunctionRecord:
        self._project(record.project)
        if record.id in [one.id for one in self.functions]:
            raise StoreError("is taken")
        self.functions.append(record)
        return record

    def get_function(self, project: str, name: str = "", id: str = "") -> FunctionRecord | None:
        mine = newest(self.functions, lambda one: one.project == project)
        if id:
            return next((one for one in mine if one.id == id and name in (one.name, "")), None)
        return next((one for one in mine if one.name == name), None)

    def get_function_versions(self, project: str, name: str) -> list[FunctionRecord]:
        return newest(self.functions, lambda one: (one.project, one.name) == (project, name))

    def list_functions(self, project: str, *, label: str = "") -> list[FunctionRecord]:
        found = latest_of_each(newest(self.functions, lambda one: one.project == project))
        return [one for one in found if not label or label in one.spec.get("labels", [])]

    def update_function(self, record: FunctionRecord) -> FunctionRecord:
        for place, one in enumerate(self.functions):
            if (one.id, one.project) == (record.id, record.project):
                self.functions[place] = replace(one, spec=record.spec, folder=record.folder)
                return self.functions[place]
        raise NotFound("no version")

    def delete_function(self, project: str, name: str, *, id: str = "") -> int:
        gone = [one for one in self.get_function_versions(project, name) if id in (one.id, "")]
        if not gone:
            raise NotFound("no function")
        self.functions = [one for one in self.functions if one not in gone]
        self.tasks = [one for one in self.tasks if one.function not in [version.id for version in gone]]
        return len(gone)

    def ensure_task(self, function: FunctionRecord, action: str, spec: Document) -> TaskRecord:
        if function.id not in [one.id for one in self.functions]:
            raise NotFound("no version")
        self.tasks = [one for one in self.tasks if (one.function, one.action) != (function.id, action)]
        self.tasks.append(TaskRecord("", function.project, function.id, action, spec))
        return self.tasks[-1]

    def add_run(self, record: RunRecord, lineage: Sequence[LineageRecord] = ()) -> RunRecord:
        self._project(record.project)
        if record.id in [one.id for one in self.runs]:
            raise StoreError("is taken")
        self.runs.append(record)
        self.lines += [one for one in lineage if one not in self.lines]
        self.states.append((record.id, record.state, record.message))
        return record

    def change_run(self, id: str, state: str, message: str = "", **fields: Any) -> RunRecord:
        run = self._run(id)
        if fields.pop("resume", False):
            if run.state not in ENDED:
                raise StoreError("has not ended")
            fields = {**FRESH, **fields}
            self._forget_products(id)
        elif run.state in ENDED:
            return run
        return self._enter(run, state, message, fields)

    def finish_run(
        self,
        id: str,
        state: str,
        message: str,
        *,
        entities: Sequence[EntityRecord] = (),
        lineage: Sequence[LineageRecord] = (),
        **left: Any,
    ) -> RunRecord:
        run = self._run(id)
        if run.state in ENDED:
            return run
        keys = [one.key for one in entities]
        self.entities = [one for one in self.entities if one.key not in keys] + list(entities)
        self._forget_products(id)
        self.lines += [one for one in lineage if one not in self.lines]
        return self._enter(run, state, message, left)

    def get_run(self, id: str) -> RunRecord | None:
        whole = [one for one in self.runs if one.id == id]
        begin = [one for one in self.runs if len(id) >= 8 and one.id.startswith(id)]
        found = whole or begin
        return found[0] if len(found) == 1 else None

    def list_runs(
        self,
        project: str = "",
        *,
        function: str = "",
        action: str = "",
        states: Iterable[str] = (),
        limit: int | None = None,
    ) -> list[RunRecord]:
        pairs = [("project", project), ("function", function), ("action", action)]
        found = newest(self.runs, lambda one: all(value in ("", getattr(one, name)) for name, value in pairs))
        return [replace(one, result={}) for one in found if not states or one.state in list(states)][:limit]

    def run_states(self, id: str) -> list[tuple[str, str]]:
        return [change for run, *change in self.states if run == id]

    def delete_run(self, id: str) -> None:
        run = self._run(id)
        if run.state not in ENDED:
            raise StoreError("has not ended")
        self._drop(run)

    def add_entity(self, record: EntityRecord) -> EntityRecord:
        self._project(record.project)
        if record.key in [one.key for one in self.entities]:
            raise StoreError("is taken")
        self.entities.append(record)
        return record

    def get_entity(self, key: str) -> EntityRecord | None:
        return next(iter(self._named(key)), None)

    def find_entity(self, project: str, type: str, name: str) -> EntityRecord | None:
        return next(iter(self.get_entity_versions(project, type, name)), None)

    def list_entities(self, project: str, type: str, *, label: str = "") -> list[EntityRecord]:
        found = latest_of_each(newest(self.entities, lambda one: (one.project, one.type) == (project, type)))
        return [one for one in found if not label or label in one.metadata.get("labels", [])]

    def get_entity_versions(self, project: str, type: str, name: str) -> list[EntityRecord]:
        return newest(self.entities, lambda one: (one.project, one.type, one.name) == (project, type, name))

    def delete_entity(self, key: str) -> None:
        gone = self._named(key)
        if not gone:
            raise NotFound("no entity")
        self.entities = [one for one in self.entities if one not in gone]

    def lineage(self, *, run: str = "", key: str = "") -> list[LineageRecord]:
        if run:
            return newest(self.lines, lambda one: one.run == run)
        version = self.get_entity(key)
        return newest(self.lines, lambda one: one.key == (version.key if version else key))

    def _project(self, name: str) -> None:
        if self.get_project(name) is None:
            raise NotFound("no project")

    def _run(self, id: str) -> RunRecord:
        for one in self.runs:
            if one.id == id:
                return one
        raise NotFound("no run")

    def _enter(self, run: RunRecord, state: str, message: str, fields: dict[str, Any]) -> RunRecord:
        changed = replace(run, state=state, message=message, **fields)
        self.runs[self.runs.index(run)] = changed
        self.states.append((run.id, state, message))
        return changed

    def _forget_products(self, id: str) -> None:
        self.lines = [one for one in self.lines if (one.run, one.relation) != (id, PRODUCES)]

    def _drop(self, run: RunRecord) -> None:
        self.runs.remove(run)
        self.states = [one for one in self.states if one[0] != run.id]
        self.lines = [one for one in self.lines if one.run != run.id]

    def _named(self, key: str) -> list[EntityRecord]:
        return newest(self.entities, lambda one: key in (one.key, one.key.rpartition(":")[0]))
