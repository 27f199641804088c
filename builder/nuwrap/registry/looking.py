"""Look into the layers of an image for what its config does not tell, and keep what was found.

A layer is read from its begin and no further than needed; bytes and seconds are bounded, beyond them nothing is known.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from nuwrap.registry.files import Files, path_of
from nuwrap.registry.repository import Repository
from nuwrap.registry.unpacking import Unreadable
from nuwrap.spec.build import LABEL_API, LABEL_PYTHON, ImageFacts, Layer

MOST_BYTES: Final = 400 * 1024 * 1024  # packed, of all layers
MOST_SECONDS: Final = 60
KEPT_FORM: Final = 1
KEPT_BYTES: Final = 64 * 1024
_OFFICIAL_FOLDER: Final = "/usr/local/bin"  # of Python in the images that set PYTHON_VERSION


@dataclass(frozen=True)
class Found:
    """What files tell: see ImageFacts."""

    python: str = ""
    libc: str = ""
    looked: bool = False


class _TooMuch(Exception):
    """Bytes or seconds are used up."""


class _Budget:
    def __init__(self) -> None:
        self.left = MOST_BYTES
        self._deadline = time.monotonic() + MOST_SECONDS

    def meter(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.left -= len(piece)
            if self.left < 0 or time.monotonic() > self._deadline:
                raise _TooMuch
            yield piece


def look(repository: Repository, image: ImageFacts, *, config: str, cache: str) -> Found:
    """Return what the image's files tell; `config` is its config's digest, `cache` a folder that is made, or "".

    Raises RegistryError when a layer cannot be got.
    """
    kept = _load(cache, config)
    if kept:
        return kept
    python = _told_version(image)
    if python:
        found = Found(python, _find_libc(repository, image.layers), looked=True)
    else:
        found = _find_all(repository, image.layers, path_of(image.env))
    if found.looked:
        _save(cache, config, found)
    return found


def _told_version(image: ImageFacts) -> str:
    """Return the version that an image tells of itself, where no other Python comes before that one on PATH."""
    first = next((part for part in path_of(image.env).split(":") if not part.endswith("sbin")), "")
    if first.rstrip("/") != _OFFICIAL_FOLDER:
        return ""
    told = image.labels.get(LABEL_PYTHON, "") if LABEL_API in image.labels else image.env.get("PYTHON_VERSION", "")
    found = re.match(r"3\.\d+(?!\d)", told)
    return found[0] if found else ""


def _find_libc(repository: Repository, layers: Sequence[Layer]) -> str:
    """Return the libc of the system: from the bottom up, as far as the first layer that tells."""
    files, budget = Files(), _Budget()
    for layer in layers:
        if not _read(repository, layer, files, budget, until_libc=True) or files.libc:
            break
    return files.libc


def _find_all(repository: Repository, layers: Sequence[Layer], path: str) -> Found:
    """Look from the top down until it is certain which `python3` is the first on PATH; else for the libc alone."""
    files, budget = Files(path), _Budget()
    for layer in reversed(layers):
        if not _read(repository, layer, files, budget):
            return Found(libc=_find_libc(repository, layers[:1]))
        if files.is_settled:
            break
    return Found(files.python, files.libc, looked=bool(files.python) or not files.has_program)


def _read(repository: Repository, layer: Layer, files: Files, budget: _Budget, *, until_libc: bool = False) -> bool:
    """Read a layer; tell whether that could be done to where it was needed."""
    try:
        with repository.stream_blob(layer.digest) as pieces:
            files.add(budget.meter(pieces), until_libc=until_libc)
    except (Unreadable, _TooMuch):
        return False
    return True


def _path(cache: str, digest: str) -> str:
    return os.path.join(cache, f"{digest.replace(':', '-')}.json")


def _load(cache: str, digest: str) -> Found | None:
    """Return what was found before, None where there is nothing that can be read."""
    if not cache:
        return None
    try:
        with open(_path(cache, digest), "rb") as file:
            document = json.loads(file.read(KEPT_BYTES))
        if document["form"] == KEPT_FORM:
            return Found(str(document["python"]), str(document["libc"]), looked=True)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return None


def _save(cache: str, digest: str, found: Found) -> None:
    """Keep it; where the folder cannot be written to, the next plan looks again."""
    if not cache:
        return
    with suppress(OSError):
        os.makedirs(cache, mode=0o700, exist_ok=True)
        descriptor, path = tempfile.mkstemp(dir=cache, prefix=".new-")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump({"form": KEPT_FORM, **asdict(found)}, file)
            os.replace(path, _path(cache, digest))
        except BaseException:
            os.unlink(path)
            raise
