"""Records as rows: a column has the name of its field; documents and labels are JSON text."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from nuwrap.errors import NotFound, StoreError
from nuwrap.store import EntityRecord, FunctionRecord, LineageRecord, ProjectRecord, RunRecord, StateChange, TaskRecord


class Record(Protocol):
    """What every dataclass is."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


R = TypeVar("R", bound=Record)


def to_json(value: Any) -> str:
    """Return ASCII alone, so that half of a surrogate pair in a user's text is kept too."""
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


def decode(table: str, column: str, texts: Sequence[str]) -> tuple[Any, ...]:
    """Return the values of a column of documents. Raises sqlite3.DatabaseError for what is no JSON."""
    try:
        return tuple(map(_DOCUMENTS[column], texts))
    except (ValueError, TypeError, RecursionError) as exc:
        raise sqlite3.DatabaseError(f"a document of {table}.{column} is not JSON ({exc})") from exc


def _document(text: str) -> Any:
    return {} if text == "{}" else json.loads(text)  # most runs have empty ones


def _labels(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


_DOCUMENTS: Final[Mapping[str, Callable[[str], Any]]] = {
    "labels": _labels,
    **dict.fromkeys(("spec", "service", "outputs", "result", "metadata"), _document),
}


@dataclass(frozen=True)
class Table(Generic[R]):
    """A table and the record that its rows are; fields that stand in another table are `apart`."""

    name: str
    record: type[R]
    apart: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the record's fields that are columns, in the record's order."""
        return tuple(one.name for one in fields(self.record) if one.name not in self.apart)

    def insert(self, connection: sqlite3.Connection, record: R, **more: Any) -> None:
        """Add a row; `more` are columns that the record does not have. Raises StoreError when its identity is taken."""
        values = {**{name: getattr(record, name) for name in self.columns}, **more}
        marks = ", ".join("?" * len(values))
        sql = f"INSERT INTO {self.name} ({', '.join(values)}) VALUES ({marks})"  # noqa: S608 - names are ours
        try:
            connection.execute(sql, _encode(values))
        except sqlite3.IntegrityError as exc:
            if not str(exc).startswith("UNIQUE"):
                raise
            raise StoreError(f"the history has it already ({exc}): {record}") from exc

    def update(self, connection: sqlite3.Connection, where: str, key: Sequence[Any], **values: Any) -> int:
        """Set columns of the rows that a condition finds; return how many."""
        changes = ", ".join(f"{name} = ?" for name in values)
        sql = f"UPDATE {self.name} SET {changes} WHERE {where}"  # noqa: S608 - names are ours
        return connection.execute(sql, [*_encode(values), *key]).rowcount

    def delete(self, connection: sqlite3.Connection, where: str, *key: Any) -> int:
        """Remove the rows that a condition finds; return how many."""
        return connection.execute(f"DELETE FROM {self.name} WHERE {where}", key).rowcount  # noqa: S608 - names are ours

    def select(self, connection: sqlite3.Connection, rest: str, *key: Any) -> list[R]:
        """Return the records that `WHERE … ORDER BY …` finds."""
        sql = f"SELECT {', '.join(self.columns)} FROM {self.name} {rest}"  # noqa: S608 - names are ours
        columns = list(zip(*connection.execute(sql, key)))
        if not columns:
            return []
        for place, name in enumerate(self.columns):
            if name in _DOCUMENTS:
                columns[place] = decode(self.name, name, columns[place])
        return list(map(self.record, *columns))

    def first(self, connection: sqlite3.Connection, rest: str, *key: Any) -> R | None:
        """Return the first record that `WHERE … ORDER BY …` finds."""
        found = self.select(connection, f"{rest} LIMIT 1", *key)
        return found[0] if found else None


def _encode(values: Mapping[str, Any]) -> list[Any]:
    return [to_json(value) if name in _DOCUMENTS else value for name, value in values.items()]


PROJECTS: Final = Table("projects", ProjectRecord)
FUNCTIONS: Final = Table("functions", FunctionRecord)
TASKS: Final = Table("tasks", TaskRecord)
RUNS: Final = Table("runs", RunRecord, apart=("result",))
STATES: Final = Table("states", StateChange)
ENTITIES: Final = Table("entities", EntityRecord)
LINEAGE: Final = Table("lineage", LineageRecord)


def require_project(connection: sqlite3.Connection, name: str) -> None:
    """Raise NotFound when there is no such project."""
    if PROJECTS.first(connection, "WHERE name = ?", name) is None:
        raise NotFound(f"there is no project {name!r}")


def has_label(document: Mapping[str, Any], label: str) -> bool:
    """Return whether the document's `labels` have it; every document has the label ""."""
    return not label or label in (document.get("labels") or ())
