"""Work in a process that ends: it alone gets the credentials, and its libraries leave with it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Callable, Final

from nuwrap_runtime import errors
from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.host.process import Command, run
from nuwrap_runtime.host.report import Report

# A child's name, which is its first argument, and what it does: request (JSON) and environment in, answer (JSON) out.
CHILDREN: Final[Mapping[str, str]] = {
    "fetch-source": "nuwrap_runtime.host.sources:child",
    "fetch-inputs": "nuwrap_runtime.host.downloads:child",
    "store-outputs": "nuwrap_runtime.host.uploads:child",
}
SPARE_SECONDS = 30  # a child ends by itself when its time is over; this long after it, it is killed
LOG_LINES = 5

Work = Callable[[Mapping[str, Any], Mapping[str, str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Job:
    """What a child is asked: its name, the request, the longest time, and how its failure is told.

    `folder` is a private one of ours, for the request; `seconds` comes from the setting `seconds_key`.
    """

    name: str
    request: Mapping[str, Any]
    folder: str
    seconds: float
    seconds_key: str
    refuse: Callable[[str], NuwrapError]


def call_child(job: Job, environ: Mapping[str, str], report: Report) -> dict[str, Any]:
    """Return the answer of the child; its lines on standard error are shown as they come.

    Raises the NuwrapError that the child's work ended with, and `job.refuse(reason)` when it gave no answer.
    """
    handle, path = tempfile.mkstemp(prefix=f".{job.name}-", dir=job.folder)
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            json.dump(job.request, stream)
        entry = os.path.join(os.path.dirname(os.path.abspath(__file__)), "entry.py")
        argv = [sys.executable, "-I", "-S", "-u", entry, job.name, path]
        command = Command(argv, environ, redact=report.secrets, timeout_s=job.seconds + SPARE_SECONDS)
        done = run(command, on_line=report.note)
    finally:
        os.unlink(path)
    if done.timed_out:
        raise job.refuse(f"took more than {job.seconds:g} s ({job.seconds_key})")
    if done.returncode:
        raise job.refuse("failed: " + ("\n".join(done.log[-LOG_LINES:]) or f"exit code {done.returncode}"))
    answer: dict[str, Any] = json.loads(done.output)
    if "error" in answer:
        raise getattr(errors, answer["kind"])(answer["error"])
    return answer


def run_child(name: str, request_path: str, environ: Mapping[str, str]) -> int:
    """Do the work of the child `name` and print its answer: the body of the child process."""
    with open(request_path, encoding="utf-8") as stream:
        request = json.load(stream)
    module, _, function = CHILDREN[name].partition(":")
    work: Work = getattr(import_module(module), function)
    try:
        answer = dict(work(request, environ))
    except NuwrapError as exc:
        answer = {"error": str(exc), "kind": type(exc).__name__}
    sys.stdout.write(json.dumps(answer))
    return 0
