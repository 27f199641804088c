"""The processor's signals: drain (USR2), go on (CONT), terminate (USR1).

Python runs a handler between two steps of the main thread, also while that waits for an event: then the callback is
called at once, in the handler; in the middle of a call it is called when the answer is sent. Nothing is raised into
the wait, where bytes that have just been read would be lost.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any, Callable, Optional

from nuwrap_runtime.worker.calls import Terminated

TERMINATE, DRAIN, CONTINUE = signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT


class Signals:
    """Whether events are taken, and what is due: `drain`, `termination`."""

    def __init__(self) -> None:
        self._call: Callable[[str], None] = lambda _: None
        self._end: Callable[[], None] = lambda: None
        self._pid = os.getpid()
        self._due: list[str] = []
        self._is_starting = True
        self.is_busy = True  # until events are awaited
        self.is_discarding = False
        self.is_ending = False

    def install(self) -> None:
        """Take the signals, each of which would end the process; one to terminate raises Terminated until `begin`."""
        signal.signal(TERMINATE, self._terminate)
        signal.signal(DRAIN, self._drain)
        signal.signal(CONTINUE, self._go_on)

    def ignore(self) -> None:
        """Let none of them disturb the end any more: Python forgets its handlers before it is over."""
        for number in (TERMINATE, DRAIN):
            signal.signal(number, signal.SIG_IGN)

    def begin(self, call: Callable[[str], None], end: Callable[[], None]) -> None:
        """Have callbacks called from the next `free` on, by `call` with their name; `end` ends the wait for events."""
        self._call, self._end = call, end
        self._is_starting = False

    def take_due(self) -> list[str]:
        """Return what is due, for who calls it himself."""
        self._is_starting = False
        due, self._due = self._due, []
        return due

    def free(self) -> None:
        """Call what became due during a call of the function; then a signal's callback is called at once."""
        while True:
            while self._due:
                name = self._due.pop(0)
                self._call(name)
                if name == "termination":
                    self._end()
            self.is_busy = False
            if not self._due:  # it may have come between the two lines above
                return
            self.is_busy = True

    def _terminate(self, _number: int, _frame: Optional[FrameType]) -> None:
        if os.getpid() != self._pid:
            os._exit(128 + TERMINATE)  # a child that the user's code forked: as without a handler
        if not self.is_ending:
            self.is_ending = self.is_discarding = True
            self._become_due("termination")
            if self._is_starting:
                raise Terminated(0)

    def _drain(self, _number: int, _frame: Optional[FrameType]) -> None:
        if os.getpid() != self._pid:
            os._exit(128 + DRAIN)
        if not self.is_discarding:
            self.is_discarding = True
            self._become_due("drain")

    def _go_on(self, _number: int, _frame: Optional[FrameType]) -> None:
        self.is_discarding = self.is_ending

    def _become_due(self, name: str) -> None:
        self._due.append(name)
        if not self.is_busy:
            self.is_busy = True  # a further signal waits until this callback has ended
            self.free()


def run_callback(call: Callable[..., Any], callback: Optional[Callable[[], Any]]) -> None:
    """Call the function's callback, if it has set one; `call` runs coroutines too."""
    if callback is not None:
        call(callback, (), {})
