"""Ports of pods on this machine: each connection is one of its own to the API server, as `kubectl port-forward` has."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from nuwrap.cluster.kinds import find_kind
from nuwrap.cluster.login import Login
from nuwrap.cluster.sockets import open_socket
from nuwrap.errors import PlatformError

# The subprotocol of a port-forward by WebSocket: channel 0 is the port's data, 1 its errors; each begins with the port
# in two bytes (kubelet, pkg/kubelet/server/portforward/websocket.go).
PROTOCOL: Final = "v4.channel.k8s.io"
DATA, ERROR = 0, 1
HEAD_BYTES: Final = 2
BLOCK_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Forward:
    """A port of 127.0.0.1."""

    port: int


@contextmanager
def forward(login: Login, namespace: str, pick: Callable[[], str], port: int) -> Iterator[Forward]:
    """Give the port while the body lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # it was shut down
                    return
                arguments = (login, namespace, pick, port, connection)
                threading.Thread(target=_carry, args=arguments, daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield Forward(listening.getsockname()[1])
        finally:
            with suppress(OSError):  # Linux ends a waiting accept by that, macOS refuses it and ends it by the close
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
            thread.join()


def _carry(login: Login, namespace: str, pick: Callable[[], str], port: int, connection: socket.socket) -> None:
    """Carry one connection to its end; one that cannot be made is closed, which its client sees."""
    with connection, suppress(PlatformError, OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        path = find_kind("Pod").path(namespace, pick(), "portforward")
        channel = open_socket(login, path, [("ports", str(port))], PROTOCOL)
        try:
            threading.Thread(target=_send, args=(connection, channel), daemon=True).start()
            _receive(connection, channel)
        finally:
            channel.close()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _send(connection: socket.socket, channel: Any) -> None:
    try:
        while data := connection.recv(BLOCK_BYTES):
            channel.send(bytes([DATA]) + data)
    except OSError:
        channel.close()


def _receive(connection: socket.socket, channel: Any) -> None:
    heads = {DATA: HEAD_BYTES, ERROR: HEAD_BYTES}
    while True:
        message = channel.receive()
        if not message:
            return
        number, data = message[0], message[1:]
        skipped = min(heads.get(number, 0), len(data))
        if skipped:
            heads[number] -= skipped
            data = data[skipped:]
        if number == DATA and data:
            connection.sendall(data)
        elif number == ERROR and data:  # nobody listens there, or the pod has ended
            return
