"""The event socket as a worker sees it: whole frames in, whole lines out."""

from __future__ import annotations

import _socket as socket  # without the enumerations and selectors of socket: 2 ms less
import _thread  # a lock without threading's 3 ms
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from nuwrap_runtime.worker import protocol

CONNECT_SECONDS = 60.0
READ_BYTES = 256 * 1024


def connect(path: str) -> socket.socket:
    """Return a socket connected to the host; a host that does not listen yet is waited for, a minute at most."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(None)  # the user's code may have set a default
        try:
            peer.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            peer.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return peer


class Connection:
    """One event socket. Lines of several threads never mix; a forked child neither reads nor writes it."""

    def __init__(self, peer: socket.socket) -> None:
        self.socket = peer
        self._decoder = protocol.FrameDecoder()
        self._pid = os.getpid()
        self._lock: Any = _thread.RLock()
        self._late: list[bytes] = []

    def frames(self) -> Iterator[protocol.Data]:
        """Yield the bodies of frames until the host closes its end."""
        while os.getpid() == self._pid:
            try:
                data = self.socket.recv(max(READ_BYTES, min(self._decoder.missing, 16 * 1024 * 1024)))
            except ConnectionResetError:  # it went with lines of ours unread
                return
            if not data:
                return
            yield from self._decoder.feed(data)

    def send(self, lines: bytes, file: int = -1) -> None:
        """Write whole lines. In a child that the user's code forked they go to standard error instead.

        A signal handler that logs while its own thread writes a line has its line written after that one.
        """
        if os.getpid() != self._pid:
            if sys.stderr:
                sys.stderr.write(lines.decode("utf-8", "replace"))
            return
        if self._lock._is_owned():  # by this thread; known in one step, where a note of ours would come one too late
            self._late.append(lines)
            return
        with self._lock:
            self._write(lines, file)
        while self._late:  # it may have grown until the lock was given back
            with self._lock:
                late, self._late = self._late, []
                for one in late:
                    self._write(one, -1)

    def _write(self, data: bytes, _file: int) -> None:
        self.socket.sendall(data)

    def send_log(self, record: bytes) -> None:
        """Write one log record, given as JSON."""
        self.send(protocol.encode_line(protocol.LOG, record))
