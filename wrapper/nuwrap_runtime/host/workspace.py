"""The one writable place of a start: source, worker spec, sockets, a home and temporary files of the user's code."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from nuwrap_runtime.errors import PlatformError


@dataclass(frozen=True)
class Workspace:
    """`folder` and what lies in it; `kept` when the platform named it, so that it outlives this process."""

    folder: str
    kept: bool

    @property
    def source(self) -> str:
        """The folder that gets the code."""
        return os.path.join(self.folder, "source")

    @property
    def record(self) -> str:
        """The file that says what `fetch` has done."""
        return os.path.join(self.folder, "record.json")

    @property
    def worker_spec(self) -> str:
        """The file that `prepare` leaves for the worker."""
        return os.path.join(self.folder, "worker.json")

    @property
    def home(self) -> str:
        """A home for user code whose own is missing or not writable."""
        return os.path.join(self.folder, "home")


@contextmanager
def open_workspace(environ: Mapping[str, str], *, must_last: bool = False) -> Iterator[Workspace]:
    """Give the folder `$NUWRAP_WORK`, which stays, or a fresh one that is removed at the end.

    With `must_last` (what is made is for a later process) the variable is required. Raises PlatformError.
    """
    given = environ.get("NUWRAP_WORK", "")
    if not given and must_last:
        raise PlatformError("set NUWRAP_WORK to a folder: what this command makes is for the next one")
    folder = os.path.realpath(given) if given else os.path.realpath(tempfile.mkdtemp(prefix="nuwrap-"))
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as exc:
        raise PlatformError(f"cannot make the work folder {folder!r}: {exc.strerror}; set NUWRAP_WORK") from exc
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PlatformError(f"the work folder {folder!r} is not writable; set NUWRAP_WORK")
    try:
        yield Workspace(folder, kept=bool(given))
    finally:
        if not given:
            remove_tree(folder)


def remove_tree(folder: str) -> None:
    """Remove a folder, read-only ones in it included; nothing happens when it is not there."""
    for path, _folders, _files in os.walk(folder):
        try:
            os.chmod(path, 0o700)
        except OSError:  # somebody else's: rmtree below says nothing either, the folder is a temporary one
            continue
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def socket_folder() -> Iterator[str]:
    """Give a fresh folder with a short path: a unix socket's has 107 bytes at most."""
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="nw-", dir=base if len(os.fsencode(base)) < 60 else "/tmp")  # noqa: S108 - by mkdtemp
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def usable_home(environ: Mapping[str, str], workspace: Workspace) -> str:
    """Return HOME, or the workspace's own where it is unset, `/` or not writable."""
    home = environ.get("HOME", "")
    if home not in ("", "/") and os.access(home, os.W_OK | os.X_OK):
        return home
    os.makedirs(workspace.home, exist_ok=True)
    return workspace.home
