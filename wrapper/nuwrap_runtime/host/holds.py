"""Holds on files and folders that others may want to remove: locks (flock), which end with their process at the latest.

What is in use is held, by any number of processes; who would remove it claims it, alone.
"""

from __future__ import annotations

import fcntl
import os
from typing import Optional


def hold(path: str) -> Optional[int]:
    """Return a descriptor that keeps the file or folder from being removed while it is open; None when it is gone.

    A removal that is under way is waited for: it is over when the path is free.
    """
    return _lock(path, fcntl.LOCK_SH)


def claim(path: str) -> Optional[int]:
    """Return a descriptor that nobody else holds or gets; None when it is in use, or gone.

    It is in use too where the file system has no locks.
    """
    return _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock(path: str, operation: int) -> Optional[int]:
    try:
        held = _open(path)
    except OSError:
        return None
    try:
        fcntl.flock(held, operation)
        if os.path.samestat(os.fstat(held), os.lstat(path)):  # else it was removed, and made anew, meanwhile
            return held
    except OSError:
        pass
    except BaseException:  # a stop
        os.close(held)
        raise
    os.close(held)
    return None


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)  # NFS gives an exclusive lock to who may write alone
    except (IsADirectoryError, PermissionError):
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
