"""Where uv is. Both installers (the host's own tree, the user's requirements) ask here; without one pip serves."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping

# In an image this file is <tree>/worker/nuwrap_runtime/host/uv.py and uv is <tree>/bin/uv.
_TREE = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3))


def find_uv(environ: Mapping[str, str]) -> str:
    """Return the absolute path of uv, "" when there is none.

    `$NUWRAP_UV` alone decides when it is set: what is no program there means "without uv". Else the first of: the
    image's own, beside the running interpreter (where the wheel `uv` puts it), on PATH.
    """
    given = environ.get("NUWRAP_UV", "")
    if given:
        return _program(os.path.abspath(given))
    for folder in (os.path.join(_TREE, "bin"), os.path.dirname(sys.executable)):
        beside = _program(os.path.join(folder, "uv"))
        if beside:
            return beside
    found = shutil.which("uv", path=environ.get("PATH", os.defpath)) or ""
    return os.path.abspath(found) if found else ""


def _program(path: str) -> str:
    return path if os.path.isfile(path) and os.access(path, os.X_OK) else ""
