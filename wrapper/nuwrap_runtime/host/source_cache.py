"""Sources that were fetched before, for all starts of one user. Knows keys and trees, not where they come from.

    KEY/facts.json      what it is, and its lock: held while it is copied, claimed while it is made or removed
    KEY/tree/           the files, read-only
    names/NAME.json     small facts by name
    .making-XXXX/       an entry that is being made, renamed to KEY when it is whole

Whatever goes wrong here costs a start time, never more: what cannot be kept is not kept, what is damaged is fetched.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Optional

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.copying import Copying, UnfitTree
from nuwrap_runtime.host.holds import hold
from nuwrap_runtime.host.interpreter import private_folder
from nuwrap_runtime.host.kept import Kept, leftover, leftovers, names_in, remove, remove_old, touch, used_at
from nuwrap_runtime.host.workspace import empty_folder, read_regular, remove_tree, write_whole

FORMAT: Final = 1
MAX_BYTES: Final = 10_000_000_000
VARIABLE: Final = "NUWRAP_CACHE_BYTES"
FACTS, TREE, NAMES, MAKING = "facts.json", "tree", "names", ".making-"
KEY_DIGITS: Final = 40
YOUNG_SECONDS: Final = 60  # an entry in the making may be without its lock for a moment

# Faults of the place that is copied to, or of the machine: they say nothing about what is kept.
_NO_DAMAGE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG}


def cache_bytes(environ: Mapping[str, str]) -> int:
    """Return `$NUWRAP_CACHE_BYTES`, the most that all kept sources may have; 0 keeps none. Raises PlatformError."""
    text = environ.get(VARIABLE, "")
    if text and not (text.isascii() and text.isdigit()):
        raise PlatformError(f"{VARIABLE} {text!r} is no number of bytes; allowed: 0 (keep no source) and more")
    return int(text) if text else MAX_BYTES


def key(*parts: str) -> str:
    """Return the name of what these parts decide, hex digits."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:KEY_DIGITS]


def open_cache(folder: str, max_bytes: int = MAX_BYTES) -> SourceCache:
    """Return the cache in the folder, made 0700; one that keeps nothing for "", for 0 and for a folder of others'."""
    if not folder or not max_bytes:
        return SourceCache("", 0)
    try:
        return SourceCache(private_folder(folder), max_bytes)
    except PlatformError as exc:
        _note(str(exc))
        return SourceCache("", 0)


def find_kept(folder: str) -> list[Kept]:
    """Return all entries, the least recently used first."""
    found = [_entry(folder, name) for name in names_in(folder) if not name.startswith(".") and name != NAMES]
    return sorted(found, key=lambda kept: kept.used)


def find_leftovers(folder: str) -> list[Kept]:
    """Return what killed processes have left; never what a living one is filling."""
    made = []
    for kept in leftovers(folder, MAKING):
        lock = os.path.join(kept.path, FACTS)
        if os.path.lexists(lock):
            made.append(leftover(kept.path, lock))
        elif kept.used < time.time() - YOUNG_SECONDS:
            made.append(kept)
    return made + leftovers(folder)


def forget(folder: str, before: float) -> None:
    """Remove the facts by name that were remembered before that time."""
    for name in names_in(os.path.join(folder, NAMES)):
        remove_old(os.path.join(folder, NAMES, name), before)


class SourceCache:
    """The entries in one folder, for this process; `is_open` unless nothing is kept. See `open_cache`."""

    def __init__(self, folder: str, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    @property
    def is_open(self) -> bool:
        """Whether anything is kept."""
        return bool(self._folder)

    def recall(self, name: str) -> Optional[dict[str, Any]]:
        """Return what was last remembered under the name, None when that is nothing."""
        found = _load(self._name_path(name)) if self._folder else None
        return found if isinstance(found, dict) else None

    def remember(self, name: str, facts: Mapping[str, Any]) -> None:
        """Let `recall` return these facts, which JSON can hold, from now on; in every process of this user."""
        if not self._folder:
            return
        try:
            private_folder(os.path.join(self._folder, NAMES))
            write_whole(self._name_path(name), json.dumps(facts))
        except (OSError, PlatformError) as exc:
            _note(str(exc))

    def facts(self, key: str) -> Optional[dict[str, Any]]:
        """Return what is known of the tree kept under the key, `bytes` and `files` too; None when there is none."""
        found = _facts(os.path.join(self._folder, key, FACTS)) if self._folder else {}
        return found or None

    def revisions(self, address: str) -> list[str]:
        """Return the revisions of the trees that are kept from that address, the last used first."""
        found = [_facts(kept.lock) for kept in reversed(find_kept(self._folder))] if self._folder else []
        return list(dict.fromkeys(str(facts["revision"]) for facts in found if facts.get("address") == address))

    def copy(self, key: str, into: str) -> Optional[dict[str, Any]]:
        """Copy the tree kept under the key into the empty folder and return its facts, None when there is none.

        The copy can be written by the user. What is damaged is removed, and counts as none. Whatever stops it, `into`
        is empty then. Raises OSError when `into` cannot be written.
        """
        entry = os.path.join(self._folder, key)
        held = hold(os.path.join(entry, FACTS)) if self._folder else None
        if held is None:
            return None
        try:
            touch(held)
            return self._copy(entry, into)
        except BaseException as exc:  # a stop too
            empty_folder(into)
            is_damage = isinstance(exc, UnfitTree) or (isinstance(exc, OSError) and exc.errno not in _NO_DAMAGE)
            if not is_damage:
                raise
        finally:
            os.close(held)
        remove(_entry(self._folder, key))
        return None

    def _copy(self, entry: str, into: str) -> dict[str, Any]:
        document = _load(os.path.join(entry, FACTS))
        if not _is_entry(document):
            raise UnfitTree("it was changed")
        copying = Copying(is_keeping=False, max_bytes=document["facts"]["bytes"])
        copying.copy(os.path.join(entry, TREE), into)
        if copying.digest() != document["digest"]:
            raise UnfitTree("it was changed")
        return dict(document["facts"])

    def keep(self, key: str, tree: str, facts: Mapping[str, Any]) -> None:
        """Keep a copy of the tree and the facts under the key, whole or not at all, unless there is one already.

        `bytes` and `files` are added to the facts; `address`, without a secret, and `revision` are for `nuwrap cache
        ls`. No failure is raised: a note on standard error says what is not kept, and why.
        """
        if not self._folder or self.facts(key):
            return
        try:
            for left in [_entry(self._folder, key), *find_leftovers(self._folder)]:  # there may be half of one
                remove(left)
            self._keep(key, tree, facts)
            self._trim(key)
        except (OSError, UnfitTree, ValueError, TypeError) as exc:
            _note(str(exc))

    def _keep(self, key: str, tree: str, facts: Mapping[str, Any]) -> None:
        with self._making() as (folder, held):
            copying = Copying(is_keeping=True, max_bytes=self._max_bytes)
            os.mkdir(os.path.join(folder, TREE))
            copying.copy(tree, os.path.join(folder, TREE))
            whole = {**facts, "bytes": copying.bytes, "files": copying.files}
            document = {"format": FORMAT, "facts": whole, "digest": copying.digest()}
            _write(held, json.dumps(document).encode())
            try:
                os.rename(folder, os.path.join(self._folder, key))
            except OSError as exc:
                if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process was quicker with the same
                    raise

    @contextmanager
    def _making(self) -> Iterator[tuple[str, int]]:
        """Give a new folder and its open, claimed lock; what was not renamed is removed."""
        folder = os.path.join(self._folder, MAKING + os.urandom(8).hex())
        os.mkdir(folder, 0o700)
        try:
            held = os.open(os.path.join(folder, FACTS), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield folder, held
            finally:
                os.close(held)
        finally:
            remove_tree(folder)

    def _trim(self, new: str) -> None:
        """Remove what was not used for the longest time until the rest is within the limit.

        What is being copied stays, and the entry that was just made.
        """
        entries = [(kept, int(_facts(kept.lock).get("bytes", 0))) for kept in find_kept(self._folder)]
        total = sum(size for _, size in entries)
        for kept, size in entries:
            if total > self._max_bytes and kept.key != new and remove(kept):
                total -= size

    def _name_path(self, name: str) -> str:
        return os.path.join(self._folder, NAMES, key(name) + ".json")


def _load(path: str) -> Any:
    try:
        return json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):  # none, or half of one
        return None


def _is_entry(document: Any) -> bool:
    if not isinstance(document, dict) or document.get("format") != FORMAT or "digest" not in document:
        return False
    facts = document.get("facts")
    return isinstance(facts, dict) and all(isinstance(facts.get(name), int) for name in ("bytes", "files"))


def _facts(path: str) -> dict[str, Any]:
    document = _load(path)
    return dict(document["facts"]) if _is_entry(document) else {}


def _entry(folder: str, key: str) -> Kept:
    """Return the entry; one without a lock, of which somebody has removed a part, is its own."""
    path = os.path.join(folder, key)
    lock = os.path.join(path, FACTS)
    facts = _facts(lock)
    address = shown(str(facts.get("address", ""))).partition("?")[0]  # a query may hold a signature
    what = " at ".join(part for part in (address, str(facts.get("revision", ""))) if part)
    return Kept("source", key, path, lock if os.path.lexists(lock) else path, used_at(lock), what)


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _note(reason: str) -> None:
    print(f"not kept for the next start: {reason}", file=sys.stderr, flush=True)
