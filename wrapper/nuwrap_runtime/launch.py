"""The launch document: all that a container, a pod or a laptop must do, as one JSON value. Knows no file and no
variable: `host/arguments.py` reads those.

`SCHEMA` is the one place where a key is described: it checks a document, names the flags and the `NUWRAP_*`
variables, and is published as `docs/schemas/launch.v1.json`.
"""

from __future__ import annotations

import base64 as base64_codec
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from nuwrap_runtime.errors import LaunchError
from nuwrap_runtime.schema import faults, show, value_faults

API = "nuwrap/v1"
FAULTS_SHOWN = 40
LEAVE_SECONDS = 15.0  # for which a service in a pod takes new requests after a stop, while any come, besides `grace_s`

# Names as Python has them, letters of any script; an editor that reads the published schema may know ASCII only.
_PART = r"[^\W\d][\w-]*"
_NAME = r"[^\W\d]\w*"
HANDLER = rf"^(?:{_PART}(?:\.{_PART})*:{_NAME}(?:\.{_NAME})?|{_NAME})$"
INIT_FUNCTION = rf"^(?:{_PART}(?:\.{_PART})*:)?{_NAME}$"
STORE_KEY = r"^store://[\w.-]+/(?:dataitem|artifact|model)/[\w.+-]+/[\w.-]+(?::[\w.-]+)?$"
NAME = r"^[A-Za-z0-9](?:[\w.-]{0,126}[A-Za-z0-9])?$"
NAME_FORM = "letters, digits, '.', '_' and '-', 128 at most; the first and the last a letter or digit"
SECRET_NAME = r"^[A-Za-z0-9_](?:[\w.-]{0,251}\w)?$"  # noqa: S105 - a file name too, so never "." or ".."
IDENTIFIER = r"^[^\W\d]\w*$"
# What an archive's name ends with.
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")

_VALUES = {"type": "object", "propertyNames": {"pattern": IDENTIFIER, "x-form": "a Python name"}}
_KEY = {"type": "string", "pattern": STORE_KEY, "x-form": "store://project/dataitem|artifact|model/kind/name:id"}
_COUNT = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}  # whole numbers that every JSON reader keeps
_PORT = {"type": "integer", "minimum": 0, "maximum": 65535}
# 23 days: epoll and poll take 2**31 - 1 milliseconds at most.
_SECONDS = {"type": "number", "exclusiveMinimum": 0, "maximum": 2_000_000, "x-allowed": "seconds, more than 0"}
_TEXT = {"type": "string", "minLength": 1}
_LINE = {**_TEXT, "maxLength": 4096, "pattern": r"^[^\x00-\x1f\x7f]*$", "x-form": "one line of plain text"}
_LABEL = {"type": "string", "pattern": NAME, "x-form": NAME_FORM}


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


SERVE_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "port": {**_PORT, "description": "port of the service; 0 takes any free one"},
    "admin_port": {**_PORT, "description": "port of /ready, /live, /metrics, /openapi.json and /docs; 0 takes any"},
    "address": {**_LINE, "maxLength": 255, "description": "address to listen on; 0.0.0.0 in a container"},
    "workers": {**_COUNT, "maximum": 256, "description": "processes that hold the function; 2 by default"},
    "max_inflight": {**_COUNT, "description": "requests at once, waiting ones too; one more gets 429"},
    "max_connections": {**_COUNT, "description": "open connections at once; one more gets 503"},
    "max_body_bytes": {**_COUNT, "description": "largest body of a request; a larger one gets 413"},
    "read_timeout_s": {**_SECONDS, "description": "longest time for a request's head, and for a pause in its body"},
    "keep_alive_s": {**_SECONDS, "description": "time that a connection without a request stays open"},
    "access_log": {"type": "boolean", "description": "log each request"},
}

FIELDS: Mapping[str, Mapping[str, Any]] = {
    "api": {"enum": [API], "description": "version of this document"},
    "mode": {"enum": ["job", "serve"], "description": "once, or as a service; the host's sub-command wins"},
    "project": {**_LABEL, "description": "project of the function"},
    "function": {**_LABEL, "description": "name of the function"},
    "run": {**_LABEL, "description": "id of the run; made when missing"},
    "code_src": {**_LINE, "description": "where the code is: a path, or an address with a scheme"},
    "code": {**_TEXT, "description": "the code itself, becomes main.py"},
    "base64": {**_TEXT, "description": "the code itself as base64 of UTF-8 text, becomes main.py"},
    "handler": {
        "type": "string",
        "maxLength": 512,
        "pattern": HANDLER,
        "x-form": "[module:]function, as 'f', 'pkg.mod:f' or 'mod:Class.method'",
        "description": "the function to call",
    },
    "init_function": {
        "type": "string",
        "maxLength": 512,
        "pattern": INIT_FUNCTION,
        "x-form": "[module:]function",
        "description": "called once before the first event, with `context` and `init_parameters`",
    },
    "requirements": {
        "type": "array",
        "maxItems": 1000,
        "items": {**_TEXT, "maxLength": 2048},
        "description": "PEP 508 requirements, installed when the interpreter does not satisfy them",
    },
    "inputs": {**_VALUES, "additionalProperties": _KEY, "description": "argument name to store:// key"},
    "parameters": {**_VALUES, "description": "argument name to JSON value"},
    "init_parameters": {**_VALUES, "description": "argument name of init_function to JSON value"},
    "entities": {
        "type": "object",
        "propertyNames": _KEY,
        "additionalProperties": {
            **_closed(
                {
                    "kind": _TEXT,
                    "path": {**_LINE},
                    "spec": {"type": "object"},
                    "metadata": {"type": "object"},
                }
            ),
            "required": ["kind", "path"],
        },
        "description": "what each store:// key in use means: kind and path",
    },
    "output_path": {**_LINE, "description": "folder or address that gets outputs and result.json"},
    "keep_outputs": {
        "type": "boolean",
        "description": "false where no place keeps a job's files: one that has some fails, its results come back",
    },
    "keep_log": {
        "type": "boolean",
        "description": "keep what a job prints beside its outputs, as log/000001.log and so on, secrets masked",
    },
    "serve": {
        **_closed(SERVE_FIELDS),
        "description": "addresses and limits of a service",
    },
    "python": {**_LINE, "description": "the user's interpreter, a path or a name on PATH; default python3"},
    "binding": {
        "enum": ["auto", "nuclio", "names"],
        "description": "how arguments reach the handler: nuclio is (context, event) by position",
    },
    "concurrency": {**_COUNT, "maximum": 1024, "description": "events at once in an async handler's worker"},
    "timeout_s": {**_SECONDS, "description": "longest time of one call; none by default"},
    "grace_s": {
        "type": "number",
        "minimum": 0,
        "maximum": 2_000_000,
        "description": "time to end after a stop; 30 by default",
    },
    "limits": {
        **_closed(
            {
                "bytes": _COUNT,
                "files": _COUNT,
                "ratio": _COUNT,
                "seconds": _SECONDS,
                "input_bytes": _COUNT,
                "input_seconds": _SECONDS,
                "output_seconds": _SECONDS,
            }
        ),
        "description": "most that a source, all inputs and all outputs may have and take",
    },
    "sha256": {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "x-form": "64 hex digits",
        "description": "digest that the fetched file must have",
    },
    "keep_git": {"type": "boolean", "description": "keep the .git folder of a git source"},
    "isolated": {"type": "boolean", "description": "install without what the interpreter's own packages offer"},
    "refresh": {"type": "boolean", "description": "resolve the requirements anew"},
    "refresh_code": {"type": "boolean", "description": "fetch the code though the image has it"},
    "network": {
        **_closed(
            {
                "index": {"type": "array", "items": _LINE, "maxItems": 16},
                "ca": _LINE,
                "ca_text": {**_TEXT, "maxLength": 524_288},
                "proxies": {"type": "object", "additionalProperties": _LINE},
            }
        ),
        "description": "package indexes, proxies, and the authorities to trust, as a file or as its text",
    },
    "secrets": {
        "type": "array",
        "maxItems": 256,
        "items": {"type": "string", "pattern": SECRET_NAME, "x-form": "a secret's name"},
        "description": "names of secrets that the function may read",
    },
}

SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:nuwrap:launch:v1",
    "title": "nuwrap launch document",
    **_closed(FIELDS),
    "required": ["api", "handler"],
    "oneOf": [{"required": ["code_src"]}, {"required": ["code"]}, {"required": ["base64"]}],
}

# `NUWRAP_SECRETS` is the folder of secrets, not the key of that name; `api` belongs to a document alone.
VARIABLES: Mapping[str, str] = {f"NUWRAP_{key.upper()}": key for key in FIELDS if key not in ("api", "secrets")}


@dataclass(frozen=True)
class Limits:
    """Most that a source may have and take: bytes and files unpacked, ratio unpacked to packed, seconds in all.

    All inputs together have limits of their own, but for the number of files; storing the outputs has one of time.
    """

    bytes: int = 4 * 1024**3
    files: int = 200_000
    ratio: int = 200
    seconds: float = 1800.0
    input_bytes: int = 1024**4
    input_seconds: float = 6 * 3600.0
    output_seconds: float = 6 * 3600.0


@dataclass(frozen=True)
class Network:
    """Package indexes (first wins), a CA bundle's path or its text, and proxies by scheme (`{"https": "http://…"}`).

    A `no` among the proxies has what is reached without, as NO_PROXY has it.
    """

    index: tuple[str, ...] = ()
    ca: str = ""
    ca_text: str = ""
    proxies: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Serve:
    """Addresses and limits of a service. Port 0 is any free one; `address` "" is left to the host."""

    port: int = 8080
    admin_port: int = 8082
    address: str = ""
    workers: int = 2
    max_inflight: int = 64
    max_connections: int = 4096
    max_body_bytes: int = 64 * 1024 * 1024
    read_timeout_s: float = 20.0
    keep_alive_s: float = 75.0
    access_log: bool = False


@dataclass(frozen=True)
class Launch:
    """A valid launch document; exactly one of `code_src`, `code`, `base64` is not empty."""

    handler: str
    mode: str = "job"
    project: str = "default"
    function: str = "function"
    run: str = ""
    code_src: str = ""
    code: str = ""
    base64: str = ""
    init_function: str = ""
    requirements: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    init_parameters: Mapping[str, Any] = field(default_factory=dict)
    entities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    output_path: str = ""
    keep_outputs: bool = True
    keep_log: bool = False
    serve: Serve = field(default_factory=Serve)
    python: str = "python3"
    binding: str = "auto"
    concurrency: int = 16
    timeout_s: Optional[float] = None
    grace_s: float = 30.0
    limits: Limits = field(default_factory=Limits)
    sha256: str = ""
    keep_git: bool = False
    isolated: bool = False
    refresh: bool = False
    refresh_code: bool = False
    network: Network = field(default_factory=Network)
    secrets: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the document that `parse_launch` reads back as this value; defaults are left out."""
        plain = Launch(handler="")
        document: dict[str, Any] = {"api": API, "handler": self.handler}
        for key in FIELDS:
            value = getattr(self, key, None)
            if key != "handler" and hasattr(plain, key) and value != getattr(plain, key):
                document[key] = _plain(value, getattr(plain, key))
        return document


def parse_launch(document: Any) -> Launch:
    """Return the document as a value.

    Raises LaunchError with all faults of the document at once, one a line, each with its path and what is allowed.
    """
    wrong = value_faults(document)
    if not wrong:  # what is no JSON, or nested without end, is not looked at any further
        wrong = faults(document, SCHEMA)
        if isinstance(document, dict):
            wrong += (
                _source_faults(document) + _init_faults(document) + _input_faults(document) + _handler_hints(document)
            )
            wrong += _network_faults(document.get("network"))
    if wrong:
        more = [f"… and {len(wrong) - FAULTS_SHOWN} more"] if len(wrong) > FAULTS_SHOWN else []
        lines = [f"  {line}" for line in (*wrong[:FAULTS_SHOWN], *more)]
        raise LaunchError("the launch document is not valid:\n" + "\n".join(lines))
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
    }
    values.pop("api")
    for key, kind in (("limits", Limits), ("network", Network), ("serve", Serve)):
        if key in values:
            values[key] = kind(**_frozen(values[key]))
    return Launch(**values)


def _frozen(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}


def _source_faults(document: Mapping[str, Any]) -> list[str]:
    given = [key for key in ("code_src", "code", "base64") if key in document]
    if not given:
        return ["code_src: is missing; allowed: exactly one of code_src, code, base64"]
    if len(given) > 1:
        return [f"{' and '.join(given)} are both given; allowed: exactly one of code_src, code, base64"]
    if given == ["code_src"]:
        return _stored_faults(document["code_src"], document.get("entities"))
    return _base64_faults(document["base64"]) if given == ["base64"] else []


def _stored_faults(code_src: Any, entities: Any) -> list[str]:
    if not isinstance(code_src, str) or not code_src.startswith("store://"):
        return []
    if not re.search(STORE_KEY, code_src):
        return [f"code_src: {show(code_src)} is no store key; allowed: {_KEY['x-form']}"]
    known = entities if isinstance(entities, dict) else {}
    return [] if code_src in known else [f"code_src: {show(code_src)} has no entry in entities"]


def _base64_faults(text: Any) -> list[str]:
    if not isinstance(text, str) or not text:  # the schema says that already
        return []
    try:
        code = decode_base64(text)
    except ValueError as exc:
        return [f"base64: {show(text)} is not base64 of UTF-8 text ({exc})"]
    return [] if code else [f"base64: {show(text)} holds no code"]


def decode_base64(text: str) -> str:
    """Return the code that `base64` holds; line breaks in it are allowed. Raises ValueError."""
    try:
        return base64_codec.b64decode("".join(text.split()), validate=True).decode("utf-8")
    except binascii.Error as exc:
        raise ValueError(str(exc)) from exc


def _network_faults(network: Any) -> list[str]:
    text = network.get("ca_text") if isinstance(network, dict) else None
    if not isinstance(text, str):
        return []
    wrong = ["network: ca and ca_text are both given; allowed: one of them"] if "ca" in network else []
    if "-----BEGIN CERTIFICATE-----" not in text:
        wrong.append("network.ca_text: has no certificate; allowed: certificates as PEM")
    if "PRIVATE KEY-----" in text:  # and is not shown
        wrong.append("network.ca_text: has a private key; allowed: certificates alone, as PEM")
    return wrong


def _init_faults(document: Mapping[str, Any]) -> list[str]:
    if document.get("init_parameters") and not document.get("init_function"):
        return ["init_parameters: are given, but no init_function that gets them; name one or leave them out"]
    return []


def _input_faults(document: Mapping[str, Any]) -> list[str]:
    inputs, parameters, entities = (document.get(key) for key in ("inputs", "parameters", "entities"))
    if not isinstance(inputs, dict):
        return []
    both = sorted(set(inputs) & set(parameters)) if isinstance(parameters, dict) else []
    wrong = [f"inputs.{name}: is in parameters too; one name has one value" for name in both]
    known = entities if isinstance(entities, dict) else {}
    for name, key in inputs.items():
        if isinstance(key, str) and key.startswith("store://") and key not in known:
            wrong.append(f"inputs.{name}: {show(key)} has no entry in entities")
    return wrong


def _handler_hints(document: Mapping[str, Any]) -> list[str]:
    """Say what was meant where a function is written as a path (`pkg/m.py:f`) or with dots alone (`pkg.m.f`)."""
    found = []
    for key, form in (("handler", HANDLER), ("init_function", INIT_FUNCTION)):
        text = document.get(key)
        if not isinstance(text, str) or re.search(form, text):
            continue
        place, _, name = text.rpartition(":") if ":" in text else text.rpartition(".")
        meant = place.removesuffix(".py").replace("/", ".") + ":" + name
        if re.search(form, meant) and not meant.endswith("\n"):
            found.append(f"{key}: did you mean {meant!r}?")
    return found


def _plain(value: Any, default: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, (Limits, Network, Serve)):
        names = value.__dataclass_fields__
        changed = {name: getattr(value, name) for name in names if getattr(value, name) != getattr(default, name)}
        return {name: list(one) if isinstance(one, tuple) else one for name, one in changed.items()}
    return dict(value) if isinstance(value, Mapping) else value


def flag_names(keys: Sequence[str] = tuple(FIELDS)) -> Mapping[str, str]:
    """Return the command-line flag of each key: `code_src` is `--code-src`."""
    return {key: "--" + key.replace("_", "-") for key in keys if key != "api"}
