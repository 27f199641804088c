"""Why a worker does not start, as a person looks for it: one block on standard error, and the pod's message.

The processor ends by a panic of its own right after it, some thirty lines of Go; so the block says what to read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from nuwrap_runtime.errors import NuwrapError, PlatformError
from nuwrap_runtime.result import ERROR, Failure, Result, shorten

if TYPE_CHECKING:
    from nuwrap_runtime.worker.application import Application

TERMINATION_LOG = "/dev/termination-log"  # a pod's terminationMessagePath may be another: $NUWRAP_TERMINATION_LOG
_HINTS: Mapping[str, str] = {
    "launch": "mend the launch document ($NUWRAP_LAUNCH) or the NUWRAP_* variable that the reason names",
    "source": "look at code_src, and at the credentials for it (GIT_*, AWS_*, or the same with NUWRAP_SOURCE_)",
    "requirements": "look at requirements and network.index; the function's log above has the installer's own words",
    "inputs": "look at inputs, at the paths of their entities, and at the credentials for them (AWS_*)",
    "load": "handler is [module:]function of the code; what the module imports must be there when it is loaded",
    "init": "init_function, or init_context beside the handler, must return before there are events",
    "platform": "the container lacks what the reason names",
}
_LOST = "what was prepared for the worker ($NUWRAP_WORKER_SPEC, $NUWRAP_WORK) was changed or removed: prepare again"
_MISSING = "if {name!r} is a package, add it to requirements, or to the image; if it is yours, bring it with the code"


def tell_refusal(application: Application, exc: BaseException) -> int:
    """Log the failure, print its block, leave it as the pod's message; return the exit code."""
    from nuwrap_runtime.worker import life

    failure = application.failure(exc)
    application.logger.critical_with(f"{failure.type}: {failure.message}", nuwrap_failure=failure.to_document())
    if not isinstance(exc, NuwrapError):
        from nuwrap_runtime.worker.tracebacks import print_traceback

        print_traceback(exc)
    code = life.EXIT_CODES.get(failure.phase, 5)
    missing = (exc.name or "") if isinstance(exc, ModuleNotFoundError) else ""
    write_block(failure, code, hint=_MISSING.format(name=missing) if missing else "")
    return code


def refuse_spec(exc: Exception) -> int:
    """Say that what was prepared is not here; return the exit code."""
    write_block(Failure("platform", type(exc).__name__, str(exc)), PlatformError.exit_code, hint=_LOST)
    return PlatformError.exit_code


def write_block(failure: Failure, code: int, *, hint: str = "") -> None:
    """Print phase, place, line, reason and hint; leave the same where Kubernetes looks for it."""
    lines = ["nuwrap: the function does not start", *_fields(failure, code, hint or _HINTS.get(failure.phase, ""))]
    try:
        sys.__stderr__.write("\n".join(lines) + "\n")  # type: ignore[union-attr]  # in one piece: others may say the same
        sys.__stderr__.flush()  # type: ignore[union-attr]
    except (OSError, ValueError, AttributeError):  # closed by the user's module, or before
        pass
    _leave_message(failure, code)


def _fields(failure: Failure, code: int, hint: str) -> Iterator[str]:
    last = failure.frames[-1] if failure.frames else {}
    yield f"  phase   {failure.phase} (exit code {code})"
    if last:
        yield f"  place   {_shown(last.get('file'))}:{last.get('line')} in {_shown(last.get('function'))}"
    if last.get("code"):
        yield f"  line    {_shown(last['code'])}"
    yield f"  reason  {_shown(f'{failure.type}: {failure.message}')}"
    if hint:
        yield f"  hint    {hint}"


def _shown(text: object) -> str:
    """Return the text with further lines indented, so that none looks like ours, and no escape sequence obeyed."""
    lines = str(text).rstrip().split("\n")
    return "\n          ".join("".join(one if one.isprintable() else repr(one)[1:-1] for one in line) for line in lines)


def _leave_message(failure: Failure, code: int) -> None:
    path = os.environ.get("NUWRAP_TERMINATION_LOG", "") or TERMINATION_LOG
    if os.path.exists(path):
        try:
            with open(path, "wb") as log:
                log.write(shorten(Result(ERROR, code, failure=failure).to_document()))
        except OSError:  # standard error has it
            pass
