"""What the files of an image tell: which `python3` its PATH has, of which libc. Layers go in, the top one first.

Knows names of files, links and whiteouts (opencontainers/image-spec layer.md), not where layers come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from nuwrap.registry.tar import Entry, Layer
from nuwrap.registry.unpacking import Unreadable

PROGRAM: Final = "python3"
MOST_KEPT: Final = 200_000
HOPS: Final = 40  # of links, as Linux allows
ELF_BYTES: Final = 4096  # a program's head, which names its loader
USUAL_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON: Final = re.compile(r"(?:platform-)?python(?:3(?:\.\d+)?m?)?")  # Red Hat's is in libexec, by another name
_VERSIONED: Final = re.compile(r"(?:platform-)?python(3\.\d+)m?")
_LIBRARY: Final = re.compile(r"((?:.*/)?)lib(?:64)?/python(3\.\d+)/os\.pyc?")
_LOADER: Final = re.compile(r"(?:usr/)?lib\w*/(?:[\w-]+/)?(ld-musl-|ld-linux|ld64\.so)[^/]*")
_NAMED_LOADER: Final = re.compile(rb"/(ld-musl-|ld-linux|ld64\.so)[\w.-]*\0")
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


class Files:
    """The files that matter of the layers so far. What a layer has counts before the same in those below it."""

    def __init__(self, path: str = "") -> None:
        self._folders = [part.strip("/") for part in (path or USUAL_PATH).split(":") if part.startswith("/")]
        self._kept: dict[str, Entry] = {}
        self._loaders: dict[str, str] = {}  # of programs, by path
        self._libraries: dict[str, set[str]] = {}  # versions by the folder above lib
        self._libc: set[str] = set()
        self._hidden: set[str] = set()
        self._opaque: set[str] = set()

    def add(self, pieces: Iterator[bytes], *, until_libc: bool = False) -> None:
        """Take the layer below those there are, as far as it is needed. Raises Unreadable."""
        layer = Layer(pieces)
        hidden: set[str] = set()
        opaque: set[str] = set()
        for entry in layer:
            folder, _, name = entry.path.rpartition("/")
            if name == _OPAQUE:
                opaque.add(folder)
            elif name.startswith(_WHITEOUT):
                hidden.add(f"{folder}{folder and '/'}{name.removeprefix(_WHITEOUT)}")
            elif self._is_of_use(entry, name) and not self._is_covered(entry.path):
                self._keep(entry, name, layer)
                if self.is_settled or (until_libc and self._libc):
                    break
        self._hidden |= hidden
        self._opaque |= opaque

    @property
    def is_settled(self) -> bool:
        """Whether no layer below can change which `python3` is the first on PATH."""
        for folder in self._folders:
            if self._resolve(f"{folder}/{PROGRAM}"):
                return bool(self.python)
            if not folder.endswith("sbin"):  # nobody has Python there; it comes before bin on the usual PATH
                return False
        return False

    @property
    def has_program(self) -> bool:
        """Whether a folder of PATH has a `python3`, be it a link to a file that is not there or of another name."""
        return any(f"{folder}/{PROGRAM}" in self._kept for folder in self._folders) or bool(self._find())

    @property
    def python(self) -> str:
        """The minor version of `python3`, as `3.11`; "" when there is none, or when its file does not tell."""
        path = self._find()
        named = _VERSIONED.fullmatch(path.rpartition("/")[2])
        if named:
            return named[1]
        root = path.rpartition("/")[0].rpartition("/")[0]
        versions = self._libraries.get(f"{root}/" if root else "", set())
        return next(iter(versions)) if path and len(versions) == 1 else ""

    @property
    def libc(self) -> str:
        """What `python3` runs on; without one, what the system has; "" when that cannot be told."""
        of_program = self._loaders.get(self._find(), "")
        if of_program:
            return of_program
        return next(iter(self._libc)) if len(self._libc) == 1 else ""

    def _is_of_use(self, entry: Entry, name: str) -> bool:
        if not entry.path or entry.kind in ("folder", "other"):
            return False
        if entry.kind == "link" or _PYTHON.fullmatch(name):
            return True
        return bool(_LOADER.fullmatch(entry.path) or _LIBRARY.fullmatch(entry.path))

    def _is_covered(self, path: str) -> bool:
        """Tell whether a layer above has taken the file away, or has something else in its place."""
        if path in self._kept or path in self._hidden:
            return True
        at = path.rpartition("/")[0]
        while True:
            if at in self._opaque or at in self._hidden or (at and at in self._kept):
                return True
            if not at:
                return False
            at = at.rpartition("/")[0]

    def _keep(self, entry: Entry, name: str, layer: Layer) -> None:
        if len(self._kept) >= MOST_KEPT:
            raise Unreadable(f"more than {MOST_KEPT} links")
        library = _LIBRARY.fullmatch(entry.path)
        if library:
            self._libraries.setdefault(library[1], set()).add(library[2])
            return
        loader = _LOADER.fullmatch(entry.path)
        if loader:
            self._libc.add(_libc_of(loader[1]))
        self._kept[entry.path] = entry
        if entry.kind == "file" and _PYTHON.fullmatch(name):
            head = layer.head(ELF_BYTES)
            named = _NAMED_LOADER.search(head) if head.startswith(b"\x7fELF") else None
            self._loaders[entry.path] = _libc_of(named[1].decode()) if named else ""

    def _find(self) -> str:
        """Return the path of the file that `python3` is, "" when there is none."""
        return next(filter(None, (self._resolve(f"{folder}/{PROGRAM}") for folder in self._folders)), "")

    def _resolve(self, path: str) -> str:
        """Return the file that a path leads to, through the links of its folders too."""
        for _ in range(HOPS):
            before, path = path, self._follow(path)
            if path == before:
                return path if path in self._kept else ""
        return ""

    def _follow(self, path: str) -> str:
        """Return the path with its first link replaced by what it says."""
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            entry = self._kept.get("/".join(parts[:count]))
            if entry and entry.kind == "hard":
                return "/".join([entry.target, *parts[count:]])
            if entry and entry.kind == "link":
                start = [] if entry.target.startswith("/") else parts[: count - 1]
                return _normal([*start, *entry.target.split("/"), *parts[count:]])
        return path


def _normal(parts: Sequence[str]) -> str:
    done: list[str] = []
    for part in parts:
        if part == "..":
            del done[-1:]
        elif part not in ("", "."):
            done.append(part)
    return "/".join(done)


def _libc_of(loader: str) -> str:
    return "musl" if loader.startswith("ld-musl") else "glibc"


def path_of(env: Mapping[str, str]) -> str:
    """Return the PATH that programs of the image get."""
    return env.get("PATH") or USUAL_PATH
