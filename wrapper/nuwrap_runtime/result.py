"""The result document: how a run ended, written by the host at its end, read by whoever asked for the run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Optional

API = "nuwrap/v1"
COMPLETED, ERROR, STOPPED = "COMPLETED", "ERROR", "STOPPED"

# Kubernetes keeps 4,096 bytes of /dev/termination-log (kubelet: MaxPodTerminationMessageLogLength).
TERMINATION_BYTES = 4096
DOCUMENT_BYTES = 64 * 1024 * 1024

_TEXT = {"type": "string"}
_SECONDS = {"type": "object", "additionalProperties": {"type": "number"}}

SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:nuwrap:result:v1",
    "title": "nuwrap result document",
    "type": "object",
    "required": ["api", "state", "exit_code"],
    "properties": {
        "api": {"enum": [API]},
        "state": {"enum": [COMPLETED, ERROR, STOPPED]},
        "exit_code": {"type": "integer", "minimum": 0, "maximum": 255},
        "project": _TEXT,
        "function": _TEXT,
        "run": _TEXT,
        "outputs": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["type", "kind", "path"],
                "properties": {"type": _TEXT, "kind": _TEXT, "path": _TEXT, "key": _TEXT},
            },
        },
        "results": {"type": "object"},
        "metrics": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "number"}}},
        "failure": {
            "type": ["object", "null"],
            "required": ["phase", "type", "message"],
            "properties": {
                "phase": _TEXT,
                "type": _TEXT,
                "message": _TEXT,
                "frames": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "file": _TEXT,
                            "line": {"type": "integer"},
                            "function": _TEXT,
                            "code": _TEXT,
                        },
                    },
                },
                "exit": {"type": ["integer", "null"]},
                "signal": _TEXT,
            },
        },
        "source": {"type": "object", "properties": {"code_src": _TEXT, "revision": _TEXT}},
        "inputs": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"key": _TEXT, "path": _TEXT, "revision": _TEXT},
            },
        },
        "requirements": {"type": "array", "items": _TEXT},
        "python": _TEXT,
        "seconds": _SECONDS,
        "started": _TEXT,
        "finished": _TEXT,
        "warnings": {"type": "array", "items": _TEXT},
        "truncated": {"type": "array", "items": _TEXT},
    },
}


@dataclass(frozen=True)
class Failure:
    """Why a run did not complete.

    `phase` is launch, source, requirements, load, init, inputs, handler, outputs, platform or stopped. `frames` are
    the user's own, outermost first: `{"file", "line", "function", "code"}`. `exit` is the n of `sys.exit(n)` in the
    handler, `signal` the name of the signal that ended the worker.
    """

    phase: str
    type: str
    message: str
    frames: Sequence[Mapping[str, Any]] = ()
    exit: Optional[int] = None
    signal: str = ""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Failure:
        """Return the failure of a worker's or host's JSON; keys of a later version are left out, what is missing is "".

        A worker is the user's process and may say anything: what is no text becomes text.
        """
        known = {key: document[key] for key in cls.__dataclass_fields__ if key in document}
        texts = {key: str(document.get(key, "")) for key in ("phase", "type", "message", "signal")}
        return cls(**{**known, **texts})

    def to_document(self) -> dict[str, Any]:
        """Return the JSON value; what is empty is left out, but for phase, type and message."""
        always = ("phase", "type", "message")
        return {key: value for key, value in asdict(self).items() if key in always or value not in (None, "", (), [])}


@dataclass(frozen=True)
class Result:
    """A finished run. An output's `path` is relative to the folder of the document.

    `inputs` tells where each came from: `{name: {"key", "path", "revision"}}`.
    """

    state: str
    exit_code: int
    project: str = ""
    function: str = ""
    run: str = ""
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    failure: Optional[Failure] = None
    source: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    python: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    started: str = ""
    finished: str = ""
    warnings: Sequence[str] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the JSON value of `result.json`."""
        document = {"api": API, **{key: getattr(self, key) for key in self.__dataclass_fields__}}
        document["failure"] = self.failure.to_document() if self.failure else None
        return document


def shorten(document: Mapping[str, Any], limit: int = TERMINATION_BYTES) -> bytes:
    """Return the document as JSON of at most `limit` bytes of UTF-8, always valid; `limit` is 512 at least.

    What does not fit goes whole, in this order: requirements, results, seconds, frames, outputs, all but the failure
    and the run, the end of the message, the rest; `truncated` names what went. A number that JSON has not is null.
    """
    short = {key: value for key, value in document.items() if value not in (None, "", [], {}, ())}
    if short.get("failure"):
        short["failure"] = dict(short["failure"])
    went: list[str] = []
    for drop in _DROPS:
        text = _dump(short)
        if len(text) <= limit:
            return text
        went += drop(short, len(text) - limit + 64)
        short["truncated"] = went
    return _dump(short)


_Drop = Callable[[dict[str, Any], int], list[str]]


def _drop_key(name: str) -> _Drop:
    return lambda document, _over: [name] if document.pop(name, None) is not None else []


def _drop_frames(document: dict[str, Any], _over: int) -> list[str]:
    return ["frames"] if document.get("failure", {}).pop("frames", None) is not None else []


def _drop_rest(document: dict[str, Any], _over: int) -> list[str]:
    """Drop all that does not say how the run ended; `truncated` has no room for names of any length."""
    rest = sorted(set(document) - {"api", "state", "exit_code", "failure", "run", "truncated"})
    for key in rest:
        del document[key]
    return [key for key in rest if key in SCHEMA["properties"]]


def _cut_type(document: dict[str, Any], _over: int) -> list[str]:
    failure = document.get("failure", {})
    long = [key for key in ("phase", "type", "signal") if len(failure.get(key, "")) > 100]
    for key in long:  # a class may have a name of any length
        failure[key] = failure[key][:100] + "…"
    return long


def _cut_message(document: dict[str, Any], over: int) -> list[str]:
    failure = document.get("failure", {})
    if not failure.get("message"):
        return []
    message = failure["message"].encode("utf-8", "replace")  # a byte of it takes at least one byte as JSON
    failure["message"] = message[: max(0, len(message) - over)].decode("utf-8", "ignore") + "…"
    return ["message"]


def _drop_all(document: dict[str, Any], _over: int) -> list[str]:
    return [name for name in ("failure", "run") if document.pop(name, None) is not None]


_DROPS: Sequence[_Drop] = (
    *(_drop_key(name) for name in ("requirements", "results", "seconds")),
    _drop_frames,
    _drop_key("outputs"),
    _drop_rest,
    _cut_type,
    _cut_message,
    _drop_all,
)


def _dump(document: Mapping[str, Any]) -> bytes:
    options: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    try:
        text = json.dumps(document, **options)
    except ValueError:
        text = json.dumps(_finite(document), **options)
    return text.encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
