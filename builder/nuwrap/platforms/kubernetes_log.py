"""A pod's containers as a run's log: each line once, also after a connection was cut, to the end."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from nuwrap.cluster.client import Cluster
from nuwrap.cluster.log_lines import GAP, NO_LOG, THE_END, LogLines
from nuwrap.command import Mask
from nuwrap.platforms.kubernetes_earlier import Earlier
from nuwrap.platforms.run_folder import LOST_LINES, write_private
from nuwrap_runtime.result_lines import LOG_ENDS, LOG_MARK, MARK

LOOK_S: Final = 0.1
READ: Final = "log-read"  # folder of the run's
OWN: Final = (b"nuwrap", b"[nuwrap")  # how the host begins its own lines
NO_LINE: Final = (NO_LOG.encode(), GAP.partition("{")[0].encode())  # our own words about the log
KEPT: Final = re.compile(LOG_ENDS.format(r"(\d{1,15})", r"(\d{1,18})").encode())


@dataclass(frozen=True)
class Paper:
    """Where a run's log goes: what the function prints to `out`, what the host says to `err`, which the cluster keeps
    together, `secrets` masked; and the `folder` that remembers how far it was read, for who follows next. `log` is
    the run's log, which is among both.
    """

    out: Sequence[int]
    err: Sequence[int]
    folder: str
    log: int
    secrets: Sequence[str] = field(default=(), repr=False)


class LogReader:
    """Reads the log of one container in a thread of its own. `result` has the lines that tell the host's result."""

    def __init__(
        self,
        cluster: Cluster,
        pod: str,
        container: str,
        paper: Paper,
        *,
        runs_once: bool,
        earlier: Earlier | None = None,
    ) -> None:
        self._cluster, self._container, self._paper = cluster, container, paper
        self._mark = os.path.join(paper.folder, READ, f"{pod}.{container}")
        last, count, lines, size, begin = _read_mark(self._mark)
        self._lines = LogLines(
            cluster, pod, container, last=last, count=count, is_counted=_is_printed, runs_once=runs_once
        )
        self._thread = threading.Thread(target=self._lines.read, args=(self._take,), daemon=True)
        self._mask = Mask(paper.secrets)
        # Lines and bytes that the host keeps too, and where in the log they begin: -1 before, and after their end.
        self._kept, self._kept_bytes, self._begin = lines, size, begin
        self._heard = 0
        self._earlier = None if last else earlier
        self._again = 0  # lines that come next and are told already
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

    def miss_end(self) -> None:
        """Note that the last lines are missing where the host, which has told its result, has told none as the last."""
        if self._begin >= 0:
            self._note_lost("lines of it", 0)

    def _take(self, lines: Sequence[bytes]) -> None:
        self._heard += 1
        if lines and self._earlier:
            self._begin_earlier(lines, self._earlier)
        again = min(self._again, len(lines))
        self._again -= again
        for text in lines[again:]:
            self._take_line(text)
        self._remember()

    def _take_line(self, text: bytes) -> None:
        if text.startswith(LOG_MARK.encode()):
            self._take_log_mark(text)
            return
        if not _is_printed(text):
            self.result.append(text)
            return
        if not text.startswith(NO_LINE):
            self._kept += 1
            self._kept_bytes += len(text) + 1
        elif self.result and text.endswith(THE_END.encode()):  # a host tells nothing after its result
            return
        self._tell(self._mask.feed(text, last=True))

    def _remember(self) -> None:
        making = f"{self._mark}.part"
        with open(making, "w", encoding="ascii", errors="replace") as file:
            file.write(f"{self._lines.last} {self._lines.count} {self._kept} {self._kept_bytes} {self._begin}")
        os.replace(making, self._mark)

    def _begin_earlier(self, lines: Sequence[bytes], earlier: Earlier) -> None:
        """Tell what comes before these first lines, where the cluster has it no more."""
        self._earlier = None
        at = os.fstat(self._paper.log).st_size
        count, size, again = earlier.tell(lines, self._tell)
        if count:
            self._kept, self._kept_bytes, self._begin = count, size, at
            if again is None:
                self._tell(b"nuwrap  lines are missing here: the cluster has them no more, and they are not kept yet")
        self._again = again or 0

    def _take_log_mark(self, text: bytes) -> None:
        """Note which lines of those that the host has kept are missing here; see `LOST_LINES`."""
        told = KEPT.fullmatch(text)
        if not told:
            self._kept, self._kept_bytes, self._begin = 0, 0, os.fstat(self._paper.log).st_size
            return
        lines, size = int(told[1]), int(told[2])
        if lines > self._kept:
            self._note_lost(f"{lines - self._kept:,} of {lines:,} lines", size)
        elif (lines, size) != (self._kept, self._kept_bytes):  # where a file ended within a line, it may be two
            self._note_lost("parts of lines", size)
        self._begin = -1

    def _note_lost(self, lines: str, size: int) -> None:
        """Tell it, and note where in the log all of it belongs, in the place of these words too."""
        self._tell(f"nuwrap  {lines} were gone from the cluster before they could be read".encode())
        lost = {"begin": max(0, self._begin), "end": os.fstat(self._paper.log).st_size, "bytes": size}
        write_private(os.path.join(self._paper.folder, LOST_LINES), json.dumps(lost))

    def _tell(self, text: bytes) -> None:
        is_own = text.startswith(OWN)
        if not is_own and self._container == "fetch":  # its answer, which is for programs
            return
        for target in self._paper.err if is_own else self._paper.out:
            with suppress(OSError):
                os.write(target, text + b"\n")


def _read_mark(path: str) -> tuple[str, int, int, int, int]:
    """Return the moment of the last line that was passed on, how many of that moment were, how many lines and bytes of
    those that the host keeps, and where in the log these begin, -1 for nowhere.
    """
    try:
        with open(path, encoding="ascii") as file:
            moment, count, lines, size, begin = file.read(200).split(" ")
        return moment, int(count), int(lines), int(size), int(begin)
    except (OSError, ValueError):
        return "", 0, 0, 0, -1


def _is_printed(text: bytes) -> bool:
    """Tell a line from those by which the host tells its result and its log's end: who follows next needs them all."""
    return not text.startswith((MARK.encode(), LOG_MARK.encode()))


class Heard:
    """Tells a text when it is another than the last."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._last = tell, ""

    def say(self, text: str) -> None:
        if text and text != self._last:
            self._last = text
            self._tell(text)
