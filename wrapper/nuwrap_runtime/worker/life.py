"""A worker's life: connect, load, init, say that it started, answer events until the socket ends."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import nuwrap_runtime
from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.worker import lines, msgpack, native, paths, protocol
from nuwrap_runtime.worker.annotations import kind_of
from nuwrap_runtime.worker.application import Application
from nuwrap_runtime.worker.calls import Terminated
from nuwrap_runtime.worker.connection import Connection, connect
from nuwrap_runtime.worker.context import Logger
from nuwrap_runtime.worker.spec import WorkerSpec, read_spec

if TYPE_CHECKING:
    from nuwrap_runtime.worker.link import Link

_held: list[Connection] = []  # to the process's end, threads included: the host takes the socket's end for it

EXIT_CODES = {"load": 5, "init": 6, "inputs": 7, "outputs": 8}


def run(options: Mapping[str, str], environ: MutableMapping[str, str]) -> int:
    """Return 0 after the event socket's end, else the exit code of the phase that failed."""
    unpack = msgpack.load()[1]
    try:
        spec = find_spec(options, environ)
        os.chdir(spec.root)
    except (OSError, ValueError) as exc:
        if "worker-spec" in options:
            raise
        from nuwrap_runtime.worker.nuclio.refusal import refuse_spec

        return refuse_spec(exc)
    user_paths = paths.arrange(spec.root, spec.pythonpath)
    paths.run_sitecustomize(spec.pythonpath or "")
    if "worker-spec" not in options:
        from nuwrap_runtime.worker.nuclio import life

        return life.run(options, environ, spec, user_paths, unpack)
    path = options["event-socket-path"]
    link = open_link(path, unpack) if spec.reply_form == native.FORM and spec.mode == "event" else None
    connection = Connection(connect(path)) if link is None else link
    _held.append(connection)
    control = connect(options["control-socket-path"]) if options.get("control-socket-path") else None
    logger = Logger(connection.send_log)
    application = Application(spec, options, logger)
    if spec.mode == "job":
        application.caller.await_stop()
    try:
        seconds = start(application, spec, user_paths, is_ours="worker-spec" in options)
    except Terminated:
        raise
    except BaseException as exc:  # noqa: BLE001 - the user's module and init may raise anything, SystemExit included
        return report(application, exc)
    try:
        if link is not None:
            serve_native(application, link, path, seconds=seconds, unpack=unpack)
        else:
            connection.send(started_line(seconds))
            lines.serve(application, connection, unpack)
    except (OSError, protocol.ProtocolError) as exc:
        return lost(exc)
    if control:
        control.close()
    return 0


def started_line(seconds: Mapping[str, float]) -> bytes:
    """Return the line that says that a worker answers from now on, and how long its start took."""
    return protocol.encode_line(protocol.START, json.dumps(seconds).encode("ascii"))


def open_link(path: str, unpack: msgpack.Unpack) -> Link:
    """Return the first event socket of `nuwrap/1`, connected."""
    from nuwrap_runtime.worker.link import Link

    return Link(connect(path), unpack)


def serve_native(
    application: Application, link: Link, path: str, *, seconds: Mapping[str, float], unpack: msgpack.Unpack
) -> None:
    """Say that it started, answer events in `nuwrap/1` to the end of the event sockets, then call `shutdown`."""
    is_async = kind_of(application.function) in ("async", "asyncgen")
    sockets = max(1, application.spec.concurrency) if is_async else 1
    peers = [link.socket, *(connect(path) for _ in range(sockets - 1))]
    told = json.dumps({"seconds": seconds, "sockets": sockets}).encode("ascii")
    link.send(native.encode_message(protocol.START, told))
    if is_async:
        _serve_concurrently(application, link, peers, unpack)
    else:
        from nuwrap_runtime.worker.service import Service

        Service(application, link, msgpack.load_packer()).serve()
        application.shut_down()


def _serve_concurrently(application: Application, link: Link, peers: list[Any], unpack: msgpack.Unpack) -> None:
    from nuwrap_runtime.worker.tasks import ConcurrentService

    service = ConcurrentService(application, peers, msgpack.load_packer(), unpack)
    link.route = service.send_log
    service.serve()
    application.shut_down()
    service.flush()


def find_spec(options: Mapping[str, str], environ: MutableMapping[str, str]) -> WorkerSpec:
    """Return the spec in `--worker-spec` or `$NUWRAP_WORKER_SPEC`; without one, what plain Nuclio expects."""
    path = options.get("worker-spec") or environ.get("NUWRAP_WORKER_SPEC", "")
    if path:
        return read_spec(path)
    return WorkerSpec(root=os.getcwd(), handler=options.get("handler", ""), binding="nuclio")


def start(application: Application, spec: WorkerSpec, user_paths: list[str], *, is_ours: bool) -> dict[str, float]:
    """Load the function and run its init; return the seconds of each."""
    _warn_of_shadows(application, spec, user_paths)
    begin = time.perf_counter()
    application.load()
    loaded = time.perf_counter()
    if spec.mode != "check":
        if is_ours and application.has_init:  # tells a host of ours in which phase the process ended
            application.logger.debug_with("init begins", nuwrap_phase="init")
        application.init()
    return {"load": loaded - begin, "init": time.perf_counter() - loaded}


def report(application: Application, exc: BaseException) -> int:
    """Tell the host why there will be no start, the reader of the log too; return the exit code."""
    failure = application.failure(exc)
    more = {}
    if not isinstance(exc, NuwrapError):
        from nuwrap_runtime.worker.tracebacks import print_traceback, traceback_text

        if application.spec.reply_form == native.FORM and application.spec.mode == "event":
            more["traceback"] = traceback_text(exc)  # the host shows it: a service's log may be JSON lines
        else:
            print_traceback(exc)
    told = failure.to_document()
    application.logger.critical_with(f"{failure.type}: {failure.message}", nuwrap_failure=told, **more)
    return EXIT_CODES.get(failure.phase, 5)


def lost(exc: Exception) -> int:
    """Say on standard error, all that is left, that nobody hears the worker any more; return 1."""
    if sys.stderr:
        print(f"nuwrap: the worker's connection to its host is lost ({exc}); it ends", file=sys.stderr)
    return 1


def _warn_of_shadows(application: Application, spec: WorkerSpec, user_paths: list[str]) -> None:
    from nuwrap_runtime.worker.loader import shadowed

    rival = paths.rival_version(user_paths, nuwrap_runtime.__version__)
    if rival:
        application.warn(
            f"nuwrap_runtime {rival} among the installed packages is not used: this worker brings "
            f"{nuwrap_runtime.__version__} ({sys.version.split()[0]})"
        )
    hidden = shadowed(spec.root)
    if hidden:
        application.warn(f"not importable, since Python's standard library has the same names: {', '.join(hidden)}")
