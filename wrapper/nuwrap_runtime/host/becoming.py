"""How the host ends as another program: the command after `exec --`, a worker. Or says why that does not start."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Optional

from nuwrap_runtime.errors import NuwrapError, PlatformError
from nuwrap_runtime.host.process import adopt_orphans, mask
from nuwrap_runtime.result import Failure


def become(command: Sequence[str], environ: Mapping[str, str], folder: str, held: Sequence[Optional[int]] = ()) -> None:
    """Be that program from now on, in that folder; what is `held` stays open in it. Raises PlatformError."""
    for descriptor in held:
        if descriptor is not None:
            os.set_inheritable(descriptor, True)  # noqa: FBT003
    os.chdir(folder)
    adopt_orphans(wanted=False)  # the command may reap none
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what is ignored stays so in the command
    try:
        os.execvpe(command[0], list(command), dict(environ))  # noqa: S606 - that is what `exec -- CMD` is for
    except OSError as exc:
        raise PlatformError(f"cannot become {command[0]!r}: {exc.strerror}") from exc


def failure_of(exc: NuwrapError, secrets: Sequence[str]) -> Failure:
    """Return the error as a result has it, no secret in it."""
    return Failure(exc.phase, type(exc).__name__, mask(str(exc), secrets))


def refuse(failure: Failure, exit_code: int) -> int:
    """Say why the function does not start, where a worker would say it; return the exit code."""
    from nuwrap_runtime.worker.nuclio.refusal import write_block

    write_block(failure, exit_code)
    return exit_code
