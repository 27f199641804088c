"""The folder that belongs to one user: history, secrets, configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nuwrap.errors import StoreError, UsageError


def home_folder(environ: Mapping[str, str]) -> str:
    """Return `$NUWRAP_HOME`, else `$XDG_DATA_HOME/nuwrap`, else `~/.local/share/nuwrap`, as an absolute path.

    Raises UsageError when none of the three is known. Makes nothing.
    """
    if environ.get("NUWRAP_HOME"):
        return os.path.abspath(environ["NUWRAP_HOME"])
    data = environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(data):  # a relative one is to be ignored (XDG Base Directory Specification)
        return os.path.join(os.path.normpath(data), "nuwrap")
    home = environ.get("HOME") or os.path.expanduser("~")
    if not os.path.isabs(home):  # a user without an entry in the system's list, as in many containers
        raise UsageError("this user has no home folder; set NUWRAP_HOME to the folder that shall keep the history")
    return os.path.join(os.path.normpath(home), ".local", "share", "nuwrap")


def make_folder(path: str) -> None:
    """Make the folder, for this user alone; one that is there stays as it is. Raises StoreError."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.mkdir(path, 0o700)
    except OSError as exc:
        if not (isinstance(exc, FileExistsError) and os.path.isdir(path)):
            raise StoreError(
                f"cannot make the folder {path!r}: {exc.strerror}; set NUWRAP_HOME to a folder that you may write"
            ) from exc
