"""What the API server refuses, as one sentence that says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from nuwrap.errors import PlatformError
from nuwrap.text import escape

TEXT_CHARACTERS: Final = 3000
DOCS: Final = "docs/kubernetes.md"
_RIGHT: Final = re.compile(
    r'(?:User "(?P<user>[^"]+)" )?cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"'
    r'(?: in API group "(?P<group>[^"]*)")?'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)


class ClusterError(PlatformError):
    """The API server refused, or did not answer. `status` is its HTTP status, 0 for none; `reason` its own word."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def passes(self) -> bool:
        """What may pass by itself: no answer, a fault of the server, too many requests, a watch that is too old."""
        return self.status in (0, 410, 429) or self.status >= 500


def refusal(what: str, status: int, body: bytes, *, server: str, user: str) -> ClusterError:
    """Return the error for an answer that is none; `what` was asked for, as `create Job 'x' in namespace 'y'`."""
    told = _read(body)
    reason, message = str(told.get("reason", "")), _line(str(told.get("message", "")))
    if status in (400, 422) and " Secret " in what:  # the server quotes what it does not take
        message = f"the API server does not take it: {_fields(told) or reason}"
    if status == 401:
        text = f"{server} does not know who asks ({user or 'nobody'}): log in again, or see to the kubeconfig's user"
        return ClusterError(f"cannot {what}: {text}", status=status, reason=reason)
    right = _RIGHT.search(message)
    if status == 403 and right:
        group = f".{right['group']}" if right["group"] else ""
        where = f" in namespace {right['namespace']!r}" if right["namespace"] else ""
        who = right["user"] or user
        text = f"user {who!r} may not {right['verb']} {right['resource']}{group}{where}; {DOCS} has the rights"
        return ClusterError(f"cannot {what}: {text}", status=status, reason=reason)
    return ClusterError(f"cannot {what}: {message or f'the API server answers {status}'}", status=status, reason=reason)


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {"message": body.decode("utf-8", "replace")}
    return found if isinstance(found, dict) else {}


def _fields(told: Mapping[str, Any]) -> str:
    """Return which fields are wrong, without their values."""
    details = told.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    named = [one for one in causes or () if isinstance(one, dict)]
    return ", ".join(f"{one.get('field', '')} ({one.get('reason', '')})" for one in named)


def _line(text: str) -> str:
    return escape(re.sub(r"\s+", " ", text).strip()[:TEXT_CHARACTERS])
