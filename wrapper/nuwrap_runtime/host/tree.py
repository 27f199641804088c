"""The folder that host and worker run from: `worker/` (this package), `host/`, `sdk/`, `abi/` beside each other.

An image has it at /opt/nuwrap. Elsewhere it is made once in the cache, by content: packages from our hashed locks,
and a copy of this package, so that an upgrade meanwhile changes nothing for what already runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.cache import cache_folder

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOCKS = os.path.join(PACKAGE, "host", "locks")
ABIS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def ensure_tree(environ: Mapping[str, str]) -> str:
    """Return the tree's folder, made when this version has none yet. Raises PlatformError."""
    above = os.path.dirname(os.path.dirname(PACKAGE))
    if os.path.isdir(os.path.join(above, "host")) and os.path.isdir(os.path.join(above, "abi")):
        return above
    trees = os.path.join(cache_folder(environ), "trees")
    root = os.path.join(trees, digest(PACKAGE)[:32])
    if not os.path.isdir(root):
        os.makedirs(trees, exist_ok=True)
        packages = _ensure_packages(trees, environ)
        with _made_whole(root) as folder:
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(PACKAGE, os.path.join(folder, "worker", "nuwrap_runtime"), ignore=ignored)
            for name in ("host", "sdk", "abi"):
                os.symlink(os.path.join(packages, name), os.path.join(folder, name))
            _compile(os.path.join(folder, "worker"))
    return root


def digest(folder: str) -> str:
    """Return the SHA-256 of the names and contents of the folder's source files, in hex."""
    total = hashlib.sha256()
    for path in _source_files(folder):
        with open(path, "rb") as stream:
            content = stream.read()
        total.update(f"{os.path.relpath(path, folder)}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def _source_files(folder: str) -> Iterator[str]:
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir():
            yield from _source_files(entry.path)
        elif not entry.name.endswith(".pyc"):
            yield entry.path


def _ensure_packages(trees: str, environ: Mapping[str, str]) -> str:
    """Return the folder with `host`, `sdk` and `abi/…` of these locks; installed under a lock, renamed when whole."""
    folder = os.path.join(trees, "packages-" + digest(LOCKS)[:32])
    if os.path.isdir(folder):
        return folder
    with open(folder + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(folder):
            print("nuwrap-host: setting up its own packages, once", file=sys.stderr)
            with _made_whole(folder) as made:
                _install_all(made, environ)
    return folder


@contextmanager
def _made_whole(folder: str) -> Iterator[str]:
    """Give a temporary folder that becomes `folder` in one step at the end, or leaves nothing."""
    temporary = tempfile.mkdtemp(prefix=".making-", dir=os.path.dirname(folder))
    try:
        yield temporary
        try:
            os.rename(temporary, folder)
        except OSError:
            if not os.path.isdir(folder):  # another start made it meanwhile: the same content, so theirs serves
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _install_all(folder: str, environ: Mapping[str, str]) -> None:
    from nuwrap_runtime.host.installer import install_locked

    for name in ("host", "sdk"):
        install_locked(os.path.join(LOCKS, f"{name}.lock"), os.path.join(folder, name), ABIS[0], environ)
    for version in ABIS:
        target = os.path.join(folder, "abi", "cp" + version.replace(".", ""))
        install_locked(os.path.join(LOCKS, "abi.lock"), target, version, environ)
    pure = os.path.join(folder, "abi", "pure", "msgpack")
    compiled = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(os.path.join(target, "msgpack"), pure, ignore=compiled)
    for name in ("host", "sdk"):
        _compile(os.path.join(folder, name))


def _compile(folder: str) -> None:
    import compileall

    compileall.compile_dir(folder, quiet=2)  # for this interpreter; another one's workers compile for themselves


def main() -> None:
    """Make the tree of an image: `python -m nuwrap_runtime.host.tree FOLDER`."""
    folder = os.path.abspath(sys.argv[1])
    if os.path.exists(folder):
        raise PlatformError(f"{folder!r} is there already")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with _made_whole(folder) as made:
        shutil.copytree(PACKAGE, os.path.join(made, "worker", "nuwrap_runtime"))
        _install_all(made, os.environ)
