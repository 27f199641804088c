"""The docker client of one build: its environment, the time that is left to it, the stops that came meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nuwrap.command import TIMEOUT_CODE, Command, Stops, stream
from nuwrap.docker import find_docker
from nuwrap.engines import Order
from nuwrap.engines.failures import Place, stopped, timed_out
from nuwrap.errors import BuildError

# A value of a build argument reaches the client by its environment, which the client itself reads.
OWN_VARIABLES: Final = ("HOME", "PATH")
OWN_PREFIXES: Final = ("BUILDKIT_", "BUILDX_", "DOCKER_", "SSL_CERT_")
LOOK_SECONDS: Final = 0.1


class Client:
    """Runs `docker` for an order; each command gets the rest of the order's time."""

    def __init__(self, order: Order, stops: Stops) -> None:
        self.environ = client_environ(order)
        self._order = order
        self._stops = stops
        self._ends = None if order.timeout_s is None else time.monotonic() + order.timeout_s

    def run(
        self, args: Sequence[str], on_output: Callable[[bytes], None], *, where: Callable[[], tuple[list[str], Place]]
    ) -> int:
        """Run a command to its end and return its exit code. `where` tells the last lines and how far it came.

        Raises BuildError when a stop or the end of the time has ended it.
        """
        self._refuse(where)
        argv = [find_docker(self.environ), *args]
        code = stream(
            Command(argv, self.environ, redact=tuple(self._order.secrets.values())),
            out=self._order.log,
            err=self._order.log,
            on_output=on_output,
            is_hard=True,
            timeout_s=self._left(),
            stops=self._stops,
        )
        if code:
            self._refuse(where, is_late=code == TIMEOUT_CODE)
        return code

    def wait(self, seconds: float) -> None:
        """Wait so long, unless a stop or the end of the time comes before. Raises BuildError then."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._refuse(lambda: ([], Place()))
            time.sleep(LOOK_SECONDS)

    def _left(self) -> float | None:
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    def _refuse(self, where: Callable[[], tuple[list[str], Place]], *, is_late: bool = False) -> None:
        lines, place = where()
        if self._stops.has_come:
            raise stopped(lines)
        if self._left() == 0.0 or (is_late and self._ends is not None):
            raise timed_out(self._order.timeout_s or 0, lines, place=place)


def client_environ(order: Order) -> dict[str, str]:
    """Return the client's environment: the caller's, the build's arguments, and the registries' accounts.

    Raises BuildError for an argument whose name the client itself reads.
    """
    for name, value in order.plan.build_args.items():
        is_own = name in OWN_VARIABLES or name.startswith(OWN_PREFIXES)
        if is_own and order.environ.get(name) != value:
            raise BuildError(
                f"environment variable {name!r} cannot be given to a build by Docker, as its client reads it too; "
                "give it `persist: true`, or another name"
            )
    return {**base_environ(order.environ, order.settings.access.docker_config), **order.plan.build_args}


def base_environ(environ: Mapping[str, str], docker_config: str) -> dict[str, str]:
    """Return the environment with BuildKit chosen, and with the folder of the registries' accounts where one is set."""
    account = {"DOCKER_CONFIG": docker_config} if docker_config else {}
    return {**environ, "DOCKER_BUILDKIT": "1", **account}
