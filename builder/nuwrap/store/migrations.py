"""The form of the history's file, as numbered steps. A step that users have is never changed: add one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from nuwrap.errors import StoreError

# Ordered by `seq`, for clocks go backwards. Runs name their function and task without a reference: they outlive both.
_FIRST = """
CREATE TABLE about (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE projects (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    labels TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
);

CREATE TABLE functions (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    folder TEXT NOT NULL,
    kind TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
);
CREATE INDEX functions_latest ON functions (project, name, seq);

CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    function TEXT NOT NULL REFERENCES functions (id) ON DELETE CASCADE,
    action TEXT NOT NULL,
    spec TEXT NOT NULL,
    created TEXT NOT NULL,
    UNIQUE (function, action)
);
CREATE INDEX tasks_project ON tasks (project);

CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    function TEXT NOT NULL,
    function_id TEXT NOT NULL,
    task TEXT NOT NULL,
    action TEXT NOT NULL,
    platform TEXT NOT NULL,
    spec TEXT NOT NULL,
    folder TEXT NOT NULL,
    state TEXT NOT NULL,
    message TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    exit_code INTEGER,
    created TEXT NOT NULL,
    started TEXT NOT NULL,
    finished TEXT NOT NULL,
    service TEXT NOT NULL,
    outputs TEXT NOT NULL
);
CREATE INDEX runs_function ON runs (project, function, seq);
CREATE INDEX runs_project ON runs (project, seq);
CREATE INDEX runs_state ON runs (state, seq);

-- Apart from the run: a list of runs does not read them, and they may be large.
CREATE TABLE results (
    run TEXT NOT NULL PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    result TEXT NOT NULL
);

CREATE TABLE states (
    seq INTEGER PRIMARY KEY,
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    at TEXT NOT NULL,
    state TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX states_run ON states (run, seq);

CREATE TABLE entities (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    type TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    path TEXT NOT NULL,
    spec TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created TEXT NOT NULL
);
CREATE INDEX entities_latest ON entities (project, type, name, seq);

CREATE TABLE lineage (
    seq INTEGER PRIMARY KEY,
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    relation TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    UNIQUE (run, relation, name, key)
);
CREATE INDEX lineage_key ON lineage (key, seq);
"""

MIGRATIONS: Sequence[str] = (_FIRST,)


def check_version(connection: sqlite3.Connection, path: str, steps: Sequence[str] = MIGRATIONS) -> int:
    """Return how many steps the file has taken; 0 is a new one.

    Raises StoreError for a file with more steps than we know, and for another program's.
    """
    (taken,) = connection.execute("PRAGMA user_version").fetchone()
    if taken > len(steps):
        ours = f"nuwrap {_our_version()} knows up to {len(steps)}"
        raise StoreError(
            f"the history {path!r} was made by nuwrap {_maker(connection)}, in form {taken}; this {ours}. "
            "Install the later nuwrap, or set NUWRAP_HOME to another folder"
        )
    if not taken and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreError(
            f"{path!r} is a database, but not nuwrap's history; move it away, or set NUWRAP_HOME to another folder"
        )
    return int(taken)


def migrate(connection: sqlite3.Connection, path: str, steps: Sequence[str] = MIGRATIONS) -> None:
    """Take the steps that are missing, inside the caller's transaction: whole or not at all, one process only."""
    taken = check_version(connection, path, steps)
    for step in steps[taken:]:
        for statement in _statements(step):
            connection.execute(statement)
    if taken < len(steps):
        connection.execute("INSERT OR REPLACE INTO about VALUES ('nuwrap', ?)", [_our_version()])
        connection.execute(f"PRAGMA user_version = {len(steps)}")


def _statements(script: str) -> list[str]:
    """Split at the semicolon that ends a line: `executescript` would commit first."""
    return [one for one in script.split(";\n") if one.strip()]


def _maker(connection: sqlite3.Connection) -> str:
    try:
        return str(connection.execute("SELECT value FROM about WHERE name = 'nuwrap'").fetchone()[0])
    except (sqlite3.Error, TypeError):  # a form that we do not know at all
        return "of a later version"


def _our_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nuwrap")
    except PackageNotFoundError:  # run from its source folder
        return "from its sources"
