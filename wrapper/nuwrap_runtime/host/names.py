"""Names that came from an archive or a server, as paths that stay below one folder and never meet each other."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Final

DEPTH: Final = 200  # most folders inside each other: the standard library's own walks end at 1,000 (recursion)
COMPONENT_BYTES: Final = 255  # NAME_MAX of every file system in use
PATH_BYTES: Final = 3072  # PATH_MAX is 4,096 with the folder above it
_SHOWN = 120

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_DRIVE = re.compile("[A-Za-z]:")


class Names:
    """All names taken so far, at most `max_files` files and links, and as many folders."""

    def __init__(self, max_files: int, depth: int = DEPTH) -> None:
        self._max, self._depth = max_files, depth
        self._leaves: dict[str, str] = {}  # folded path → path, of files and links
        self._folders: dict[str, str] = {}  # likewise, of folders that were named and of those above any name
        self._named = 0

    def take(self, name: str, kind: str) -> str:
        """Return the relative path for a name of the kind `file`, `folder` or `link`; "" for the folder `./` itself.

        A folder may come twice. Raises ValueError, with the name, for what could leave the folder, could not be made
        everywhere, or meets a name taken before on any file system.
        """
        path = clean(name)
        if kind == "folder":
            self._named += 1  # one that comes again and again is work too
            self._check_count(self._named, "folders")
            self._enter(path, path)
        elif not path:
            raise ValueError(f"the name {quoted(name)} of a {kind} is that of the folder itself")
        else:
            self._enter(path.rpartition("/")[0], path)
            self._add_leaf(path)
        return path.replace("/", os.sep)

    def _add_leaf(self, path: str) -> None:
        key = fold(path)
        met = self._leaves.get(key) or self._folders.get(key)
        if met == path:
            raise ValueError(f"the name {quoted(path)} comes twice")
        if met:
            _refuse_likeness(path, met)
        self._leaves[key] = path
        self._check_count(len(self._leaves), "files")

    def _enter(self, folder: str, path: str) -> None:
        """Take a folder and those above it."""
        if folder.count("/") >= self._depth:
            raise ValueError(f"{quoted(path)} lies in more than {self._depth} folders, the most that is allowed")
        while folder:
            key = fold(folder)
            met = self._folders.get(key)
            if met == folder:
                return
            if met:
                _refuse_likeness(folder, met)
            if key in self._leaves:
                self._refuse_below(folder, path, self._leaves[key])
            self._folders[key] = folder
            self._check_count(len(self._folders), "folders")
            folder = folder.rpartition("/")[0]

    def _refuse_below(self, folder: str, path: str, met: str) -> None:
        if met != folder:
            _refuse_likeness(folder, met)
        if path == folder:
            raise ValueError(f"the name {quoted(path)} comes twice")
        raise ValueError(f"{quoted(path)} lies below {quoted(met)}, which is no folder")

    def _check_count(self, count: int, what: str) -> None:
        if count > self._max:
            raise ValueError(f"more than {self._max} {what}, the most that is allowed (limits.files)")


def clean(name: str) -> str:
    """Return the name with `/` between its parts, without `.` and empty ones, "" for the folder itself.

    Raises ValueError for a name that could leave its folder or that some system cannot have.
    """
    if not name:
        raise ValueError("a name is empty")
    if name.startswith("/"):
        raise ValueError(f"the name {quoted(name)} is absolute")
    if _DRIVE.match(name):
        raise ValueError(f"the name {quoted(name)} begins with a drive")
    if "\\" in name:
        raise ValueError(f"the name {quoted(name)} has a backslash")
    if CONTROL.search(name):
        raise ValueError(f"the name {quoted(name)} has a control character")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"the name {quoted(name)} leads out of its folder ('..')")
    _check_length(name, parts)
    return "/".join(parts)


def _check_length(name: str, parts: list[str]) -> None:
    try:
        lengths = [len(part) if part.isascii() else len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        raise ValueError(f"the name {quoted(name)} is no valid Unicode") from None
    if max(lengths, default=0) > COMPONENT_BYTES:
        raise ValueError(f"the name {quoted(name)} has a part of more than {COMPONENT_BYTES} bytes")
    if sum(lengths) + len(lengths) > PATH_BYTES:
        raise ValueError(f"the name {quoted(name)} has more than {PATH_BYTES} bytes")


def fold(path: str) -> str:
    """Return what is the same for all names that some file system takes for one.

    Source: Unicode 15, section 3.13, D146 (compatibility caseless matching).
    """
    if path.isascii():
        return path.lower()
    for _ in range(2):
        path = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", path).casefold())
    return path


def quoted(name: str) -> str:
    """Return the name as messages quote it: escaped, and cut when it is long."""
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}…"


def _refuse_likeness(path: str, met: str) -> None:
    raise ValueError(f"the names {quoted(met)} and {quoted(path)} differ by case or Unicode form only")
