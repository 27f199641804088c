"""The history in SQLite: what each method does is said by `Store` alone, in `store/__init__.py`."""

from __future__ import annotations

from dataclasses import replace

from nuwrap.errors import NotFound, StoreError
from nuwrap.store import ProjectRecord
from nuwrap.store.database import WAIT_S, Database, now
from nuwrap.store.entities import Entities
from nuwrap.store.functions import Functions
from nuwrap.store.rows import PROJECTS
from nuwrap.store.runs import Runs

_HELD = ("functions", "runs", "entities")


class SqliteStore(Functions, Runs, Entities):
    """A user's history in `store.db` of a folder."""

    def __init__(self, home: str, wait_s: float = WAIT_S) -> None:
        self._database = Database(home, wait_s)

    def close(self) -> None:
        self._database.close()

    def add_project(self, record: ProjectRecord) -> tuple[ProjectRecord, bool]:
        at = now()
        with self._database.write() as connection:
            there = PROJECTS.first(connection, "WHERE name = ?", record.name)
            if there:
                return there, False
            made = replace(record, created=record.created or at, updated=record.updated or at)
            PROJECTS.insert(connection, made)
        return made, True

    def get_project(self, name: str) -> ProjectRecord | None:
        with self._database.read() as connection:
            return PROJECTS.first(connection, "WHERE name = ?", name)

    def list_projects(self) -> list[ProjectRecord]:
        with self._database.read() as connection:
            return PROJECTS.select(connection, "ORDER BY seq DESC")

    def update_project(self, record: ProjectRecord) -> ProjectRecord:
        changes = {"description": record.description, "labels": record.labels, "updated": now()}
        with self._database.write() as connection:
            PROJECTS.update(connection, "name = ?", [record.name], **changes)
            found = PROJECTS.first(connection, "WHERE name = ?", record.name)
        if found is None:
            raise NotFound(f"there is no project {record.name!r}")
        return found

    def delete_project(self, name: str, *, cascade: bool) -> None:
        with self._database.write() as connection:
            count = "SELECT count(*) FROM {} WHERE project = ?"
            held = {table: connection.execute(count.format(table), [name]).fetchone()[0] for table in _HELD}
            if any(held.values()) and not cascade:
                there = ", ".join(f"{number} {table}" for table, number in held.items() if number)
                raise StoreError(f"project {name!r} has {there}; delete it with cascade=True, and they go too")
            if not PROJECTS.delete(connection, "name = ?", name):
                raise NotFound(f"there is no project {name!r}")
