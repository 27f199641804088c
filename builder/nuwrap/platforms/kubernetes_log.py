"""A pod's containers as a run's log: each line once, also after a connection was cut, to the end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from nuwrap.cluster.client import Cluster
from nuwrap.cluster.log_lines import LogLines
from nuwrap.command import Mask
from nuwrap_runtime.result_lines import MARK

LOOK_S: Final = 0.1
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

    def __init__(self, cluster: Cluster, pod: str, container: str, paper: Paper, *, runs_once: bool) -> None:
        self._cluster, self._container, self._paper = cluster, container, paper
        self._mark = os.path.join(paper.folder, READ, f"{pod}.{container}")
        last, count = _read_mark(self._mark)
        self._lines = LogLines(
            cluster, pod, container, last=last, count=count, is_counted=_is_printed, runs_once=runs_once
        )
        self._thread = threading.Thread(target=self._lines.read, args=(self._take,), daemon=True)
        self._mask = Mask(paper.secrets)
        self._heard = 0
        self.result: list[bytes] = []

    def start(self) -> None:
        """Begin to read."""
        os.makedirs(os.path.dirname(self._mark), mode=0o700, exist_ok=True)
        self._thread.start()

    def finish(self, quiet_s: float, is_called_off: Callable[[], bool]) -> bool:
        """Wait for the end of the log, which comes when the container has ended, and read no further.

        One that says nothing for `quiet_s` is given up; time without a log-in does not count. False when the wait was
        called off.
        """
        heard, quiet_since = self._heard, time.monotonic()
        while self._thread.is_alive() and time.monotonic() - quiet_since < quiet_s:
            if is_called_off():
                self._lines.stop()
                return False
            self._thread.join(LOOK_S)
            if self._heard != heard or self._cluster.is_logged_out:
                heard, quiet_since = self._heard, time.monotonic()
        self._lines.stop()
        return True

    def stop(self) -> None:
        """Read no further."""
        self._lines.stop()

    def _take(self, lines: Sequence[bytes]) -> None:
        self._heard += 1
        for text in lines:
            if _is_printed(text):
                self._tell(self._mask.feed(text, last=True))
            else:
                self.result.append(text)
        self._remember()

    def _remember(self) -> None:
        making = f"{self._mark}.part"
        with open(making, "w", encoding="ascii", errors="replace") as file:
            file.write(f"{self._lines.last} {self._lines.count}")
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


def _is_printed(text: bytes) -> bool:
    """Tell a line from those by which the host tells its result, of which who follows next needs all."""
    return not text.startswith(MARK.encode())


class Heard:
    """Tells a text when it is another than the last."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._last = tell, ""

    def say(self, text: str) -> None:
        if text and text != self._last:
            self._last = text
            self._tell(text)
