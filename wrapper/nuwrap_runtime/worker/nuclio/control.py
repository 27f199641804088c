"""The second socket: what a worker tells the processor beside its answers. The processor's end of it tells ours."""

from __future__ import annotations

import _socket as socket
import json
import os
from collections.abc import Mapping
from typing import Any

from nuwrap_runtime.worker.connection import Connection


class Control:
    """The control socket, connected; a processor before 1.9 has none."""

    def __init__(self, peer: socket.socket) -> None:
        self.socket = peer
        self._connection = Connection(peer)
        self._pid = os.getpid()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message, `{"kind", "attributes"}`. Raises OSError when the processor is gone."""
        if os.getpid() == self._pid:  # a child that the user's code forked says nothing
            self._connection.send(json.dumps(message).encode("ascii") + b"\n")

    def say_ready(self) -> None:
        """Tell what processors from 1.9 on are told by their own wrapper."""
        self.send({"kind": "wrapperInitialized", "attributes": {"ready": "true"}})
