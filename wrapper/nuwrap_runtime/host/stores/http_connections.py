"""Connections to http servers and proxies, with every wait bounded: the only file that knows urllib3.

What urllib3 and the sockets raise becomes `Failed`, with a reason for a person. Redirects, retries and what a status
means are not known here.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import BadStatusLine, HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from typing import Any, BinaryIO, Final, Optional

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3 import exceptions as raised
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import BaseHTTPResponse

from nuwrap_runtime.host.stores import Access
from nuwrap_runtime.host.stores.http_address import Url
from nuwrap_runtime.host.stores.http_network import Proxy, find_proxy, make_tls
from nuwrap_runtime.host.stores.http_sockets import READ_SECONDS, bounded, bounded_tls

CONNECT_SECONDS = 10.0  # for one address of a host, its TLS handshake included
BLOCK_BYTES: Final = 1024 * 1024
KEPT_CONNECTIONS: Final = 16  # of one origin
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3}) ?([\w .-]{0,80})")  # http.client has no exception of its own
_PASSING: Final[Sequence[tuple[type[raised.HTTPError], str]]] = (  # the first that fits counts
    (raised.NewConnectionError, "takes no connection"),
    (raised.ConnectTimeoutError, f"took no connection within {CONNECT_SECONDS:g} s"),
    (raised.TimeoutError, f"sent nothing for {READ_SECONDS:g} s"),
    (raised.ProtocolError, "broke the connection"),
)


class Failed(Exception):
    """An attempt came to nothing; `may_pass` when another one may do, after `wait_s` if the server asked for it."""

    def __init__(self, reason: str, *, may_pass: bool, wait_s: Optional[float] = None) -> None:
        super().__init__(reason)
        self.may_pass, self.wait_s = may_pass, wait_s


class Late(Exception):
    """The deadline is over."""


@dataclass(frozen=True)
class Answer:
    """An answer whose body has not been read yet. Names in `headers` are in lower case. Close it."""

    url: Url
    status: int
    reason: str
    headers: Mapping[str, str]
    response: BaseHTTPResponse
    deadline: float

    def read(self) -> bytes:
        """Return what has come of the body, at most 1 MiB, b"" at its end. Raises Failed, also for a cut body."""
        check_time(self.deadline)
        try:
            return self.response.read1(BLOCK_BYTES)
        except raised.HTTPError as exc:
            check_time(self.deadline)
            raise _explain(exc, self.url) from exc

    def close(self) -> None:
        """Give up what has not been read; a connection whose answer was read whole stays open for another."""
        self.response.close()


class Connections:
    """Opens connections and keeps them for every thread's next request."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._managers: dict[tuple[Optional[Proxy], bool], PoolManager] = {}

    def ask(self, url: Url, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a GET once its headers are there. Raises Failed, Late at the deadline."""
        deadline = self._access.deadline
        manager = self._manager(url)
        timeout = Timeout(connect=_longest(CONNECT_SECONDS, deadline), read=_longest(READ_SECONDS, deadline))
        options: dict[str, Any] = {"retries": False, "preload_content": False, "decode_content": False}
        try:
            response = manager.urlopen(
                "GET", url.text, redirect=False, headers=dict(headers), timeout=timeout, **options
            )
        except raised.HTTPError as exc:
            check_time(deadline)
            raise _explain(exc, url) from exc
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Answer(url, response.status, response.reason or "", lower, response, deadline)

    def _manager(self, url: Url) -> PoolManager:
        proxy = find_proxy(url, self._access.network, self._access.environ)
        needs_tls = url.scheme == "https" or (proxy is not None and proxy.url.startswith("https:"))
        with self._lock:  # the system's certificates are read once, and only when they are needed
            found = self._managers.get((proxy, needs_tls))
            if found is None:
                found = self._managers[proxy, needs_tls] = self._make_manager(proxy, needs_tls=needs_tls)
        return found

    def _make_manager(self, proxy: Optional[Proxy], *, needs_tls: bool) -> PoolManager:
        options: dict[str, Any] = {"maxsize": KEPT_CONNECTIONS}
        if needs_tls:
            options["ssl_context"] = make_tls(self._access.network, self._access.environ)
            options["ssl_context"].sslsocket_class = bounded_tls(self._access.deadline)
        if proxy is None:
            made = PoolManager(**options)
        else:
            headers = {"proxy-authorization": proxy.login} if proxy.login else {}
            trust = options.get("ssl_context")
            made = ProxyManager(proxy.url, proxy_headers=headers, proxy_ssl_context=trust, **options)
        made.pool_classes_by_scheme = _bounded_pools(self._access.deadline)
        return made


def check_time(deadline: float) -> None:
    """Raise Late when the deadline is over."""
    if time.monotonic() >= deadline:
        raise Late


def _longest(seconds: float, deadline: float) -> float:
    """Return how long to wait at most. Raises Late when there is no time left."""
    check_time(deadline)
    return min(seconds, deadline - time.monotonic())


def _bounded_pools(deadline: float) -> dict[str, type[Any]]:
    """Return pools whose sockets wait for each packet no longer than is left: http.client asks for many in a header."""

    class Plain(HTTPConnection):
        response_class = _WholeHeaders

        def _new_conn(self) -> socket.socket:
            return bounded(super()._new_conn(), deadline)

    class Tls(HTTPSConnection):
        response_class = _WholeHeaders

        def _new_conn(self) -> socket.socket:
            return bounded(super()._new_conn(), deadline)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


class _WholeHeaders(HTTPResponse):
    """Sees that headers end with their empty line: http.client takes an end of the connection for one.

    What was cut before its Content-Length would be an empty file, a redirect would lead to half of its address.
    """

    def begin(self) -> None:
        plain: Any = self.fp
        lines: Any = _Lines(plain)
        self.fp = lines
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = plain


class _Lines:
    """The part of a file that http.client reads headers by."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._is_begun = False
        self.close = stream.close

    def readline(self, limit: int) -> bytes:
        line = self._stream.readline(limit)
        if not line.endswith(b"\n") and len(line) < limit and (line or self._is_begun):
            raise IncompleteRead(b"")
        self._is_begun = True
        return line


def _explain(exc: raised.HTTPError, url: Url) -> Failed:
    """Return what went wrong, in words that hold nothing of the address but its server."""
    causes = [one for one in (exc.__cause__, getattr(exc, "original_error", None), *exc.args) if one is not None]
    tunnel = next((found for found in (_TUNNEL.search(str(one)) for one in causes) if found), None)
    if tunnel:
        return _refused_by_proxy(int(tunnel.group(1)), tunnel.group(2))
    if isinstance(exc, raised.ProxyError):
        return Failed(f"the proxy cannot be used{_system_reason(causes)}", may_pass=True)
    if isinstance(exc, raised.SSLError):
        return _explain_tls(causes, url)
    if isinstance(exc, raised.NameResolutionError):
        may_pass = any(isinstance(one, socket.gaierror) and one.errno == socket.EAI_AGAIN for one in causes)
        return Failed(f"host {url.host!r} is not found{_system_reason(causes)}", may_pass=may_pass)
    if any(isinstance(one, IncompleteRead) for one in (exc, *causes)):
        return Failed("the answer was cut off", may_pass=True)
    for kind, reason in _PASSING:
        if isinstance(exc, kind):
            return Failed(f"{url.server} {reason}{_system_reason(causes)}", may_pass=True)
    return Failed(f"{url.server} sent no valid HTTP ({type(exc).__name__})", may_pass=False)


def _refused_by_proxy(status: int, reason: str) -> Failed:
    advice = "; give it USER:PASSWORD@ in the proxy's address" if status == 407 else ""
    return Failed(f"the proxy answered {status} {reason}".rstrip() + advice, may_pass=status >= 500)


def _explain_tls(causes: Sequence[object], url: Url) -> Failed:
    bad = next((one for one in causes if isinstance(one, ssl.SSLCertVerificationError)), None)
    if bad:
        return Failed(
            f"the certificate of {url.server} is not trusted: {bad.verify_message}; "
            "if its CA is your own, name its PEM file in network.ca or SSL_CERT_FILE",
            may_pass=False,
        )
    is_cut = any(isinstance(one, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) for one in causes)
    reason = next((one.reason for one in causes if isinstance(one, ssl.SSLError) and one.reason), "")
    return Failed(f"TLS with {url.server} failed" + (f" ({reason})" if reason else ""), may_pass=is_cut)


def _system_reason(causes: Sequence[object]) -> str:
    """Return `: ` and what the system or http.client says of the connection, as far as that quotes no address."""
    for one in causes:
        inner = one.__cause__ if isinstance(one, raised.HTTPError) and one.__cause__ else one
        if isinstance(inner, OSError) and inner.strerror:
            return f": {inner.strerror}"
        if isinstance(inner, RemoteDisconnected):
            return ": closed before an answer"
        if isinstance(inner, BadStatusLine):
            return ": what it sends is no HTTP"
        if isinstance(inner, HTTPException):
            return f": {type(inner).__name__}"
    return ""
