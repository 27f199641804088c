"""Functions by version, and their tasks."""

# ruff: noqa: A002 - as the records' fields are called

from __future__ import annotations

import uuid
from dataclasses import replace

from nuwrap.errors import NotFound
from nuwrap.store import Document, FunctionRecord, TaskRecord
from nuwrap.store.database import Database, now
from nuwrap.store.rows import FUNCTIONS, TASKS, has_label, require_project

_BY_NAME = "WHERE project = ? AND name = ? ORDER BY seq DESC"


class Functions:
    """The part of the store that keeps functions and tasks."""

    _database: Database

    def add_function(self, record: FunctionRecord) -> FunctionRecord:
        record = replace(record, created=record.created or now(), updated=record.updated or now())
        with self._database.write() as connection:
            require_project(connection, record.project)
            FUNCTIONS.insert(connection, record)
        return record

    def get_function(self, project: str, name: str = "", id: str = "") -> FunctionRecord | None:
        with self._database.read() as connection:
            if not id:
                return FUNCTIONS.first(connection, _BY_NAME, project, name)
            return FUNCTIONS.first(connection, "WHERE id = ? AND project = ? AND ? IN ('', name)", id, project, name)

    def get_function_versions(self, project: str, name: str) -> list[FunctionRecord]:
        with self._database.read() as connection:
            return FUNCTIONS.select(connection, _BY_NAME, project, name)

    def list_functions(self, project: str, *, label: str = "") -> list[FunctionRecord]:
        latest = "WHERE seq IN (SELECT max(seq) FROM functions WHERE project = ? GROUP BY name) ORDER BY seq DESC"
        with self._database.read() as connection:
            found = FUNCTIONS.select(connection, latest, project)
        return [one for one in found if has_label(one.spec, label)]

    def update_function(self, record: FunctionRecord) -> FunctionRecord:
        changes = {"spec": record.spec, "folder": record.folder, "updated": now()}
        with self._database.write() as connection:
            FUNCTIONS.update(connection, "id = ? AND project = ?", (record.id, record.project), **changes)
            found = FUNCTIONS.first(connection, "WHERE id = ? AND project = ?", record.id, record.project)
        if found is None:
            raise NotFound(f"project {record.project!r} has no version {record.id!r} of function {record.name!r}")
        return found

    def delete_function(self, project: str, name: str, *, id: str = "") -> int:
        with self._database.write() as connection:
            gone = FUNCTIONS.delete(connection, "project = ? AND name = ? AND ? IN ('', id)", project, name, id)
        if not gone:
            version = f", version {id!r}" if id else ""
            raise NotFound(f"project {project!r} has no function {name!r}{version}")
        return gone

    def ensure_task(self, function: FunctionRecord, action: str, spec: Document) -> TaskRecord:
        made = TaskRecord(str(uuid.uuid4()), function.project, function.id, action, spec, now())
        key = (function.id, action)
        with self._database.write() as connection:
            if FUNCTIONS.first(connection, "WHERE id = ?", function.id) is None:
                raise NotFound(f"project {function.project!r} has no version {function.id!r} of {function.name!r}")
            if not TASKS.update(connection, "function = ? AND action = ?", key, spec=spec):
                TASKS.insert(connection, made)
            (task,) = TASKS.select(connection, "WHERE function = ? AND action = ?", *key)
        return task
