"""MessagePack for the worker and the host alone: the copy for this interpreter's ABI, kept out of the user's sight.

A C extension's classes are found through sys.modules: left there, ours would give a user's old `msgpack` our
`Packer`. So all of it is taken out again after the import.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable

from nuwrap_runtime.worker.paths import TREE

_NAME = "msgpack"
_kept: list[Any] = []


def load() -> tuple[Callable[..., bytes], Callable[..., Any]]:
    """Return `packb` and `unpackb` of our own copy; the pure one serves an ABI that we have no build for.

    Raises ImportError when there is none at all, as in a bare wheel without the tree (`host/tree.py` makes it).
    """
    user = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == _NAME}
    before = list(sys.path)
    abi = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    sys.path[:0] = [os.path.join(TREE, "abi", abi), os.path.join(TREE, "abi", "pure")]
    try:
        import msgpack

        return msgpack.packb, msgpack.unpackb
    finally:
        sys.path[:] = before
        ours = [name for name in sys.modules if name.partition(".")[0] == _NAME]
        _kept.extend(sys.modules.pop(name) for name in ours)  # its functions look into their own modules
        sys.modules.update(user)
