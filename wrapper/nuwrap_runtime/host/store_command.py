"""`nuwrap-host store FROM TO`: copy a file or folder between this machine and a store, or within this machine."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from nuwrap_runtime.errors import LaunchError, OutputsError, PlatformError
from nuwrap_runtime.host import credentials
from nuwrap_runtime.host.addresses import parse_address, scheme_of, shown
from nuwrap_runtime.host.downloads import Input
from nuwrap_runtime.host.folders import walk_files
from nuwrap_runtime.host.stores import (
    STORES,
    WRITABLE,
    Access,
    Progress,
    StoreError,
    open_store,
    open_writable,
    together,
)
from nuwrap_runtime.host.workspace import remove_tree
from nuwrap_runtime.launch import Limits, Network

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
    given = parser.parse_args(list(argv))
    copy = _Copy(given.source, given.target, given.ca, credentials.data_environment(environ))
    if "://" in given.source and "://" in given.target:
        raise LaunchError(f"{shown(given.source)!r} and {shown(given.target)!r} are both addresses; one must be a path")
    told = copy.upload() if "://" in given.target else copy.download() if "://" in given.source else copy.copy()
    print(json.dumps(told))
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(LaunchError.exit_code, f"{self.prog}: {message}; see {self.prog} --help\n")


@dataclass(frozen=True)
class _Copy:
    """One copy. Its time is that of a run's inputs or outputs (`Limits`)."""

    source: str
    target: str
    ca: str
    environ: Mapping[str, str] = field(repr=False)

    def upload(self) -> dict[str, Any]:
        """Copy to an address: a file to it, a folder's files below it."""
        scheme = scheme_of(self.target)
        _check_scheme(self.target, WRITABLE)
        if not os.path.exists(self.source):
            raise OutputsError(f"{self.source!r} does not exist")
        access = self._access("stored")
        is_folder = os.path.isdir(self.source)
        names = list(walk_files(self.source)) if is_folder else [""]
        pairs = [(os.path.join(self.source, name) if name else self.source, self._address(name)) for name in names]
        for path, _address in pairs:
            access.progress.expect(os.path.getsize(path))
        store, done = open_writable(scheme, access), []
        try:
            done = together(lambda pair: store.upload(*pair), pairs, access.progress)
        except (StoreError, OSError) as exc:
            raise OutputsError(f"{shown(self.target)!r} is not complete: {exc}; store it again") from exc
        revision = "" if is_folder else done[0].revision
        return {"path": self.target, "files": len(done), "bytes": access.progress.bytes, "revision": revision}

    def _address(self, name: str) -> str:
        return f"{self.target.rstrip('/')}/{name.replace(os.sep, '/')}" if name else self.target

    def download(self) -> dict[str, Any]:
        """Copy from an address to a path that is not there yet."""
        _check_scheme(self.source, tuple(STORES))
        access = self._access("fetched")
        try:
            parse_address(self.source, pins=("sha256",))
        except ValueError as exc:
            raise LaunchError(f"{shown(self.source)!r}: {exc}") from exc
        one = Input(self.source, open_store(scheme_of(self.source), access), access)
        with self._made_whole() as folder:
            plan = one.find()
            moves = [(entry, os.path.join(folder, path)) for path, entry in plan.items()]
            done = together(lambda move: one.fetch(*move), moves, access.progress)
            os.rename(os.path.join(folder, next(iter(plan)).split(os.sep)[0]), self.target)
        revision = done[0].revision if len(done) == 1 else ""
        return {"path": self.target, "files": len(done), "bytes": access.progress.bytes, "revision": revision}

    def copy(self) -> dict[str, Any]:
        """Copy a path to another one that is not there yet."""
        if not os.path.exists(self.source):
            raise OutputsError(f"{self.source!r} does not exist")
        with self._made_whole() as folder:
            made = os.path.join(folder, "copy")
            try:
                if os.path.isdir(self.source):
                    shutil.copytree(self.source, made, symlinks=True)
                else:
                    shutil.copy2(self.source, made)
                os.rename(made, self.target)
            except OSError as exc:
                raise OutputsError(f"{self.source!r} cannot be copied to {self.target!r}: {exc}") from exc
        paths = list(walk_files(self.target)) if os.path.isdir(self.target) else [""]
        size = sum(os.lstat(os.path.join(self.target, path) if path else self.target).st_size for path in paths)
        return {"path": self.target, "files": len(paths), "bytes": size, "revision": ""}

    @contextmanager
    def _made_whole(self) -> Iterator[str]:
        """Give a folder beside the target, on its file system; nothing of it stays."""
        if os.path.lexists(self.target):
            raise LaunchError(f"{self.target!r} exists; name a path that is not there yet")
        above = os.path.dirname(os.path.abspath(self.target))
        try:
            os.makedirs(above, exist_ok=True)
            folder = tempfile.mkdtemp(prefix=".nuwrap-", dir=above)
        except OSError as exc:
            raise PlatformError(f"cannot write to {above!r}: {exc.strerror}") from exc
        try:
            yield folder
        finally:
            remove_tree(folder)

    def _access(self, doing: str) -> Access:
        limits = Limits()
        seconds = limits.output_seconds if doing == "stored" else limits.input_seconds
        progress = Progress(doing, UNLIMITED, "")
        return Access(progress, self.environ, Network(ca=self.ca), limits.files, time.monotonic() + seconds, "6 hours")


def _check_scheme(address: str, schemes: Sequence[str]) -> None:
    if scheme_of(address) not in schemes:
        known = ", ".join(f"{one}://" for one in schemes)
        raise LaunchError(f"{shown(address)!r}: scheme {scheme_of(address)!r} is not possible here; allowed: {known}")
