"""One question to an http server by the standard library alone: no client is loaded, nothing is tried again.

It is for the start of code that is kept: there, loading urllib3 or boto3 takes longer than all else.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from ssl import SSLContext
from typing import Final, Optional

from nuwrap_runtime.host.stores.http_address import Url
from nuwrap_runtime.host.stores.http_sockets import bounded, bounded_tls

ANSWER_SECONDS = 10.0  # for all of it: a server that takes longer is asked again, with a client's patience
BODY_BYTES: Final = 2_000_000


@dataclass(frozen=True)
class Told:
    """An answer. Names in `headers` are in lower case; `body` is b"" unless it was wanted."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def ask(
    url: Url,
    headers: Mapping[str, str],
    trust: Optional[SSLContext],
    until: float,
    *,
    method: str = "GET",
    most: int = 0,
) -> Optional[Told]:
    """Return the server's answer with the first `most` bytes of its body; None when none came whole and in time.

    `trust` is None for plain http; `until` is a moment of `time.monotonic()`, before which it may be over as well.
    """
    deadline = min(until, time.monotonic() + ANSWER_SECONDS)
    connection = HTTPConnection(url.host, url.port)
    try:
        connection.sock = _connect(url, trust, deadline)
        target = url.text.split("/", 3)[3]
        connection.request(method, f"/{target}", headers={"Host": url.server, **headers})
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Told(answer.status, told, answer.read(most) if most else b"")
    except (OSError, HTTPException, ValueError):  # ValueError: what cannot be a header
        return None
    finally:
        connection.close()


def _connect(url: Url, trust: Optional[SSLContext], deadline: float) -> socket.socket:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout("the deadline is over")
    plain = bounded(socket.create_connection((url.host, url.port), left), deadline)
    if trust is None:
        return plain
    trust.sslsocket_class = bounded_tls(deadline)
    try:
        return trust.wrap_socket(plain, server_hostname=url.host)
    except BaseException:
        plain.close()
        raise
