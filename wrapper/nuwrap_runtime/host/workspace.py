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
    def source_marker(self) -> str:
        """The file that says that `source` is ours, to be removed and made anew."""
        return os.path.join(self.folder, ".nuwrap-source")

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
    try:
        folder = os.path.realpath(given or tempfile.mkdtemp(prefix="nuwrap-"))
        os.makedirs(folder, exist_ok=True)
    except OSError as exc:
        where = repr(given) if given else "in the temporary folder (TMPDIR)"
        raise PlatformError(f"cannot make the work folder {where}: {exc.strerror}; set NUWRAP_WORK") from exc
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PlatformError(f"the work folder {folder!r} is not writable; set NUWRAP_WORK")
    try:
        yield Workspace(folder, kept=bool(given))
    finally:
        if not given:
            remove_tree(folder)


def remove_tree(folder: str) -> None:
    """Remove a folder, read-only ones in it included; nothing happens when it is not there."""
    _open_folder(folder)
    for path, folders, _files in os.walk(folder):  # a folder is opened before the walk comes to it
        for name in folders:
            _open_folder(os.path.join(path, name))
    shutil.rmtree(folder, ignore_errors=True)


def _open_folder(path: str) -> None:
    try:
        if not os.path.islink(path):  # chmod would change what the link leads to
            os.chmod(path, 0o700)
    except OSError:  # not there, or somebody else's: rmtree says nothing either, the folder is a temporary one
        pass


@contextmanager
def socket_folder() -> Iterator[str]:
    """Give a fresh folder with a short path: a unix socket's has 107 bytes at most."""
    base = tempfile.gettempdir()
    try:
        folder = tempfile.mkdtemp(prefix="nw-", dir=base if len(os.fsencode(base)) < 60 else "/tmp")  # noqa: S108
    except OSError as exc:
        raise PlatformError(f"cannot make a folder for sockets in /tmp ({exc.strerror}): set a short TMPDIR") from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def usable_home(environ: Mapping[str, str], workspace: Workspace) -> str:
    """Return HOME, or the workspace's own where it is unset, `/` or not writable."""
    home = environ.get("HOME", "")
    if home not in ("", "/") and os.path.isdir(home) and os.access(home, os.W_OK | os.X_OK):
        return home
    os.makedirs(workspace.home, exist_ok=True)
    return workspace.home
