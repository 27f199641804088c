"""The head of an answer as bytes. What a function gives cannot add a header or a line: it is refused."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Union

Headers = Mapping[str, Union[str, Sequence[str]]]

REASONS: Mapping[int, str] = {int(one): one.phrase for one in HTTPStatus}
NO_BODY = frozenset({204, 205, 304})
RESET_CONTENT = 205  # its empty body is said by a length of 0, where 204 and 304 have no length (RFC 9110, 15.3.6)
RETRY_SECONDS = "1"
JSON = "application/json"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_KNOWN_TYPES: set[str] = {"text/plain", JSON}
# What this connection needs is the gateway's to say, whatever the function gives (RFC 9110, 7.6.1).
_OURS = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "date",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)


class BadHeader(ValueError):
    """A header of a function's answer that HTTP has no place for."""


class Clock:
    """The Date header, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def text(self) -> str:
        """Return the time as RFC 9110 writes it."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            moment = time.gmtime(second)
            day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[moment.tm_wday]
            months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
            month = months[moment.tm_mon - 1]
            self._text = time.strftime(f"{day}, %d {month} %Y %H:%M:%S GMT", moment)
        return self._text


_clock = Clock()


def encode_head(
    status: int, content_type: str, headers: Headers, request_id: str, framing: Iterable[str] = ()
) -> bytes:
    """Return the status line and all headers; `framing` are whole lines on length and connection.

    Raises BadHeader for a name or a value that would not stay one line.
    """
    status = status or 200
    if content_type not in _KNOWN_TYPES:
        _check("content_type", content_type)
        if len(_KNOWN_TYPES) < 64:
            _KNOWN_TYPES.add(content_type)
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}", f"Date: {_clock.text()}", *framing]
    if content_type and status not in NO_BODY:
        lines.append(f"Content-Type: {content_type}")
    if headers:
        lines += _header_lines(headers)
    lines.append(f"X-Request-Id: {request_id}\r\n\r\n")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def _header_lines(headers: Headers) -> list[str]:
    lines = []
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise BadHeader(f"{name[:80]!r} is no name of a header")
        if name.lower() in _OURS:
            continue
        for one in [value] if isinstance(value, str) else value:
            _check(name, one)
            lines.append(f"{name}: {one}")
    return lines


def _check(name: str, value: str) -> None:
    if not _VALUE.fullmatch(value):
        raise BadHeader(f"the value of {name} has a line break or another control character: {value[:80]!r}")


def error_answer(status: int, message: str, request_id: str) -> bytes:
    """Return a whole answer to what is no request; the connection ends with it."""
    body = error_body(message, request_id)
    headers = {"Retry-After": RETRY_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    framing = [f"Content-Length: {len(body)}", "Connection: close"]
    return encode_head(status, JSON, headers, request_id, framing) + body


def error_body(message: str, request_id: str) -> bytes:
    """Return the JSON of an error, of the same form as the worker's own."""
    return json.dumps({"error": message, "request_id": request_id}).encode("ascii")
