"""What every process of the host does first: hide its environment, take stops."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from types import FrameType
from typing import Optional

from nuwrap_runtime.errors import Stopped
from nuwrap_runtime.host.process import STOPS

PR_SET_DUMPABLE = 4
AGAIN_SECONDS = 0.01
LOCKING = ("_internal_poll", "_wait")  # methods of Popen; where `_wait` has no limit, what it waits in is another one
TEMPORARY = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - where `tempfile` looks


def hide_environment() -> None:
    """Keep other processes of this user, the worker above all, from reading this one's environment (Linux).

    A process with CAP_SYS_PTRACE, root's usually, can read it all the same.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def find_temporary() -> None:
    """Have temporary files in `$NUWRAP_WORK` where no usual place for them can be written: on a read-only root.

    All that is started from here has them there too.
    """
    work, usual = os.environ.get("NUWRAP_WORK", ""), [os.environ.get("TMPDIR", ""), *TEMPORARY]
    if not work or any(os.access(path, os.W_OK | os.X_OK) for path in usual if path):
        return
    folder = os.path.join(os.path.abspath(work), "tmp")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError:  # who needs the work folder says why it cannot be had
        return
    os.environ["TMPDIR"] = folder


def take_stops() -> None:
    """Let SIGTERM and SIGINT raise Stopped wherever this process is."""
    for number in STOPS:
        signal.signal(number, stop)
    sys.unraisablehook = _stop_again


def stop(_number: int, frame: Optional[FrameType]) -> None:
    """Raise Stopped: a signal's handler.

    A moment later where `subprocess` takes its lock: raised before the `try` that gives it back, a stop would leave it
    taken, and the next wait for that process would never end.
    """
    if frame and frame.f_code.co_name in LOCKING and frame.f_globals.get("__name__") == "subprocess":
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)  # its SIGALRM is one of STOPS
        return
    raise Stopped("stopped by a signal before the run was done")


def _stop_again(dropped: sys.UnraisableHookArgs) -> None:
    """Raise a stop once more, in a moment, where Python drops it: in callbacks of the import system, of a fork."""
    if isinstance(dropped.exc_value, Stopped):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)  # its SIGALRM is one of STOPS
    else:
        sys.__unraisablehook__(dropped)
