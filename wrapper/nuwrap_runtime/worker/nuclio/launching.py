"""A worker's start when a launch document is there and nothing is prepared: it becomes the host, which prepares.

A processor takes its worker's connections within two minutes, and code may be longer on its way. So the sockets come
first, and stay open: the host ends by becoming the worker on them (`nuwrap-host worker`, host/worker_command.py).
"""

from __future__ import annotations

import _socket as socket
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from nuwrap_runtime.worker import paths
from nuwrap_runtime.worker.connection import connect
from nuwrap_runtime.worker.nuclio.settings import Settings, read_settings

ENTRY = os.path.join(paths.PACKAGE, "host", "entry.py")
BACKLOG = 128
_START_TIME = 19  # of the fields of /proc/PID/stat behind the name: proc(5), starttime


def become_host(argv: Sequence[str], options: Mapping[str, str]) -> NoReturn:
    """Connect, and go on as the host that prepares and then becomes the worker. Raises OSError."""
    peers = open_peers(read_settings(options, os.environ))
    more = ["--processor", processor_name(list(peers.values()))]
    for name, peer in peers.items():
        number = peer.detach()
        os.set_inheritable(number, True)  # noqa: FBT003
        more += [f"--{name}-socket-fd", str(number)]
    command = [sys.executable, "-I", "-S", "-u", ENTRY, "worker", "--", *argv, *more]
    os.execv(command[0], command)  # noqa: S606 - a shell is what we avoid


def open_peers(settings: Settings) -> dict[str, socket.socket]:
    """Return the sockets by name: connected, or, where the processor connects to us, listening."""
    event = listen(settings.event) if settings.is_listening else connect(settings.event)
    return {"event": event, **({"control": connect(settings.control)} if settings.control else {})}


def listen(address: str) -> socket.socket:
    """Return a socket that listens on `host:port`; who connects waits until it is accepted from. Raises OSError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    listener.listen(BACKLOG)
    return listener


def processor_name(peers: Sequence[socket.socket]) -> str:
    """Return what this processor's workers have in common, and those of no other, be it before it or beside it.

    That is its process's number and start: a container that is started again counts from 1 again. Its number alone
    where the system tells no more (no Linux).
    """
    pid = next(filter(None, (_pid_of(peer) for peer in peers)), os.getppid())
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return f"{pid}-{stream.read().rpartition(b')')[2].split()[_START_TIME].decode('ascii')}"
    except (OSError, IndexError):
        return str(pid)


def _pid_of(peer: socket.socket) -> int:
    """Return the process that listens at the other end of a Unix socket; 0 where that is not told."""
    if peer.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return 0
    return int.from_bytes(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
