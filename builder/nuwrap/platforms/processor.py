"""Nuclio's processor in the place of nuwrap's own host: found, set up, and watched until the function answers.

Files of the run's folder: `processor.json` and `platform.json` for it, `service.json` for who waits, and
`refusal.json`, where a worker says why it does not start.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from nuwrap.command import Command, run
from nuwrap.errors import PlatformError
from nuwrap.plan.nuclio import EVERYWHERE, LOG_LEVEL, log_level, plan_platform, plan_processor
from nuwrap.platforms import Placed, Screen
from nuwrap_runtime.launch import Launch, Serve
from nuwrap_runtime.result import ERROR, STOPPED, Failure, Result

VARIABLE, PROGRAM = "NUWRAP_PROCESSOR", "processor"
VERSION = "NUWRAP_NUCLIO_VERSION"
CONFIG, PLATFORM_CONFIG = "processor.json", "platform.json"  # it reads JSON as YAML
ADDRESSES, REFUSAL, WORK = "service.json", "refusal.json", "work"
ANSWERS = b"Processor version:"
VERSION_SECONDS = 20.0
LOOK_SECONDS, READY_TIMEOUT_S = 0.05, 2.0
STOPPED_CODES = (0, 143)
OWN_CODES = (1, 2)  # of a Go program: an error, a panic

Write = Callable[[str, str], None]


@dataclass(frozen=True)
class Processor:
    """A processor on this machine, and its version where it tells one: `1.14.1`."""

    path: str
    version: str = ""


def find_processor(environ: Mapping[str, str]) -> Processor:
    """Return what NUWRAP_PROCESSOR names, else the `processor` on PATH. Raises PlatformError for none, or another."""
    named = environ.get(VARIABLE, "")
    path = shutil.which(named or PROGRAM, path=environ.get("PATH"))
    if path is None:
        missing = f"{VARIABLE}={named!r} is no program that can be started" if named else "there is none on PATH"
        raise PlatformError(
            f"host 'nuclio' needs Nuclio's processor, and {missing}. It is a program, /usr/local/bin/processor in each "
            f"image of a Nuclio function; put it on PATH, or name it: {VARIABLE}=/path/to/processor"
        )
    path = os.path.abspath(path)
    answer = run(Command([path, "-version"], environ), timeout_s=VERSION_SECONDS)
    if not answer.output.startswith(ANSWERS):
        raise PlatformError(
            f"{path!r} is not Nuclio's processor: `{PROGRAM} -version` answers otherwise; name it: "
            f"{VARIABLE}=/path/to/processor"
        )
    found = re.search(rb'Label:"v?(\d+\.\d+[\d.]*)', answer.output)
    return Processor(path, found[1].decode("ascii") if found else "")


def settle(environ: Mapping[str, str], launch: Launch) -> tuple[dict[str, str], Launch]:
    """Return environment and launch of a service as the processor needs them: itself, and two ports that are free.

    Raises PlatformError for a processor that is not there, a port that is taken, an address of another machine.
    """
    found = find_processor(environ)
    told = {VERSION: found.version} if found.version else {}
    return {**told, **environ, VARIABLE: found.path}, replace(launch, serve=_settle_ports(launch.serve))


def _settle_ports(serve: Serve) -> Serve:
    """Return the addresses with a free port where any will do: the processor is told both before it binds them."""
    with ExitStack() as held:  # both at once, or the second could be the first
        port = _bind(held, serve.address, serve.port, "port")
        admin_port = _bind(held, serve.address, serve.admin_port, "admin-port")
    return replace(serve, port=port, admin_port=admin_port)


def _bind(held: ExitStack, address: str, port: int, flag: str) -> int:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        bound = held.enter_context(socket.socket(family, kind, protocol))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
    except (OSError, UnicodeError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise PlatformError(
            f"port {port} of {address} cannot be had: {reason}; choose another by --{flag}, 0 takes any free one"
        ) from exc
    return int(bound.getsockname()[1])


def write_config(folder: str, launch: Launch, python_version: str, write: Write) -> None:
    """Leave `processor.json` in the run's folder: it says that the run is a processor's. Raises PlatformError."""
    write(os.path.join(folder, CONFIG), json.dumps(plan_processor(launch, python_version), indent=1))


def is_placed(folder: str) -> bool:
    """Tell whether the run of that folder is a processor's."""
    return os.path.isfile(os.path.join(folder, CONFIG))


@dataclass(frozen=True)
class Start:
    """What the host becomes, in which environment, and where both print."""

    command: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    screen: Screen


@contextmanager
def watched(placed: Placed, launch: Launch, screen: Screen, write: Write) -> Iterator[Start]:
    """Give what starts the processor, and tell, while the body runs it, where it listens and that it is ready.

    The work folder that it had is gone after the body, unless $NUWRAP_WORK names one. Raises PlatformError.
    """
    folder, environ = placed.folder, placed.environ
    paths = [os.path.join(folder, name) for name in (CONFIG, PLATFORM_CONFIG, REFUSAL, WORK)]
    level = log_level(environ)
    encoding = "json" if screen.is_json else "console"
    write(paths[1], json.dumps(plan_platform(launch, level=level, encoding=encoding), indent=1))
    write(paths[2], "")
    environ = {"NUWRAP_WORK": paths[3], **environ, LOG_LEVEL: level, "NUWRAP_TERMINATION_LOG": paths[2]}
    command = [environ[VARIABLE], "--config", paths[0], "--platform-config", paths[1]]
    watch = _Watch(folder, launch, screen, write)
    shown = replace(screen, out=screen.err, on_start=watch.begin)  # standard output is for the addresses alone
    try:
        yield Start(command, environ, shown)
    finally:
        watch.end()
        shutil.rmtree(paths[3], ignore_errors=True)


def read_end(folder: str, launch: Launch, code: int) -> Result | None:
    """Return how a processor ended that ended with that code; None where the host never became one, or was killed.

    A worker's refusal is the run's: that the processor panics at it, with exit code 2, says nothing.
    """
    refused = _read_refusal(folder)
    end = Result(ERROR, code, project=launch.project, function=launch.function, run=launch.run)
    if code in STOPPED_CODES:
        return replace(end, state=STOPPED)
    if refused:
        return replace(end, exit_code=int(refused["exit_code"]), failure=Failure.from_document(refused["failure"]))
    if code in OWN_CODES:
        text = f"Nuclio's processor ended by itself, exit code {code}; the last lines of its log say why"
        return replace(end, exit_code=PlatformError.exit_code, failure=Failure("platform", "ProcessorEnded", text))
    return None


def _read_refusal(folder: str) -> Mapping[str, Any]:
    try:
        with open(os.path.join(folder, REFUSAL), encoding="utf-8") as stream:
            document = json.load(stream)
        return document if 0 < int(document["exit_code"]) < 256 and document["failure"] else {}
    except (OSError, ValueError, TypeError, KeyError):  # none, or a function's own text: it can write there
        return {}


class _Watch:
    """Looks at the second port from the processor's start on."""

    def __init__(self, folder: str, launch: Launch, screen: Screen, write: Write) -> None:
        self._folder, self._launch, self._screen, self._write = folder, launch, screen, write
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def begin(self, pid: int) -> None:
        self._screen.on_start(pid)
        self._thread.start()

    def end(self) -> None:
        self._has_ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _look(self) -> None:
        address, admin = (_url(self._launch.serve.address, port) for port in _ports(self._launch.serve))
        is_told = False
        while not self._has_ended.wait(LOOK_SECONDS):
            status = _ask_ready(admin)
            if status and not is_told:
                is_told = True
                self._tell_addresses(address, admin)
            if status == http.client.OK:
                self._tell_ready(address, admin)
                return

    def _tell_addresses(self, address: str, admin: str) -> None:
        told = {"address": address, "admin": admin}
        with suppress(PlatformError):  # it serves, be that written down or not
            self._write(os.path.join(self._folder, ADDRESSES), json.dumps(told))
        if self._screen.is_json:
            more = {"function": self._launch.function, "run": self._launch.run}
            _print(self._screen.out, json.dumps({"event": "listening", **told, **more}))

    def _tell_ready(self, address: str, admin: str) -> None:
        message = f"serving {self._launch.function} at {address}, by Nuclio's processor"
        line = f"nuwrap  {message}\n    health {admin}/ready"
        if self._screen.is_json:
            told = {"event": "ready", "message": message, "address": address, "admin": admin}
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            line = json.dumps({"datetime": now, **told})
        _print(self._screen.err, line)


def _ports(serve: Serve) -> tuple[int, int]:
    return serve.port, serve.admin_port


def _url(address: str, port: int) -> str:
    """Return the address as a client of this machine writes it."""
    host = {"::": "::1"}.get(address, "127.0.0.1") if address in EVERYWHERE else address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _ask_ready(admin: str) -> int:
    """Return the status of `/ready`, 0 when nobody answers."""
    parts = urlsplit(admin)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=READY_TIMEOUT_S)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _print(targets: Sequence[int], text: str) -> None:
    for target in targets:
        with suppress(OSError):  # nobody reads it
            os.write(target, f"{text}\n".encode())
