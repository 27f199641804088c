"""The cache folder: one user's, 0700, shared by all his starts."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping

from nuwrap_runtime.errors import PlatformError


def cache_folder(environ: Mapping[str, str]) -> str:
    """Return `$NUWRAP_CACHE`, else `nuwrap` in the user's cache folder, else one of his own in the temporary folder.

    It is made 0700. Raises PlatformError when it belongs to another user or cannot be written.
    """
    given = environ.get("NUWRAP_CACHE", "")
    folder = os.path.abspath(given or _default(environ))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.stat(folder)
    except OSError as exc:
        raise PlatformError(f"cannot make the cache folder {folder!r}: {exc.strerror}; set NUWRAP_CACHE") from exc
    if found.st_uid != os.getuid() and not _shared_by_platform(found):
        raise PlatformError(
            f"the cache folder {folder!r} belongs to uid {found.st_uid}, not to this user; set NUWRAP_CACHE"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PlatformError(f"the cache folder {folder!r} is not writable; set NUWRAP_CACHE")
    return folder


def _default(environ: Mapping[str, str]) -> str:
    base = environ.get("XDG_CACHE_HOME", "")
    home = environ.get("HOME", "")
    if not base and home not in ("", "/") and os.access(home, os.W_OK):
        base = os.path.join(home, ".cache")
    if base:
        return os.path.join(base, "nuwrap")
    return os.path.join(tempfile.gettempdir(), f"nuwrap-cache-{os.getuid()}")


def _shared_by_platform(found: os.stat_result) -> bool:
    """Tell whether it is an image's or a volume's own folder: root's, and open to any uid (mode 1777)."""
    return found.st_uid == 0 and stat.S_IMODE(found.st_mode) & 0o777 == 0o777
