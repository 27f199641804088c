"""A pod's containers as a run's log: each line once, also after a connection was cut, to the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.command import Mask
from nuwrap_runtime.result_lines import MARK

RETRY_S: Final = 1.0
LINE_BYTES: Final = 1024 * 1024
READ: Final = "log-read"  # folder of the run's
OWN: Final = (b"nuwrap", b"[nuwrap")  # how the host begins its own lines


@dataclass(frozen=True)
class Paper:
    """Where a run's log goes: what the function prints to `out`, what the host says to `err`, which the cluster keeps
    together, `secrets` masked; and the `folder` that remembers how far it was read, for who follows next.
    """

    out: Sequence[int]
    err: Sequence[int]
    folder: str
    secrets: Sequence[str] = field(default=(), repr=False)


class LogReader:
    """Reads the log of one container in a thread of its own. `result` has the lines that tell the host's result."""

    def __init__(self, cluster: Cluster, pod: str, container: str, paper: Paper) -> None:
        self._cluster, self._pod, self._container, self._paper = cluster, pod, container, paper
        self._mark = os.path.join(paper.folder, READ, f"{pod}.{container}")
        self._last, self._count = _read_mark(self._mark)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._mask = Mask(paper.secrets)
        self.result: list[bytes] = []

    def start(self) -> None:
        """Begin to read."""
        os.makedirs(os.path.dirname(self._mark), mode=0o700, exist_ok=True)
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Wait for the end of the log, which comes when the container has ended."""
        self._thread.join(timeout_s)
        self._is_over.set()

    def stop(self) -> None:
        """Read no further."""
        self._is_over.set()

    def _read(self) -> None:
        while not self._is_over.is_set():
            try:
                with self._cluster.log(
                    self._pod, container=self._container, follow=True, since=self._last, timestamps=True
                ) as pieces:
                    self._pass_on(pieces)
            except ClusterError as exc:
                if exc.status == 404:
                    return
                self._is_over.wait(RETRY_S)
            except OSError:
                self._is_over.wait(RETRY_S)
            else:
                return

    def _pass_on(self, pieces: Iterator[bytes]) -> None:
        """Pass lines on that were not before: those of the last moment are counted, as it may have had several."""
        known_until, skipped = self._last, self._count
        for lines in _lines(pieces):
            if self._is_over.is_set():
                return
            for line in lines:
                at, _, text = line.partition(b" ")
                moment = at.decode("ascii", "replace")
                if moment < known_until:
                    continue
                if moment == known_until and skipped:
                    skipped -= 1
                    continue
                if text.startswith(MARK.encode()):  # not remembered: who follows next needs all of them
                    self.result.append(text)
                    continue
                self._count = self._count + 1 if moment == self._last else 1
                self._last = moment
                self._tell(self._mask.feed(text, last=True))
            self._remember()

    def _remember(self) -> None:
        making = f"{self._mark}.part"
        with open(making, "w", encoding="ascii", errors="replace") as file:
            file.write(f"{self._last} {self._count}")
        os.replace(making, self._mark)

    def _tell(self, text: bytes) -> None:
        is_own = text.startswith(OWN)
        if not is_own and self._container == "fetch":  # its answer, which is for programs
            return
        for target in self._paper.err if is_own else self._paper.out:
            with suppress(OSError):
                os.write(target, text + b"\n")


def _read_mark(path: str) -> tuple[str, int]:
    """Return the moment of the last line that was passed on, and how many of that moment were."""
    try:
        with open(path, encoding="ascii") as file:
            moment, count = file.read(100).split(" ")
        return moment, int(count)
    except (OSError, ValueError):
        return "", 0


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


class Heard:
    """Tells a text when it is another than the last."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._last = tell, ""

    def say(self, text: str) -> None:
        if text and text != self._last:
            self._last = text
            self._tell(text)
