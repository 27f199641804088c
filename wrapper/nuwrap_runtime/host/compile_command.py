"""`nuwrap-host compile`: give the standard library and nuwrap's own files bytecode, a step of an image's build.

Slim base images bring none, and on a read-only root, or as a user that does not own them, each start would compile all
that it imports, host and workers alike, and throw it away.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.base_packages import compile_places
from nuwrap_runtime.host.compiling import STANDARD
from nuwrap_runtime.host.credentials import user_environment
from nuwrap_runtime.host.interpreter import find_interpreter
from nuwrap_runtime.host.tree import PACKAGE

SECONDS = 600.0
PARTS = ("worker", "host", "sdk")  # of the tree


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Compile for the `python3` on PATH and print the number of files as JSON; what has bytecode stays as it is.

    Raises PlatformError when that is no Python that works.
    """
    argparse.ArgumentParser(prog="nuwrap-host compile", description=__doc__, allow_abbrev=False).parse_args(list(argv))
    python = find_interpreter("python3", environ)
    tree = os.path.dirname(os.path.dirname(PACKAGE))
    places = [STANDARD, *(os.path.join(tree, name) for name in PARTS)]
    done = compile_places(python, places, user_environment(environ), seconds=SECONDS)
    if done.returncode:
        reason = "no end in time" if done.timed_out else "\n".join(done.log[-5:]) or f"exit code {done.returncode}"
        raise PlatformError(f"python {python!r} does not compile its own library: {reason}")
    print(json.dumps({"python": python, "compiled": int(done.output)}))
    return 0
