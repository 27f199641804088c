"""What is to be built, as a file of the run's folder: written by who plans, read by the process that builds.

Names of secrets are in it, values never.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from nuwrap.errors import PlatformError
from nuwrap.spec.build import BuildPlan, BuildSettings, ContextFile, RegistryAccess, Step

FILE_NAME: Final = "build.json"
CONTEXT, DOCKERFILE = "context", "Dockerfile"


@dataclass(frozen=True)
class BuildDocument:
    """A build of a run. `revision` and `code_src` tell of the source, `python` is the minor version, `secrets` are the
    names of all that the run was given: none of their values may be in the image. `destinations` are names beside the
    plan's.
    """

    project: str
    function: str
    run: str
    engine: str
    why: str
    plan: BuildPlan
    settings: BuildSettings
    push: bool = False
    destinations: Sequence[str] = ()
    tar_path: str = ""
    oci_path: str = ""
    has_cache: bool = True
    timeout_s: float | None = None
    network: Mapping[str, Any] = field(default_factory=dict)
    code_src: str = ""
    revision: str = ""
    python: str = ""
    secrets: Sequence[str] = ()
    warnings: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


def write_document(folder: str, document: BuildDocument) -> None:
    """Write the file, for this user alone. Raises PlatformError."""
    path = os.path.join(folder, FILE_NAME)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            json.dump(asdict(document), stream, indent=1)
    except OSError as exc:
        raise PlatformError(f"cannot write {path!r}: {exc.strerror}") from exc


def read_document(folder: str) -> BuildDocument:
    """Return what `write_document` has written. Raises PlatformError for a file that is missing or damaged."""
    path = os.path.join(folder, FILE_NAME)
    try:
        with open(path, encoding="utf-8") as stream:
            found: dict[str, Any] = json.load(stream)
        plan, settings = found.pop("plan"), found.pop("settings")
        access = settings.pop("access")
        clients = {name: (pair[0], pair[1]) for name, pair in access.pop("client_certificates").items()}
        return BuildDocument(
            **found,
            plan=BuildPlan(
                **{
                    **plan,
                    "steps": tuple(Step(**one) for one in plan["steps"]),
                    "files": tuple(ContextFile(**one) for one in plan["files"]),
                }
            ),
            settings=BuildSettings(**settings, access=RegistryAccess(**access, client_certificates=clients)),
        )
    except OSError as exc:
        raise PlatformError(f"cannot read {path!r}: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise PlatformError(f"{path!r} is damaged: {exc!r}") from exc
