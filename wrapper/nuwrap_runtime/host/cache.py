"""The cache folder: one user's, 0700, shared by all his starts."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping

from nuwrap_runtime.errors import PlatformError

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_folder(environ: Mapping[str, str]) -> str:
    """Return `$NUWRAP_CACHE`, else `nuwrap` in the user's cache folder, else one of his own in the temporary folder.

    A folder that others may write to (an image's or a volume's, mode 1777 or a group's) is no place for code that is
    run later: what is returned then is this user's own folder in it, `uid-<number>`. Made 0700. Raises PlatformError
    when the folder belongs to another user (but root, for a shared one) or cannot be written.
    """
    given = environ.get("NUWRAP_CACHE", "") or _default(environ)
    if not given:
        return _own_folder(planned_folder(environ))
    folder = os.path.abspath(given)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.stat(folder)
    except OSError as exc:
        raise PlatformError(f"cannot make the cache folder {folder!r}: {exc.strerror}; set NUWRAP_CACHE") from exc
    if found.st_uid not in (os.getuid(), 0):
        raise _foreign(folder, found)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PlatformError(f"the cache folder {folder!r} is not writable; set NUWRAP_CACHE")
    planned = planned_folder(environ)
    return folder if planned == folder else _own_folder(planned)


def planned_folder(environ: Mapping[str, str]) -> str:
    """Return what `cache_folder` would, be it there or not; makes nothing and refuses nothing."""
    given = environ.get("NUWRAP_CACHE", "") or _default(environ)
    if not given:
        return os.path.join(tempfile.gettempdir(), f"nuwrap-cache-{os.getuid()}")
    folder = os.path.abspath(given)
    try:
        found = os.stat(folder)
    except OSError:
        return folder
    is_own = found.st_uid == os.getuid() and not found.st_mode & OTHERS_WRITE
    return folder if is_own else os.path.join(folder, f"uid-{os.getuid()}")


def _default(environ: Mapping[str, str]) -> str:
    base = environ.get("XDG_CACHE_HOME", "")
    home = environ.get("HOME", "")
    if os.path.isabs(base):  # a relative one is to be ignored: XDG Base Directory Specification
        return os.path.join(base, "nuwrap")
    usable = home not in ("", "/") and os.access(home, os.W_OK | os.X_OK)
    return os.path.join(home, ".cache", "nuwrap") if usable else ""


def _own_folder(folder: str) -> str:
    """Return the folder, made 0700 in one that others write to. Raises PlatformError for a link or another's."""
    try:
        os.mkdir(folder, mode=0o700)
    except FileExistsError:
        pass
    except OSError as exc:
        raise PlatformError(f"cannot make the cache folder {folder!r}: {exc.strerror}; set NUWRAP_CACHE") from exc
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & OTHERS_WRITE:
        raise _foreign(folder, found)
    return folder


def _foreign(folder: str, found: os.stat_result) -> PlatformError:
    return PlatformError(
        f"the cache folder {folder!r} is not this user's alone ({stat.filemode(found.st_mode)}, uid {found.st_uid}; "
        f"this is uid {os.getuid()}); set NUWRAP_CACHE"
    )
