"""What a run wants of its cluster, in `kubernetes.json` of the run's folder: written when it is placed, or taken over
from a colleague, and read by whoever submits, follows, stops or looks at it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from nuwrap.errors import PlatformError

FILE_NAME: Final = "kubernetes.json"
GIVEN: Final = "given"  # folder of the files that come with the run, until it is submitted
SUBMITTED: Final = "submitted"  # there when the cluster has all of the run, or had it
READY: Final = "was-ready"  # there when a service has taken requests, or may have


@dataclass(frozen=True)
class Wanted:
    """A run in a cluster. `name` is the Job's or Deployment's, `objects` a `RunObjects` without the files.

    `credentials` are the names of variables of this machine that the fetching container gets, `store_credentials` those
    that the function's gets too, `sent` the secrets whose
    values come from here. `output_path` is an address or "". `paths` are as in `ForCluster`.
    """

    context: str
    namespace: str
    action: str
    name: str
    run: str
    launch: Mapping[str, Any]
    objects: Mapping[str, Any] = field(default_factory=dict)
    credentials: tuple[str, ...] = ()
    store_credentials: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 30.0
    pending_timeout_s: float = 900.0
    keep_finished_s: int = 86400

    @property
    def kind(self) -> str:
        """The object that stands for the run."""
        return "Deployment" if self.action == "serve" else "Job"


def write_wanted(folder: str, wanted: Wanted) -> None:
    """Write the document, for this user alone. Raises PlatformError."""
    path = os.path.join(folder, FILE_NAME)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            json.dump(asdict(wanted), stream, indent=1)
    except OSError as exc:
        raise PlatformError(f"cannot write {path!r}: {exc.strerror}") from exc


def read_wanted(folder: str) -> Wanted:
    """Return what `write_wanted` has written. Raises PlatformError for a document that is missing or damaged."""
    path = os.path.join(folder, FILE_NAME)
    try:
        with open(path, encoding="utf-8") as stream:
            found: dict[str, Any] = json.load(stream)
        lists = {name: tuple(found[name]) for name in ("credentials", "sent", "store_credentials")}
        return Wanted(**{**found, **lists})
    except OSError as exc:
        raise PlatformError(f"cannot read {path!r}, which says where the run is: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise PlatformError(f"{path!r} is damaged: {exc!r}") from exc


def keep_files(folder: str, files: Mapping[str, str]) -> None:
    """Copy what comes with the run, paths by place, into its folder, where it stays until the run is submitted."""
    for at, path in files.items():
        target = os.path.join(folder, GIVEN, at)
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        shutil.copyfile(path, target)


def read_files(folder: str) -> dict[str, bytes]:
    """Return the files that come with the run, by their place. Raises PlatformError."""
    root, found = os.path.join(folder, GIVEN), {}
    try:
        for where, _, names in os.walk(root):
            for name in names:
                path = os.path.join(where, name)
                with open(path, "rb") as stream:
                    found[os.path.relpath(path, root)] = stream.read()
    except OSError as exc:
        raise PlatformError(f"cannot read {exc.filename!r}: {exc.strerror}") from exc
    return found


def is_submitted(folder: str) -> bool:
    """Tell whether the cluster has, or had, the run."""
    return os.path.exists(os.path.join(folder, SUBMITTED))


def note_submitted(folder: str) -> None:
    """Remember that the cluster has all of the run."""
    _mark(folder, SUBMITTED)


def has_been_ready(folder: str) -> bool:
    """Tell whether a service has taken requests: what ends a container then is no fault of its start."""
    return os.path.exists(os.path.join(folder, READY))


def note_ready(folder: str) -> None:
    """Remember that a service takes requests, or that it is not known whether it did."""
    _mark(folder, READY)


def _mark(folder: str, name: str) -> None:
    with open(os.path.join(folder, name), "a", encoding="ascii"):
        pass
