"""The log of one container, each line once, also after a connection was cut, to its end."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.cluster.log_gaps import LogGaps, is_near

RETRY_S: Final = 1.0
LINE_BYTES: Final = 1024 * 1024
MOMENT: Final = re.compile(rb"\d{4}-\d\d-\d\dT\S+ ")
# The kubelet gives the newest of a log's files alone: when the line that was read last is not there any more, those
# after it may be gone with others.
NO_LOG: Final = "nuwrap  no log: "
GAP: Final = "nuwrap  lines may be missing here: the cluster has turned its log over before it was read, from {} to {}"
THE_END: Final = "its end"

Lines = Sequence[bytes]


class LogLines:
    """Reads a container's log in the calling thread.

    `last` and `count` tell how far it was read: the moment of the last line (RFC 3339), and how many of that moment
    were. Lines that `is_counted` does not take are not remembered: who reads next gets them again. `runs_once` tells
    that the container is never started again, so that its log is one.
    """

    def __init__(
        self,
        cluster: Cluster,
        pod: str,
        container: str,
        *,
        last: str = "",
        count: int = 0,
        is_counted: Callable[[bytes], bool] = lambda _text: True,
        runs_once: bool = True,
    ) -> None:
        self._cluster, self._pod, self._container = cluster, pod, container
        self.last, self.count = last, count
        self._at, self._at_count = last, count  # of all lines, counted or not
        self._is_counted, self._runs_once = is_counted, runs_once
        # A line whose end is in the next file, (moment, text): containerd cuts it where it turns the log over
        # (pkg/cri/io/logger.go), and may give the piece a later moment than the lines after it have.
        self._open: tuple[str, bytes] | None = None
        self._has_come_to_end = False
        self._gaps = LogGaps()
        self._is_over = threading.Event()

    def stop(self) -> None:
        """Read no further."""
        self._is_over.set()

    def read(self, take: Callable[[Lines], None]) -> None:
        """Give `take` the lines as they come, without their ends, until the log's end, which a container's is, or a
        stop.
        """
        self._read_files(take)
        if self._open and not self._is_over.is_set():
            take([self._note(*self._open)])

    def _read_files(self, take: Callable[[Lines], None]) -> None:
        has_ended = False
        while not self._is_over.is_set():
            before = self._at, self._at_count, self._open
            try:
                with self._cluster.log(
                    self._pod, container=self._container, follow=True, since=self._at, timestamps=True
                ) as pieces:
                    is_empty = self._pass_on(pieces, take)
            except ClusterError as exc:
                if exc.status == 404 or (has_ended and exc.status == 400):  # the container is removed
                    return
                self._has_come_to_end = False
                self._is_over.wait(RETRY_S)
            except OSError:
                self._has_come_to_end = False
                self._is_over.wait(RETRY_S)
            else:
                # The kubelet ends at the end of the file that it has open, though the log may have been turned over
                # since (cri-client, pkg/logs/logs.go): what came after that is in the file that it opens now.
                has_ended = self._has_come_to_end = True
                if is_empty and self._at and self._runs_once:  # turned over at the very end
                    begin, self._open = self._open, None
                    take([*([self._note(*begin)] if begin else []), GAP.format(self._at, THE_END).encode()])
                    return
                if not self._runs_once or before == (self._at, self._at_count, self._open):
                    return

    def _pass_on(self, pieces: Iterable[bytes], take: Callable[[Lines], None]) -> bool:
        """Return whether nothing came, not even the last line again."""
        known, split = _Known(self._at, self._at_count), _Split(pieces)
        for lines in split:
            if self._is_over.is_set():
                return False
            fresh: list[bytes] = []
            for line in lines:
                self._add(line, known, fresh)
            take(fresh)
        moment, text = _stamped(split.rest)
        if moment and known.is_new(moment):
            self._open = moment, text
        elif split.rest and not moment:
            fresh = []
            self._add(split.rest, known, fresh)
            take(fresh)
        return split.is_empty

    def _add(self, line: bytes, known: _Known, fresh: list[bytes]) -> None:
        """Add what is new of a line, and what is to be said before it."""
        moment, text = _stamped(line)
        if not moment:
            if line and known.was_new:  # the rest of a long one
                fresh.append(line)
            elif line and not self._at:  # the kubelet's own word
                fresh.append(NO_LOG.encode() + line)
            return
        has_jumped = self._gaps.is_before(moment, len(line))
        if known.are_over and not has_jumped:  # as nearly all are
            fresh.append(self._note(moment, text))
            return
        is_of_next_file = self._runs_once and known.is_before_all(moment)
        if not known.is_new(moment):
            return
        # Files are turned over 3 s after each other at the earliest (KubeletConfiguration.containerLogMonitorInterval).
        is_next = is_of_next_file and self._has_come_to_end and is_near(self._at, moment)
        if self._open:
            begin, self._open = self._open, None
            if is_next:
                text = begin[1] + text
            elif is_of_next_file:
                fresh.append(self._note(*begin))
        if has_jumped or (is_of_next_file and not is_next):
            fresh.append(GAP.format(self._at, moment).encode())
        fresh.append(self._note(moment, text))

    def _note(self, moment: str, text: bytes) -> bytes:
        """Remember the line as the last one."""
        self._at_count = self._at_count + 1 if moment == self._at else 1
        self._at = moment
        if self._is_counted(text):
            self.count = self.count + 1 if moment == self.last else 1
            self.last = moment
        return text


class _Known:
    """Tells the lines of one connection that were given before, up to the `count`-th of the moment `until`: the
    kubelet begins with the whole second.
    """

    def __init__(self, until: str, count: int) -> None:
        self._until, self._left = until, count
        self._is_met = not until
        self.was_new = self.are_over = False

    def is_before_all(self, moment: str) -> bool:
        """Tell whether a known line should have come before that one, and none has."""
        return not self._is_met and moment > self._until

    def is_new(self, moment: str) -> bool:
        self._is_met = True
        is_again = moment == self._until and self._left > 0
        self._left -= is_again
        self.was_new = not (moment < self._until or is_again)
        self.are_over = moment > self._until
        return self.was_new


class _Split:
    """Whole lines without their end, as they come; `rest` is what has no end. A line that is too long is cut."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.rest = b""
        self.is_empty = True

    def __iter__(self) -> Iterator[list[bytes]]:
        for piece in self._pieces:
            self.is_empty = False
            *whole, self.rest = (self.rest + piece).split(b"\n")
            if len(self.rest) > LINE_BYTES:
                whole, self.rest = [*whole, self.rest], b""
            yield whole


def _stamped(line: bytes) -> tuple[str, bytes]:
    """Return a line's moment and its text, ("", b"") where it has none."""
    if not MOMENT.match(line):
        return "", b""
    at, _, text = line.partition(b" ")
    return at.decode("ascii", "replace"), text
