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
from nuwrap_runtime.host.cache import cache_folder, planned_folder

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOCKS = os.path.join(PACKAGE, "host", "locks")
MAKING = ".making-"
ABIS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def ensure_tree(environ: Mapping[str, str]) -> str:
    """Return the tree's folder, made when this version has none yet. Raises PlatformError."""
    found = _own_tree()
    if found:
        return found
    trees = os.path.join(cache_folder(environ), "trees")
    root = os.path.join(trees, _name(PACKAGE))
    packages = os.path.join(trees, f"packages-{_name(LOCKS)}")
    try:
        if not os.path.isdir(root):
            os.makedirs(trees, mode=0o700, exist_ok=True)
            with _alone(trees):
                _make(root, packages, environ)
    except OSError as exc:
        raise PlatformError(f"cannot set up the host's own files in {trees!r}: {exc}") from exc
    return root


def find_tree(environ: Mapping[str, str]) -> str:
    """Return the tree's folder, "" when this version has none yet; makes nothing."""
    root = _own_tree() or os.path.join(planned_folder(environ), "trees", _name(PACKAGE))
    return root if os.path.isdir(root) else ""


def _own_tree() -> str:
    """Return the tree that this file is in, "" when that is no tree."""
    worker = os.path.dirname(PACKAGE)
    above = os.path.dirname(worker)
    return above if os.path.basename(worker) == "worker" and os.path.isdir(os.path.join(above, "abi")) else ""


def _name(folder: str) -> str:
    """Return the name of what the folder's content decides, on this machine's kind: several may share a home."""
    return f"{digest(folder)[:32]}-{os.uname().sysname}-{os.uname().machine}"


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
        if entry.name == "__pycache__":  # with what another start is writing there just now
            continue
        if entry.is_dir():
            yield from _source_files(entry.path)
        elif not entry.name.endswith(".pyc"):
            yield entry.path


@contextmanager
def _alone(trees: str) -> Iterator[None]:
    """Hold the folder's lock: other starts wait. What killed starts left half-made is removed."""
    with open(os.path.join(trees, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in os.listdir(trees):
            if name.startswith(MAKING):
                shutil.rmtree(os.path.join(trees, name), ignore_errors=True)
        yield


def _make(root: str, packages: str, environ: Mapping[str, str]) -> None:
    """Make both folders where they are missing, each in one step. The caller holds the lock."""
    if not os.path.isdir(packages):
        print("nuwrap-host: setting up its own packages, once", file=sys.stderr)
        with made_whole(packages) as folder:
            install_all(folder, environ)
            for name in ("host", "sdk"):
                _compile(os.path.join(folder, name))
    if os.path.isdir(root):
        return
    with made_whole(root) as folder:
        copy_package(folder)
        _compile(os.path.join(folder, "worker"))
        for name in ("host", "sdk", "abi"):  # relative, so that the cache can be moved
            os.symlink(os.path.join(os.pardir, os.path.basename(packages), name), os.path.join(folder, name))


def copy_package(folder: str) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(PACKAGE, os.path.join(folder, "worker", "nuwrap_runtime"), ignore=ignored)


@contextmanager
def made_whole(folder: str) -> Iterator[str]:
    """Give a temporary folder that becomes `folder` in one step at the end, or leaves nothing."""
    temporary = tempfile.mkdtemp(prefix=MAKING, dir=os.path.dirname(folder))
    try:
        yield temporary
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def install_all(folder: str, environ: Mapping[str, str], platform: str = "") -> None:
    from nuwrap_runtime.host.installer import install_locked
    from nuwrap_runtime.host.trimming import trim_tree

    for name in ("host", "sdk"):
        lock = os.path.join(LOCKS, f"{name}.lock")
        install_locked(lock, os.path.join(folder, name), ABIS[0], environ, platform=platform)
    for version in ABIS:
        target = os.path.join(folder, "abi", "cp" + version.replace(".", ""))
        install_locked(os.path.join(LOCKS, "abi.lock"), target, version, environ, platform=platform)
    pure = os.path.join(folder, "abi", "pure", "msgpack")
    compiled = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(os.path.join(target, "msgpack"), pure, ignore=compiled)
    trim_tree(folder)


def _compile(folder: str) -> None:
    import compileall

    compileall.compile_dir(folder, quiet=2)  # for this interpreter; another one's workers compile for themselves


if __name__ == "__main__":
    from importlib import import_module

    try:
        import_module("nuwrap_runtime.host.image_tree").main(sys.argv[1:])  # which stands above this module
    except PlatformError as exc:
        print(f"nuwrap_runtime.host.tree: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
