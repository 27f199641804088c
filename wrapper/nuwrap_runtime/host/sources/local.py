"""A path on this machine: one file, delivered alone under its relative path, a folder, copied, or an archive."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.folders import entry_digest, file_digest
from nuwrap_runtime.host.sources import DEPTH, Checkout, Source, check_digest
from nuwrap_runtime.launch import ARCHIVES

if TYPE_CHECKING:  # a start from a path needs no cache
    from nuwrap_runtime.host.source_cache import SourceCache

# What tools leave beside code; none of it is code, and a virtual environment's links lead out of the folder.
IGNORED = {".git", ".hg", ".svn", "__pycache__", ".nuwrap", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".DS_Store"}


_SCP = re.compile(r"[\w.-]+@[\w.-]+:[^/]")  # git@host:owner/repo


def fetch(source: Source, into: str, environ: Mapping[str, str]) -> Checkout:
    """Copy the file or folder into `into`. Raises SourceError for what is not there, not code or leaves its folder.

    A relative path is taken from the working directory, with `..` refused; a file at an absolute path is delivered
    under its name alone. `revision` is the SHA-256 of names and contents.
    """
    del environ
    path = source.location
    if os.pardir in path.split(os.sep):
        raise SourceError(f"code_src {path!r}: '..' is refused; name a path at or below the function's folder")
    try:
        if os.path.isdir(path):
            return _fetch_folder(source, into)
        _check_file(path)
        return _fetch_archive(source, into) if path.lower().endswith(ARCHIVES) else _fetch_file(source, into)
    except OSError as exc:
        raise SourceError(f"code_src {path!r} cannot be copied: {exc}") from exc


def kept(source: Source, cache: SourceCache) -> list[str]:
    """Return nothing: what is here is copied with each start. Raises SourceError for what is not there, or no code."""
    del cache
    if not os.path.isdir(source.location):
        _check_file(source.location)
    return []


def _check_file(path: str) -> None:
    if not os.path.exists(path):
        where = os.path.dirname(path) if os.path.isabs(path) else os.getcwd()
        hint = f"; for a repository write 'git+ssh://{path.replace(':', '/', 1)}'" if _SCP.match(path) else ""
        raise SourceError(f"code_src {path!r} does not exist in {where!r}{hint}")
    if not os.path.isfile(path) or not (path.endswith(".py") or path.lower().endswith(ARCHIVES)):
        raise SourceError(f"code_src {path!r} is neither a .py file, a folder nor an archive (zip, tar, tar.gz …)")


def _fetch_file(source: Source, into: str) -> Checkout:
    path = os.path.normpath(source.location)
    relative = os.path.basename(path) if os.path.isabs(path) else path
    names = relative[: -len(".py")].split(os.sep)
    if any("." in name or not name for name in names):
        raise SourceError(f"code_src {path!r}: a folder or file with a dot in its name cannot be a module")
    size = os.stat(path).st_size
    if size > source.limits.bytes:
        raise SourceError(f"code_src {path!r} has {size} bytes; allowed: {source.limits.bytes} (limits.bytes)")
    with open(path, "rb") as stream:
        content = stream.read()
    digest = hashlib.sha256(content).hexdigest()
    check_digest(source.sha256, digest, f"code_src {path!r}")
    target = os.path.join(into, relative)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as stream:
        stream.write(content)
    return Checkout(into, f"sha256:{digest}", ".".join(names))


def _fetch_archive(source: Source, into: str) -> Checkout:
    from nuwrap_runtime.host.archive import unpack

    digest = file_digest(source.location)
    check_digest(source.sha256, digest, f"code_src {source.location!r}")
    unpack(source.location, into, source.limits, shown=f"code_src {source.location!r}")
    return Checkout(into, f"sha256:{digest}")


def _fetch_folder(source: Source, into: str) -> Checkout:
    if source.sha256:
        raise SourceError(f"code_src {source.location!r} is a folder; sha256 is for one file")
    root, own = os.path.realpath(source.location), os.path.realpath(into)
    total = hashlib.sha256()
    size = 0
    for files, relative in enumerate(_walk(root, own), start=1):
        path, target = os.path.join(root, relative), os.path.join(into, relative)
        size += os.lstat(path).st_size
        if files > source.limits.files or size > source.limits.bytes:
            _refuse_size(source, files, size)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
        total.update(os.fsencode(relative) + b"\0" + entry_digest(target))
    return Checkout(into, f"sha256:{total.hexdigest()}")


def _walk(root: str, own: str) -> Iterator[str]:
    """Yield files and links below the root, relative and sorted. Raises SourceError for what cannot be delivered.

    `own` is the folder that is being filled: it may lie below the root, and has no part in it.
    """
    waiting = _entries(root)
    while waiting:
        entry = waiting.pop()
        relative = os.path.relpath(entry.path, root)
        if entry.name in IGNORED or entry.name.endswith(".pyc") or entry.path == own:
            continue
        if entry.is_symlink():
            _check_link(root, relative)
            yield relative
        elif entry.is_dir():
            if not os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                _check_depth(relative)
                waiting += _entries(entry.path)
        elif entry.is_file():
            yield relative
        else:
            raise SourceError(f"code_src: {relative!r} is neither a file, a folder nor a link")


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what is in the folder, the first name last: what is taken from the end comes sorted."""
    return sorted(os.scandir(folder), key=lambda one: one.name, reverse=True)


def _check_depth(relative: str) -> None:
    if relative.count(os.sep) >= DEPTH:
        raise SourceError(f"code_src has folders in more than {DEPTH} levels, the most that is allowed")


def _check_link(root: str, relative: str) -> None:
    target = os.path.realpath(os.path.join(root, relative))
    inside = os.path.commonpath([root, target]) == root
    if not inside or os.path.isabs(os.readlink(os.path.join(root, relative))):
        raise SourceError(f"code_src: the link {relative!r} leads to {target!r}; only relative links inside the folder")


def _refuse_size(source: Source, files: int, size: int) -> None:
    raise SourceError(
        f"code_src {source.location!r} has more than {source.limits.files} files or {source.limits.bytes} bytes "
        f"(limits.files, limits.bytes): {files} files, {size} bytes so far"
    )
