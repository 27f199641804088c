"""WebSockets to the API server: the one user of websocket-client."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from nuwrap.cluster.errors import ClusterError, refusal
from nuwrap.cluster.login import UNKNOWN, Login, Session, uses_proxy

OPEN_S: Final = 10.0


class Channel:
    """An open WebSocket of binary messages."""

    def __init__(self, connection: Any, problems: tuple[type[BaseException], ...]) -> None:
        self._connection, self._problems = connection, problems

    def send(self, data: bytes) -> None:
        """Send one message. Raises OSError when the other side is gone."""
        try:
            self._connection.send_binary(data)
        except self._problems as exc:
            raise OSError(str(exc)) from exc

    def receive(self) -> bytes:
        """Return the next message, b"" at the end."""
        try:
            found = self._connection.recv()
        except self._problems:
            return b""
        return found.encode() if isinstance(found, str) else bytes(found)

    def limit(self, seconds: float) -> None:
        """Take a silence of that long for the end, from now on."""
        self._connection.settimeout(seconds)

    def close(self) -> None:
        """Close it; a second call does nothing."""
        with suppress(OSError, *self._problems):
            self._connection.send_close()
        with suppress(OSError, *self._problems):
            self._connection.shutdown()


def open_socket(login: Login, path: str, query: Sequence[tuple[str, str]], protocol: str) -> Channel:
    """Return an open WebSocket to the path, asked for once more where there is another log-in. Raises ClusterError."""
    what = f"open {path.rpartition('/')[2]} of {path.rsplit('/', 2)[1]!r}"
    address = f"{path}?{urlencode(query)}"
    session = login.session(what)
    try:
        return _open(session, address, protocol, what)
    except ClusterError as exc:
        if exc.status != UNKNOWN or not login.renew(session):
            raise
    return _open(login.session(what), address, protocol, what)


def _open(session: Session, address: str, protocol: str, what: str) -> Channel:
    import websocket

    where, configuration = session.access.where, session.access.configuration
    base = where.server.rstrip("/").replace("http", "ws", 1)
    connection = websocket.WebSocket(sslopt=_tls(configuration), enable_multithread=True)
    options: dict[str, Any] = {"subprotocols": [protocol], "timeout": OPEN_S}
    options["header"] = [f"{name}: {one}" for name, one in session.headers()]
    if uses_proxy(configuration):
        proxy = urlsplit(configuration.proxy)
        options |= {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port, "proxy_type": "http"}
    try:
        connection.connect(f"{base}{address}", **options)  # type: ignore[no-untyped-call]
    except websocket.WebSocketBadStatusException as exc:
        body = bytes(exc.resp_body or b"")
        raise refusal(what, exc.status_code, body, server=where.server, user=where.user) from exc
    except (websocket.WebSocketException, OSError) as exc:
        raise ClusterError(f"cannot {what}: {where.server} cannot be reached: {exc}") from exc
    connection.settimeout(None)
    return Channel(connection, (websocket.WebSocketException, ssl.SSLError))


def _tls(configuration: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE}
    if configuration.ssl_ca_cert:
        found["ca_certs"] = configuration.ssl_ca_cert
    if configuration.cert_file:
        found |= {"certfile": configuration.cert_file, "keyfile": configuration.key_file}
    if not configuration.verify_ssl or configuration.assert_hostname is False:
        found["check_hostname"] = False
    if getattr(configuration, "tls_server_name", None):
        found["server_hostname"] = configuration.tls_server_name
    return found
