"""Which of SQLite's journals a folder can have. WAL lets others read while one writes, but needs memory that processes
share through a file, on one machine.
"""

from __future__ import annotations

import mmap
import os
import sqlite3
import tempfile
import time
from typing import Final

# Machines that share such a disk do not share memory. Source: https://www.sqlite.org/wal.html, "Disadvantages".
_OF_SEVERAL_MACHINES: Final = frozenset(
    ("9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "smb3")
)
_MOUNTS: Final = "/proc/self/mountinfo"
PAGE: Final = 4096


def can_have_wal(folder: str) -> bool:
    """Tell whether the folder's disk belongs to this machine alone and lets processes share memory.

    SQLite does not find out in time: it says "wal" on a disk without shared memory, and the file is unusable then.
    """
    return file_system(folder) not in _OF_SEVERAL_MACHINES and _shares_memory(folder)


def file_system(folder: str) -> str:
    """Return the kind of the folder's file system, "" where this machine does not tell."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as stream:
            lines = [line.partition(" - ") for line in stream]
    except OSError:
        return ""
    return next((tail.split()[0] for head, _, tail in lines if head.split()[2] == wanted), "")


def choose_journal(connection: sqlite3.Connection, *, wal: bool, wait_s: float) -> None:
    """Give the file its journal, and the connection what goes with it.

    A file that has WAL and came to a disk that cannot is opened by a connection of locking mode EXCLUSIVE alone; the
    mode ends here.
    """
    ends = time.monotonic() + wait_s
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}").fetchall()
            break
        except sqlite3.OperationalError as exc:  # two who change it at once are refused without a wait
            if not str(exc).startswith("database is locked") or time.monotonic() > ends:
                raise
            time.sleep(0.01)
    # With WAL a power cut may take the last transactions, never break the file; the other journal has no such mode.
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if wal else 'FULL'}")
    if not wal:
        connection.execute("PRAGMA locking_mode = NORMAL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()  # the lock goes with the next transaction


def _shares_memory(folder: str) -> bool:
    try:
        scratch = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below, when there is one
    except OSError:  # a full or a read-only disk: SQLite's own words say more
        return True
    with scratch:
        try:
            scratch.truncate(PAGE)
            mmap.mmap(scratch.fileno(), PAGE).close()
        except OSError:
            return False
    return True
