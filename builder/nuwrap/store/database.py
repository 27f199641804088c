"""One SQLite file, opened for this user alone: transactions, and what SQLite says as errors that help.

A process has one connection, and its threads take turns: statements are short, a thread that ends leaves nothing open,
and `close` has one thing to close. Other processes wait for a writer up to `WAIT_S`; with WAL readers never wait.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Final

from nuwrap.errors import StoreError
from nuwrap.store.home import make_folder
from nuwrap.store.journal import can_have_wal, choose_journal
from nuwrap.store.migrations import MIGRATIONS, check_version, migrate

FILE_NAME = "store.db"
WAIT_S: Final = 10.0

_MOVE = "move it away to begin a new one: outputs and logs of runs lie in their own folders"
# What to do, by the beginning of SQLite's own text: Python 3.10 does not tell the code.
_ADVICE: Final = (
    ("database is locked", "another process has been writing for too long; wait until it has ended, then try again"),
    ("database or disk is full", "make room, then try again"),
    ("attempt to write a readonly database", "make the file and its folder writable, or set NUWRAP_HOME to another"),
    ("unable to open database file", "this user may not read and write it, or its folder is gone"),
    ("file is not a database", f"another program has written it, or it is damaged; {_MOVE}"),
    ("database disk image is malformed", f"it is damaged; {_MOVE}"),
    ("malformed database schema", f"it is damaged; {_MOVE}"),
    ("no such table", f"another program has changed it, or it is damaged; {_MOVE}"),
    ("a document of", f"it is damaged; {_MOVE}"),
    ("Could not decode", f"it is damaged; {_MOVE}"),
    ("'utf-8' codec can't decode", f"it is damaged; {_MOVE}"),
    ("disk I/O error", "the disk is full, or failing, or gone; make room, then try again"),
)


class Database:
    """The open file. Each block of `read` or `write` has the connection for itself.

    `wait_s` is how long another process's lock is waited for, at most.
    """

    def __init__(self, home: str, wait_s: float = WAIT_S) -> None:
        home = os.path.abspath(home)
        make_folder(home)
        self.path = os.path.join(home, FILE_NAME)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._connection: sqlite3.Connection | None = _connect(self.path, wait_s)

    def close(self) -> None:
        """Let the file go; a second call does nothing, nor does one in a child by fork."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._connection:
                self._connection.close()
            self._connection = None

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for reading: all that the block reads is one state of the file."""
        with self._use() as connection, transaction(connection, "BEGIN"):
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for one transaction: kept whole at the block's end, dropped when the block raises."""
        with self._use() as connection, transaction(connection):
            yield connection

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process:  # SQLite forbids the use of a connection that came by a fork
            raise StoreError(f"the history {self.path!r} was opened by another process; open it anew in this one")
        with self._lock, explained(self.path):
            if self._connection is None:
                raise StoreError(f"the history {self.path!r} is closed; open it anew")
            yield self._connection


def now() -> str:
    """Return the time as records have it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Hold the write lock from the start: who reads first and writes then may be refused it without a wait."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn errors of SQLite into a StoreError with the path and what to do."""
    try:
        yield
    except (sqlite3.Error, UnicodeError, OverflowError) as exc:
        advice = next((advice for text, advice in _ADVICE if str(exc).startswith(text)), "")
        raise StoreError(f"the history {path!r}: {exc}" + (f"; {advice}" if advice else "")) from exc


def _connect(path: str, wait_s: float) -> sqlite3.Connection:
    _make_file(path)
    with explained(path):
        connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
        try:
            _set_up(connection, path, wait_s)
        except BaseException:
            connection.close()
            raise
    return connection


def _set_up(connection: sqlite3.Connection, path: str, wait_s: float) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    wal = can_have_wal(os.path.dirname(path))
    if not wal:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    taken = check_version(connection, path)  # before anything is changed: the file may be another program's
    choose_journal(connection, wal=wal, wait_s=wait_s)
    if taken < len(MIGRATIONS):
        with transaction(connection):
            migrate(connection, path)


def _make_file(path: str) -> None:
    """Make an empty file for this user alone: SQLite gives the same mode to the two files beside it."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not os.path.isfile(path):
            raise StoreError(f"the history {path!r} is not a file; move it away to begin a new history") from None
    except OSError as exc:
        raise StoreError(
            f"cannot make the history {path!r}: {exc.strerror}; make room or the folder writable, "
            "or set NUWRAP_HOME to another folder"
        ) from exc
    for place, wanted in ((path, "file"), (os.path.dirname(path), "folder")):
        if not os.access(place, os.R_OK | os.W_OK):
            raise StoreError(
                f"the history {path!r} is read-only: this user may not write the {wanted} {place!r}; "
                "make it writable, or set NUWRAP_HOME to another folder"
            )
