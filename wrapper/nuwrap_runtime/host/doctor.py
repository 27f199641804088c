"""`nuwrap-host doctor`: what this machine has of what every start needs, for a person who asks why none begins."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.cache import cache_folder, planned_folder
from nuwrap_runtime.host.tree import find_tree
from nuwrap_runtime.host.uv import find_uv


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print one JSON document and return 0, 10 when there is no cache folder or nothing that can fill it.

    The cache folder is made when it is missing, as by a start; `cache_error` says why it cannot be. `tree` is the
    folder of the host's own packages, "" when they are still to be installed, by `uv` (its path) or by pip.
    """
    argparse.ArgumentParser(prog="nuwrap-host doctor", description=__doc__, allow_abbrev=False).parse_args(list(argv))
    tree, uv, has_pip = find_tree(environ), find_uv(environ), find_spec("pip") is not None
    error = _cache_error(environ)
    document = {
        "cache": planned_folder(environ),
        "cache_error": error,
        "tree": tree,
        "uv": uv,
        "has_pip": has_pip,
        "python": sys.executable,
    }
    print(json.dumps(document))
    return PlatformError.exit_code if error or not (tree or uv or has_pip) else 0


def _cache_error(environ: Mapping[str, str]) -> str:
    try:
        cache_folder(environ)
    except PlatformError as exc:
        return str(exc)
    return ""
