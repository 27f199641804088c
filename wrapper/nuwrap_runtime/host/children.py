"""Work in a process that ends: it alone gets the credentials, and its libraries leave with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Callable, Final

from nuwrap_runtime import errors
from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.host.process import call
from nuwrap_runtime.host.report import Report

# A child's name and what it does: request and environment in, answer out.
CHILDREN: Final[Mapping[str, str]] = {
    "fetch-source": "nuwrap_runtime.host.sources:child",
    "fetch-inputs": "nuwrap_runtime.host.downloads:child",
    "fetch-wheels": "nuwrap_runtime.host.wheels:child",
    "store-outputs": "nuwrap_runtime.host.uploads:child",
    "copy": "nuwrap_runtime.host.store_command:child",
}
SPARE_SECONDS = 30  # a child ends by itself when its time is over; this long after it, it is killed
LOG_LINES = 5

Work = Callable[[Mapping[str, Any], Mapping[str, str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Job:
    """What a child is asked: its name, the request, the longest time, and how its failure is told.

    `seconds` comes from the setting `seconds_key`.
    """

    name: str
    request: Mapping[str, Any]
    seconds: float
    seconds_key: str
    refuse: Callable[[str], NuwrapError]


def call_child(job: Job, environ: Mapping[str, str], report: Report) -> dict[str, Any]:
    """Return the answer of the child; its lines on standard error are shown as they come.

    Raises the NuwrapError that the child's work ended with, and `job.refuse(reason)` when it gave no answer.
    """

    def work() -> bytes:
        return _answer(job, environ)

    done = call(work, environ, redact=report.secrets, timeout_s=job.seconds + SPARE_SECONDS, on_line=report.note)
    if done.timed_out:
        raise job.refuse(f"took more than {job.seconds:g} s ({job.seconds_key})")
    if done.returncode:
        raise job.refuse("failed: " + ("\n".join(done.log[-LOG_LINES:]) or f"exit code {done.returncode}"))
    answer: dict[str, Any] = json.loads(done.output)
    if "error" in answer:
        raise getattr(errors, answer["kind"])(answer["error"])
    return answer


def _answer(job: Job, environ: Mapping[str, str]) -> bytes:
    """Do the child's work: the body of its process."""
    module, _, function = CHILDREN[job.name].partition(":")
    try:
        work: Work = getattr(import_module(module), function)
        answer = dict(work(job.request, environ))
    except NuwrapError as exc:
        answer = {"error": str(exc), "kind": type(exc).__name__}
    return json.dumps(answer).encode("utf-8")
