"""The history with 10,000 runs, each figure beside raw sqlite3 doing the same queries on the same file.

    python benchmarks/history.py [--rounds 30] [--runs 10000] [--write docs/performance.md]

In process: what a list or a look-up costs whoever has the store open, and what opening it costs. The file lies where
temporary files do. Rounds are interleaved, medians are reported.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from run import ROOT, interleave, rewrite

sys.path.insert(0, str(ROOT / "builder"))

from nuwrap.store import (
    COMPLETED,
    PRODUCES,
    RUNNING,
    EntityRecord,
    FunctionRecord,
    LineageRecord,
    ProjectRecord,
    RunRecord,
    Store,
    open_store,
)

COLUMNS = (
    "id, project, function, function_id, task, action, platform, spec, folder, state, message, attempt, exit_code, "
    "created, started, finished, service, outputs"
)
SPEC = {"inputs": {"di": "store://p/dataitem/table/raw:1"}, "parameters": {"threshold": 0.5, "name": "größe"}}
RESULT = {"requirements": [f"package-{number}==1.{number}" for number in range(60)], "results": {"rows": 1000}}


@dataclass(frozen=True)
class Row:
    """One figure in milliseconds or microseconds: nuwrap's, raw sqlite3's, and the most that we aim at (0: none)."""

    name: str
    ours_ms: float
    raw_ms: float
    aim_ms: float = 0.0

    def __str__(self) -> str:
        verdict = "" if not self.aim_ms else "met: " if self.ours_ms <= self.aim_ms else "missed: "
        aim = f"{verdict}<= {self.aim_ms:g} ms" if self.aim_ms else ""
        sign = "+" if self.ours_ms >= self.raw_ms else "-"
        over = sign + show(abs(self.ours_ms - self.raw_ms))
        return f"| {self.name} | {show(self.ours_ms)} | {show(self.raw_ms)} | {over} | {aim} |"


def show(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds >= 1 else f"{milliseconds * 1000:.0f} us"


def main() -> int:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as alone:
        store = open_store(home)
        fill(store, options.runs)
        raw = connect(home)
        table = render(measure(store, raw, alone, options), options)
        raw.close()
        store.close()
    print(table)
    if options.write:
        rewrite(Path(options.write), table, "history")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--write", metavar="FILE", help="put the table between the file's two marks")
    return parser.parse_args()


def fill(store: Store, runs: int) -> None:
    store.add_project(ProjectRecord("p"))
    for number in range(100):
        store.add_function(FunctionRecord(f"v{number}", "p", "f", {"code_src": "f.py", "handler": "f"}))
    for number in range(runs):
        do_run(store, f"{number:08x}-0000-4000-8000-000000000000")


def do_run(store: Store, run: str) -> None:
    """Write all that a job writes: asked for, started, ended with a result and an output."""
    store.add_run(RunRecord(run, "p", "f", "v99", "t", "job", "local", SPEC, f"/home/me/.nuwrap/runs/{run}"))
    store.change_run(run, RUNNING)
    made = EntityRecord(f"store://p/dataitem/table/o:{run}", "p", "dataitem", "table", "o", run, f"/runs/{run}/o")
    left: dict[str, Any] = {"outputs": {"o": {"type": "dataitem", "kind": "table", "key": made.key, "path": made.path}}}
    left |= {"result": RESULT, "entities": [made], "lineage": [LineageRecord(run, PRODUCES, "o", made.key)]}
    store.finish_run(run, COMPLETED, "", exit_code=0, **left)


def connect(home: str) -> sqlite3.Connection:
    connection = sqlite3.connect(os.path.join(home, "store.db"), isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")  # as the store has it
    return connection


def measure(store: Store, raw: sqlite3.Connection, alone: str, options: argparse.Namespace) -> list[Row]:
    middle = f"{options.runs // 2:08x}"
    whole = f"{middle}-0000-4000-8000-000000000000"
    numbers = count()

    def compare(name: str, ours: Callable[[], object], peer: Callable[[], object], aim_ms: float = 0.0) -> Row:
        return Row(name, *interleave(options.rounds, lambda: timed(ours), lambda: timed(peer)), aim_ms)

    def query(rest: str, *values: object, columns: str = COLUMNS, table: str = "runs") -> Callable[[], object]:
        return lambda: raw.execute(f"SELECT {columns} FROM {table} {rest}", values).fetchall()  # noqa: S608 - ours

    def open_and_close() -> None:
        open_store(alone).close()

    def connect_and_close() -> None:
        connection = connect(alone)
        connection.execute("PRAGMA user_version").fetchone()
        connection.close()

    recent = "WHERE project = ? AND function = ? ORDER BY seq DESC LIMIT 20"
    latest = "WHERE project = ? AND name = ? ORDER BY seq DESC LIMIT 1"
    return [
        compare(
            f"{options.runs:,} runs listed",
            lambda: store.list_runs("p"),
            query("WHERE project = ? ORDER BY seq DESC", "p"),
            200.0,
        ),
        compare(
            "the last 20 of a function", lambda: store.list_runs("p", function="f", limit=20), query(recent, "p", "f")
        ),
        compare(
            "one run with its result",
            lambda: store.get_run(whole),
            query("JOIN results ON run = id WHERE id = ?", whole, columns=f"{COLUMNS}, result"),
        ),
        compare(
            "one run by the first 8 characters",
            lambda: store.get_run(middle),
            query("WHERE id >= ? AND id < ? LIMIT 2", middle, middle + "~"),
        ),
        compare(
            "a function's latest of 100 versions",
            lambda: store.get_function("p", "f"),
            query(latest, "p", "f", columns="*", table="functions"),
        ),
        compare("opened and closed, by nobody else", open_and_close, connect_and_close),
        compare(
            "a job written: 3 transactions",
            lambda: do_run(store, f"new-{next(numbers)}"),
            lambda: write_raw(raw, next(numbers)),
        ),
    ]


def write_raw(raw: sqlite3.Connection, number: int) -> None:
    """Write a row three times: three transactions, without what stands beside a run."""
    with transaction(raw):
        insert = f"INSERT INTO runs ({COLUMNS}) VALUES ({', '.join('?' * 18)})"  # noqa: S608 - ours
        raw.execute(insert, [f"raw-{number}", "p", *["x"] * 9, 1, 0, *["x"] * 5])
    for state in (RUNNING, COMPLETED):
        with transaction(raw):
            raw.execute("UPDATE runs SET state = ? WHERE id = ?", [state, f"raw-{number}"])


@contextmanager
def transaction(raw: sqlite3.Connection) -> Iterator[None]:
    raw.execute("BEGIN IMMEDIATE")
    yield
    raw.execute("COMMIT")


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def render(rows: list[Row], options: argparse.Namespace) -> str:
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    head = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {machine}, "
    head += f"medians of {options.rounds} rounds in turn."
    return "\n".join(
        [head, "", "| figure | nuwrap | raw sqlite3 | over raw | aim |", "|---|---|---|---|---|", *map(str, rows)]
    )


if __name__ == "__main__":
    sys.exit(main())
