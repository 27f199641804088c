"""What a run wants of its container, in `docker.json` of the run's folder: written when it is placed, read when it is
started, by a process that has the standard library alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from nuwrap.errors import PlatformError
from nuwrap.platforms.run_folder import write_private

FILE_NAME: Final = "docker.json"
# Places in the container, without the root's slash as members of an archive have them.
WORK, CACHE, TEMPORARY, SECRETS = "work", "cache", "tmp", "run/secrets"
GIVEN: Final = f"{WORK}/given"  # what is brought from this machine
RUN: Final = f"{WORK}/run"  # what is taken back to it: `result.json` and `outputs`


@dataclass(frozen=True)
class Gift:
    """A file or folder of this machine, and where the container gets it; `is_code` leaves out what is no code."""

    path: str
    at: str
    is_code: bool = False


@dataclass(frozen=True)
class Port:
    """A port of the container and where this machine has it; `number` 0 is any free one."""

    inside: int
    address: str
    number: int


@dataclass(frozen=True)
class Wanted:
    """All that `docker create` needs to know, and what goes in and comes out.

    `runtime` and `fetcher` are our images for a foreign `image`; `has_remote` tells that code or inputs lie elsewhere.
    `launch` is the container's document, `folder` gets what comes back. `flags` are `docker create`'s own, `opened`
    the places of new volumes that every user may write to. `shared` are volumes that must be there. `paths` tells
    of the container's paths of inputs which ones they are here.
    """

    name: str
    image: str
    runtime: str
    fetcher: str
    images_registry: str
    launch: Mapping[str, Any]
    folder: str
    python: str = "python3"
    user: str = ""
    group: str = ""
    has_remote: bool = False
    gifts: Sequence[Gift] = ()
    flags: Sequence[str] = ()
    opened: Sequence[str] = ()
    shared: Sequence[str] = ()
    ports: Sequence[Port] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)


def write_wanted(folder: str, wanted: Wanted) -> None:
    """Leave the document in the run's folder. Raises PlatformError."""
    write_private(os.path.join(folder, FILE_NAME), json.dumps(asdict(wanted), indent=1))


def read_wanted(folder: str) -> Wanted:
    """Return what `write_wanted` left. Raises PlatformError for a document that is not whole, or another version's."""
    path = os.path.join(folder, FILE_NAME)
    try:
        with open(path, encoding="utf-8") as stream:
            values = json.load(stream)
        values["gifts"] = tuple(Gift(**one) for one in values["gifts"])
        values["ports"] = tuple(Port(**one) for one in values["ports"])
        return Wanted(**values)
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise PlatformError(f"cannot read {path!r}, which says what the container is: {exc}") from exc
