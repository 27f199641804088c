"""Runs with their state changes and results; whoever ends a run first has ended it."""

# ruff: noqa: A002 - as the records' fields are called

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from sqlite3 import Connection
from typing import Any, Final

from nuwrap.errors import NotFound, StoreError
from nuwrap.store import (
    ENDED,
    PRODUCES,
    RUNNING,
    Document,
    EntityRecord,
    LineageRecord,
    RunRecord,
    StateChange,
)
from nuwrap.store.database import Database, now
from nuwrap.store.rows import ENTITIES, LINEAGE, RUNS, STATES, decode, require_project, to_json

PREFIX_CHARACTERS: Final = 8
_LAST_LETTER: Final = "\U0010ffff"
CHANGEABLE: Final = frozenset(one.name for one in fields(RunRecord)) - {
    "id", "project", "function", "function_id", "task", "action", "created", "state", "message",
}  # fmt: skip
# What a new attempt begins without.
_OF_AN_ATTEMPT: Final[Document] = {
    "exit_code": None,
    "started": "",
    "finished": "",
    "service": {},
    "outputs": {},
    "result": {},
}


class Runs:
    """The part of the store that keeps runs."""

    _database: Database

    def add_run(self, record: RunRecord, lineage: Sequence[LineageRecord] = ()) -> RunRecord:
        record = replace(record, created=record.created or now(), message=_clean(record.message))
        with self._database.write() as connection:
            require_project(connection, record.project)
            RUNS.insert(connection, record)
            _keep_result(connection, record.id, record.result)
            _add_lineage(connection, lineage)
            STATES.insert(connection, StateChange(record.created, record.state, record.message), run=record.id)
        return record

    def change_run(self, id: str, state: str, message: str = "", **fields: Any) -> RunRecord:
        resume = fields.pop("resume", False)
        if not set(fields) <= CHANGEABLE:
            raise TypeError(
                f"change_run changes {', '.join(sorted(CHANGEABLE))}, not {', '.join(sorted(set(fields) - CHANGEABLE))}"
            )
        with self._database.write() as connection:
            record = _require(connection, id)
            if resume:
                fields = {**_OF_AN_ATTEMPT, **fields}
                _leave_attempt(connection, record)
            elif record.state in ENDED:
                return record
            return _enter(connection, record, state, message, fields)

    def finish_run(
        self,
        id: str,
        state: str,
        message: str,
        *,
        exit_code: int | None,
        outputs: Document,
        result: Document,
        entities: Sequence[EntityRecord] = (),
        lineage: Sequence[LineageRecord] = (),
    ) -> RunRecord:
        with self._database.write() as connection:
            record = _require(connection, id)
            if record.state in ENDED:
                return record
            for entity in entities:
                ENTITIES.delete(connection, "key = ?", entity.key)
                ENTITIES.insert(connection, replace(entity, created=entity.created or now()))
            LINEAGE.delete(connection, "run = ? AND relation = ?", id, PRODUCES)
            _add_lineage(connection, lineage)
            left = {"exit_code": exit_code, "outputs": outputs, "result": result}
            return _enter(connection, record, state, message, left)

    def get_run(self, id: str) -> RunRecord | None:
        with self._database.read() as connection:
            return _find(connection, id)

    def list_runs(
        self,
        project: str = "",
        *,
        function: str = "",
        action: str = "",
        states: Iterable[str] = (),
        limit: int | None = None,
    ) -> list[RunRecord]:
        wanted = {"project": project, "function": function, "action": action}
        given = {name: value for name, value in wanted.items() if value}
        conditions = [f"{name} = ?" for name in given]
        states = tuple(states)
        if states:
            conditions.append(f"state IN ({', '.join('?' * len(states))})")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        rest = f"{where} ORDER BY seq DESC LIMIT ?"
        with self._database.read() as connection:
            return RUNS.select(connection, rest, *given.values(), *states, -1 if limit is None else limit)

    def run_states(self, id: str) -> list[StateChange]:
        with self._database.read() as connection:
            return STATES.select(connection, "WHERE run = ? ORDER BY seq", id)

    def delete_run(self, id: str) -> None:
        with self._database.write() as connection:
            record = _require(connection, id)
            if record.state not in ENDED:
                raise StoreError(f"run {id!r} is {record.state}; stop it first, then delete it")
            RUNS.delete(connection, "id = ?", id)


def _find(connection: Connection, id: str) -> RunRecord | None:
    found = RUNS.select(connection, "WHERE id = ?", id)
    if not found and len(id) >= PREFIX_CHARACTERS:
        found = RUNS.select(connection, "WHERE id >= ? AND id < ? LIMIT 2", id, id + _LAST_LETTER)
    return _with_result(connection, found[0]) if len(found) == 1 else None


def _require(connection: Connection, id: str) -> RunRecord:
    found = RUNS.select(connection, "WHERE id = ?", id)
    if not found:
        raise NotFound(f"the history has no run {id!r}")
    return _with_result(connection, found[0])


def _with_result(connection: Connection, record: RunRecord) -> RunRecord:
    row = connection.execute("SELECT result FROM results WHERE run = ?", [record.id]).fetchone()
    return replace(record, result=decode("results", "result", row)[0]) if row else record


def _enter(connection: Connection, record: RunRecord, state: str, message: str, values: dict[str, Any]) -> RunRecord:
    """Write the state and the other values; return the record as it is then."""
    at = now()
    values = {**values, "state": state, "message": _clean(message)}
    if state == RUNNING and not values.get("started", record.started):
        values["started"] = at
    if state in ENDED and not values.get("finished"):
        values["finished"] = at
    if "result" in values:
        _keep_result(connection, record.id, values["result"])
    RUNS.update(connection, "id = ?", [record.id], **{name: one for name, one in values.items() if name != "result"})
    STATES.insert(connection, StateChange(at, state, values["message"]), run=record.id)
    return replace(record, **values)


def _leave_attempt(connection: Connection, record: RunRecord) -> None:
    if record.state not in ENDED:
        raise StoreError(f"run {record.id!r} is {record.state}: what has not ended is not resumed")
    LINEAGE.delete(connection, "run = ? AND relation = ?", record.id, PRODUCES)


def _keep_result(connection: Connection, run: str, result: Document) -> None:
    connection.execute("DELETE FROM results WHERE run = ?", [run])
    if result:
        connection.execute("INSERT INTO results VALUES (?, ?)", [run, to_json(result)])


def _add_lineage(connection: Connection, lineage: Sequence[LineageRecord]) -> None:
    sql = "INSERT OR IGNORE INTO lineage (run, relation, name, key) VALUES (?, ?, ?, ?)"
    connection.executemany(sql, [(one.run, one.relation, one.name, one.key) for one in lineage])


def _clean(message: str) -> str:
    """Return the text as UTF-8 can have it: a user's exception may hold half of a surrogate pair."""
    return message.encode("utf-8", "backslashreplace").decode("utf-8")
