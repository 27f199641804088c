"""What a registry asks its callers for (`WWW-Authenticate`), and the errors in its answers. Pure text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_SCHEME: Final = re.compile(r"(?:^|,)\s*(?P<scheme>[A-Za-z][A-Za-z0-9_-]*)(?=\s+[A-Za-z_]+\s*=|\s*$|\s*,)")
_PARAMETER: Final = re.compile(r'(?P<name>[A-Za-z_]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))')
SAID_CHARACTERS: Final = 300


@dataclass(frozen=True)
class Challenge:
    """A way to log in: `scheme` is `basic`, `bearer`, one that we have not, or "" when nothing is asked for."""

    scheme: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenge(header: str) -> Challenge:
    """Return the one of the header's challenges that can be met, a bearer's first; else the first of all."""
    starts = list(_SCHEME.finditer(header))
    found = []
    for number, start in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(header)
        found.append(Challenge(start["scheme"].lower(), _parameters(header[start.end() : end])))
    ranked = sorted(found, key=lambda one: {"bearer": 0, "basic": 1}.get(one.scheme, 2))
    return ranked[0] if ranked else Challenge()


def _parameters(text: str) -> dict[str, str]:
    found = {}
    for one in _PARAMETER.finditer(text):
        quoted = one["quoted"]
        found[one["name"].lower()] = one["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return found


def say_errors(body: bytes) -> str:
    """Return what an answer says of its failure, in one line; "" when it says nothing in the specified form."""
    try:
        errors = json.loads(body)["errors"]
        texts = [f"{one.get('code', '')}: {one.get('message', '')}" for one in errors[:3]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    said = "; ".join(text.strip(": ") for text in texts)[:SAID_CHARACTERS]
    return "".join(char if char.isprintable() else " " for char in said)
