"""Names and labels of a run's objects: whose they are, safe for Kubernetes, and the same for everybody.

Rules: a label's value has 63 characters of letters, digits, '-', '_' and '.', the first and last a letter or digit; a
name that is a DNS label has 63 of lower-case letters, digits and '-' (apimachinery, pkg/util/validation).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

PREFIX: Final = "nuwrap.dev/"
RUN_LABEL, PROJECT_LABEL, FUNCTION_LABEL = f"{PREFIX}run", f"{PREFIX}project", f"{PREFIX}function"
ACTION_LABEL, ATTEMPT_LABEL, USER_LABEL, KIND_LABEL = (
    f"{PREFIX}action", f"{PREFIX}attempt", f"{PREFIX}user", f"{PREFIX}kind",
)  # fmt: skip
MANAGED: Final[Mapping[str, str]] = {"app.kubernetes.io/managed-by": "nuwrap"}
CHARACTERS: Final = 63
_HASH: Final = 8


def label_value(text: str) -> str:
    """Return the text as a label's value: itself where it can be one, else shortened, and told apart by a digest."""
    return _fit(text, re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._"), CHARACTERS)


def object_name(text: str, characters: int = CHARACTERS) -> str:
    """Return the text as a name that is a DNS label; see `label_value`."""
    return _fit(text, _dns(text), characters)


def service_name(text: str) -> str:
    """Return the text as a Service's name, which begins with a letter; see `label_value`."""
    safe = _dns(text)
    return _fit(text, safe if safe[:1].isalpha() else f"s-{safe}", CHARACTERS)


def _dns(text: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")


def _fit(text: str, safe: str, characters: int) -> str:
    if safe == text and len(safe) <= characters:
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    return "-".join(filter(None, (safe[: characters - _HASH - 1].rstrip("-._"), digest))) if text else ""


def run_labels(project: str, function: str, run: str, action: str, attempt: int, user: str = "") -> dict[str, str]:
    """Return the labels of each object of a run."""
    found = {
        **MANAGED,
        "app.kubernetes.io/name": label_value(function),
        "app.kubernetes.io/instance": label_value(run),
        "app.kubernetes.io/part-of": label_value(project),
        RUN_LABEL: label_value(run),
        PROJECT_LABEL: label_value(project),
        FUNCTION_LABEL: label_value(function),
        ACTION_LABEL: action,
        ATTEMPT_LABEL: str(attempt),
        USER_LABEL: label_value(user),
    }
    return {name: value for name, value in found.items() if value}


def with_ours(ours: Mapping[str, str], *given: Mapping[str, str]) -> dict[str, str]:
    """Return labels or annotations, those given first and ours last; no key of ours is anybody else's to give: by these
    secrets and claims are found, and whose a run is.
    """
    others = {name: one for some in given for name, one in some.items() if not name.startswith(PREFIX)}
    return {**others, **ours}


def exact_names(project: str, function: str) -> dict[str, str]:
    """Return annotations with the names that are no labels as they are."""
    names = {f"{PREFIX}exact-project": project, f"{PREFIX}exact-function": function}
    return {name: text for name, text in names.items() if label_value(text) != text}


def workload_name(run: str, attempt: int) -> str:
    """Return the name of a run's Job, Deployment and Service: `nuwrap-<run>`, `nuwrap-<run>-2` for attempt 2."""
    return object_name(f"nuwrap-{run}" + (f"-{attempt}" if attempt > 1 else ""))
