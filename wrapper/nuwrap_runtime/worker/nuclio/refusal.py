"""Why a worker does not start, as a person looks for it: one block on standard error, and the pod's message.

The processor ends by a panic of its own right after it, some thirty lines of Go; so the block says what to read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.result import ERROR, Failure, Result, shorten
from nuwrap_runtime.worker import life
from nuwrap_runtime.worker.application import Application

TERMINATION_LOG = "/dev/termination-log"
_HINTS: Mapping[str, str] = {
    "load": "the module cannot be imported; if a package is missing, add it to the function's requirements",
    "init": "init_context (or init_function) raised; the function takes no events before it returns",
    "source": "the code could not be fetched; look at code_src and its credentials",
    "requirements": "the requirements could not be installed",
}


def tell_refusal(application: Application, exc: BaseException) -> int:
    """Log the failure, print its block, leave it as the pod's message; return the exit code."""
    failure = application.failure(exc)
    told = failure.to_document()
    application.logger.critical_with(f"{failure.type}: {failure.message}", nuwrap_failure=told)
    if not isinstance(exc, NuwrapError):
        from nuwrap_runtime.worker.tracebacks import print_traceback

        print_traceback(exc)
    code = life.EXIT_CODES.get(failure.phase, 5)
    write_block(failure, code)
    return code


def write_block(failure: Failure, code: int) -> None:
    """Print phase, place, reason and hint; leave the same where Kubernetes looks for it."""
    last = failure.frames[-1] if failure.frames else {}
    lines = ["nuwrap: the function does not start", f"  phase   {failure.phase} (exit code {code})"]
    if last:
        lines.append(f"  place   {last.get('file')}:{last.get('line')} in {last.get('function')}")
        lines += [f"  line    {last['code']}"] if last.get("code") else []
    lines.append(f"  reason  {failure.type}: {failure.message}")
    if failure.phase in _HINTS:
        lines.append(f"  hint    {_HINTS[failure.phase]}")
    try:
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed by the user's module
        pass
    _leave_message(failure, code)


def _leave_message(failure: Failure, code: int) -> None:
    path = os.environ.get("NUWRAP_TERMINATION_LOG", "") or TERMINATION_LOG
    if os.path.exists(path):
        try:
            with open(path, "wb") as log:
                log.write(shorten(Result(ERROR, code, failure=failure).to_document()))
        except OSError:  # standard error has it
            pass
