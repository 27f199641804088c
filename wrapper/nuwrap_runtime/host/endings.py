"""How a worker ended, as a failure and an exit code: told by itself, by a signal that was not ours, or by itself."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Optional

from nuwrap_runtime.result import Failure

EXIT_CODES = {"load": 5, "init": 6, "inputs": 7, "outputs": 8}


@dataclass(frozen=True)
class WorkerEnded(Exception):
    """The worker ended without the answer that was waited for; `traceback` is the user's code's, if it told one."""

    failure: Failure
    exit_code: int
    traceback: str = ""

    @property
    def told(self) -> str:
        """Return type and message, and below them the traceback."""
        text = f"{self.failure.type}: {self.failure.message}"
        return f"{text}\n{self.traceback.rstrip()}" if self.traceback else text


def lost(phase: str) -> WorkerEnded:
    """Return the end of a worker that closed its connection and had to be killed."""
    message = "the function's process closed its connection to nuwrap and went on (os.closerange?); it was killed"
    return WorkerEnded(Failure(phase=phase, type="WorkerLost", message=message), 9)


def ended(phase: str, code: int, told: Optional[Failure]) -> WorkerEnded:
    """Return how a worker ended whose process has this return code; `told` is the failure that it sent before."""
    if told:
        return WorkerEnded(told, EXIT_CODES.get(told.phase, 5))
    if code == 128 + signal.SIGTERM:  # its exit code after the user's `finally` blocks
        code = -signal.SIGTERM
    if code < 0:
        return WorkerEnded(_killed(phase, -code), 128 - code)
    message = f"the function's process ended by itself with exit code {code}, without an answer (os._exit?)"
    return WorkerEnded(Failure(phase=phase, type="WorkerExited", message=message, exit=code), 9)


def _killed(phase: str, number: int) -> Failure:
    known = {one.value: one.name for one in signal.Signals}
    name = known.get(number, f"signal {number}")
    message = f"the function's process was killed by {name}, which nuwrap did not send"
    if number == signal.SIGKILL:
        message += "; most likely it ran out of memory"
    return Failure(phase=phase, type="WorkerKilled", message=message, signal=name)
