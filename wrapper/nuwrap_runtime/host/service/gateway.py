"""A listening port: its connections, what they share, and their common clock."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import dataclass, replace
from typing import Callable, Optional, cast

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.service.connection import HttpConnection
from nuwrap_runtime.host.service.exchange import Application

READ_BYTES = 256 * 1024
BACKLOG = 1024
LINGER_SECONDS = 0.2  # in which a request that was on its way when the stop came is still answered
ACCEPT_PAUSE = 0.1  # after an accept that failed
TELL_SECONDS = 1.0  # least between two lines of the log on that
SPARE_FILES = 16  # for what is open for a moment: a worker's start, a look into /proc, a log


@dataclass(frozen=True)
class HttpLimits:
    """Most that a connection may ask for; the keys of `launch.serve`."""

    max_connections: int = 4096
    max_body_bytes: int = 64 * 1024 * 1024
    read_timeout_s: float = 20.0
    keep_alive_s: float = 75.0
    max_refused: int = 64  # connections above the limit that are open until they have their 503
    max_arriving: int = 32  # accepted and not counted yet

    @property
    def files(self) -> int:
        """Most descriptors that the port's connections take."""
        return self.max_connections + self.max_refused + self.max_arriving


def fit_side_port(limits: HttpLimits, allowed: int) -> HttpLimits:
    """Return the limits lowered to an eighth of the files that the process may open."""
    share = max(1, allowed // 32)
    return replace(
        limits,
        max_connections=max(1, min(limits.max_connections, allowed // 16)),
        max_refused=min(limits.max_refused, share),
        max_arriving=min(limits.max_arriving, share),
    )


def fit(limits: HttpLimits, allowed: int, taken: int, max_inflight: int) -> HttpLimits:
    """Return the limits lowered so that a process that may open `allowed` files never runs out of them.

    `taken` are those that are not for connections. Each request under way may have two files, its body and its
    answer, and each connection has one request under way at most.
    """
    fitted = replace(
        limits,
        max_refused=max(1, min(limits.max_refused, allowed // 16)),
        max_arriving=max(1, min(limits.max_arriving, allowed // 32)),
    )
    left = allowed - taken - SPARE_FILES - fitted.max_refused - fitted.max_arriving
    room = left - 2 * max_inflight if left >= 3 * max_inflight else left // 3
    return replace(fitted, max_connections=max(1, min(limits.max_connections, room)))


def open_files() -> int:
    """Return how many files this process has open now."""
    return len(os.listdir("/dev/fd")) - 1  # one is the look itself


class Gateway:
    """One port and the application behind it. `warn` is told, now and then, of connections that cannot be had."""

    def __init__(
        self,
        application: Application,
        limits: HttpLimits,
        *,
        library: str = "",
        warn: Callable[[str], None] = lambda _message: None,
    ) -> None:
        self.application = application
        self.limits = limits
        self.library = library
        self.connections: set[HttpConnection] = set()
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.is_leaving = self.is_draining = False
        self._warn = warn
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.came = self.now()  # when the last connection did
        self.call_soon = self._loop.call_soon
        self._listener: Optional[socket.socket] = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._refused: dict[HttpConnection, None] = {}  # the oldest first
        self._told = float("-inf")
        self._look_every = max(0.01, min(1.0, limits.read_timeout_s / 4, limits.keep_alive_s / 4))
        self._look()

    async def listen(self, bound: socket.socket) -> None:
        """Accept connections from now on."""
        bound.settimeout(0)
        bound.listen(BACKLOG)
        self._listener = bound
        self._resume_accepting()

    def begin_to_leave(self) -> None:
        """Take new connections still, and let each end with its next answer."""
        self.is_leaving = True
        self.came = self.now()

    def stop_accepting(self) -> None:
        """Take no new connection; those without a request under way close in a moment."""
        self.is_leaving = self.is_draining = True
        self._stop_listening()
        self._loop.call_later(LINGER_SECONDS, self._close_idle)

    def abort(self) -> None:
        """Close all connections whatever is under way."""
        self._stop_listening()
        for connection in list(self.connections):
            connection.abort()

    def add(self, connection: HttpConnection) -> bool:
        """Take note of a new connection; False when there is no place for it, so that it is to be refused.

        Of those that are refused the oldest ends when they are too many: each has a file until it is gone.
        """
        self.connections.add(connection)
        if len(self.connections) - len(self._refused) <= self.limits.max_connections:
            return True
        self._refused[connection] = None
        if len(self._refused) > self.limits.max_refused:
            oldest = next(iter(self._refused))
            self.remove(oldest)
            oldest.refuse_now()
        return False

    def remove(self, connection: HttpConnection) -> None:
        """Take note of the end of a connection."""
        self.connections.discard(connection)
        self._refused.pop(connection, None)

    def _accept(self) -> None:
        """Accept those who wait, a few at once: one too many must be seen before the next has a file.

        Not by asyncio's server: without a file to be had it logs each of `BACKLOG` attempts, and begins each anew.
        """
        listener = self._listener
        while listener and len(self._arriving) < self.limits.max_arriving:
            try:
                client = listener.accept()[0]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                self._pause_accepting(exc)
                return
            self.came = self.now()
            task = self._loop.create_task(self._connect(client))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    async def _connect(self, client: socket.socket) -> None:
        loop = cast("asyncio.BaseEventLoop", self._loop)
        try:
            await loop.connect_accepted_socket(lambda: HttpConnection(self), client)
        except OSError:  # it is gone already
            client.close()

    def _pause_accepting(self, exc: OSError) -> None:
        if self._listener:
            self._loop.remove_reader(self._listener)
        self._loop.call_later(ACCEPT_PAUSE, self._resume_accepting)
        if self.now() - self._told >= TELL_SECONDS:
            self._told = self.now()
            self._warn(f"no connection can be accepted: {exc.strerror}; {len(self.connections)} are open")

    def _resume_accepting(self) -> None:
        if self._listener:
            self._loop.add_reader(self._listener, self._accept)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener:
            self._loop.remove_reader(listener)
            listener.close()

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
