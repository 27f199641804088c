"""Nuclio's Python wrapper, nuwrap's: to be /opt/nuclio/_nuclio_wrapper.py, or what $NUCLIO_PYTHON_WRAPPER_PATH names.

This file may be copied. The rest of nuwrap is where $NUWRAP_TREE says, else around this file, else in /opt/nuwrap.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

IMAGE_TREE = "/opt/nuwrap"
MAIN = os.path.join("worker", "nuwrap_runtime", "worker", "main.py")


def places(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the folders that may be the tree, by how each is known; one that was named is the only one."""
    if environ.get("NUWRAP_TREE"):
        return {"$NUWRAP_TREE": os.path.abspath(environ["NUWRAP_TREE"])}
    here = os.path.dirname(os.path.realpath(__file__))
    around, inside = here[: -len(os.path.dirname(MAIN)) - 1], os.path.join(os.sep, os.path.dirname(MAIN))
    found = {"around this file": around} if here.endswith(inside) else {}
    return {**found, "an image's": IMAGE_TREE}


def find_tree(environ: Mapping[str, str]) -> str:
    """Return nuwrap's folder. Exits with 10, having said where it was looked for, when there is none."""
    looked = places(environ)
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
    sys.path.insert(0, os.path.join(find_tree(os.environ), "worker"))
    from nuwrap_runtime.worker import main

    main.prepare_imports()
    sys.exit(main.main(sys.argv[1:]))
