"""`nuwrap serve`: read the function, plan the service, serve it until a stop."""

from __future__ import annotations

import ipaddress
import math
import os
from dataclasses import dataclass

from nuwrap.cli.arguments import (
    LACK_OF_MEMORY,
    Options,
    killed_by,
    make_job,
    open_function,
    read_secrets,
    say,
    task_values,
)
from nuwrap.cli.terminal import tell
from nuwrap.errors import UsageError
from nuwrap.plan.launch import plan_serve
from nuwrap.platforms import get_platform
from nuwrap.spec.function_file import FunctionFile
from nuwrap.spec.task import ServeTask, ServeValues
from nuwrap_runtime.launch import Serve

EARLY_STOP = 130  # of a host that Ctrl-C ended before it could take it
STOPPED = 143


@dataclass(frozen=True)
class ServeOptions(ServeValues, Options):
    """The arguments of `nuwrap serve` as they were typed."""

    grace_s: float | None = None


def serve_function(options: ServeOptions) -> int:
    """Serve the function until a stop ends it and return the host's exit code: 0 when it ended as it was asked to."""
    file = open_function(options)
    secrets = read_secrets(options.secrets, os.environ)
    launch = plan_serve(file.function, _make_task(file, options))
    _check_ports(launch.serve)
    job = make_job(file, launch, options, secrets)
    if not _is_loopback(launch.serve.address):
        say(f"--address {launch.serve.address}: whoever reaches that address can call the function, without a login")
    if not options.as_json:
        tell(f"nuwrap  starting {launch.function!r}; Ctrl-C stops it")
    finished = get_platform("local").run_service(job, say=say)
    if finished.exit_code == EARLY_STOP:
        tell("nuwrap: stopped before it began")
        return STOPPED
    if not options.as_json:
        tell(f"nuwrap  {_describe_end(finished.exit_code)}; its log is in {os.path.relpath(finished.folder)}/")
    return finished.exit_code


def _describe_end(exit_code: int) -> str:
    """Tell a kill, of the host or of the function while it started: neither says it in the log's last line."""
    name = "" if exit_code == STOPPED else killed_by(exit_code)
    return f"ended, killed by {name}" + LACK_OF_MEMORY * (name == "SIGKILL") if name else "ended"


def _make_task(file: FunctionFile, options: ServeOptions) -> ServeTask:
    grace_s = options.grace_s
    if grace_s is not None and not (grace_s >= 0 and math.isfinite(grace_s)):
        raise UsageError(f"--grace-s {grace_s:g}: allowed: seconds, 0 or more")
    values = {name: getattr(options, name) for name in ServeValues.__dataclass_fields__}
    return ServeTask(**task_values(file, options), grace_s=grace_s, **values)


def _check_ports(serve: Serve) -> None:
    if serve.port == serve.admin_port and serve.port:
        raise UsageError(f"--port and --admin-port are both {serve.port}; name two ports, or 0 for any free one")


def _is_loopback(address: str) -> bool:
    """Tell an address that only this machine reaches; of a name that is not known."""
    try:
        return address in ("", "localhost") or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
