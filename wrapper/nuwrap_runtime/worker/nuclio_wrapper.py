"""Nuclio's Python wrapper, nuwrap's: to be /opt/nuclio/_nuclio_wrapper.py, or what $NUCLIO_PYTHON_WRAPPER_PATH names.

This file may be copied. The rest of nuwrap is where $NUWRAP_TREE says, else around this file, else in /opt/nuwrap.
"""

from __future__ import annotations

import os
import sys

IMAGE_TREE = "/opt/nuwrap"
MAIN = os.path.join("worker", "nuwrap_runtime", "worker", "main.py")


def places() -> dict[str, str]:
    """Return the folders that may be the tree, by how each is known; one that was named is the only one."""
    named = os.environ.get("NUWRAP_TREE", "")
    if named:
        return {"$NUWRAP_TREE": os.path.abspath(named)}
    here = os.path.dirname(os.path.realpath(__file__))
    around, inside = here[: -len(os.path.dirname(MAIN)) - 1], os.path.join(os.sep, os.path.dirname(MAIN))
    found = {"around this file": around} if here.endswith(inside) else {}
    return {**found, "an image's": IMAGE_TREE}


def find_tree() -> str:
    """Return nuwrap's folder. Exits with 10, having said where it was looked for, when there is none."""
    looked = places()
    for folder in looked.values():
        if os.path.isfile(os.path.join(folder, MAIN)):
            return folder
    listed = "; ".join(f"{folder} ({how})" for how, folder in looked.items())
    sys.stderr.write(
        f"nuwrap: {__file__}: nuwrap is not there. Looked for {MAIN} in: {listed}. "
        "Set NUWRAP_TREE to the folder that has it; 'python -m nuwrap_runtime.host.tree FOLDER' makes one\n"
    )
    sys.exit(10)


if __name__ == "__main__":
    __file__ = os.path.join(find_tree(), MAIN)
    with open(__file__, "rb") as script:
        exec(compile(script.read(), __file__, "exec"))  # noqa: S102 - an import would find the function's modules first
