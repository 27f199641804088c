"""Why kaniko has failed: its exit code is the instruction's or 1, so its last words tell (cmd/executor/cmd/root.go)."""

from __future__ import annotations

import re
from typing import Final

from nuwrap.engines import Order, failures
from nuwrap.engines.kaniko_log import Log
from nuwrap.engines.kaniko_place import Ended, Watch
from nuwrap.errors import BuildError
from nuwrap.spec.build import Step
from nuwrap.spec.reference import parse_reference

KILLED_CODE: Final = 137
_PUSH: Final = ("error checking push permissions: ", "error pushing image: ")
_COMMAND: Final = "failed to execute command"
_SUBJECT: Final = re.compile(r'push permission for "([^"]+)"|failed to push to destination (\S+?):')
_SOURCE: Final = re.compile(r"(?:^FROM\s+(?:--\S+\s+)*|--from=)(\S+)")
_MEMORY: Final = (
    "kaniko holds each layer in memory to compress it: --compressed-caching=false in build.kaniko_flags spares that, "
    "else give the container two to three times the largest layer"
)
_AUTHORITY: Final = "set registries.certificates to the PEM file of the authority that vouches for this registry"
_ASSERTION: Final = "this is a fault of kaniko itself; another version by build.kaniko_image may not have it"


def find_failure(ended: Ended, log: Log, order: Order, watch: Watch) -> BuildError:
    """Return the error of an executor that has ended with another code than 0."""
    lines, place = list(log.last), locate(log, order)
    if watch.stops.has_come:
        return failures.stopped(lines)
    if watch.left_s == 0.0:
        return failures.timed_out(watch.timeout_s or 0.0, lines, place=place)
    found = failures.classify(lines, KILLED_CODE if ended.lacked_memory else ended.code, place=place)
    more = _advice(found.kind, "\n".join(lines))
    return BuildError(f"{found}\n{more}", found.kind) if more else found


def _advice(kind: str, text: str) -> str:
    """Return what helps with kaniko, beside what helps with any engine."""
    if kind == "memory":
        return _MEMORY
    if "x509: certificate signed by unknown authority" in text:
        return _AUTHORITY
    return _ASSERTION if "Assertion violated [" in text else ""


def locate(log: Log, order: Order) -> failures.Place:
    """Return what the build was about when it failed."""
    words = next((line for line in reversed(log.last) if line.startswith("error ")), "")
    if words.startswith(_PUSH):
        found = _SUBJECT.search(words)
        subject = (found[1] or found[2]) if found else order.destinations[0]
        return failures.Place(phase="push", subject=subject)
    steps = order.plan.steps
    number = _source(words, order) or (log.step if _COMMAND in words or not words else 0)
    return failures.Place(steps[number - 1], number, len(steps)) if number else failures.Place()


def _source(words: str, order: Order) -> int:
    """Return the number of the step whose image the words name, 0 for none."""
    for number, step in enumerate(order.plan.steps, 1):
        repository = _repository(step)
        if repository and f"/{repository}/" in words:
            return number
    return 0


def _repository(step: Step) -> str:
    found = _SOURCE.search(step.text)
    return parse_reference(found[1]).repository if found and "/" in found[1] else ""
