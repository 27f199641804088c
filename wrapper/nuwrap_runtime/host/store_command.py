"""`nuwrap-host store FROM TO`: copy a file or folder between this machine and a store, or within this machine."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NoReturn

from nuwrap_runtime.errors import InputsError, LaunchError, OutputsError, PlatformError
from nuwrap_runtime.host import credentials
from nuwrap_runtime.host.addresses import parse_address, scheme_of, shown
from nuwrap_runtime.host.arguments import read_network
from nuwrap_runtime.host.children import Job, call_child
from nuwrap_runtime.host.downloads import open_input
from nuwrap_runtime.host.folders import walk_files
from nuwrap_runtime.host.network import settled, with_network
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.stores import (
    STORES,
    WRITABLE,
    Access,
    Entry,
    Progress,
    StoreError,
    open_writable,
    together,
)
from nuwrap_runtime.host.workspace import remove_tree
from nuwrap_runtime.launch import Limits, Network
from nuwrap_runtime.schema import did_you_mean

UNLIMITED: Final = 2**63


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Copy, and print `{"path", "files", "bytes", "revision"}` as JSON.

    A file is whole or not there; a folder that is written here too, one at an address is not: a message tells how far
    it came. Raises NuwrapError.
    """
    parser = _Parser(prog="nuwrap-host store", description=__doc__, allow_abbrev=False)
    parser.add_argument("source", metavar="FROM", help="a path, or an address: s3://…, https://…[#sha256=DIGEST]")
    parser.add_argument("target", metavar="TO", help="a path that is not there yet, or an address: s3://…")
    parser.add_argument("--ca", default="", metavar="FILE", help="CA file for the store's certificate")
    parser.add_argument("--max-bytes", type=_count, default=UNLIMITED, metavar="N", help="fetch N at most, or nothing")
    given = parser.parse_args(list(argv))
    is_up, is_down = "://" in given.target, "://" in given.source
    if is_up and is_down:
        raise LaunchError(f"{shown(given.source)!r} and {shown(given.target)!r} are both addresses; one must be a path")
    if given.max_bytes != UNLIMITED and not is_down:
        raise LaunchError("--max-bytes is for what is fetched; FROM is no address")
    with settled(read_network(environ), environ) as network:
        transfer = _Transfer(replace(network, ca=given.ca or network.ca), given.max_bytes, environ)
        if is_up:
            _parse(given.target, WRITABLE, ())
            _names(given.source)
            told = transfer.ask("stored", given.source, given.target)
        else:
            told = _download(given.source, given.target, transfer) if is_down else _copy(given.source, given.target)
    print(json.dumps(told))
    return 0


@dataclass(frozen=True)
class _Transfer:
    """What moves bytes from and to a store: a child, which ends at once when this process is stopped."""

    network: Network
    max_bytes: int
    environ: Mapping[str, str] = field(repr=False)

    def ask(self, doing: str, source: str, target: str) -> dict[str, Any]:
        """Return what the child tells. Raises NuwrapError."""
        asked = {"doing": doing, "source": source, "target": target, "max_bytes": self.max_bytes}
        job = Job(
            "copy",
            {**asked, "network": asdict(self.network)},
            _seconds(doing),
            "at most",
            lambda reason: PlatformError(f"copying {shown(source)!r} to {shown(target)!r} {reason}"),
        )
        report = Report(secrets=credentials.secret_values(self.environ, (), ""))
        return call_child(job, with_network(credentials.data_environment(self.environ), self.network), report)


def child(request: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Move the bytes; see `children`."""
    doing, source, target = request["doing"], request["source"], request["target"]
    progress = Progress(doing, request["max_bytes"], "--max-bytes")
    until = time.monotonic() + _seconds(doing)
    access = Access(progress, environ, Network(**request["network"]), Limits().files, until, "6 hours")
    if doing == "stored":
        return _upload(source, target, access)
    return _fetch(source, target, access, request["max_bytes"])


def _seconds(doing: str) -> float:
    """Return how long it may take: as long as a run's inputs or outputs."""
    limits = Limits()
    return limits.output_seconds if doing == "stored" else limits.input_seconds


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(LaunchError.exit_code, f"{self.prog}: {message}; see {self.prog} --help\n")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def _upload(source: str, target: str, access: Access) -> dict[str, Any]:
    """Copy to an address: a file to it, or below it when it ends with `/`; a folder's files below it."""
    address = _parse(target, WRITABLE, ())
    names = _names(source)
    is_folder = os.path.isdir(source)
    if not is_folder and address.endswith("/"):
        address += os.path.basename(source)
    base = address.rstrip("/")
    pairs = [(os.path.join(source, name), f"{base}/{name.replace(os.sep, '/')}") for name in names]
    done: list[Entry] = []
    try:
        store = open_writable(scheme_of(address), access)
        together(
            lambda pair: done.append(store.upload(*pair)), pairs if is_folder else [(source, address)], access.progress
        )
    except (StoreError, OSError) as exc:
        files = f"{len(done)} of {len(names)} files are there" if is_folder else "it is not there"
        raise OutputsError(f"{source!r} cannot be stored at {shown(address)!r}, {files}: {exc}") from exc
    return _told(address, len(done), access.progress.bytes, "" if is_folder else done[0].revision)


def _names(source: str) -> list[str]:
    """Return the files of a folder as paths below it, [""] for a file. Raises OutputsError for what has no bytes."""
    _check_source(source)
    names = list(walk_files(source)) if os.path.isdir(source) else [""]
    if not names:
        raise OutputsError(f"{source!r} is an empty folder; a store has files only")
    for name in names:
        path = os.path.join(source, name) if name else source
        if not os.path.isfile(path):
            what = "a link that leads to no file" if os.path.islink(path) else "no regular file"
            raise OutputsError(f"{path!r} is {what}; a store has files only")
    return names


def _download(source: str, target: str, transfer: _Transfer) -> dict[str, Any]:
    """Copy from an address to a path that is not there yet."""
    _parse(source, tuple(STORES), ("sha256",))
    with _made_whole(target) as folder:
        told = transfer.ask("fetched", source, folder)
        _place(os.path.join(folder, told["path"]), target)
    return {**told, "path": target}


def _fetch(source: str, folder: str, access: Access, max_bytes: int) -> dict[str, Any]:
    """Fetch an address into a folder of ours; the path told is the name that it got there."""
    one = open_input(source, "the copy", access, {})
    plan = one.find()
    size = sum(entry.size or 0 for entry in plan.values())
    if size > max_bytes:  # before the first of many files
        raise InputsError(f"{shown(source)!r} has {size} bytes, more than {max_bytes} (--max-bytes)")
    moves = [(entry, os.path.join(folder, path)) for path, entry in plan.items()]
    done = together(lambda move: one.fetch(*move), moves, access.progress)
    revision = done[0].revision if len(done) == 1 and not done[0].name else ""
    return _told(next(iter(plan)).split(os.sep)[0], len(done), access.progress.bytes, revision)


def _copy(source: str, target: str) -> dict[str, Any]:
    """Copy a path to another one that is not there yet."""
    _check_source(source)
    if os.path.join(os.path.realpath(target), "").startswith(os.path.join(os.path.realpath(source), "")):
        raise LaunchError(f"{target!r} lies in {source!r}; name a path outside of it")
    with _made_whole(target) as folder:
        made = os.path.join(folder, "copy")
        try:
            if os.path.isdir(source):
                shutil.copytree(source, made, symlinks=True)
            else:
                shutil.copy2(source, made)
        except OSError as exc:  # of a folder, `shutil.Error` lists all that could not be copied
            raise OutputsError(f"{source!r} cannot be copied to {target!r}: {_first(exc)}") from exc
        _place(made, target)
    paths = [os.path.join(target, name) for name in walk_files(target)] if os.path.isdir(target) else [target]
    return _told(target, len(paths), sum(os.lstat(path).st_size for path in paths), "")


def _told(path: str, files: int, size: int, revision: str) -> dict[str, Any]:
    return {"path": path, "files": files, "bytes": size, "revision": revision}


def _first(exc: OSError) -> object:
    failed = exc.args[0] if isinstance(exc, shutil.Error) else None
    return failed[0][2] if isinstance(failed, list) else exc


@contextmanager
def _made_whole(target: str) -> Iterator[str]:
    """Give a folder beside the target, on its file system; nothing of it stays."""
    if os.path.lexists(target):
        raise LaunchError(f"{target!r} exists; name a path that is not there yet")
    above = os.path.dirname(os.path.abspath(target))
    try:
        os.makedirs(above, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".nuwrap-", dir=above)
    except OSError as exc:
        raise PlatformError(f"cannot write to {above!r}: {exc.strerror}") from exc
    try:
        yield folder
    finally:
        remove_tree(folder)


def _place(made: str, target: str) -> None:
    """Give what was made its place. Raises LaunchError when the place is none, or was taken meanwhile."""
    try:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "it was made by somebody else meanwhile")
        os.rename(made, target)
    except OSError as exc:
        raise LaunchError(f"{target!r} cannot be made: {exc.strerror}") from exc


def _check_source(source: str) -> None:
    if not os.path.exists(source):
        raise OutputsError(f"{source!r} does not exist in {os.getcwd()!r}")


def _parse(address: str, schemes: Sequence[str], pins: Sequence[str]) -> str:
    """Return the address without its pins. Raises LaunchError."""
    if scheme_of(address) not in schemes:
        known = ", ".join(f"{one}://" for one in schemes)
        near = did_you_mean(scheme_of(address), list(schemes))
        raise LaunchError(
            f"{shown(address)!r}: scheme {scheme_of(address)!r} is not possible here; allowed: {known}{near}"
        )
    try:
        return parse_address(address, pins=pins).url
    except ValueError as exc:
        raise LaunchError(f"{shown(address)!r}: {exc}") from exc
