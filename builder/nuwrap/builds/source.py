"""The code that goes into an image: fetched by the host as a run would fetch it, and told file by file."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from nuwrap.errors import PlatformError
from nuwrap.host import ask_host
from nuwrap.platforms.run_folder import LAUNCH, decided_variables, write_private
from nuwrap.spec.build import SourceFacts
from nuwrap_runtime.launch import Launch

FOLDER = "fetched"  # of a run; the host's work folder while it fetches
BLOCK_BYTES = 1024 * 1024
SAID_BYTES = 1024 * 1024
ERRORS = ("nuwrap  error: ", "nuwrap-host: ")  # how the host begins the line that says why


@dataclass(frozen=True)
class Fetch:
    """Where to fetch: `start` is the folder of a relative `code_src`, `work` one that is the run's alone."""

    launch: Launch
    start: str
    work: str
    environ: Mapping[str, str]
    err: Sequence[int] = ()


def fetch_source(fetch: Fetch) -> SourceFacts:
    """Return the code, which lies in the work folder then. Raises FetchFailed with the host's reason."""
    work = os.path.join(fetch.work, FOLDER)
    os.mkdir(work, 0o700)
    path = os.path.join(work, LAUNCH)
    write_private(path, json.dumps(fetch.launch.to_document()))
    decided = decided_variables(fetch.launch)
    environ = {name: value for name, value in fetch.environ.items() if name not in decided}
    environ["NUWRAP_WORK"] = work
    with tempfile.TemporaryFile() as said:
        answer = ask_host(["fetch", "--launch", path], environ, fetch.start, err=(*fetch.err, said.fileno()))
        if not answer.document:
            reason = said_error(said, "the code could not be fetched, and nuwrap-host has not said why")
            raise FetchFailed(reason, answer.exit_code)
    root = answer.document["root"]
    return SourceFacts(
        address=fetch.launch.code_src,
        revision=answer.document["revision"],
        files=dict(_digests(root)),
        folder=root,
        default_module=answer.document.get("default_module", "main"),
        is_executable=frozenset(_executables(root)),
    )


class FetchFailed(PlatformError):
    """The host could not get the code; reason and exit code are its own."""

    phase = "source"

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


def said_error(said: IO[bytes], otherwise: str) -> str:
    """Return the last error that the host has written to the file, and the lines below it."""
    said.seek(0)
    lines = said.read(SAID_BYTES).decode("utf-8", "replace").splitlines()
    at = [number for number, line in enumerate(lines) if line.startswith(ERRORS)]
    return "\n".join([lines[at[-1]].partition(": ")[2], *lines[at[-1] + 1 :]]) if at else otherwise


def walk(root: str) -> Iterator[str]:
    """Yield the relative paths of all files and links below the folder, in order."""
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders.sort()
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in sorted([*files, *links]))


def _digests(root: str) -> Iterator[tuple[str, str]]:
    for path in walk(root):
        whole = os.path.join(root, path)
        if os.path.islink(whole):
            yield path, f"link:{os.readlink(whole)}"
            continue
        total = hashlib.sha256()
        with open(whole, "rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                total.update(block)
        yield path, f"sha256:{total.hexdigest()}"


def _executables(root: str) -> Iterator[str]:
    for path in walk(root):
        mode = os.lstat(os.path.join(root, path)).st_mode
        if stat.S_ISREG(mode) and mode & stat.S_IXUSR:
            yield path
