"""An exception as the user should see it: from his own first frame on, none of ours above it."""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType
from typing import Any, Optional

from nuwrap_runtime.result import Failure
from nuwrap_runtime.worker.paths import PACKAGE

FRAMES = 40
MESSAGE_CHARACTERS = 20_000


def failure_of(exc: BaseException, phase: str, root: str) -> Failure:
    """Return the failure of the user's exception: his frames with files relative to the source root."""
    exit_code = exc.code if isinstance(exc, SystemExit) else None
    code = 0 if exit_code is None else exit_code if isinstance(exit_code, int) else 1
    return Failure(
        phase=phase,
        type=_type_name(exc),
        message=_message(exc),
        frames=_frames(exc, root),
        exit=code if isinstance(exc, SystemExit) else None,
    )


def print_traceback(exc: BaseException) -> None:
    """Print the traceback to standard error as Python does, without our frames; nothing when that is closed."""
    try:
        lines = traceback.format_exception(type(exc), exc, user_part(exc.__traceback__))
        sys.stderr.write("".join(lines))
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, or set to None, by the user's code
        pass


def user_part(tb: Optional[TracebackType]) -> Optional[TracebackType]:
    """Return the traceback from the first frame that is not ours and not the import system's."""
    rest = tb
    while rest and _is_ours(rest.tb_frame.f_code.co_filename):
        rest = rest.tb_next
    return rest or tb


def _is_ours(filename: str) -> bool:
    importing = os.path.join("importlib", "__init__.py")
    return filename.startswith((PACKAGE, "<frozen importlib")) or filename.endswith(importing)


def _frames(exc: BaseException, root: str) -> tuple[dict[str, Any], ...]:
    found = traceback.extract_tb(user_part(exc.__traceback__))
    kept = [frame for frame in found if not _is_ours(frame.filename)]
    if isinstance(exc, SyntaxError) and exc.filename and exc.lineno:
        kept.append(traceback.FrameSummary(exc.filename, exc.lineno, "<module>", line=(exc.text or "").strip()))
    if len(kept) > FRAMES:  # an endless recursion: both ends say more than the middle
        kept = kept[: FRAMES // 2] + kept[-FRAMES // 2 :]
    return tuple(
        {"file": _relative(one.filename, root), "line": one.lineno or 0, "function": one.name, "code": one.line or ""}
        for one in kept
    )


def _relative(filename: str, root: str) -> str:
    inside = filename.startswith(os.path.join(root, ""))
    return os.path.relpath(filename, root) if inside else filename


def _type_name(exc: BaseException) -> str:
    kind = type(exc)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def _message(exc: BaseException) -> str:
    try:
        text = str(exc)
    except Exception as inner:  # noqa: BLE001 - a user's __str__ may raise anything
        text = f"<its text cannot be had: {type(inner).__name__}>"
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "…"
