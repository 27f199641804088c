"""The result of a run elsewhere as this machine has it: its paths made ours, or written where the run left none."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from nuwrap.platforms.run_folder import RESULT
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.result import DOCUMENT_BYTES, ERROR, STOPPED, Failure, Result

# What a `nuwrap-host fetch` that failed says by its exit code.
PHASES: Mapping[int, tuple[str, str]] = {
    2: ("launch", "LaunchError"),
    3: ("source", "SourceError"),
    7: ("inputs", "InputsError"),
}


def localize(folder: str, paths: Mapping[str, str]) -> None:
    """Give code and inputs of a result the paths that they have on this machine. What is no result stays as it is.

    `paths` maps a path in the container to the one here.
    """
    path = os.path.join(folder, RESULT)
    with suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
        with open(path, "rb") as stream:
            document = json.loads(stream.read(DOCUMENT_BYTES))
        source = document.get("source") or {}  # a shortened document leaves out what is empty
        known = [one for one in (document.get("inputs") or {}).values() if one.get("path") in paths]
        for one in known:
            one["path"] = paths[one["path"]]
        if known or source.get("code_src") in paths:
            source["code_src"] = paths.get(source["code_src"], source["code_src"])
            replace_result(folder, document)


def write_failure(folder: str, launch: Launch, exit_code: int, failure: Failure, *, state: str = ERROR) -> None:
    """Write the result of a run that could not write its own."""
    result = Result(state, exit_code, project=launch.project, function=launch.function, run=launch.run, failure=failure)
    os.makedirs(folder, exist_ok=True)
    replace_result(folder, result.to_document())


def write_stopped(folder: str, launch: Launch) -> None:
    """Write the result of a service that ended when it was asked to, and left none."""
    result = Result(STOPPED, 0, project=launch.project, function=launch.function, run=launch.run)
    replace_result(folder, result.to_document())


def replace_result(folder: str, document: object) -> None:
    """Write `result.json`, whole, in the place of an earlier one."""
    path = os.path.join(folder, RESULT)
    making = f"{path}.part"
    with open(making, "w", encoding="utf-8") as stream:
        json.dump(document, stream, ensure_ascii=False, indent=1)
    os.replace(making, path)
