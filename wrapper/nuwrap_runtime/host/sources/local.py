"""A path on this machine: one file, delivered alone under its relative path, or a folder, copied."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.sources import Checkout, Source

# What tools leave beside code; none of it is code, and a virtual environment's links lead out of the folder.
IGNORED = {".git", ".hg", ".svn", "__pycache__", ".nuwrap", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".DS_Store"}


def fetch(source: Source, into: str, environ: Mapping[str, str]) -> Checkout:
    """Copy the file or folder into `into`. Raises SourceError for what is not there, not code or leaves its folder.

    A relative path is taken from the working directory, with `..` refused; a file at an absolute path is delivered
    under its name alone. `revision` is the SHA-256 of names and contents.
    """
    del environ
    path = source.location
    if os.pardir in path.split(os.sep):
        raise SourceError(f"code_src {path!r}: '..' is refused; name a path at or below the function's folder")
    if os.path.isdir(path):
        return _fetch_folder(source, into)
    if not os.path.isfile(path):
        where = os.getcwd() if not os.path.isabs(path) else os.path.dirname(path)
        raise SourceError(f"code_src {path!r} does not exist in {where!r}")
    if not path.endswith(".py"):
        raise SourceError(f"code_src {path!r} is neither a .py file nor a folder")
    return _fetch_file(source, into)


def _fetch_file(source: Source, into: str) -> Checkout:
    path = os.path.normpath(source.location)
    relative = os.path.basename(path) if os.path.isabs(path) else path
    module = relative[: -len(".py")].replace(os.sep, ".")
    if module.count(".") != relative.count(os.sep):
        raise SourceError(f"code_src {path!r}: a folder or file with a dot in its name cannot be a module")
    target = os.path.join(into, relative)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    content = _read(path, source.limits.bytes)
    with open(target, "wb") as stream:
        stream.write(content)
    return Checkout(into, f"sha256:{hashlib.sha256(content).hexdigest()}", module)


def _fetch_folder(source: Source, into: str) -> Checkout:
    root = os.path.realpath(source.location)
    total = hashlib.sha256()
    size = 0
    for files, relative in enumerate(_walk(root, ""), start=1):
        path = os.path.join(root, relative)
        size += os.lstat(path).st_size
        if files > source.limits.files or size > source.limits.bytes:
            _refuse_size(source, files, size)
        target = os.path.join(into, relative)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
        total.update(relative.encode("utf-8", "surrogateescape") + b"\0" + _file_digest(path))
    return Checkout(into, f"sha256:{total.hexdigest()}")


def _walk(root: str, below: str) -> Iterator[str]:
    """Yield files and links below the root, relative and sorted. Raises SourceError for what cannot be delivered."""
    for entry in sorted(os.scandir(os.path.join(root, below)), key=lambda one: one.name):
        relative = os.path.join(below, entry.name)
        if entry.name in IGNORED or entry.name.endswith(".pyc"):
            continue
        if entry.is_symlink():
            _check_link(root, relative)
            yield relative
        elif entry.is_dir():
            if not os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                yield from _walk(root, relative)
        elif stat.S_ISREG(entry.stat().st_mode):
            yield relative
        else:
            raise SourceError(f"code_src: {relative!r} is neither a file, a folder nor a link")


def _check_link(root: str, relative: str) -> None:
    target = os.path.realpath(os.path.join(root, relative))
    inside = os.path.commonpath([root, target]) == root
    if not inside or os.path.isabs(os.readlink(os.path.join(root, relative))):
        raise SourceError(f"code_src: the link {relative!r} leads to {target!r}; only relative links inside the folder")


def _file_digest(path: str) -> bytes:
    if os.path.islink(path):
        return hashlib.sha256(os.fsencode(os.readlink(path))).digest()
    total = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1024 * 1024), b""):
            total.update(block)
    return total.digest()


def _read(path: str, limit: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            content = stream.read(limit + 1)
    except OSError as exc:
        raise SourceError(f"code_src {path!r} cannot be read: {exc.strerror}") from exc
    if len(content) > limit:
        raise SourceError(f"code_src {path!r} has more than {limit} bytes (limits.bytes)")
    return content


def _refuse_size(source: Source, files: int, size: int) -> None:
    raise SourceError(
        f"code_src {source.location!r} has more than {source.limits.files} files or {source.limits.bytes} bytes "
        f"(limits.files, limits.bytes): {files} files, {size} bytes so far"
    )
