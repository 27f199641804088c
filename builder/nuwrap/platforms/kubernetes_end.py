"""How a run in a cluster ended, as `result.json` of its folder and an exit code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from nuwrap.cluster.reasons import CANNOT_START, HINTS, MAINS, Ended
from nuwrap.platforms.kubernetes_follow import Following, Outcome
from nuwrap.platforms.kubernetes_wanted import Wanted
from nuwrap.platforms.left import PHASES, localize, replace_result, write_failure
from nuwrap.platforms.run_folder import RESULT
from nuwrap_runtime.launch import Launch, parse_launch
from nuwrap_runtime.result import DOCUMENT_BYTES, SCHEMA, STOPPED, TERMINATION_BYTES, Failure
from nuwrap_runtime.result_lines import read_result_lines
from nuwrap_runtime.schema import faults

STOPPED_CODE, TIMEOUT_CODE, KILLED_CODE, PLATFORM_CODE = 143, 124, 137, 10
LAST_BYTES: Final = 2 * TERMINATION_BYTES  # a message of another program is cut


def write_end(following: Following, outcome: Outcome) -> int:
    """Leave the result in the run's folder and return the exit code."""
    folder, wanted = following.folder, following.wanted
    launch = parse_launch(dict(wanted.launch))
    told = _told(outcome, following.screen.fetch_left)
    if told:
        told = {"project": launch.project, "function": launch.function, "run": launch.run, **told}
        replace_result(folder, told)
        localize(folder, wanted.paths)
    elif os.path.exists(os.path.join(folder, RESULT)):
        os.unlink(os.path.join(folder, RESULT))  # an earlier attempt's
    if outcome.is_stopped:
        return _end_stopped(folder, launch, told)
    code, failure = _reason(outcome, told)
    if failure:
        write_failure(folder, launch, code, failure)
    return code


def write_called_off(folder: str, wanted: Wanted) -> int:
    """Leave the result of a run that was stopped before the cluster had it, and return the exit code."""
    failure = Failure("stopped", "Stopped", "the run was stopped before it began")
    write_failure(folder, parse_launch(dict(wanted.launch)), STOPPED_CODE, failure, state=STOPPED)
    return STOPPED_CODE


def _end_stopped(folder: str, launch: Launch, told: Mapping[str, Any]) -> int:
    if not told:
        failure = Failure("stopped", "Stopped", "the run was stopped")
        write_failure(folder, launch, STOPPED_CODE, failure, state=STOPPED)
        return STOPPED_CODE
    return int(told["exit_code"])


def _told(outcome: Outcome, fetch_left: Callable[[str], str]) -> dict[str, Any]:
    """Return the host's own result, {} where it told none: the whole one of its log, else the shortened one.

    A log that was turned over has not the whole one either: then it is where the outputs are, if they are somewhere.
    """
    whole = read_result_lines(line.decode("utf-8", "replace") for line in outcome.result)
    if whole:
        return whole
    try:
        found = json.loads(outcome.ended.message) if outcome.ended else {}
    except (ValueError, RecursionError):
        return {}
    if faults(found, SCHEMA):
        return {}
    return ("truncated" in found and _left(fetch_left(RESULT))) or found


def _left(path: str) -> dict[str, Any]:
    """Return the result document of the file, which is removed; {} for what is none."""
    if not path:
        return {}
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read(DOCUMENT_BYTES + 1))
    except (OSError, ValueError, RecursionError):
        return {}
    finally:
        os.unlink(path)
    return found if not faults(found, SCHEMA) else {}


def _reason(outcome: Outcome, told: Mapping[str, Any]) -> tuple[int, Failure | None]:
    """Return the exit code, and the failure of a run whose host could not write one."""
    ended = outcome.ended
    if ended and ended.reason == "OOMKilled":
        message = f"the container was killed: {HINTS['OOMKilled'].removeprefix('it was killed ')}"
        return KILLED_CODE, Failure("platform", "OutOfMemory", message, signal="SIGKILL")
    if outcome.failure[0] == "DeadlineExceeded" and told.get("state") != "COMPLETED":
        return TIMEOUT_CODE, Failure("platform", "DeadlineExceeded", HINTS["DeadlineExceeded"])
    if outcome.gone and told.get("state") in (None, STOPPED):  # nobody but the cluster has stopped it
        return PLATFORM_CODE, Failure("platform", "Evicted", _evicted(outcome))
    if told and ended:  # Nuclio's processor ends by a code of its own, whatever its worker had to say
        return int(told["exit_code"]) if ended.container == "nuclio" else ended.exit_code, None
    if ended:
        return _without_word(ended)
    if outcome.is_missing:
        why = "the run is not in the cluster any more: somebody has removed it, or its namespace"
        return PLATFORM_CODE, Failure("platform", "PlatformError", why)
    reason, words = outcome.failure
    return PLATFORM_CODE, Failure("platform", reason or "PlatformError", words or "the cluster does not say why")


def _evicted(outcome: Outcome) -> str:
    if outcome.taken > 1:
        return f"evicted {outcome.taken} times, its further pods (retry_evictions) are used up: {outcome.gone}"
    if not outcome.taken:
        return outcome.gone
    return f"evicted: {outcome.gone}; retry_evictions=1 asks for a further pod after that"


def _without_word(ended: Ended) -> tuple[int, Failure]:
    said = ended.message[-LAST_BYTES:].strip()
    if ended.container not in MAINS:
        phase, kind = PHASES.get(ended.exit_code, ("platform", "PlatformError"))
        what = f"container {ended.container!r} ended with exit code {ended.exit_code}"
        return ended.exit_code, Failure(phase, kind, said or what)
    if ended.reason in CANNOT_START:
        return PLATFORM_CODE, Failure("platform", ended.reason, f"the container cannot be started: {said}")
    if ended.exit_code == 0:
        return PLATFORM_CODE, Failure("platform", "PlatformError", "the container ended without a result")
    what = f"the container ended with exit code {ended.exit_code} and without a result"
    return ended.exit_code, Failure("platform", ended.reason or "PlatformError", f"{what}: {said}" if said else what)
