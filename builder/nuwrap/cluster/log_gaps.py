"""Where a log may have lost lines: one that is printed faster than it is read is turned over before it was."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable
from typing import Final

# The kubelet turns a file over at 10 MiB, looks for that each 10 s, and goes on with the newest file without a word
# (cri-client, pkg/logs/logs.go): files between the two are skipped.
TURN_BYTES: Final = 8 * 1024 * 1024
JUMP_S: Final = 5
LATE_S: Final = 5  # behind by that, nothing tells lines that are gone from a pause
SLACK_S: Final = 4  # by which all lines may have been late that were ever heard
SECOND: Final = len("2026-01-01T00:00:00")


class LogGaps:
    """Hears each line's moment (RFC 3339) and size, in order.

    A jump is one over lines that may have been there already when the line before was read: a program that pauses is
    not read late, so it makes none. The node's clock may be another than this machine's.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._second, self._at, self._heard = "", 0, 0.0
        self._least_late = float("inf")
        self._bytes = 0

    def is_before(self, moment: str, size: int) -> bool:
        """Tell whether lines may be missing before this one."""
        self._bytes += size
        heard_before, self._heard = self._heard, self._clock()
        if moment[:SECOND] == self._second:
            return False
        try:
            at = _seconds(moment)
        except ValueError:  # no line of the kubelet's
            return False
        was_late, jump = heard_before - self._at - self._least_late, at - self._at
        self._least_late = min(self._least_late, self._heard - at)
        has_jumped = self._bytes > TURN_BYTES and jump > JUMP_S and was_late >= min(jump - SLACK_S, LATE_S)
        self._second, self._at = moment[:SECOND], at
        return has_jumped


def is_near(moment: str, other: str) -> bool:
    """Tell whether two moments are less than two seconds apart."""
    try:
        return abs(_seconds(moment) - _seconds(other)) <= 1
    except ValueError:
        return False


def _seconds(moment: str) -> int:
    """Raises ValueError."""
    return calendar.timegm(time.strptime(moment[:SECOND], "%Y-%m-%dT%H:%M:%S"))
