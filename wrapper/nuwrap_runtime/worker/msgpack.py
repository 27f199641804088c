"""MessagePack for the worker and the host alone: the copy for this interpreter's ABI, kept out of the user's sight.

A C extension's classes are found through sys.modules: left there, ours would give a user's old `msgpack` our
`Packer`. So all of it is taken out again after the import.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable

from nuwrap_runtime.worker.paths import TREE

Pack = Callable[..., bytes]
Unpack = Callable[..., Any]

_NAME = "msgpack"
_kept: list[Any] = []
_loaded: list[Any] = []


def load() -> tuple[Pack, Unpack]:
    """Return `packb` and `unpackb` of our own copy; the pure one serves an ABI that we have no build for.

    Raises ImportError when there is none at all, as in a bare wheel without the tree (`host/tree.py` makes it).
    """
    module = _load_module()
    return module.packb, module.unpackb


def load_packer() -> Pack:
    """Return a `packb` for one thread that keeps its buffer, in a third of the time; text may hold raw bytes."""
    pack: Pack = _load_module().Packer(unicode_errors="surrogateescape").pack
    return pack


def _load_module() -> Any:
    if _loaded:
        return _loaded[0]
    user = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == _NAME}
    before = list(sys.path)
    abi = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    sys.path[:0] = [os.path.join(TREE, "abi", abi), os.path.join(TREE, "abi", "pure")]
    try:
        import msgpack

        _loaded.append(msgpack)
    finally:
        sys.path[:] = before
        ours = [name for name in sys.modules if name.partition(".")[0] == _NAME]
        _kept.extend(sys.modules.pop(name) for name in ours)  # its functions look into their own modules
        sys.modules.update(user)
    return _loaded[0]
