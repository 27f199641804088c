"""The log of one container, each line once, also after a connection was cut, to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from nuwrap.cluster.client import Cluster, ClusterError

RETRY_S: Final = 1.0
LINE_BYTES: Final = 1024 * 1024

Lines = Sequence[bytes]


class LogLines:
    """Reads a container's log in the calling thread.

    `last` and `count` tell how far it was read: the moment of the last line (RFC 3339), and how many of that moment
    were. Lines that `is_counted` does not take are not remembered: who reads next gets them again.
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
    ) -> None:
        self._cluster, self._pod, self._container = cluster, pod, container
        self.last, self.count = last, count
        self._is_counted = is_counted
        self._is_over = threading.Event()

    def stop(self) -> None:
        """Read no further."""
        self._is_over.set()

    def read(self, take: Callable[[Lines], None]) -> None:
        """Give `take` the lines as they come, without their ends, until the log's end, which a container's is, or a
        stop.
        """
        while not self._is_over.is_set():
            try:
                with self._cluster.log(
                    self._pod, container=self._container, follow=True, since=self.last, timestamps=True
                ) as pieces:
                    self._pass_on(pieces, take)
            except ClusterError as exc:
                if exc.status == 404:
                    return
                self._is_over.wait(RETRY_S)
            except OSError:
                self._is_over.wait(RETRY_S)
            else:
                return

    def _pass_on(self, pieces: Iterator[bytes], take: Callable[[Lines], None]) -> None:
        """Pass lines on that were not before: those of the last moment are counted, as it may have had several."""
        known_until, skipped = self.last, self.count
        for lines in _lines(pieces):
            if self._is_over.is_set():
                return
            fresh = []
            for line in lines:
                at, _, text = line.partition(b" ")
                moment = at.decode("ascii", "replace")
                if moment < known_until:
                    continue
                if moment == known_until and skipped:
                    skipped -= 1
                    continue
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
