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

TERMINATE, DRAIN, CONTINUE = signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT


class Signals:
    """Whether events are taken, and what is due. `call` runs a callback by its name, `end` ends the wait for events."""

    def __init__(self, call: Callable[[str], None], end: Callable[[], None]) -> None:
        self._call = call
        self._end = end
        self._pid = os.getpid()
        self._due: list[str] = []
        self.is_busy = False
        self.is_discarding = False
        self.is_ending = False

    def install(self) -> None:
        """Take the signals; to be done before `s` is sent, as each would end the process."""
        signal.signal(TERMINATE, self._terminate)
        signal.signal(DRAIN, self._drain)
        signal.signal(CONTINUE, self._go_on)

    @property
    def is_due(self) -> bool:
        """Whether a callback waits to be called."""
        return bool(self._due)

    def settle(self) -> None:
        """Call what became due during a call."""
        while self._due:
            name = self._due.pop(0)
            self._call(name)
            if name == "termination":
                self._end()

    def _terminate(self, _number: int, _frame: Optional[FrameType]) -> None:
        if os.getpid() != self._pid:
            os._exit(128 + TERMINATE)  # a child that the user's code forked: as without a handler
        if not self.is_ending:
            self.is_ending = self.is_discarding = True
            self._become_due("termination")

    def _drain(self, _number: int, _frame: Optional[FrameType]) -> None:
        if os.getpid() == self._pid and not self.is_discarding:
            self.is_discarding = True
            self._become_due("drain")

    def _go_on(self, _number: int, _frame: Optional[FrameType]) -> None:
        self.is_discarding = self.is_ending

    def _become_due(self, name: str) -> None:
        self._due.append(name)
        if not self.is_busy:
            self.is_busy = True  # a further signal waits until this callback has ended
            try:
                self.settle()
            finally:
                self.is_busy = False


def run_callback(call: Callable[..., Any], callback: Optional[Callable[[], Any]]) -> None:
    """Call the function's callback, if it has set one; `call` runs coroutines too."""
    if callback is not None:
        call(callback, (), {})
