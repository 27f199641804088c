"""The result of a run whose container left none, or one with the container's paths in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from nuwrap.platforms.docker_wanted import Wanted
from nuwrap.platforms.run_folder import LOG, RESULT
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.result import DOCUMENT_BYTES, ERROR, Failure, Result

# What a `nuwrap-host fetch` that failed says by its exit code.
PHASES: Mapping[int, tuple[str, str]] = {
    2: ("launch", "LaunchError"),
    3: ("source", "SourceError"),
    7: ("inputs", "InputsError"),
}
TOLD = ("nuwrap  error: ", "nuwrap-host: ")
LOG_BYTES = 1024 * 1024


def tell_no_memory(folder: str, launch: Launch, exit_code: int) -> None:
    """Write that the container had not the memory that it needed."""
    message = "the container was killed for lack of memory; give it more by resources.mem.limits"
    _write(folder, launch, exit_code, Failure("platform", "OutOfMemory", message, signal="SIGKILL"))


def tell_not_fetched(folder: str, launch: Launch, exit_code: int, log_folder: str) -> None:
    """Write why code or inputs could not be fetched, as the run's log says it."""
    phase, kind = PHASES.get(exit_code, ("platform", "PlatformError"))
    message = _last_error(log_folder) or f"fetching ended with exit code {exit_code}"
    _write(folder, launch, exit_code, Failure(phase, kind, message))


def localize(folder: str, wanted: Wanted) -> None:
    """Give code and inputs of a result the paths that they have on this machine. What is no result stays as it is."""
    path = os.path.join(folder, RESULT)
    with suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
        with open(path, "rb") as stream:
            document = json.loads(stream.read(DOCUMENT_BYTES))
        source = document["source"]
        known = [one for one in document["inputs"].values() if one.get("path") in wanted.paths]
        for one in known:
            one["path"] = wanted.paths[one["path"]]
        if known or source.get("code_src") in wanted.paths:
            source["code_src"] = wanted.paths.get(source["code_src"], source["code_src"])
            _replace(path, document)


def _write(folder: str, launch: Launch, exit_code: int, failure: Failure) -> None:
    result = Result(ERROR, exit_code, project=launch.project, function=launch.function, run=launch.run, failure=failure)
    os.makedirs(folder, exist_ok=True)
    _replace(os.path.join(folder, RESULT), result.to_document())


def _replace(path: str, document: object) -> None:
    making = f"{path}.part"
    with open(making, "w", encoding="utf-8") as stream:
        json.dump(document, stream, ensure_ascii=False, indent=1)
    os.replace(making, path)


def _last_error(folder: str) -> str:
    with (
        suppress(OSError),
        open(os.path.join(folder, LOG), encoding="utf-8", errors="replace") as log,
    ):
        told = [line.strip() for line in log.read(LOG_BYTES).splitlines() if line.strip().startswith(TOLD)]
        return told[-1].partition(": ")[2] if told else ""
    return ""
