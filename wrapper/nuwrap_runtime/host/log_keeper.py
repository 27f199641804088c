"""The process that passes on what a run prints, and keeps a copy in parts; see `kept_log`.

It must lose nothing and delay nothing: a store that is slow or away is left to a child, which is tried again.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Final, Optional

from nuwrap_runtime.host.process import MASK
from nuwrap_runtime.result_lines import LOG_PART

PART_BYTES: Final = 4 * 1024 * 1024
# A part that is not full is closed too, so that little is lost of what is killed: (seconds, bytes) it has at least.
EARLY: Final = ((60.0, 256 * 1024), (600.0, 1))
SECRET_CHARACTERS, LINE_CHARACTERS = 3, 8  # shorter ones would hide half of every line
LINE_BYTES: Final = 1024 * 1024  # a longer line is cut, in the copy alone
KEPT_BYTES: Final = 16 * 1024**3
WAITING_BYTES: Final = 512 * 1024**2  # on this machine's disk, for a store that does not take them
READ_BYTES: Final = 64 * 1024
LOOK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 10.0

Store = Callable[[Sequence[str]], Any]


@dataclass
class Parts:
    """The copy, `NNNNNN.log` in a folder; `waiting` are names of closed parts. Secrets are masked line by line.

    `lines` and `printed` (bytes) are what came, `size` the bytes that are kept of it.
    `fault` says why no more is kept, "" while all is.
    """

    folder: str
    secrets: Sequence[bytes] = field(default=(), repr=False)
    lines: int = 0
    printed: int = 0
    size: int = 0
    fault: str = ""
    waiting: list[str] = field(default_factory=list)
    _number: int = 0
    _open: int = -1
    _part_size: int = 0
    _since: float = 0.0
    _rest: bytes = b""

    def add(self, data: bytes) -> None:
        """Keep what was printed."""
        self.lines += data.count(b"\n")
        self.printed += len(data)
        whole, end, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest
        if len(rest) > LINE_BYTES:
            whole, end, self._rest = whole + end + rest, b"\n", b""
        if end:
            self._write(whole + end)

    def turn(self) -> None:
        """Close a part that has waited for long enough."""
        age = time.monotonic() - self._since
        if self._open >= 0 and any(age >= seconds and self._part_size >= least for seconds, least in EARLY):
            self._close()

    def finish(self) -> None:
        """Keep the last line, which may have no end, and close the last part."""
        if self._rest:
            self._write(self._rest)
        self._close()

    def drop(self, names: Sequence[str]) -> None:
        """Forget parts that are stored elsewhere."""
        for name in names:
            self.waiting.remove(name)
            os.unlink(os.path.join(self.folder, name))

    def _write(self, data: bytes) -> None:
        for secret in self.secrets:
            data = data.replace(secret, MASK.encode())
        if self.fault:
            return
        if self.size + len(data) > KEPT_BYTES:
            self.fault = f"it has more than {KEPT_BYTES // 1024**3} GiB"
            return
        try:
            if self._open < 0:
                self._begin()
            _write(self._open, data)
        except OSError as exc:
            self.fault = exc.strerror or str(exc)
            return
        self.size += len(data)
        self._part_size += len(data)
        if self._part_size >= PART_BYTES:
            self._close()

    def _begin(self) -> None:
        self._number += 1
        self._since, self._part_size = time.monotonic(), 0
        path = os.path.join(self.folder, f"{self._number:06}.log")
        self._open = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)

    def _close(self) -> None:
        if self._open >= 0:
            os.close(self._open)
            self._open = -1
            self.waiting.append(f"{self._number:06}.log")


class Keeper:
    """Reads from one descriptor until its end, writes all to another, and keeps it.

    `store` takes the names of closed parts; without it they stay in the folder.
    """

    def __init__(self, source: int, target: int, parts: Parts, store: Optional[Store]) -> None:
        self._source, self._target, self._parts, self._store = source, target, parts, store
        self._child, self._storing, self._next_try = 0, [""], 0.0
        self._is_line_open = False

    def run(self) -> dict[str, Any]:
        """Return `{"lines", "printed", "bytes", "waiting", "fault"}` once all is printed; see `Parts`."""
        while True:
            if select.select([self._source], [], [], LOOK_SECONDS)[0]:
                data = os.read(self._source, READ_BYTES)
                if not data:
                    break
                self._pass_on(data)
                self._parts.add(data)
            self._parts.turn()
            self._send()
        if self._is_line_open:
            self._pass_on(b"\n")
            self._parts.add(b"\n")
        self._parts.finish()
        self._end_child()
        parts = self._parts
        told = {"lines": parts.lines, "printed": parts.printed, "bytes": parts.size}
        return {**told, "waiting": parts.waiting, "fault": parts.fault}

    def _pass_on(self, data: bytes) -> None:
        self._is_line_open = not data.endswith(b"\n")
        try:
            _write(self._target, data)
        except OSError:  # nobody listens any more; the run goes on
            pass

    def _send(self) -> None:
        if self._store is None or not self._is_free():
            return
        if len(self._parts.waiting) * PART_BYTES > WAITING_BYTES:
            self._parts.fault = "its store does not take it in time"
        if self._parts.waiting and time.monotonic() >= self._next_try:
            self._storing = list(self._parts.waiting)
            self._child = os.fork()
            if not self._child:
                _be_child(self._store, self._storing)

    def _is_free(self) -> bool:
        """Take what the child has done; False while it is at it."""
        if not self._child:
            return True
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if not pid:
            return False
        self._child = 0
        if status:
            self._next_try = time.monotonic() + RETRY_SECONDS
        else:
            self._parts.drop(self._storing)
        return True

    def _end_child(self) -> None:
        """Let a store have its time no longer: what it has not said to have is stored again, by who waits for it."""
        if self._child:
            os.kill(self._child, 9)
            os.waitpid(self._child, 0)


def hidden(secrets: Sequence[str]) -> list[bytes]:
    """Return what is not kept of the secrets, the longest first: of one of several lines each longer line too."""
    texts = {secret.strip() for secret in secrets if len(secret.strip()) >= SECRET_CHARACTERS}
    texts |= {line.strip() for text in texts for line in text.splitlines() if len(line.strip()) >= LINE_CHARACTERS}
    return [text.encode("utf-8", "surrogateescape") for text in sorted(texts, key=len, reverse=True)]


def clear_parts(folder: str) -> None:
    """Remove the parts that an earlier start of the same run has left."""
    for name in os.listdir(folder):
        if LOG_PART.fullmatch(name):
            os.unlink(os.path.join(folder, name))


def _write(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]


def _be_child(store: Store, names: Sequence[str]) -> None:
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (1, 2):
            os.dup2(nothing, number)
        store(names)
        code = 0
    finally:
        os._exit(code)
