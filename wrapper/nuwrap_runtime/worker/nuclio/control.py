"""The second socket: what a worker tells the processor beside its answers. The processor's end of it tells ours."""

from __future__ import annotations

import _socket as socket
import _thread
import json
import os
from collections.abc import Mapping
from typing import Any, Callable


class Control:
    """The control socket, connected; a processor before 1.9 has none."""

    def __init__(self, peer: socket.socket) -> None:
        self._socket = peer
        self._pid = os.getpid()
        self._lock = _thread.allocate_lock()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message, `{"kind", "attributes"}`. Raises OSError when the processor is gone."""
        if os.getpid() == self._pid:  # a child that the user's code forked says nothing
            with self._lock:
                self._socket.sendall(json.dumps(message).encode("ascii") + b"\n")

    def say_ready(self) -> None:
        """Tell what processors from 1.9 on are told by their own wrapper."""
        self.send({"kind": "wrapperInitialized", "attributes": {"ready": "true"}})

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone`, on a thread of its own, when the processor has ended, killed too: it sends nothing here."""
        _thread.start_new_thread(self._watch, (gone,))

    def _watch(self, gone: Callable[[], None]) -> None:
        try:
            while self._socket.recv(64 * 1024):
                pass
        except OSError:
            pass
        gone()
