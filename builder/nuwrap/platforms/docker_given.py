"""What a container gets through its standard input, as one tar archive: `docker_boot` puts it into its places.

Nothing of it is on a disk of this machine beside where it came from, in an argument, or in a container's settings.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nuwrap.platforms.docker_boot import START
from nuwrap.platforms.docker_wanted import SECRETS, Gift
from nuwrap_runtime.errors import SourceError

BUFFER_BYTES = 1024 * 1024
# What the host leaves out of a folder of code too (host/sources/local.py); it is not sent for nothing.
IGNORED = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".nuwrap", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".DS_Store"}
)


@dataclass(frozen=True)
class Given:
    """Files and folders of this machine, texts by their place, secrets by name, empty folders, and how the host begins.

    `start` has `environ`, `without` (variables of the image that do not count) and `folder`.
    """

    gifts: Sequence[Gift] = ()
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    folders: Sequence[str] = ()
    start: Mapping[str, Any] = field(default_factory=dict, repr=False)


def write_given(target: int, given: Given, may_start: Callable[[], bool]) -> None:
    """Write all of it to the descriptor, and close that. The last member, which begins the host, is written only
    when `may_start()`, asked after all others, allows it.

    Raises SourceError for what is no code, OSError when a file cannot be read or nobody takes it any more.
    """
    with (
        open(target, "wb", buffering=BUFFER_BYTES) as pipe,
        tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT, bufsize=BUFFER_BYTES) as archive,
    ):
        for gift in given.gifts:
            _add(archive, gift)
        for name in given.folders:
            _add_folder(archive, name)
        for name, text in given.texts.items():
            _add_text(archive, name, text, 0o600)
        for name, value in given.secrets.items():
            _add_text(archive, f"{SECRETS}/{name}", value, 0o400)
        if may_start():
            _add_text(archive, START, json.dumps(given.start), 0o600)


def _add_text(archive: tarfile.TarFile, name: str, text: str, mode: int) -> None:
    content = text.encode("utf-8", "surrogateescape")
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))


def _add(archive: tarfile.TarFile, gift: Gift) -> None:
    """Add a file, or a folder with all that is in it. An input is a copy that nobody means to write to."""
    if not os.path.isdir(gift.path):
        _add_file(archive, gift.path, gift.at, is_code=gift.is_code)
        return
    _add_folder(archive, gift.at)
    for path in _walk(gift.path, is_code=gift.is_code):
        at = f"{gift.at}/{os.path.relpath(path, gift.path)}"
        if os.path.islink(path):
            _add_link(archive, path, at)
        elif os.path.isdir(path):
            _add_folder(archive, at)
        else:
            _add_file(archive, path, at, is_code=gift.is_code)


def _add_folder(archive: tarfile.TarFile, at: str) -> None:
    member = tarfile.TarInfo(at)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(member)


def _add_link(archive: tarfile.TarFile, path: str, at: str) -> None:
    member = tarfile.TarInfo(at)
    member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
    archive.addfile(member)


def _add_file(archive: tarfile.TarFile, path: str, at: str, *, is_code: bool) -> None:
    with open(path, "rb") as stream:
        found = os.fstat(stream.fileno())
        member = tarfile.TarInfo(at)
        member.size, member.mtime = found.st_size, int(found.st_mtime)
        member.mode = found.st_mode & 0o755 | 0o444 if is_code else 0o444
        archive.addfile(member, stream)


def _walk(root: str, *, is_code: bool) -> Iterator[str]:
    """Yield folders, files and links below the root. Raises SourceError for what is none of them."""
    waiting = [root]
    while waiting:
        for entry in sorted(os.scandir(waiting.pop()), key=lambda one: one.name):
            if is_code and (entry.name in IGNORED or entry.name.endswith(".pyc")):
                continue
            is_folder = entry.is_dir(follow_symlinks=False)
            if not is_folder and not entry.is_symlink() and not entry.is_file():
                raise SourceError(f"{entry.path!r} is neither a file, a folder nor a link")
            if is_code and is_folder and os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                continue
            yield entry.path
            waiting += [entry.path] if is_folder else []
