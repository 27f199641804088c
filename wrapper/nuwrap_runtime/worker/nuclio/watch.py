"""A thread beside the main one: it sees the processor go, and wakes a wait for events that a signal came too late for.

Python notes a signal and runs its handler in the main thread; one that comes just before a system call, or on another
thread, would only run when the next event comes.
"""

from __future__ import annotations

import _socket as socket
import _thread
import os
import select
import signal
import time
from types import FrameType
from typing import Callable, Optional

from nuwrap_runtime.worker.nuclio.signals import CONTINUE, DRAIN, TERMINATE, Signals
from nuwrap_runtime.worker.protocol import WAKE

_OURS = frozenset({int(TERMINATE), int(DRAIN), int(CONTINUE)})
_PAUSES = (0.001, 0.01, 0.1)  # before each poke; the first nearly always comes after the handler


class Watch:
    """Watches from `start` on. `gone` is called, on this thread, when the processor has closed its control socket."""

    def __init__(self, signals: Signals, control: Optional[socket.socket], gone: Callable[[], None]) -> None:
        self._signals = signals
        self._control = control
        self._gone = gone
        self._main = _thread.get_ident()
        self._reader, self._writer = os.pipe()

    def start(self) -> None:
        """Begin. To be called on the main thread."""
        os.set_blocking(self._writer, False)
        signal.signal(WAKE, _woken)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if self._control is not None:
            poll.register(self._control, select.POLLIN)
        while True:
            for number, _ in poll.poll():
                if number == self._reader:
                    self._hear(os.read(self._reader, 4096))
                elif not self._is_there():
                    self._gone()
                    return

    def _is_there(self) -> bool:
        """Take in what the processor says, which is nothing up to now; False at its end."""
        try:
            return self._control is not None and bool(self._control.recv(64 * 1024))
        except OSError:
            return False

    def _hear(self, numbers: bytes) -> None:
        if not _OURS.intersection(numbers):
            return
        for pause in _PAUSES:
            time.sleep(pause)
            if not self._signals.is_busy:  # in a call of the function the handler is due soon
                signal.pthread_kill(self._main, WAKE)


def _woken(_number: int, _frame: Optional[FrameType]) -> None:
    """Nothing: that the signal came has ended a system call, so that a due handler of another runs."""
