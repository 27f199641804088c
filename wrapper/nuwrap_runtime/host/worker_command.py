"""`nuwrap-host worker -- OPTIONS`: prepare, once for all workers of a processor, then become one of them.

A worker becomes this command when its processor started it with a launch document and nothing prepared
(worker/nuclio/launching.py); OPTIONS are its own, the descriptors of its connected sockets among them.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Optional

from nuwrap_runtime.errors import LaunchError, NuwrapError, Stopped
from nuwrap_runtime.host import credentials, prepare
from nuwrap_runtime.host.arguments import read_launch
from nuwrap_runtime.host.becoming import become, failure_of, refuse
from nuwrap_runtime.host.kept_trees import hold_tree
from nuwrap_runtime.host.network import settled
from nuwrap_runtime.host.once import open_shared, outcome_key, prepare_once
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.workers import MAIN
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.worker.main import parse_options
from nuwrap_runtime.worker.spec import read_spec


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Become the worker; else say why not in one block, and return the exit code. Raises Stopped."""
    own = list(argv[1:])
    options = parse_options(own)
    if argv[:1] != ["--"] or "processor" not in options:
        raise LaunchError("worker is what a worker of Nuclio's processor becomes; start it with: nuwrap-host exec")
    signal.signal(signal.SIGUSR1, _leave)
    report = Report(secrets=credentials.secret_values(environ, (), ""))
    try:
        launch = read_launch({}, environ, defaults=_defaults(options))
        folder = credentials.secrets_folder(environ)
        report = Report(secrets=credentials.secret_values(environ, launch.secrets, folder))
        return _become_worker(own, launch, environ, report, options=options)
    except Stopped:
        raise
    except NuwrapError as exc:
        return refuse(failure_of(exc, report.secrets), exc.exit_code)


def _leave(_number: int, _frame: Optional[FrameType]) -> None:
    """End as a processor that ends wants it: at any code but 0 it would panic."""
    raise SystemExit(0)


def _defaults(options: Mapping[str, str]) -> dict[str, str]:
    """Return what holds where the document says nothing: the processor's handler and its interpreter."""
    return {key: text for key, text in (("handler", options.get("handler", "")), ("python", sys.executable)) if text}


def _become_worker(
    argv: Sequence[str], launch: Launch, environ: Mapping[str, str], report: Report, *, options: Mapping[str, str]
) -> int:
    key = outcome_key(launch, options["processor"])
    with open_shared(environ, key) as (workspace, held):
        environ = {**environ, "NUWRAP_WORK": workspace.folder}
        with settled(launch.network, environ) as network:  # its file stays
            launch = replace(launch, network=network)
            with _ended_with_processor(int(options.get("control-socket-fd") or options["event-socket-fd"])):
                outcome = prepare_once(launch, workspace, environ, report, key=key)
            if outcome.failure:
                return refuse(outcome.failure, outcome.exit_code)
            installed = outcome.python if launch.requirements else ""
            made = prepare.worker_environment(replace(launch, run=outcome.run), environ, workspace, installed)
        made["NUWRAP_WORKER_SPEC"] = workspace.worker_spec
        command = [outcome.python, "-u", MAIN, *argv]
        become(command, made, read_spec(workspace.worker_spec).root, (held, prepare.hold(outcome.python), hold_tree()))
    return 0


@contextmanager
def _ended_with_processor(descriptor: int) -> Iterator[None]:
    """Have the end of the processor, which is killed during a start, raise Stopped here.

    The kernel sends a signal when the socket is closed at the other end: the host has no threads to watch it.
    """

    def look(_number: int, _frame: Optional[FrameType]) -> None:
        if _is_closed(descriptor):  # or something came
            raise Stopped("the processor ended before its worker was prepared")

    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    signal.signal(signal.SIGIO, look)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        look(signal.SIGIO, None)
        yield
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


def _is_closed(descriptor: int) -> bool:
    asked = select.poll()
    asked.register(descriptor, 0)  # the other end's is told always
    return bool(asked.poll(0))
