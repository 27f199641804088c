"""Dataitems, artifacts and models by version, and which run has to do with which."""

# ruff: noqa: A002 - as the records' fields are called

from __future__ import annotations

import re
from dataclasses import replace
from sqlite3 import Connection
from typing import Final

from nuwrap.errors import NotFound
from nuwrap.store import EntityRecord, LineageRecord
from nuwrap.store.database import Database, now
from nuwrap.store.rows import ENTITIES, LINEAGE, has_label, require_project

_KEY: Final = re.compile(r"store://([^/:]+)/([^/:]+)/([^/:]+)/([^/:]+)(:[^/:]+)?")
_BY_NAME = "WHERE project = ? AND type = ? AND name = ? ORDER BY seq DESC"
_BY_KIND = "project = ? AND type = ? AND kind = ? AND name = ?"


class Entities:
    """The part of the store that keeps entities and lineage."""

    _database: Database

    def add_entity(self, record: EntityRecord) -> EntityRecord:
        record = replace(record, created=record.created or now())
        with self._database.write() as connection:
            require_project(connection, record.project)
            ENTITIES.insert(connection, record)
        return record

    def get_entity(self, key: str) -> EntityRecord | None:
        with self._database.read() as connection:
            return _latest(connection, key)

    def find_entity(self, project: str, type: str, name: str) -> EntityRecord | None:
        with self._database.read() as connection:
            return ENTITIES.first(connection, _BY_NAME, project, type, name)

    def list_entities(self, project: str, type: str, *, label: str = "") -> list[EntityRecord]:
        latest = "SELECT max(seq) FROM entities WHERE project = ? AND type = ? GROUP BY name"
        with self._database.read() as connection:
            found = ENTITIES.select(connection, f"WHERE seq IN ({latest}) ORDER BY seq DESC", project, type)
        return [one for one in found if has_label(one.metadata, label)]

    def get_entity_versions(self, project: str, type: str, name: str) -> list[EntityRecord]:
        with self._database.read() as connection:
            return ENTITIES.select(connection, _BY_NAME, project, type, name)

    def delete_entity(self, key: str) -> None:
        where, values = _condition(key)
        with self._database.write() as connection:
            if not ENTITIES.delete(connection, where, *values):
                raise NotFound(f"the history has no {key}")

    def lineage(self, *, run: str = "", key: str = "") -> list[LineageRecord]:
        with self._database.read() as connection:
            if run:
                return LINEAGE.select(connection, "WHERE run = ? ORDER BY seq DESC", run)
            version = _latest(connection, key)  # a deleted one is known to its runs alone
            return LINEAGE.select(connection, "WHERE key = ? ORDER BY seq DESC", version.key if version else key)


def _latest(connection: Connection, key: str) -> EntityRecord | None:
    where, values = _condition(key)
    return ENTITIES.first(connection, f"WHERE {where} ORDER BY seq DESC", *values)


def _condition(key: str) -> tuple[str, tuple[str, ...]]:
    match = _KEY.fullmatch(key)
    if match and not match[5]:
        return _BY_KIND, match.groups()[:4]
    return "key = ?", (key,)
