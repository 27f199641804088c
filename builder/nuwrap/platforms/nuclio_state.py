"""What Nuclio's controller says of a function, in words for a person."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

READY, ERROR, UNHEALTHY = "ready", "error", "unhealthy"
CHARACTERS: Final = 2000
_FIRST: Final = re.compile(r"^Error - ")
_PLACE: Final = re.compile(r"^\s+\S+\.go:\d+$")  # of the controller's own source


def state_of(function: Mapping[str, Any]) -> str:
    """Return the function's state, "" before the controller has heard of it."""
    return str((function.get("status") or {}).get("state") or "")


def message_of(function: Mapping[str, Any]) -> str:
    """Return why the function is in trouble, as one line: the outermost reason first. "" where nothing is said."""
    text = str((function.get("status") or {}).get("message") or "")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _PLACE.match(line)]
    cause = [_FIRST.sub("", line) for line in lines if _FIRST.match(line)]
    others = [line for line in lines if not _FIRST.match(line) and line != "Call stack:"]
    reasons = list(dict.fromkeys([*reversed(others), *cause]))
    return "".join(one if one.isprintable() else "?" for one in ": ".join(reasons))[:CHARACTERS]
