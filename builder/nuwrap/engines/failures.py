"""Why a build has failed, told from the end of its log: one class for all engines, the last lines, and what helps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nuwrap.errors import BuildError
from nuwrap.spec.build import Step

LINES: Final = 20
LINE_CHARACTERS: Final = 2000
TEXT_CHARACTERS: Final = 200

_EXIT_CODE: Final = re.compile(r"(?:exit code|exit status):? (\d+)")
_DENIED: Final = re.compile(
    r"unauthorized|authentication required|no basic auth credentials|pull access denied|insufficient_scope"
    r"|denied: |\b401\b|\b403\b|access to the resource is denied",
    re.IGNORECASE,
)
_DISK: Final = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_MEMORY: Final = re.compile(
    r"cannot allocate memory|out of memory|OOMKilled|^MemoryError|signal: killed", re.IGNORECASE | re.MULTILINE
)
_PULL: Final = re.compile(
    r"not found|manifest unknown|no such host|connection refused|no match for platform|i/o timeout|TLS handshake"
    r"|x509:|server gave HTTP response|failed to do request|failed to resolve source metadata|no such image"
    r"|unexpected status",
    re.IGNORECASE,
)
_PLAIN_HTTP: Final = "server gave HTTP response to HTTPS client"
_SOURCE: Final = re.compile(r"(?:load metadata for|retrieving image|pulling|FROM|--from=)", re.IGNORECASE)
# What pip, uv and our own installer say of a requirement that cannot be had.
_REQUIREMENT: Final = (
    re.compile(r"No matching distribution found for (\S.*)"),
    re.compile(r"satisfies the requirement (\S+)"),
    re.compile(r"Because there (?:is no version|are no versions) of (\S+)"),
    re.compile(r"Because (\S+) was not found in the package registry"),
    re.compile(r"requirement '([^']+)' is not met"),
    re.compile(r"you require (.+?), which are incompatible"),
    re.compile(r"unable to access '([^']+)'"),
    re.compile(r"Failed to (?:build|download|fetch)(?: and build)?:? `?([^`\s]+)"),
)
_HOST: Final = re.compile(r"\b((?:[\w-]+\.)+[\w-]+(?::\d+)?|localhost(?::\d+)?|[\w-]+:\d+)/")


@dataclass(frozen=True)
class Place:
    """Where a build has failed: the step of the plan, None for all that is no step; `phase` is `build` or `push`.

    `subject` is the image that it was about to pull or push otherwise.
    """

    step: Step | None = None
    number: int = 0
    total: int = 0
    phase: str = "build"
    subject: str = ""


def classify(lines: Sequence[str], code: int, *, place: Place | None = None) -> BuildError:
    """Return the error of a build whose log ends so; `code` is the engine's, or that of the step where it is known."""
    place = place or Place()
    text = "\n".join(lines)
    found = _EXIT_CODE.findall(text)
    kind = _kind(text, int(found[-1]) if found else code, place)
    step_code = int(found[-1]) if found and place.step else code
    return BuildError(_message(_headline(place, step_code), lines, _advice(kind, text, place)), kind)


def stopped(lines: Sequence[str] = ()) -> BuildError:
    """Return the error of a build that was asked to end."""
    return BuildError(_message("the build was stopped", lines[-3:], ""), "stopped")


def timed_out(seconds: float, lines: Sequence[str] = (), *, place: Place | None = None) -> BuildError:
    """Return the error of a build that did not end in its time."""
    where = f" in {_name(place)}" if place and place.step else ""
    advice = "give the build more time (timeout_s), or make that step do less"
    return BuildError(_message(f"the build was ended after {seconds:g} seconds{where}", lines, advice), "timeout")


def _kind(text: str, code: int, place: Place) -> str:
    if _DISK.search(text):
        return "disk"
    is_command = bool(place.step and place.step.text.startswith("RUN "))
    if code == 137 or _MEMORY.search(text):
        return "memory"
    if is_command:
        return "resolution" if place.step and place.step.key == "requirements" and code != 127 else "instruction"
    if _DENIED.search(text):
        return "auth"
    if place.phase == "push":
        return "push"
    if _PULL.search(text) and _is_source(place, text):
        return "pull"
    return "instruction" if place.step else "engine"


def _is_source(place: Place, text: str) -> bool:
    """Tell whether the failure is about an image that another one is made from."""
    if place.step:
        return place.step.text.startswith("FROM ") or "--from=" in place.step.text
    return bool(place.subject or _SOURCE.search(text))


def _headline(place: Place, code: int) -> str:
    if place.step:
        return f"{_name(place)} failed with exit code {code}: {_cut(place.step.text)}"
    if place.phase == "push":
        return f"{place.subject} could not be pushed (exit code {code})"
    return f"{place.subject} could not be had" if place.subject else f"the build failed with exit code {code}"


def _name(place: Place) -> str:
    key = place.step.key if place.step else ""
    return f"step {place.number} of {place.total}{f' ({key})' if key else ''}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARACTERS else f"{line[:TEXT_CHARACTERS]}…"


def _message(headline: str, lines: Sequence[str], advice: str) -> str:
    shown = [f"  {line[:LINE_CHARACTERS]}" for line in lines[-LINES:]]
    return "\n".join([headline, *shown, *([advice] if advice else [])])


def _advice(kind: str, text: str, place: Place) -> str:
    if kind == "resolution":
        return _requirement_advice(text)
    if kind == "instruction":
        return _instruction_advice(text)
    host = _host(text, place)
    if kind in ("pull", "push") and _PLAIN_HTTP in text:
        return (
            f"{host} speaks http without TLS: name it in `insecure-registries` of Docker's daemon.json, "
            f"for kaniko `nuwrap config set registries.insecure {host}`"
        )
    if kind in ("pull", "push") and "x509:" in text:
        return (
            f"{host} has a certificate that the engine does not trust: Docker's daemon reads its authority from "
            f"/etc/docker/certs.d/{host}/ca.crt, for kaniko `nuwrap config set registries.certificates {host}=CA.pem`"
        )
    return {
        "auth": f"log in with `docker login {host}`, with an account that may {_wish(place)} there",
        "disk": "free some room: `docker system df` shows what takes it, `docker system prune` and "
        "`docker builder prune` remove what nothing uses",
        "memory": "it took more memory than there is: give the engine more, or do less at a time in that step",
        "pull": "look at the image's name, and whether this registry answers; nuwrap's own images are made by "
        "`make build-images`",
        "push": f"look whether {host or 'the registry'} answers and takes pushes to that name",
        "engine": "the whole log has more; `nuwrap doctor` tells what this machine has",
    }.get(kind, "")


def _wish(place: Place) -> str:
    return "push" if place.phase == "push" else "pull"


def _requirement_advice(text: str) -> str:
    named = [found[1].strip("`',. ") for pattern in _REQUIREMENT for found in pattern.finditer(text)]
    which = f"requirement {named[-1]!r} could not be had; " if named else ""
    return f"{which}look at requirements, at python_version, and at the index that the build can reach"


def _instruction_advice(text: str) -> str:
    missing = re.search(r"(?:^|: )([\w./-]+): (?:command )?not found", text, re.MULTILINE)
    if missing:
        return f"{missing[1]!r} is not in the image: install it in an instruction before this one"
    return "correct this instruction; the lines above are what it printed last"


def _host(text: str, place: Place) -> str:
    """Return the registry that the failure is about, "" when nothing names one."""
    found = _HOST.search(place.subject) or _HOST.search(place.step.text if place.step else "") or _HOST.search(text)
    return found[1] if found else ""
