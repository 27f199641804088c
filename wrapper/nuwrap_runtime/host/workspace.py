"""The one writable place of a start: source, worker spec, sockets, a home and temporary files of the user's code."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.holds import claim, hold

PREFIX = "nuwrap-work-"
YOUNG_SECONDS = 60  # a folder that is just made may not be held yet
_FRESH = re.compile(PREFIX + "[a-z0-9_]{8}")  # as mkdtemp names it


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

    With `must_last` (what is made is for a later process) the variable is required. The folder is held meanwhile:
    a fresh one that nobody holds was left by a killed start, and the next start removes it. Raises PlatformError.
    """
    given = environ.get("NUWRAP_WORK", "")
    if not given and must_last:
        raise PlatformError("set NUWRAP_WORK to a folder: what this command makes is for the next one")
    try:
        folder = os.path.realpath(given or tempfile.mkdtemp(prefix=PREFIX))
        os.makedirs(folder, exist_ok=True)
    except OSError as exc:
        where = repr(given) if given else "in the temporary folder (TMPDIR)"
        raise PlatformError(f"cannot make the work folder {where}: {exc.strerror}; set NUWRAP_WORK") from exc
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PlatformError(f"the work folder {folder!r} is not writable; set NUWRAP_WORK")
    held = hold(folder)
    try:
        if not given:
            for left in find_leftovers():
                _remove_leftover(left)
        yield Workspace(folder, kept=bool(given))
    finally:
        if not given:
            with undisturbed():
                remove_tree(folder)
        if held is not None:
            os.close(held)


def find_leftovers() -> list[str]:
    """Return this user's fresh work folders in the temporary folder that are not quite new; some may be in use."""
    try:
        with os.scandir(tempfile.gettempdir()) as entries:
            return [entry.path for entry in entries if _FRESH.fullmatch(entry.name) and _is_old_own(entry)]
    except OSError:
        return []


def _is_old_own(entry: os.DirEntry[str]) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:  # it goes just now
        return False
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return is_own and found.st_mtime < time.time() - YOUNG_SECONDS


def _remove_leftover(folder: str) -> None:
    claimed = claim(folder)
    if claimed is not None:
        remove_tree(folder)
        os.close(claimed)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore stops for a moment: what is over is written down or removed whole."""
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        yield
    finally:
        for number, action in before:
            signal.signal(number, action)


def remove_tree(folder: str) -> None:
    """Remove a folder, read-only and very deep ones in it included; a link is removed, not followed. Never raises.

    Each folder is moved up before it is emptied: so no path gets longer than the system takes, at any depth.
    """
    if os.path.islink(folder):
        os.unlink(folder)
        return
    empty_folder(folder)
    _try(os.rmdir, folder)


def empty_folder(folder: str) -> None:
    """Remove all that is in a folder, in the same way."""
    waiting = _unlink_all(folder, folder)
    while waiting:
        below = waiting.pop()
        waiting += _unlink_all(below, folder)
        _try(os.rmdir, below)


def _unlink_all(path: str, into: str) -> list[str]:
    """Unlink what is in the folder, move its folders to `into` under new names, and return these."""
    moved = []
    _try(os.chmod, path, 0o700)
    try:
        entries = list(os.scandir(path))
    except OSError:  # not there, or somebody else's: there is nothing more to be done about it
        return []
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            _try(os.unlink, entry.path)
            continue
        target = os.path.join(into, f".gone-{secrets.token_hex(8)}")
        _try(os.chmod, entry.path, 0o700)
        if _try(os.rename, entry.path, target):
            moved.append(target)
    return moved


def _try(action: Callable[..., Any], *arguments: Any) -> bool:
    try:
        action(*arguments)
    except OSError:
        return False
    return True


def write_whole(path: str, text: str, *, mode: int = 0o600) -> None:
    """Write the file whole or not at all; nothing that lies there before is opened, be it a link or a pipe.

    Half of a surrogate pair is written as JSON's escape. Raises OSError.
    """
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except BaseException:  # a stop too: nothing half-written stays; it may come when all is in its place
        _try(os.unlink, temporary)
        raise


def read_regular(path: str) -> str:
    """Return a regular file's text; a pipe does not hang and a link is not followed. Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, encoding="utf-8") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path!r} is no regular file")
        return stream.read()


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
