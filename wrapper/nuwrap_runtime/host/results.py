"""Where a run's outputs and its result document lie: the folder is made ready before, the document written after."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nuwrap_runtime.errors import LaunchError, OutputsError, Stopped
from nuwrap_runtime.host import image
from nuwrap_runtime.host.addresses import scheme_of
from nuwrap_runtime.host.process import mask, mask_all
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.stores import WRITABLE
from nuwrap_runtime.host.workspace import read_regular, remove_tree, write_whole
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.result import ERROR, STOPPED, TERMINATION_BYTES, Failure, Result, shorten
from nuwrap_runtime.result_lines import VARIABLE, result_lines

TERMINATION_LOG = "/dev/termination-log"  # a pod's terminationMessagePath may be another: $NUWRAP_TERMINATION_LOG
RESULT, OUTPUTS = "result.json", "outputs"


@dataclass(frozen=True)
class Destination:
    """Where result and outputs go: a folder here, and, when `output_path` is an address, that too, after the end.

    The folder's copy stays: nothing is lost when the address cannot be written.
    """

    folder: str
    address: str = ""

    @property
    def folder_shown(self) -> str:
        """The folder as a person is told it: seen from here, when it lies below."""
        path = os.path.relpath(self.folder)
        return self.folder if path.startswith(os.pardir) else path  # nuwrap starts the host where the function is


def find_destination(launch: Launch, environ: Mapping[str, str]) -> Destination:
    """Return where `output_path` leads: by default, and as an address's copy, `.nuwrap/runs/<run>` where we are.

    Where the platform names a work folder, an address's copy is in `$NUWRAP_WORK/runs/<run>`, and so is what has no
    `output_path` in a built image, or where nothing can be written; `$NUWRAP_RUN_FOLDER` names the copy outright.
    Raises LaunchError for a scheme that takes no outputs.
    """
    if "://" not in launch.output_path:
        is_closed = image.is_built(environ) or not os.access(os.curdir, os.W_OK | os.X_OK)
        named = {"NUWRAP_WORK": environ.get("NUWRAP_WORK", "")} if is_closed else {}
        return Destination(os.path.abspath(launch.output_path or _default_folder(launch.run, named)))
    scheme = scheme_of(launch.output_path)
    if scheme not in WRITABLE:
        known = ", ".join(f"{one}://" for one in WRITABLE)
        raise LaunchError(
            f"output_path {launch.output_path!r}: scheme {scheme!r} takes no outputs; allowed: a path, {known}"
        )
    return Destination(os.path.abspath(_default_folder(launch.run, environ)), launch.output_path.rstrip("/") + "/")


def _default_folder(run: str, environ: Mapping[str, str]) -> str:
    work = environ.get("NUWRAP_WORK", "")
    return environ.get("NUWRAP_RUN_FOLDER", "") or os.path.join(work or ".nuwrap", "runs", run)


def open_outputs(folder: str, run: str) -> None:
    """Make the folder ready for this run: what an earlier start of the same run left in it goes.

    Raises OutputsError when it holds another run's result, or an `outputs` that no run of ours made.
    """
    outputs, document = os.path.join(folder, OUTPUTS), os.path.join(folder, RESULT)
    marker = os.path.join(folder, ".run")  # written first: whenever this process is killed, the next one knows
    owner = _read_text(marker)
    if os.path.isdir(outputs) and owner != run:
        whose = f"of run {owner!r}" if owner else "that no run made"
        raise OutputsError(f"output_path {folder!r} has a folder {OUTPUTS!r} {whose}; name a folder of its own")
    try:
        os.makedirs(folder, exist_ok=True)
        write_whole(marker, run, mode=0o644)
        remove_tree(outputs)
        os.makedirs(outputs)
        if os.path.exists(document):
            os.unlink(document)
    except OSError as exc:
        hint = "name a folder that can be written, or set NUWRAP_WORK to one"
        raise OutputsError(f"output_path {folder!r} cannot be written: {exc.strerror}; {hint}") from exc


def write_result(folder: str, result: Result, report: Report) -> bool:
    """Write `result.json` whole or not at all, and the short form where Kubernetes looks for it; secrets masked.

    Returns False, having said why, when there is no result document.
    """
    document = tell_result(result, report)
    path = os.path.join(folder, RESULT)
    try:
        os.makedirs(folder, exist_ok=True)
        write_whole(path, json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n", mode=0o644)
    except (OSError, ValueError) as exc:
        report.error(f"the result cannot be written to {path!r}: {exc}")
        return False
    return True


def tell_result(result: Result, report: Report) -> dict[str, Any]:
    """Write the result's short form where Kubernetes looks for it; return the whole, secrets masked."""
    document = masked(result.to_document(), report.secrets)
    try:
        _tell_platform(document)
    except OSError as exc:
        report.warn(f"the platform's log cannot be written: {exc.strerror}")
    return document


def print_result(result: Result, environ: Mapping[str, str], report: Report) -> None:
    """End the log with the whole result where the environment asks for it and the short form lacks some of it."""
    if environ.get(VARIABLE) != "1":
        return
    document = masked(result.to_document(), report.secrets)
    if "truncated" not in json.loads(shorten(document, TERMINATION_BYTES)):
        return
    try:
        for line in result_lines(document):
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # nobody listens, or a document that JSON cannot hold: that was told
        pass


def masked(document: dict[str, Any], secrets: Sequence[str]) -> dict[str, Any]:
    """Return the document with the secrets in its free texts replaced; what programs read stays as it is."""
    free = {
        key: mask_all(document[key], secrets)
        for key in ("failure", "warnings", "source", "inputs")
        if document.get(key)
    }
    if document["failure"]:
        free["failure"]["phase"] = document["failure"]["phase"]
    results = {}
    for name, value in document["results"].items():
        shown = mask(name, secrets)
        while shown in results:  # two names that are secrets
            shown += "'"
        results[shown] = mask_all(value, secrets)
    return {**document, **free, "results": results}


def tell_refusal(failure: Failure, exit_code: int) -> None:
    """Write where Kubernetes looks for it why nothing was started; there is no folder for a result yet."""
    state = STOPPED if failure.phase == Stopped.phase else ERROR
    try:
        _tell_platform(Result(state, exit_code, failure=failure).to_document())
    except OSError:  # standard error has it
        pass


def _tell_platform(document: Any) -> None:
    path = os.environ.get("NUWRAP_TERMINATION_LOG", "") or TERMINATION_LOG
    if os.path.exists(path):
        with open(path, "wb") as log:
            log.write(shorten(document, TERMINATION_BYTES))


def _read_text(path: str) -> str:
    try:
        return read_regular(path).strip()
    except (OSError, ValueError):
        return ""
