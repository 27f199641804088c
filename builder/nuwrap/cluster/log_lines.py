"""The log of one container, each line once, also after a connection was cut, to its end."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.cluster.log_gaps import LogGaps

RETRY_S: Final = 1.0
LINE_BYTES: Final = 1024 * 1024
MOMENT: Final = re.compile(rb"\d{4}-\d\d-\d\dT\S+ ")
# The kubelet gives the newest of a log's files alone: when the line that was read last is not there any more, those
# after it may be gone with others.
NO_LOG: Final = "nuwrap  no log: "
GAP: Final = "nuwrap  lines may be missing here: the cluster has turned its log over before it was read, from {} to {}"

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
        self._gaps = LogGaps()
        self._is_over = threading.Event()

    def stop(self) -> None:
        """Read no further."""
        self._is_over.set()

    def read(self, take: Callable[[Lines], None]) -> None:
        """Give `take` the lines as they come, without their ends, until the log's end, which a container's is, or a
        stop.
        """
        has_ended = False
        while not self._is_over.is_set():
            before = self._at, self._at_count
            try:
                with self._cluster.log(
                    self._pod, container=self._container, follow=True, since=self._at, timestamps=True
                ) as pieces:
                    self._pass_on(pieces, take)
            except ClusterError as exc:
                if exc.status == 404 or (has_ended and exc.status == 400):  # the container is removed
                    return
                self._is_over.wait(RETRY_S)
            except OSError:
                self._is_over.wait(RETRY_S)
            else:
                # The kubelet ends at the end of the file that it has open, though the log may have been turned over
                # since (cri-client, pkg/logs/logs.go): what came after that is in the file that it opens now.
                has_ended = True
                if not self._runs_once or before == (self._at, self._at_count):
                    return

    def _pass_on(self, pieces: Iterator[bytes], take: Callable[[Lines], None]) -> None:
        """Pass lines on that were not before: those of the last moment are counted, as it may have had several."""
        known_until, skipped = self._at, self._at_count
        is_sure, is_new = not (known_until and self._runs_once), False
        for lines in _lines(pieces):
            if self._is_over.is_set():
                return
            fresh = []
            for line in lines:
                if not MOMENT.match(line):
                    if line and is_new:  # the rest of a long one
                        fresh.append(line)
                    elif not self._at:  # the kubelet's own word
                        fresh.append(NO_LOG.encode() + line)
                    continue
                at, _, text = line.partition(b" ")
                moment = at.decode("ascii", "replace")
                is_later, is_sure = not is_sure and moment > known_until, True
                if self._gaps.is_before(moment, len(line)) or is_later:
                    fresh.append(GAP.format(self._at, moment).encode())
                is_again = moment == known_until and skipped > 0
                is_new = not (moment < known_until or is_again)
                skipped -= is_again
                if not is_new:
                    continue
                self._at_count = self._at_count + 1 if moment == self._at else 1
                self._at = moment
                if self._is_counted(text):
                    self.count = self.count + 1 if moment == self.last else 1
                    self.last = moment
                fresh.append(text)
            take(fresh)


def _lines(pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield whole lines without their end, as they come; one without end is cut."""
    kept = b""
    for piece in pieces:
        *whole, kept = (kept + piece).split(b"\n")
        if len(kept) > LINE_BYTES:
            whole, kept = [*whole, kept], b""
        yield whole
    if kept:
        yield [kept]
