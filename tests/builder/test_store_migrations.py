"""How an older history becomes today's, and what a later one is answered."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from nuwrap.errors import StoreError
from nuwrap.store import EntityRecord, LineageRecord, StateChange, open_store
from nuwrap.store.database import transaction
from nuwrap.store.migrations import MIGRATIONS, check_version, migrate

# A history of form 1, as users have it. Never change it; a later form's test adds its own.
FORM_1 = (Path(__file__).parent / "store_form_1.sql").read_text("utf-8")
SECOND = "ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '-';\nCREATE INDEX runs_note ON runs (note);\n"


@pytest.fixture
def old(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The history of form 1, open."""
    connection = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    connection.executescript(FORM_1)
    yield connection
    connection.close()


def form(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def tables(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def test_a_history_of_form_1_is_read(old: sqlite3.Connection, tmp_path: Path) -> None:
    old.close()
    store = open_store(str(tmp_path))
    key = "store://p/dataitem/table/clean:1"
    assert [(one.name, one.description, one.labels) for one in store.list_projects()] == [("p", "größe", ("a",))]
    assert (function := store.get_function("p", "f"))
    assert (function.spec, function.folder) == ({"code_src": "f.py", "handler": "f"}, "/src")
    (run,) = store.list_runs("p")
    assert store.get_run("run-1-of-form-1") is not None
    assert (run.state, run.exit_code, run.outputs) == ("COMPLETED", 0, {"clean": {"key": key}})
    assert (whole := store.get_run(run.id))
    assert whole.result == {"results": {"rows": 3}}
    assert store.run_states(run.id)[0] == StateChange("2026-11-24T09:00:02.000+00:00", "CREATED")
    assert store.lineage(key=key) == [LineageRecord(run.id, "produces", "clean", key)]
    assert store.get_entity(key) == EntityRecord(
        key, "p", "dataitem", "table", "clean", "1", "/data/c", created="2026-11-24T09:00:03.000+00:00"
    )
    store.close()


def test_the_first_step_makes_the_form_that_users_have(old: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as new:
        migrate(new, "x", MIGRATIONS[:1])
        assert tables(new) == tables(old)


def test_a_step_is_taken_once_and_keeps_what_is_there(old: sqlite3.Connection) -> None:
    steps = [MIGRATIONS[0], SECOND]
    for _ in range(2):
        with transaction(old):
            migrate(old, "x", steps)
    assert old.execute("SELECT id, note FROM runs").fetchall() == [("run-1-of-form-1", "-")]
    assert old.execute("SELECT value FROM about WHERE name = 'nuwrap'").fetchall() == [(version("nuwrap"),)]
    assert (form(old), check_version(old, "x", steps)) == (2, 2)
    assert "runs_note" in tables(old)


def test_a_new_file_takes_all_steps(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as new:
        migrate(new, "x", [MIGRATIONS[0], SECOND])
        assert form(new) == 2
        assert {"runs", "runs_note", "about"} <= set(tables(new))


def test_a_step_that_fails_leaves_the_old_form(old: sqlite3.Connection) -> None:
    before = tables(old)
    with pytest.raises(sqlite3.OperationalError), transaction(old):
        migrate(old, "x", [MIGRATIONS[0], SECOND, "CREATE TABLE later (a);\nSELECT nothing FROM nowhere;\n"])
    assert (form(old), tables(old)) == (1, before)
    assert old.execute("SELECT value FROM about").fetchall() == [("0.1.0",)]


def test_a_later_form_says_who_made_it_and_what_to_do(old: sqlite3.Connection, tmp_path: Path) -> None:
    old.execute("PRAGMA user_version = 7")
    old.execute("UPDATE about SET value = '3.4.0'")
    before = (tmp_path / "store.db").read_bytes()
    with pytest.raises(StoreError) as caught:
        open_store(str(tmp_path))
    assert f"was made by nuwrap 3.4.0, in form 7; this nuwrap {version('nuwrap')} knows up to 1" in str(caught.value)
    assert "Install the later nuwrap, or set NUWRAP_HOME to another folder" in str(caught.value)
    assert (tmp_path / "store.db").read_bytes() == before


def test_a_later_form_that_does_not_tell_its_maker(old: sqlite3.Connection, tmp_path: Path) -> None:
    old.execute("DROP TABLE about")
    old.execute("PRAGMA user_version = 7")
    with pytest.raises(StoreError, match="made by nuwrap of a later version, in form 7"):
        open_store(str(tmp_path))
