"""Fetch code over a store: one file, an archive, or all below a prefix.

Knows neither a protocol (`host/stores`) nor an archive's format (`host/archive.py`).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Optional

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.addresses import Address, file_name, parse_address, shown
from nuwrap_runtime.host.folders import entry_digest, file_digest, find_folder, move_all, walk_files
from nuwrap_runtime.host.names import Names, clean, quoted
from nuwrap_runtime.host.source_cache import SourceCache, cache_bytes, key, open_cache
from nuwrap_runtime.host.sources import Checkout, Source, check_digest
from nuwrap_runtime.host.stores import Access, Entry, Progress, Store, StoreError, find_quickly, open_store, together
from nuwrap_runtime.host.workspace import empty_folder, remove_tree

ARCHIVE: Final = "zip+"
SKIPPED: Final = {".git", ".hg", ".svn", "__pycache__", ".DS_Store"}  # what tools leave beside code
HEAD_BYTES: Final = 512
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")  # so begins no Python code


def fetch(source: Source, into: str, environ: Mapping[str, str]) -> Checkout:
    """Put the file, the archive's content or the prefix's files into `into`; see `sources.fetch`.

    A single file's stem is the default module; a file without a suffix becomes main.py. `revision` is the SHA-256 of
    the file or archive, of a prefix that of names and contents. All happens below `into`.
    """
    name = shown(source.location)
    try:
        address = _address(source)
        folder = tempfile.mkdtemp(prefix=".nuwrap-", dir=into)
        progress = Progress("fetched", source.limits.bytes, "limits.bytes")
        fetching = _Fetching(source, address, folder, environ, progress)
        done = fetching.fetch()
        move_all(fetching.content, into)
        remove_tree(folder)
        return replace(done, root=into)
    except BaseException as exc:  # a stop too: nothing half-fetched stays
        empty_folder(into)
        if isinstance(exc, (StoreError, ValueError)):
            raise SourceError(f"code_src {name!r}: {exc}") from exc
        if isinstance(exc, OSError):
            raise SourceError(f"code_src {name!r} cannot be kept here: {exc.strerror or exc}") from exc
        raise


def kept(source: Source, cache: SourceCache) -> list[str]:
    """Return the revision that was last kept of the address; see `sources.kept`."""
    try:
        address = _address(source)
    except ValueError as exc:
        raise SourceError(f"code_src {shown(source.location)!r}: {exc}") from exc
    progress = Progress("fetched", source.limits.bytes, "limits.bytes")
    return _Fetching(source, address, "", {}, progress).kept(cache)


def _address(source: Source) -> Address:
    address = parse_address(source.scheme.removeprefix(ARCHIVE) + source.location[len(source.scheme) :])
    if source.sha256 and address.sha256 not in ("", source.sha256):
        raise ValueError(f"sha256 is given twice, as {source.sha256} and behind '#'; leave one out")
    return replace(address, sha256=source.sha256 or address.sha256)


@dataclass(frozen=True)
class _Fetching:
    """One source on its way. `folder` is private; the code is made in its folder `content`."""

    source: Source
    address: Address
    folder: str
    environ: Mapping[str, str]
    progress: Progress

    @property
    def content(self) -> str:
        return os.path.join(self.folder, "content")

    def fetch(self) -> Checkout:
        limits = self.source.limits
        access = Access(
            self.progress,
            self.environ,
            self.source.network,
            limits.files,
            time.monotonic() + limits.seconds,
        )
        cache = open_cache(self.source.cache, cache_bytes(self.environ))
        os.mkdir(self.content)
        kept = self._take_kept(cache, access)
        if kept:
            return kept
        store = open_store(self._scheme, access)
        entries = store.find(self.address.url)
        if _is_file(entries):
            return self._fetch_file(store, entries[0], cache)
        return self._fetch_folder(store, entries, cache)

    @property
    def _scheme(self) -> str:
        return self.source.scheme.removeprefix(ARCHIVE)

    @property
    def _name(self) -> str:
        """What the cache remembers this address by."""
        return key("address", self.source.scheme, self.address.url, self.address.subdir)

    def kept(self, cache: SourceCache) -> list[str]:
        """Return the revision that the cache has, for its server to say whether it is still the right one."""
        known = self._usable(cache.recall(self._name))
        facts = cache.facts(known["content"]) if known else None
        return [str(facts["revision"])] if facts else []

    def _take_kept(self, cache: SourceCache, access: Access) -> Optional[Checkout]:
        """Return what is kept when its server says at once that it is still the same: no client is loaded for that."""
        known = self._usable(cache.recall(self._name))
        if not known.get("etag") or known.get("is_redirected") or not self._is_still(known["etag"], access):
            return None
        facts = cache.copy(known["content"], self.content)
        return _checkout(facts, from_cache=True) if facts else None

    def _is_still(self, etag: str, access: Access) -> bool:
        def find(address: str, revision: str) -> Sequence[Entry]:
            return find_quickly(self._scheme, address, revision, access) or ()

        entries = find(self.address.url, etag)
        if _is_file(entries):
            return entries[0].revision == etag
        wanted = _wanted(entries)
        if not wanted or _listing(wanted) != etag:
            return False
        read = find(wanted[0].address, wanted[0].revision)  # who may list may not always read: see `_may_read`
        return _is_file(read) and read[0].revision == wanted[0].revision

    def _fetch_file(self, store: Store, entry: Entry, cache: SourceCache) -> Checkout:
        """Fetch one file. What is kept of it counts once the server has said that it is still the same."""
        known = self._usable(cache.recall(self._name))
        target = os.path.join(self.folder, "file")
        found = store.download(entry, target, known=known.get("etag", ""))
        if found is None:
            facts = cache.copy(known["content"], self.content)
            if facts:
                return _checkout(facts, from_cache=True)
            found = store.download(entry, target)
        if found is None:
            raise StoreError("the server says that nothing changed, though nothing was known")
        return self._deliver(target, found, cache)

    def _deliver(self, target: str, found: Entry, cache: SourceCache) -> Checkout:
        digest = file_digest(target)
        check_digest(self.address.sha256, digest, f"code_src {shown(self.source.location)!r}")
        module = self._make(target, found)
        facts = self._facts(f"sha256:{digest}", module)
        facts["digest"] = digest
        content = key("content", digest, module, self.address.subdir)
        cache.keep(content, self.content, facts)
        if found.revision:
            facts["is_redirected"] = getattr(found, "is_redirected", False)
            cache.remember(self._name, {**facts, "etag": found.revision, "content": content})
        return _checkout(facts)

    def _make(self, target: str, found: Entry) -> str:
        """Make the code of the fetched file; return its default module."""
        from nuwrap_runtime.host.archive import FORMATS, form_of, is_archive_name  # what is kept needs none of it

        name = file_name(self.address.url)
        form = form_of(target)
        wants_archive = self.source.scheme.startswith(ARCHIVE) or is_archive_name(name)
        if form:
            self._unpack(target)
            return "main"
        if wants_archive:
            raise ValueError(f"it is no archive{_looks_like(target, found)}; allowed: {FORMATS}")
        if self.address.subdir:
            raise ValueError("subdir is for archives; this is one file")
        stem = _module_name(name, _looks_like(target, found))
        os.rename(target, os.path.join(self.content, f"{stem}.py"))
        return stem

    def _unpack(self, target: str) -> None:
        from nuwrap_runtime.host.archive import unpack

        tree = os.path.join(self.folder, "tree") if self.address.subdir else self.content
        os.makedirs(tree, exist_ok=True)
        unpack(target, tree, self.source.limits, shown=f"code_src {shown(self.source.location)!r}")
        if self.address.subdir:
            move_all(find_folder(tree, self.address.subdir), self.content)

    def _fetch_folder(self, store: Store, entries: Sequence[Entry], cache: SourceCache) -> Checkout:
        if self.address.sha256 or self.source.scheme.startswith(ARCHIVE) or self.address.subdir:
            raise ValueError("it is a prefix with several files; sha256, subdir and zip+ are for one file")
        wanted = _wanted(entries)
        if not wanted:
            raise ValueError(f"none of the {len(entries)} files below it is code")
        listing = _listing(wanted)
        known = self._usable(cache.recall(self._name))
        if listing and known.get("etag") == listing and self._may_read(store, wanted[0]):
            facts = cache.copy(known["content"], self.content)
            if facts:
                return _checkout(facts, from_cache=True)
        self._download(store, wanted)
        digest = _digest(self.content)
        facts = self._facts(f"sha256:{digest}", "main")
        content = key("content", digest, "main", "")
        cache.keep(content, self.content, facts)
        cache.remember(self._name, {**facts, "etag": listing, "content": content})
        return _checkout(facts)

    def _may_read(self, store: Store, entry: Entry) -> bool:
        """Ask for one of the files, which still is as it was listed: who may list may not always read.

        Raises StoreError for who may not.
        """
        asked = replace(entry, size=None)
        return store.download(asked, os.path.join(self.folder, "file"), known=entry.revision) is None

    def _download(self, store: Store, entries: Sequence[Entry]) -> None:
        names = Names(self.source.limits.files)
        targets = [os.path.join(self.content, names.take(one.name, "file")) for one in entries]
        for target in targets:
            os.makedirs(os.path.dirname(target), exist_ok=True)
        together(lambda pair: store.download(*pair), list(zip(entries, targets)), self.progress)

    def _usable(self, facts: Optional[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the facts where what they tell of is within this caller's limits and is the file that he wants."""
        limits = self.source.limits
        if not facts or not {"etag", "content", "bytes", "files"} <= facts.keys():
            return {}
        if facts["bytes"] > limits.bytes or facts["files"] > limits.files:
            return {}
        return facts if self.address.sha256 in ("", facts.get("digest")) else {}

    def _facts(self, revision: str, module: str) -> dict[str, Any]:
        sizes = [os.lstat(os.path.join(self.content, path)).st_size for path in walk_files(self.content)]
        counts = {"files": len(sizes), "bytes": sum(sizes)}
        return {**counts, "revision": revision, "default_module": module, "address": shown(self.address.url)}


def _checkout(facts: Mapping[str, Any], *, from_cache: bool = False) -> Checkout:
    return Checkout("", facts["revision"], facts["default_module"], from_cache)


def _is_file(entries: Sequence[Entry]) -> bool:
    """Tell whether what was found is the one file that was asked for, not what is below a prefix."""
    return len(entries) == 1 and not entries[0].name


def _wanted(entries: Sequence[Entry]) -> list[Entry]:
    return [one for one in entries if not SKIPPED & set(one.name.split("/")) and not one.name.endswith(".pyc")]


def _listing(entries: Sequence[Entry]) -> str:
    """Return a digest of names and revisions, "" when the server does not tell all of these."""
    if not all(one.revision for one in entries):
        return ""
    lines = sorted(f"{one.name}\0{one.revision}" for one in entries)
    return hashlib.sha256("\0".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _digest(root: str) -> str:
    total = hashlib.sha256()
    for path in sorted(walk_files(root)):
        total.update(os.fsencode(path) + b"\0" + entry_digest(os.path.join(root, path)))
    return total.hexdigest()


def _module_name(name: str, looks_like: str) -> str:
    """Return the module that a file of this name is: its stem, `main` where it has no suffix."""
    stem, suffix = os.path.splitext(name)
    if suffix not in ("", ".py"):
        raise ValueError(f"{quoted(name)} is neither a .py file nor an archive{looks_like}")
    if looks_like:
        raise ValueError(f"it is no Python code{looks_like}")
    if suffix and "." in clean(stem):
        raise ValueError(f"{quoted(name)} cannot be a module; a module's name has no dot in it")
    return stem if suffix else "main"


def _looks_like(path: str, found: Entry) -> str:
    """Return what a page or a binary file looks like, in words, "" for text."""
    with open(path, "rb") as stream:
        head = stream.read(HEAD_BYTES)
    if _MARKUP.match(head) or (
        getattr(found, "content_type", "").startswith("text/html") and not file_name(found.address).endswith(".py")
    ):
        return ": the server answered with an HTML page; is a login, or another address (raw), needed?"
    return ": it is a binary file" if b"\0" in head else ""
