"""A listening port: its connections, what they share, and their common clock."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass
from typing import Optional

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.service.connection import HttpConnection
from nuwrap_runtime.host.service.exchange import Application

READ_BYTES = 256 * 1024
BACKLOG = 1024
LINGER_SECONDS = 0.2  # in which a request that was on its way when the stop came is still answered


@dataclass(frozen=True)
class HttpLimits:
    """Most that a connection may ask for; the keys of `launch.serve`."""

    max_connections: int = 4096
    max_body_bytes: int = 64 * 1024 * 1024
    read_timeout_s: float = 20.0
    keep_alive_s: float = 75.0


class Gateway:
    """One port and the application behind it."""

    def __init__(self, application: Application, limits: HttpLimits, *, library: str = "") -> None:
        self.application = application
        self.limits = limits
        self.library = library
        self.connections: set[HttpConnection] = set()
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.is_draining = False
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._server: Optional[asyncio.AbstractServer] = None
        self._look_every = max(0.01, min(1.0, limits.read_timeout_s / 4, limits.keep_alive_s / 4))
        self._look()

    async def listen(self, bound: socket.socket) -> None:
        """Accept connections from now on."""
        self._server = await self._loop.create_server(lambda: HttpConnection(self), sock=bound, backlog=BACKLOG)

    def stop_accepting(self) -> None:
        """Take no new connection; those without a request under way close in a moment."""
        self.is_draining = True
        if self._server:
            self._server.close()
        self._loop.call_later(LINGER_SECONDS, self._close_idle)

    def abort(self) -> None:
        """Close all connections whatever is under way."""
        for connection in list(self.connections):
            connection.abort()

    def _close_idle(self) -> None:
        for connection in list(self.connections):
            connection.close_if_idle()

    def _look(self) -> None:
        now = self._loop.time()
        for connection in list(self.connections):
            connection.look(now)
        self._loop.call_later(self._look_every, self._look)


def bind(address: str, port: int, *, key: str) -> socket.socket:
    """Return a socket that has the port but does not listen yet. Raises PlatformError that names `key`."""
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as exc:
        raise _no_address(address, str(exc)) from exc
    try:
        if port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
    except OSError as exc:
        bound.close()
        if exc.errno == errno.EADDRNOTAVAIL:
            raise _no_address(address, "it is none of this machine's") from exc
        raise PlatformError(
            f"port {port} of {address} cannot be had: {exc.strerror}; choose another by "
            f"--{key.replace('_', '-')} (serve.{key}), 0 takes any free one"
        ) from exc
    return bound


def _no_address(address: str, reason: str) -> PlatformError:
    return PlatformError(
        f"address {address!r} cannot be listened on: {reason}; choose another by --address (serve.address)"
    )


def url_of(bound: socket.socket) -> str:
    """Return the address as a client writes it."""
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - not bound here, only shown
        host = "127.0.0.1" if bound.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
