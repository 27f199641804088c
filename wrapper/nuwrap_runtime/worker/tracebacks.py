"""An exception as the user should see it: from his own first frame on, none of ours above it."""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any, Optional

from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.result import Failure
from nuwrap_runtime.worker.paths import PACKAGE

if TYPE_CHECKING:
    from nuwrap_runtime.worker.context import Logger

FRAMES = 40
MESSAGE_CHARACTERS = 20_000


def failure_of(exc: BaseException, phase: str, root: str) -> Failure:
    """Return the exception as a failure: the user's frames, with files relative to the source root.

    An error of ours, by a check or by what the user's code called of ours, knows its phase itself.
    """
    if isinstance(exc, NuwrapError):
        return Failure(exc.phase, type(exc).__name__, str(exc), frames_of(exc, root))
    return Failure(
        phase=phase,
        type=_type_name(exc),
        message=_message(exc),
        frames=frames_of(exc, root),
        exit=exit_code(exc) if isinstance(exc, SystemExit) else None,
    )


def exit_code(exc: Optional[BaseException]) -> int:
    """Return the code that a script which ends this way has."""
    if not isinstance(exc, SystemExit):
        return 0 if exc is None else 1
    if exc.code is None:
        return 0
    return exc.code if isinstance(exc.code, int) else 1


def print_traceback(exc: BaseException) -> None:
    """Print the traceback to standard error as Python does, without our frames; nothing when that is closed."""
    try:
        sys.stderr.write(traceback_text(exc))
        sys.stderr.flush()
    except Exception:  # noqa: BLE001, S110 - closed or replaced by the user's code, whose __str__ may raise too
        pass


def traceback_text(exc: BaseException) -> str:
    """Return the traceback as Python prints it, without our frames; an error that we found is its text alone.

    A `__str__` of the user's may raise anything.
    """
    if _is_finding(exc):
        return f"{_message(exc)}\n"
    shown = None if isinstance(exc, SyntaxError) and _is_all_ours(exc) else user_part(exc.__traceback__)
    return "".join(traceback.format_exception(type(exc), exc, shown))


def log_exception(logger: Logger, exc: BaseException) -> None:
    """Log the exception as one record: its type and text, and the traceback as a field; what we found, its text."""
    if _is_finding(exc):
        logger.error(_message(exc))
        return
    try:
        text = traceback_text(exc)
    except Exception:  # noqa: BLE001 - see traceback_text
        text = ""
    logger.error_with(f"{_type_name(exc)}: {_message(exc)}", traceback=text)


def _is_finding(exc: BaseException) -> bool:
    """Tell whether we raised it ourselves, about what the user's code gave: no frame of his, none that helps him."""
    return type(exc).__module__.partition(".")[0] == "nuwrap_runtime" and _is_all_ours(exc)


def _is_all_ours(exc: BaseException) -> bool:
    """Tell whether no frame is the user's: a syntax error in his file, which says itself where it is."""
    return all(_is_ours(frame.filename) for frame in traceback.extract_tb(exc.__traceback__))


def user_part(tb: Optional[TracebackType]) -> Optional[TracebackType]:
    """Return the traceback from the first frame that is not ours and not the import system's."""
    rest = tb
    while rest and _is_ours(rest.tb_frame.f_code.co_filename):
        rest = rest.tb_next
    return rest or tb


def frames_of(exc: BaseException, root: str) -> tuple[dict[str, Any], ...]:
    """Return the user's frames, outermost first; of an endless recursion both ends."""
    found = traceback.extract_tb(user_part(exc.__traceback__))
    kept = [frame for frame in found if not _is_ours(frame.filename)]
    if isinstance(exc, SyntaxError) and exc.filename and exc.lineno:
        kept.append(traceback.FrameSummary(exc.filename, exc.lineno, "<module>", line=(exc.text or "").strip()))
    if len(kept) > FRAMES:
        kept = kept[: FRAMES // 2] + kept[-FRAMES // 2 :]
    return tuple(
        {"file": _relative(one.filename, root), "line": one.lineno or 0, "function": one.name, "code": one.line or ""}
        for one in kept
    )


def _is_ours(filename: str) -> bool:
    importing = os.path.join("importlib", "__init__.py")
    return filename.startswith((PACKAGE + os.sep, "<frozen importlib")) or filename.endswith(importing)


def _relative(filename: str, root: str) -> str:
    inside = filename.startswith(os.path.join(root, ""))
    return os.path.relpath(filename, root) if inside else filename


def _type_name(exc: BaseException) -> str:
    kind = type(exc)
    is_plain = kind.__module__ in ("builtins", "__main__")
    return kind.__qualname__ if is_plain else f"{kind.__module__}.{kind.__qualname__}"


def _message(exc: BaseException) -> str:
    if isinstance(exc, SystemExit) and (exc.code is None or isinstance(exc.code, int)):
        return f"the function called sys.exit({'' if exc.code is None else exc.code})"
    try:
        text = str(exc)
    except Exception as inner:  # noqa: BLE001 - a user's __str__ may raise anything
        text = f"<its text cannot be had: {type(inner).__name__}>"
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "…"
