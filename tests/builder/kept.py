"""A history that a test fills itself, for the commands that read it."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import store_records
from command_line import clean_environment, nuwrap_argv
from store_records import add_project

from nuwrap.runs import alive
from nuwrap.store import COMPLETED, ERROR, RUNNING, RunRecord, Store, open_store


@contextmanager
def open_history(folder: Path) -> Iterator[Store]:
    """The history in `home` of the folder, with project `p`."""
    store = open_store(str(folder / "home"))
    add_project(store)
    yield store
    store.close()


def run_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def add_run(store: Store, number: int, **more: Any) -> RunRecord:
    times = {"created": f"2026-11-24T08:{number % 60:02}:00.000+00:00", **more}
    return store.add_run(store_records.run(run_id(number), **times))


def add_ended(store: Store, number: int, message: str = "", result: Any = None, **more: Any) -> RunRecord:
    """Add a run that is COMPLETED, with a message one that has failed."""
    outputs = more.pop("outputs", {})
    lineage = more.pop("lineage", ())
    record = add_run(store, number, state=RUNNING, started="2026-11-24T08:00:00.000+00:00", **more)
    state, code = (ERROR, 1) if message else (COMPLETED, 0)
    return store.finish_run(
        record.id, state, message, exit_code=code, outputs=outputs, result=result or {}, lineage=lineage
    )


@contextmanager
def going_on(store: Store, place: Path, number: int, /, **more: Any) -> Iterator[RunRecord]:
    """Add a run that is RUNNING as long as this lasts: this process is the one that runs it."""
    home = str(place / "home")
    record = add_run(store, number, state=RUNNING, **more)
    held = alive.take(home, record.id)
    try:
        yield record
    finally:
        alive.release(home, record.id, held)


def read_terminal(home: Path, *arguments: str) -> str:
    """Return what the command writes to a terminal, with the line breaks that the program has written."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        nuwrap_argv(arguments),
        env=clean_environment({"NUWRAP_HOME": str(home), "TERM": "xterm", "COLUMNS": "100"}),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # Linux says that the other end is gone by an error
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    _, told = process.communicate()
    assert (process.returncode, told) == (0, b"")
    return shown.decode().replace("\r\n", "\n")
