"""What the worker may import and in which order: the standard library, the user's code and packages, then ours.

The source root comes after the standard library: first, a `types.py` or `logging.py` in it would end the interpreter.
Runs before anything else of ours is imported, so it needs `os` and `sys` alone.
"""

from __future__ import annotations

import os
import sys
from typing import Optional

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OURS = os.path.dirname(PACKAGE)
TREE = os.path.dirname(OURS)

_AT_START = list(sys.path)


def standard_paths() -> list[str]:
    """Return the entries of the first sys.path that hold the standard library, in their order."""
    pure = os.path.dirname(os.path.abspath(os.__file__))
    name = os.path.basename(pure)
    roots = {pure, os.path.join(sys.base_exec_prefix, sys.platlibdir, name)}
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    known = roots | {os.path.join(root, "lib-dynload") for root in roots}
    return [path for path in _AT_START if path in known or os.path.basename(path) == archive]


def arrange(root: str, pythonpath: Optional[str] = None) -> list[str]:
    """Set sys.path for user code; return the user's own entries (root, PYTHONPATH, site-packages).

    `pythonpath` is the user's PYTHONPATH where a host held it back; it is put back into the environment, so that
    what the user's code starts finds it. Without one the variable itself tells which entries are the user's.
    """
    if pythonpath:
        os.environ["PYTHONPATH"] = pythonpath
    given = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    standard = standard_paths()
    script_folder = os.path.dirname(os.path.abspath(__file__))
    skip = {"", script_folder, OURS, root, *standard, *given}
    site = [path for path in _AT_START if path not in skip]
    user = [root] + [entry for entry in given if entry not in (root, script_folder)] + site
    ours = [OURS, os.path.join(TREE, "sdk"), os.path.join(PACKAGE, "compat")]
    sys.path[:] = standard + user + [path for path in ours if os.path.isdir(path)]
    return user


def run_sitecustomize(pythonpath: str) -> None:
    """Import the `sitecustomize` of the user's PYTHONPATH, as the interpreter would have at its start.

    Instrumentation (OpenTelemetry's operator, coverage) comes that way. Errors in it are printed, as there.
    """
    given = [entry for entry in pythonpath.split(os.pathsep) if entry]
    if any(os.path.exists(os.path.join(entry, "sitecustomize.py")) for entry in given):
        import site

        site.execsitecustomize()


def rival_version(user: list[str], version: str) -> str:
    """Return the version of another nuwrap_runtime that the user's packages hold, "" when there is none."""
    for folder in user:
        init = os.path.join(folder, "nuwrap_runtime", "__init__.py")
        if not os.path.isfile(init) or os.path.dirname(init) == PACKAGE:
            continue
        with open(init, encoding="utf-8", errors="replace") as stream:
            given = [line.partition("=")[2].strip(" \t\n'\"") for line in stream if line.startswith("__version__")]
        if given[:1] != [version]:
            return given[0] if given else "of an unknown version"
    return ""
