"""Start a container that was made, give it what it needs, and stay with it to its end."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nuwrap.command import Command, Stops, stream
from nuwrap.docker import find_docker
from nuwrap.errors import PlatformError
from nuwrap.platforms.docker_engine import Engine
from nuwrap.platforms.docker_given import Given, write_given
from nuwrap_runtime.errors import NuwrapError

LOOK_SECONDS = 0.05
STOPPED_CODE, KILLED_CODE = 143, 137
KILL_SPARE_S = 5.0  # beyond the grace that the host has; who stops a run waits 15 s longer than the grace

# The client hands each signal on to the container. When this process is killed, the client is told to stop, and the
# container by it (Linux; prctl.h: PR_SET_PDEATHSIG is 1).
_START = (
    "import ctypes, os, signal, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(143); os.execv(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True)
class Streams:
    """Where a container prints, which values must not show, and who hears when it has begun."""

    out: Sequence[int] = ()
    err: Sequence[int] = ()
    redact: Sequence[str] = field(default=(), repr=False)
    keep_open: Sequence[int] = ()
    on_start: Callable[[int], None] = lambda _pid: None


@dataclass(frozen=True)
class End:
    """How a container ended."""

    exit_code: int
    is_out_of_memory: bool = False


def run_container(
    engine: Engine, container: str, given: Given, streams: Streams, stops: Stops, *, grace_s: float
) -> End:
    """Run the container to its end. A stop is handed on to it; one from before it could take it calls the start off.

    What does not end in its grace is killed. Raises PlatformError for a container that cannot be started, and
    NuwrapError for files that cannot be given to it.
    """
    client = [find_docker(engine.environ), "start", "--attach", "--interactive", container]
    argv = [sys.executable, "-I", "-S", "-c", _START, str(os.getpid()), *client]
    feeder = _Feeder(engine, container, given, stops)

    def begin(pid: int) -> None:
        feeder.start()
        streams.on_start(pid)

    command = Command(argv, engine.environ, redact=streams.redact, keep_open=streams.keep_open, stdin=feeder.source)
    try:
        with _StopWatch(engine, container, stops, grace_s):
            stream(command, out=streams.out, err=streams.err, on_start=begin, stops=stops)
    finally:
        feeder.end()
    end = _read_end(engine, container, stops)
    if feeder.failure and not stops.has_come:
        raise feeder.failure
    return end


def _read_end(engine: Engine, container: str, stops: Stops) -> End:
    found = engine.inspect(container)
    if found is None:
        raise PlatformError("the container was removed while it ran")
    state: Mapping[str, Any] = found["State"]
    if state["Status"] == "created" and stops.has_come:
        return End(STOPPED_CODE)
    if state["Status"] == "created" or state.get("Error"):
        raise PlatformError(f"the container cannot be started: {explain(state.get('Error', ''))}")
    if state["Running"]:  # the client was killed, or the daemon has left it
        engine.kill(container)
        return End(KILLED_CODE)
    return End(int(state["ExitCode"]), bool(state.get("OOMKilled")))


def explain(words: str) -> str:
    """Return the daemon's words with what helps."""
    if "capabilities: [[gpu]]" in words:
        return f"{words}; resources.gpu needs NVIDIA's container toolkit on the machine of the daemon"
    if "docker-init" in words:
        return f"{words}; the daemon's machine needs docker-init: install package `tini`, or Docker's own packages"
    if "port is already allocated" in words or "address already in use" in words:
        return f"{words}; choose another port, 0 takes any free one"
    return words or "the docker client was stopped before"


class _Feeder:
    """Writes what is given into a pipe, while the client prints; `source` is the end that the client reads."""

    def __init__(self, engine: Engine, container: str, given: Given, stops: Stops) -> None:
        self._engine, self._container, self._given, self._stops = engine, container, given, stops
        self.source, self._target = os.pipe()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self.failure: NuwrapError | None = None

    def start(self) -> None:
        """Begin: the client has its end of the pipe."""
        os.close(self.source)
        self._thread.start()

    def end(self) -> None:
        """Let it end: nobody reads any more."""
        self._is_over.set()
        if self._thread.ident is None:  # no client was started
            os.close(self.source)
            os.close(self._target)
        else:
            self._thread.join()

    def _feed(self) -> None:
        try:
            write_given(self._target, self._given, self._may_start)
        except BrokenPipeError:  # the container has ended
            pass
        except NuwrapError as exc:
            self.failure = exc
        except OSError as exc:
            self.failure = PlatformError(f"cannot give {exc.filename!r} to the container: {exc.strerror or exc}")

    def _may_start(self) -> bool:
        """Wait until the container runs: from then on no stop gets lost on its way. A stop until then calls it off."""
        while not self._is_over.wait(LOOK_SECONDS):
            with suppress(PlatformError):
                found = self._engine.inspect(self._container)
                if found and found["State"]["Running"]:
                    break
        return not self._stops.has_come


class _StopWatch:
    """Kills a container that does not end in its grace after a stop."""

    def __init__(self, engine: Engine, container: str, stops: Stops, grace_s: float) -> None:
        self._engine, self._container, self._stops, self._grace_s = engine, container, stops, grace_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_exc: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stops.has_come:
            if self._is_over.wait(1.0):
                return
        until = time.monotonic() + self._grace_s + KILL_SPARE_S
        if not self._is_over.wait(until - time.monotonic()):
            with suppress(PlatformError):
                self._engine.kill(self._container)
