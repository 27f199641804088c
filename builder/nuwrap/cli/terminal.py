"""The terminal as it is: streams that are closed or full, stops, and texts that must not command it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

from nuwrap.text import escape

STDOUT, STDERR = 1, 2


class Stopped(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal; no Exception, as KeyboardInterrupt is none."""


def tell(text: str) -> None:
    """Print a line to standard error, escaped; one that takes nothing (closed, a full disk) is no reason to end."""
    with suppress(OSError):
        print(escape(text.rstrip("\n")), file=sys.stderr, flush=True)


def prepare() -> None:
    """Make sure that all three standard streams are there and take each character, and that a stop raises Stopped.

    A closed one is the null device then: else the next file that is opened would get its number, and the output. A
    signal that the caller has set to be ignored (nohup, a shell's background job) stays so.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their numbers
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="backslashreplace")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def leave(code: int) -> None:
    """Exit with the code, also where a standard stream takes no more: Python would make that code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())  # Python flushes once more at its end
    sys.exit(code)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped
