"""Sockets whose every wait ends at a deadline: http.client waits for each of a header's packets anew."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

READ_SECONDS = 60.0  # between two packets


def bounded(plain: socket.socket, deadline: float) -> socket.socket:
    """Return the connected socket as one that waits for no packet beyond the deadline; the given one is used up."""

    class Bounded(socket.socket):
        def recv_into(self, *args: Any) -> int:
            _bound(self, deadline)
            return super().recv_into(*args)

    kept = plain.gettimeout()  # the one for connecting, which holds for a handshake as a whole
    made = Bounded(plain.family, plain.type, plain.proto, fileno=plain.detach())
    made.settimeout(kept)
    return made


def bounded_tls(deadline: float) -> type[ssl.SSLSocket]:
    """Return what a TLS context makes its sockets of, so that these wait for no packet beyond the deadline."""

    class Bounded(ssl.SSLSocket):
        def recv_into(self, *args: Any) -> int:
            _bound(self, deadline)
            return super().recv_into(*args)

        def recv(self, *args: Any) -> bytes:  # what TLS inside of a proxy's TLS is read by
            _bound(self, deadline)
            return super().recv(*args)

    return Bounded


def _bound(opened: socket.socket, deadline: float) -> None:
    """Let the next wait end at the deadline; far from it, the socket's own limit holds and a system call is saved."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout("the deadline is over")
    if left < READ_SECONDS:
        opened.settimeout(left)
