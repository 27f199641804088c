"""How a build ended, as the run's result document."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from nuwrap.builds.document import BuildDocument
from nuwrap.errors import NuwrapError
from nuwrap.platforms.run_folder import RESULT, write_private
from nuwrap.spec.build import Built
from nuwrap_runtime.result import COMPLETED, ERROR, STOPPED, Failure, Result


def now() -> str:
    """Return this moment, in UTC, as a result document has it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def write_built(
    folder: str,
    document: BuildDocument,
    built: Built,
    *,
    started: str,
    seconds: Mapping[str, float],
    requirements: Sequence[str] = (),
) -> None:
    """Write the result of an image that was built."""
    _write(folder, document, COMPLETED, 0, results=_results(document, built), started=started, seconds=seconds,
           requirements=requirements)  # fmt: skip


def write_reused(folder: str, document: BuildDocument, built: Built) -> None:
    """Write the result of an image that was there already."""
    results = {**_results(document, built), "reused": True}
    _write(folder, document, COMPLETED, 0, results=results, started=now(), seconds=document.seconds)


def write_failed(folder: str, document: BuildDocument, exc: NuwrapError, *, started: str, is_stop: bool) -> int:
    """Write the result of a build that failed or was stopped, and return its exit code."""
    state, code = (STOPPED, 143) if is_stop else (ERROR, exc.exit_code)
    failure = Failure(phase="stopped" if is_stop else exc.phase, type=type(exc).__name__, message=str(exc))
    _write(folder, document, state, code, failure=failure, started=started, seconds=document.seconds)
    return code


def _results(document: BuildDocument, built: Built) -> dict[str, Any]:
    found = {
        "image": built.pinned,
        "tag": built.reference,
        "digest": built.digest,
        "image_id": built.image_id,
        "content": document.plan.content,
        "engine": document.engine,
        "pushed": document.push,
        "pushed_bytes": built.pushed_bytes,
        "reused": False,
        **built.details,
    }
    return {name: one for name, one in found.items() if one not in ("", None)}


def _write(folder: str, document: BuildDocument, state: str, code: int, **more: Any) -> None:
    source = {"code_src": document.code_src, "revision": document.revision}
    result = Result(
        state=state,
        exit_code=code,
        project=document.project,
        function=document.function,
        run=document.run,
        source={name: text for name, text in source.items() if text},
        python=document.python,
        finished=now(),
        warnings=document.warnings,
        **more,
    )
    write_private(os.path.join(folder, RESULT), json.dumps(result.to_document(), indent=1))
