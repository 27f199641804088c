"""The folder that host and worker run from: `worker/` (this package), `host/`, `sdk/`, `abi/` beside each other.

An image has it at /opt/nuwrap. Elsewhere it is made once in the cache, by content: packages from our hashed locks,
and a copy of this package, so that an upgrade meanwhile changes nothing for what already runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
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
# botocore knows 400 services; this is what S3 needs, and who signs in by a profile, a role or a web identity.
SERVICES = ("s3", "sts", "sso", "sso-oidc", "signin")
PORTALS = ("portal.sso", "oidc")  # what endpoints.json calls the two of sso
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
        with _made_whole(packages) as folder:
            _install_all(folder, environ)
    if os.path.isdir(root):
        return
    with _made_whole(root) as folder:
        _copy_package(folder)
        for name in ("host", "sdk", "abi"):  # relative, so that the cache can be moved
            os.symlink(os.path.join(os.pardir, os.path.basename(packages), name), os.path.join(folder, name))


def _copy_package(folder: str) -> None:
    worker = os.path.join(folder, "worker")
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(PACKAGE, os.path.join(worker, "nuwrap_runtime"), ignore=ignored)
    _compile(worker)


@contextmanager
def _made_whole(folder: str) -> Iterator[str]:
    """Give a temporary folder that becomes `folder` in one step at the end, or leaves nothing."""
    temporary = tempfile.mkdtemp(prefix=MAKING, dir=os.path.dirname(folder))
    try:
        yield temporary
        os.rename(temporary, folder)
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
    _cut_services(os.path.join(folder, "host"))
    for name in ("host", "sdk"):
        _compile(os.path.join(folder, name))


def _cut_services(packages: str) -> None:
    """Leave of botocore's descriptions of services what is ours: 25 MB fewer in each image, a client 20 ms sooner."""
    data = os.path.join(packages, "botocore", "data")
    for entry in list(os.scandir(data)):
        if entry.is_dir() and entry.name not in SERVICES:
            shutil.rmtree(entry.path)
    shutil.rmtree(os.path.join(packages, "boto3", "data"))
    shutil.rmtree(os.path.join(packages, "boto3", "examples"))
    path = os.path.join(data, "endpoints.json")
    with open(path, encoding="utf-8") as stream:
        endpoints = json.load(stream)
    for partition in endpoints["partitions"]:
        ours = {name: one for name, one in partition["services"].items() if name in (*SERVICES, *PORTALS)}
        partition["services"] = ours
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(endpoints, stream, separators=(",", ":"))


def _compile(folder: str) -> None:
    import compileall

    compileall.compile_dir(folder, quiet=2)  # for this interpreter; another one's workers compile for themselves


def main(argv: list[str]) -> None:
    """Make the tree of an image: `python -m nuwrap_runtime.host.tree FOLDER`; any user may read it."""
    if len(argv) != 1 or os.path.exists(argv[0]):
        raise PlatformError(f"arguments {argv!r}: name one folder that is not there yet")
    folder = os.path.abspath(argv[0])
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with _made_whole(folder) as made:
        os.chmod(made, 0o755)  # noqa: S103 - what an image holds is for every uid
        _copy_package(made)
        _install_all(made, os.environ)


if __name__ == "__main__":
    main(sys.argv[1:])
