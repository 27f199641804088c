"""The host's own trees in the cache (see tree.py): one for each version of nuwrap that was run, and their packages."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Final, Optional

from nuwrap_runtime.host.holds import hold
from nuwrap_runtime.host.kept import GONE, Kept, leftovers, names_in, touch, used_at
from nuwrap_runtime.host.tree import MAKING, PACKAGE

LOCK: Final = ".lock"  # held while a tree is made
PACKAGES: Final = "packages-"
LINKED: Final = "host"  # a tree has its packages by links, this one among them


def hold_tree() -> Optional[int]:
    """Return a descriptor: the tree that this process runs from, used now, is not cleaned away while it is open."""
    held = hold(_own_tree())
    if held is not None:
        touch(held)
    return held


def find_kept(trees: str) -> list[Kept]:
    """Return the trees, and then the folders of packages."""
    names = sorted(name for name in names_in(trees) if not name.startswith("."))
    roots = [_kept(trees, name, "nuwrap's host") for name in names if not name.startswith(PACKAGES)]
    return roots + [_kept(trees, name, "packages of nuwrap's host") for name in names if name.startswith(PACKAGES)]


def is_needed(kept: Kept, gone: Collection[str] = ()) -> bool:
    """Tell whether it is the tree that this process runs from, or the packages of a tree other than those `gone`."""
    trees, name = os.path.split(kept.path)
    if not name.startswith(PACKAGES):
        return os.path.realpath(kept.path) == os.path.realpath(_own_tree())
    roots = [one for one in names_in(trees) if not one.startswith((PACKAGES, GONE, MAKING)) and one not in gone]
    return any(name in _link(os.path.join(trees, root, LINKED)).split(os.sep) for root in roots)


def find_leftovers(trees: str) -> list[Kept]:
    """Return what killed starts have left; only who has claimed the lock of the trees knows that nobody fills it."""
    return leftovers(trees, MAKING) + leftovers(trees)


def _kept(trees: str, name: str, what: str) -> Kept:
    path = os.path.join(trees, name)
    return Kept("tree", name, path, path, used_at(path), what)


def _own_tree() -> str:
    return os.path.dirname(os.path.dirname(PACKAGE))


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
