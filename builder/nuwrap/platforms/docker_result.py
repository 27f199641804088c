"""The result of a run whose container left none."""

from __future__ import annotations

import os
from contextlib import suppress

from nuwrap.platforms.left import PHASES, write_failure
from nuwrap.platforms.run_folder import LOG
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.result import Failure

TOLD = ("nuwrap  error: ", "nuwrap-host: ")
LOG_BYTES = 1024 * 1024


def tell_no_memory(folder: str, launch: Launch, exit_code: int) -> None:
    """Write that the container had not the memory that it needed."""
    message = "the container was killed for lack of memory; give it more by resources.mem.limits"
    write_failure(folder, launch, exit_code, Failure("platform", "OutOfMemory", message, signal="SIGKILL"))


def tell_not_fetched(folder: str, launch: Launch, exit_code: int, log_folder: str) -> None:
    """Write why code or inputs could not be fetched, as the run's log says it."""
    phase, kind = PHASES.get(exit_code, ("platform", "PlatformError"))
    message = _last_error(log_folder) or f"fetching ended with exit code {exit_code}"
    write_failure(folder, launch, exit_code, Failure(phase, kind, message))


def _last_error(folder: str) -> str:
    with (
        suppress(OSError),
        open(os.path.join(folder, LOG), encoding="utf-8", errors="replace") as log,
    ):
        told = [line.strip() for line in log.read(LOG_BYTES).splitlines() if line.strip().startswith(TOLD)]
        return told[-1].partition(": ")[2] if told else ""
    return ""
