"""One history in several processes at once, and processes that are killed."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from store_records import add_project, run

from nuwrap.errors import StoreError
from nuwrap.store import COMPLETED, CREATED, RUNNING, Store, open_store
from nuwrap.store.sqlite import SqliteStore

# Waits for its start, makes the project, then does whole runs: as many as asked for.
WORKER = """
import itertools, sys
sys.path.insert(0, sys.argv[1])
from store_records import entity, run
from nuwrap.store import COMPLETED, PRODUCES, RUNNING, LineageRecord, ProjectRecord, open_store
home, name, count = sys.argv[2:]
print("there", flush=True)
sys.stdin.readline()
store = open_store(home)
print(store.add_project(ProjectRecord("p", name))[1], flush=True)
for number in itertools.islice(itertools.count(), int(count) or None):
    id = f"run-{name}-{number}"
    store.add_run(run(id))
    store.change_run(id, RUNNING)
    made = entity(id, "clean")
    left = {"outputs": {"clean": {"key": made.key}}, "result": {"run": id}, "entities": [made]}
    store.finish_run(id, COMPLETED, "", exit_code=0, lineage=[LineageRecord(id, PRODUCES, "clean", made.key)], **left)
store.close()
"""


class Worker:
    """A started process; `go` lets it begin."""

    def __init__(self, home: Path, name: str, count: int) -> None:
        arguments = [str(Path(__file__).parent), str(home), name, str(count)]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.said = self.process.stdout
        assert self.said.readline() == "there\n"

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.close()

    def made_the_project(self) -> bool:
        return self.said.readline() == "True\n"

    def end(self) -> int:
        self.said.close()
        return self.process.wait()


def check_whole(home: Path) -> int:
    """Check that every run is whole as far as it came; return how many have ended."""
    with closing(sqlite3.connect(home / "store.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    store = open_store(str(home))
    runs = store.list_runs("p")
    for one in runs:
        check_run(store, one.id)
    made = {one.id for one in store.get_entity_versions("p", "dataitem", "clean")}
    ended = {one.id for one in runs if one.state == COMPLETED}
    assert made == ended
    store.close()
    return len(ended)


def check_run(store: Store, id: str) -> None:  # noqa: A002
    record = store.get_run(id)
    assert record
    life = [one.state for one in store.run_states(id)]
    assert life == [CREATED, RUNNING, COMPLETED][: len(life)]
    assert life[-1] == record.state
    is_over = record.state == COMPLETED
    assert bool(record.started) == (record.state != CREATED)
    assert bool(record.finished) == bool(record.outputs) == (record.exit_code == 0) == is_over
    assert record.result == ({"run": id} if is_over else {})
    assert [one.name for one in store.lineage(run=id)] == (["clean"] if is_over else [])


@contextmanager
def locked(home: Path) -> Iterator[sqlite3.Connection]:
    """Hold the write lock, as a slow writer does."""
    with closing(sqlite3.connect(home / "store.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO projects VALUES (99, 'unfinished', '', '[]', '', '')")
        yield other


@pytest.mark.parametrize("round_", range(3))
def test_eight_who_make_a_store_and_a_project_at_once(tmp_path: Path, round_: int) -> None:
    home = tmp_path / "home"
    workers = [Worker(home, str(number), 25) for number in range(8)]
    for worker in workers:
        worker.go()
    made = [worker.made_the_project() for worker in workers]
    assert [worker.end() for worker in workers] == [0] * 8
    assert made.count(True) == 1, round_
    assert check_whole(home) == 200
    store = open_store(str(home))
    (project,) = store.list_projects()
    store.close()
    assert project.description == str(made.index(True))


def test_a_killed_writer_leaves_no_half_written_run(tmp_path: Path) -> None:
    home = tmp_path / "home"
    chance = random.Random(11)  # noqa: S311
    ended = 0
    for number in range(20):
        worker = Worker(home, str(number), 0)
        worker.go()
        assert worker.made_the_project() == (number == 0)
        time.sleep(chance.uniform(0, 0.06))
        worker.process.kill()
        assert worker.end() == -9
        now_ended = check_whole(home)
        assert now_ended >= ended
        ended = now_ended
    assert ended > 20


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    add_project(store)
    with locked(tmp_path):
        began = time.monotonic()
        assert [one.name for one in store.list_projects()] == ["p"]
        second = open_store(str(tmp_path))
        assert [one.name for one in second.list_projects()] == ["p"]
        second.close()
        assert time.monotonic() - began < 2
    store.close()


def test_a_writer_waits_for_another(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    add_project(store)
    with locked(tmp_path) as other:
        ending = threading.Timer(0.5, other.execute, ["COMMIT"])
        ending.start()
        began = time.monotonic()
        store.add_run(run("run-1"))
        assert time.monotonic() - began > 0.3
        ending.join()
    assert [one.name for one in store.list_projects()] == ["unfinished", "p"]
    store.close()


def test_a_writer_does_not_wait_for_ever(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path), wait_s=0.2)
    add_project(store)
    with locked(tmp_path), pytest.raises(StoreError, match="database is locked; another process has been writing"):
        store.add_run(run("run-1"))
    assert store.list_runs() == []
    store.add_run(run("run-1"))
    store.close()
