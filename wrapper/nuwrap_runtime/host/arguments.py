"""From flags, `NUWRAP_*` variables and a file to the launch document that they mean together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from nuwrap_runtime.errors import LaunchError
from nuwrap_runtime.launch import API, FIELDS, SERVE_FIELDS, VARIABLES, Launch, Network, flag_names, parse_launch
from nuwrap_runtime.schema import did_you_mean, show

DOCUMENT_BYTES = 16 * 1024 * 1024
SOURCES = ("code_src", "code", "base64")


def read_launch(
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    launch_file: str = "",
    defaults: Optional[Mapping[str, str]] = None,
) -> Launch:
    """Return the launch that a start asks for: flags over `NUWRAP_*` variables over the document over `defaults`.

    The document is `launch_file`, else `$NUWRAP_LAUNCH` (JSON, or `@FILE`), else made of flags and variables alone.
    `flags` maps a key of `FIELDS`, or one inside as `serve.port`, to its text: plain for a string, JSON for all others.
    A variable that is empty is not given. Raises LaunchError.
    """
    document = _find_document(launch_file, environ)
    _put(document, {key: environ[name] for name, key in VARIABLES.items() if environ.get(name)})
    _put(document, flags)
    return parse_launch({"api": API, **(defaults or {}), **document})


def read_network(environ: Mapping[str, str]) -> Network:
    """Return what `NUWRAP_NETWORK` says, for a command that has no launch document. Raises LaunchError."""
    text = environ.get("NUWRAP_NETWORK", "")
    if not text:
        return Network()
    network = _parse_text("network", text)
    return parse_launch({"api": API, "handler": "f", "code": "f", "network": network}).network


def _put(document: dict[str, Any], texts: Mapping[str, str]) -> None:
    """Lay the texts over the document; a source among them takes the place of the one below, whatever its form."""
    if any(key in texts for key in SOURCES):
        for key in SOURCES:
            document.pop(key, None)
    document.update({key: _parse_text(key, text) for key, text in texts.items() if "." not in key})
    for key, text in texts.items():
        if "." in key:
            name, _, inner = key.partition(".")
            document[name] = {**document.get(name, {}), inner: _parse_inner(inner, text)}


def _find_document(launch_file: str, environ: Mapping[str, str]) -> dict[str, Any]:
    text, origin = environ.get("NUWRAP_LAUNCH", "").strip(), "$NUWRAP_LAUNCH"
    if launch_file or text.startswith("@"):
        origin = launch_file or text[1:]
        text = _read_file(origin)
    elif not text:
        return {}
    document = _parse_json(text, origin)
    if not isinstance(document, dict):
        raise LaunchError(f"{origin}: {show(document)} is not a mapping; a launch document starts with '{{'")
    if "api" not in document:
        raise LaunchError(f"{origin}: key 'api' is missing; this version reads \"api\": {API!r}")
    return document


def _read_file(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            data = stream.read(DOCUMENT_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise LaunchError(f"cannot read the launch document {path!r}: {exc}") from exc
    if len(data) > DOCUMENT_BYTES:
        raise LaunchError(f"the launch document {path!r} has more than {DOCUMENT_BYTES} bytes")
    return text


def _parse_text(key: str, text: str) -> Any:
    if key not in FIELDS:
        raise LaunchError(f"unknown key {key!r}{did_you_mean(key, list(FIELDS))}")
    kind = FIELDS[key].get("type", "string")
    return text if kind == "string" else _parse_json(text, f"{key}: {show(text)}", f"; allowed: JSON of type {kind}")


def _parse_inner(key: str, text: str) -> Any:
    kind = SERVE_FIELDS[key].get("type", "string")
    flag = flag_names((key,))[key]
    return text if kind == "string" else _parse_json(text, f"{flag}: {show(text)}", f"; allowed: JSON of type {kind}")


def _parse_json(text: str, origin: str, allowed: str = "") -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as exc:
        raise LaunchError(f"{origin} is not JSON ({exc}){allowed}") from exc


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dictionary. Raises ValueError for a key that stands there twice: one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {show(twice)} is given twice")
    return found
