"""`nuwrap serve`: read the function, plan the service, serve it until a stop."""

from __future__ import annotations

import ipaddress
import math
import os
from dataclasses import dataclass
from typing import Any

from nuwrap.cli.arguments import LACK_OF_MEMORY, Options, killed_by, open_function, place_run, say
from nuwrap.cli.terminal import STDERR, STDOUT, tell
from nuwrap.errors import UsageError
from nuwrap.platforms import Screen
from nuwrap.runs.supervisor import attend
from nuwrap.spec.task import ServeValues
from nuwrap_runtime.launch import Serve

EARLY_STOP = 130  # of a host that Ctrl-C ended before it could take it
STOPPED = 143


@dataclass(frozen=True)
class ServeOptions(ServeValues, Options):
    """The arguments of `nuwrap serve` as they were typed."""

    grace_s: float | None = None
    host: str | None = None


def serve_function(options: ServeOptions) -> int:
    """Serve the function until a stop ends it and return the host's exit code: 0 when it ended as it was asked to."""
    file = open_function(options)
    _check(options)
    ctx, placed = place_run(file, "serve", options, **_fields(options))
    if not _is_loopback(options.address or ""):
        say(f"--address {options.address}: whoever reaches that address can call the function, without a login")
    if not options.as_json:
        tell(f"nuwrap  starting {file.function.name!r}; Ctrl-C stops it")
    code, record = attend(ctx.store, ctx.home, placed, Screen((STDOUT,), (STDERR,), is_json=options.as_json))
    if code == EARLY_STOP:
        tell("nuwrap: stopped before it began")
        return STOPPED
    if not options.as_json:
        tell(f"nuwrap  {_describe_end(code)}; its log is in {os.path.relpath(record.folder)}/")
    return code


def _describe_end(exit_code: int) -> str:
    """Tell a kill, of the host or of the function while it started: neither says it in the log's last line."""
    name = "" if exit_code == STOPPED else killed_by(exit_code)
    return f"ended, killed by {name}" + LACK_OF_MEMORY * (name == "SIGKILL") if name else "ended"


def _check(options: ServeOptions) -> None:
    grace_s = options.grace_s
    if grace_s is not None and not (grace_s >= 0 and math.isfinite(grace_s)):
        raise UsageError(f"--grace-s {grace_s:g}: allowed: seconds, 0 or more")
    defaults = Serve()
    port, admin_port = (getattr(options, key) for key in ("port", "admin_port"))
    port, admin_port = (
        defaults.port if port is None else port,
        defaults.admin_port if admin_port is None else admin_port,
    )
    if port == admin_port and port:
        raise UsageError(f"--port and --admin-port are both {port}; name two ports, or 0 for any free one")


def _fields(options: ServeOptions) -> dict[str, Any]:
    """Return the fields of a run that are a service's."""
    limits = ("workers", "max_inflight", "max_body_bytes", "concurrency", "grace_s")
    names = ("host", "port", "admin_port", "address", *limits)
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    more = {"resources": {"gpu": str(options.gpu)} if options.gpu else None, "access_log": options.access_log or None}
    return {**given, **{name: value for name, value in more.items() if value}}


def _is_loopback(address: str) -> bool:
    """Tell an address that only this machine reaches; of a name that is not known."""
    try:
        return address in ("", "localhost") or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
