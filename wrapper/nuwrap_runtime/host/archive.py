"""Archives: whatever one holds comes to lie below one folder, or nothing of it does."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final, cast

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.unpacking import BLOCK, Folder, Unpacked, tar
from nuwrap_runtime.host.unpacking import zip as zips
from nuwrap_runtime.host.unpacking.streams import Inflated, find_coding
from nuwrap_runtime.host.workspace import remove_tree
from nuwrap_runtime.launch import ARCHIVES, Limits

FORMATS: Final = "zip, tar, and tar in gzip, bzip2, xz or zstd"


def is_archive_name(name: str) -> bool:
    """Tell whether a file's name ends as those of archives do."""
    return name.lower().endswith(ARCHIVES)


def form_of(path: str) -> str:
    """Return `zip`, `tar` (also one that is packed as a whole) or "", by content. Raises OSError."""
    try:
        return _find_form(path)
    except ValueError:  # packed, and not to be unpacked
        return ""


def unpack(path: str, into: str, limits: Limits, *, shown: str) -> Unpacked:
    """Put what the archive holds into the empty folder `into`; what fails or is stopped half-way leaves it empty.

    Files get the mode 0644 or 0755 and keep their time; links are relative and lead to a place in the folder; a hard
    link becomes a copy. Raises SourceError, which begins with `shown`, for an archive that is damaged, hostile or over
    its limits, and for a full disk.
    """
    try:
        with _whole_or_empty(into):
            return _unpack(path, Folder(into, limits, os.path.getsize(path)), limits)
    except ValueError as exc:
        raise SourceError(f"{shown}: {exc}") from exc
    except OSError as exc:
        raise SourceError(f"{shown}: cannot be unpacked: {exc.strerror or exc}") from exc


def _unpack(path: str, folder: Folder, limits: Limits) -> Unpacked:
    form = _find_form(path)
    if form == "zip":
        zips.unpack(path, folder, limits)
    elif form == "tar":
        with _open_tar(path) as stream:
            tar.unpack(stream.read, folder, limits.bytes)
    else:
        raise ValueError(f"is no archive, or an empty one; allowed: {FORMATS}")
    return folder.finish()


def _find_form(path: str) -> str:
    """Return the form as `form_of` does. Raises ValueError for a packed file that cannot be unpacked."""
    with open(path, "rb") as stream:
        if stream.read(6).startswith(zips.MAGICS):
            return "zip"
    with _open_tar(path) as stream:
        return "tar" if tar.is_tar(stream.read(tar.RECORD)) else ""


@contextmanager
def _open_tar(path: str) -> Iterator[IO[bytes]]:
    """Give the file's bytes, unpacked if it is packed as a whole."""
    with open(path, "rb", buffering=BLOCK) as stream:
        coding = find_coding(stream.read(6))
        stream.seek(0)
        yield (
            cast("IO[bytes]", io.BufferedReader(Inflated(stream.read, coding, many=True), BLOCK)) if coding else stream
        )


@contextmanager
def _whole_or_empty(folder: str) -> Iterator[None]:
    try:
        yield
    except BaseException:  # a stop too
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                os.unlink(entry.path)
        raise
