"""Where a container's service is found: ports of this machine, and the file that tells them once it answers."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from nuwrap.docker import ask
from nuwrap.errors import PlatformError
from nuwrap.platforms.docker_wanted import Port
from nuwrap.platforms.run_folder import write_private
from nuwrap_runtime.launch import Serve

ADDRESSES: Final = "service.json"
LOOPBACK: Final = "127.0.0.1"
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - not bound here: what a person asked for
LOOK_SECONDS, READY_TIMEOUT_S = 0.05, 2.0


def plan_ports(serve: Serve, environ: Mapping[str, str]) -> tuple[Port, Port]:
    """Return where this machine is to have the service's two ports: for itself alone, unless an address is given.

    Raises PlatformError for an address that is none, or where the daemon is on another machine and none is given.
    """
    far = daemon_host(environ)
    if far and not serve.address:
        raise PlatformError(
            f"the Docker daemon is on {far!r}: its loopback address is not this machine's; give the address of that "
            "machine that the service shall have, 0.0.0.0 for all of them"
        )
    address = _resolve(serve.address or LOOPBACK)
    return Port(serve.port, address, serve.port), Port(serve.admin_port, address, serve.admin_port)


def daemon_host(environ: Mapping[str, str]) -> str:
    """Return the name of the machine that the daemon is on, "" for this one. Raises PlatformError without a client."""
    answer = ask(environ, ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])
    parts = urlsplit(answer.output.decode("utf-8", "replace").strip())
    host = parts.hostname or "" if parts.scheme in ("tcp", "ssh", "http", "https") else ""
    return "" if host in ("localhost", LOOPBACK, "::1") else host


def _resolve(address: str) -> str:
    try:
        found = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)
        return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])  # Docker has IPv6 where it was set up
    except (OSError, UnicodeError) as exc:
        raise PlatformError(f"address {address!r} is none that a port can be published on: {exc}") from exc


def settle_ports(ports: Sequence[Port]) -> tuple[Port, ...]:
    """Return the ports with a free one where any will do, the same inside: what the host prints is then true here.

    Another program may take it until it is published: the caller tries again.
    """
    with ExitStack() as held:  # all at once, or the second could be the first
        return tuple(_settle(held, port) for port in ports)


def _settle(held: ExitStack, port: Port) -> Port:
    if port.number:
        return port
    family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
    bound = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
    try:
        bound.bind((port.address, 0))
    except OSError:  # an address of the daemon's machine
        bound.bind(("::" if ":" in port.address else "", 0))
    number = int(bound.getsockname()[1])
    return replace(port, inside=number, number=number)


def publish_flags(ports: Sequence[Port]) -> list[str]:
    """Return the flags of `docker create`."""
    flags = []
    for port in ports:
        address = f"[{port.address}]" if ":" in port.address else port.address
        flags += ["--publish", f"{address}:{port.number}:{port.inside}"]
    return flags


def is_taken(message: str) -> bool:
    """Tell whether a start failed because another program has the port."""
    return bool(re.search("port is already allocated|address already in use", message))


def url_of(port: Port, far: str) -> str:
    """Return the address as a client of this machine writes it."""
    host = port.address
    if host in EVERYWHERE:
        host = far or {"::": "::1"}.get(host, LOOPBACK)
    return f"http://[{host}]:{port.number}" if ":" in host else f"http://{host}:{port.number}"


class Watch:
    """Asks the second port, and tells both addresses in the run's folder once it answers: the service listens."""

    def __init__(self, folder: str, ports: Sequence[Port], far: str) -> None:
        self._folder = folder
        self._urls = [url_of(port, far) for port in ports]
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._has_ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _look(self) -> None:
        told = dict(zip(("address", "admin"), self._urls, strict=True))
        while not self._has_ended.wait(LOOK_SECONDS):
            if _answers(self._urls[1]):
                with suppress(PlatformError):  # it serves, be that written down or not
                    write_private(os.path.join(self._folder, ADDRESSES), json.dumps(told))
                return


def _answers(admin: str) -> bool:
    """Tell whether the host answers: Docker itself takes connections before there is anybody behind."""
    parts = urlsplit(admin)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=READY_TIMEOUT_S)
    try:
        connection.request("GET", "/ready")
        return bool(connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def serve_document(serve: Mapping[str, Any], ports: Sequence[Port]) -> dict[str, Any]:
    """Return the launch's `serve` as it reads inside: on all addresses of the container."""
    return {**serve, "address": EVERYWHERE[0], "port": ports[0].inside, "admin_port": ports[1].inside}
