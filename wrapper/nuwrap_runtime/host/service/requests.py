"""From a request's head and body to the event that a worker gets, and what is refused before one does."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass
from typing import Any, Optional, cast
from urllib.parse import parse_qsl, unquote_to_bytes

from nuwrap_runtime.host.service.parsers import BadRequest, Head
from nuwrap_runtime.worker.native import SIZE

REQUEST_ID = re.compile(r"[!-~]{1,128}")
_TARGET = re.compile(rb"/|[A-Za-z]+://|\*\Z")
HOST = re.compile(r"[^\s/?#@\\,]*")  # RFC 9112, 3.2: what is none must be refused
FIELDS = 1000  # of one query
NAMES_KEPT = 512
TRIGGER = {"kind": "http", "name": "http"}

_names: dict[bytes, str] = {}


@dataclass(frozen=True)
class Request:
    """A request whose head has been checked. `length` is -1 for a chunked body; `headers` have canonical names."""

    id: str
    method: str
    target: str
    version: str
    headers: dict[str, str]
    length: int
    is_kept_alive: bool
    expects_continue: bool

    @property
    def has_body(self) -> bool:
        """Whether bytes of a body follow the head."""
        return self.length != 0


def check_request(head: Head) -> Request:
    """Return the head as a request. Raises BadRequest for what two servers could read differently.

    Source of the rules: RFC 9112, 3.2 (Host) and 6.1 to 6.3 (a body's length), whatever the parser lets pass.
    """
    if head.version not in ("1.1", "1.0"):
        raise BadRequest(505, f"HTTP/{head.version} is not served; allowed: HTTP/1.1 and HTTP/1.0")
    if head.method == "CONNECT":  # what follows its head is no request
        raise BadRequest(501, "CONNECT is not served: this is no proxy")
    if not _TARGET.match(head.target):
        raise BadRequest(400, f"this is no address: {head.target[:80]!r}; allowed: /path, http://host/path, *")
    headers = _join(head)
    length = _body_length(headers, head.version)
    connection = headers.get("Connection", "").lower()
    tokens = {one.strip() for one in connection.split(",")} if connection else ()
    is_kept_alive = "close" not in tokens if head.version == "1.1" else "keep-alive" in tokens
    expected = headers.get("Expect")
    if expected is not None and expected.lower() != "100-continue":
        raise BadRequest(417, f"Expect: {expected[:80]!r} cannot be met; allowed: 100-continue")
    given = headers.get("X-Request-Id", "")
    return Request(
        id=given if given and REQUEST_ID.fullmatch(given) else make_id(),
        method=head.method,
        target=_text(head.target),
        version=head.version,
        headers=headers,
        length=length,
        is_kept_alive=is_kept_alive,
        expects_continue=expected is not None and head.version == "1.1" and length != 0,
    )


def make_id() -> str:
    """Return a version 4 UUID, without what `uuid` costs; it is a name, no secret."""
    text = f"{random.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"


def make_event(request: Request, body: Optional[bytes], size: int, *, is_in_file: bool = False) -> dict[str, Any]:
    """Return the event as the Nuclio processor sends it; no body is None there too. Raises BadRequest.

    `is_in_file` says that the body comes in a file.

    Of a query argument that is given twice the last value counts, as there (facts of nuclio/nuclio trigger/http).
    """
    path, query = _split(request.target)
    content_type = request.headers.get("Content-Type", "")
    event: dict[str, Any] = {
        "body": body,
        "content_type": content_type,
        "content-type": content_type,
        "trigger": TRIGGER,
        "fields": _fields(query) if query else {},
        "headers": request.headers,
        "id": request.id,
        "method": request.method,
        "path": _text(unquote_to_bytes(path.encode("utf-8", "surrogateescape"))) if "%" in path else path,
        "url": request.target,
        "size": size,
        "timestamp": int(time.time()),
        "shard_id": -1,
        "num_shards": 0,
        "type": "",
        "type_version": "",
        "version": "",
        "offset": 0,
        "topic": "",
    }
    if is_in_file:
        event[SIZE] = size
    return event


def _fields(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS, errors="surrogateescape")
    except ValueError as exc:
        raise BadRequest(400, f"the query has more than {FIELDS} arguments") from exc
    return dict(pairs)


def _split(target: str) -> tuple[str, str]:
    """Return path and query of any form of address: `/a?b`, `http://host/a?b`, `*`, `host:port`."""
    if not target.startswith("/") and "://" in target:
        rest = target.split("://", 1)[1]
        slash = re.search(r"[/?]", rest)
        target = rest[slash.start() :] if slash else "/"
    path, _, query = target.partition("?")
    return path.partition("#")[0] or "/", query.partition("#")[0]


def _join(head: Head) -> dict[str, str]:
    """Return the headers with values of one name joined as RFC 9110, 5.3 says; some may be given once only."""
    joined: dict[str, str] = {}
    for raw, value in head.headers:
        name = canonical(raw)
        text = _text(value.strip())
        if name not in joined:
            joined[name] = text
        elif name in ("Host", "Content-Length", "Transfer-Encoding", "Content-Type", "Expect"):
            raise BadRequest(400, f"the header {name} is given twice")
        else:
            joined[name] += ("; " if name == "Cookie" else ", ") + text
    if head.version == "1.1" and "Host" not in joined:
        raise BadRequest(400, "the header Host is missing")
    if not HOST.fullmatch(joined.get("Host", "")):
        raise BadRequest(400, f"the header Host is no host: {joined['Host'][:80]!r}")
    return joined


def canonical(name: bytes) -> str:
    """Return the name as Go's canonical form, which the processor gives: `x-request-id` is `X-Request-Id`."""
    known = _names.get(name)
    if known is None:
        known = "-".join(part[:1].upper() + part[1:].lower() for part in name.decode("latin-1").split("-"))
        if len(_names) < NAMES_KEPT:
            _names[name] = known
    return known


def _body_length(headers: dict[str, str], version: str) -> int:
    length, coding = headers.get("Content-Length"), headers.get("Transfer-Encoding")
    if coding is not None:
        if length is not None or version == "1.0":
            raise BadRequest(400, "Transfer-Encoding stands beside Content-Length, or in HTTP/1.0")
        if coding.lower() != "chunked":
            raise BadRequest(501, f"Transfer-Encoding {coding[:80]!r} is not served; allowed: chunked")
        return -1
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit()) or len(length) > 18:
        raise BadRequest(400, f"Content-Length {length[:80]!r} is no number of bytes")
    return int(length)


def _text(value: bytes) -> str:
    """Return the bytes as text that gives them back; the worker gets text that is no UTF-8 in the same form."""
    return value.decode("utf-8", "surrogateescape")


def end_of_heads(data: memoryview, begin: int, most: int) -> int:
    """Return where so many heads end at most; the data's end where it has fewer. A head ends with an empty line."""
    searched, size = cast("bytearray", data.obj), len(data)
    end = begin
    for _ in range(most):
        found = searched.find(b"\r\n\r\n", end, size)
        if found < 0:
            return size
        end = found + 4
    return end
