"""A peer that plays the Nuclio processor: real sockets, its argv, frames cut as a test wants, lines as they come.

Source of argv and socket order: facts of nuclio/nuclio pkg/processor/runtime/rpc and runtime/python (1.11 to 1.15).
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import msgpack

from nuwrap_runtime.worker import protocol
from nuwrap_runtime.worker.spec import API

DEADLINE_S = 60.0  # only for what would hang for ever; no test waits that long when all is well


class WorkerGone(Exception):
    """The worker closed its socket or ended; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the worker ended with {code}")
        self.code = code


class ScriptedProcessor:
    """One worker and the processor's ends of its sockets. Use as a context manager: nothing is left running."""

    def __init__(
        self,
        tree: str,
        root: Any,
        *,
        handler: str = "main:f",
        spec: Optional[Mapping[str, Any]] = None,
        env: Optional[Mapping[str, str]] = None,
        python: str = sys.executable,
        extra: Sequence[str] = (),
    ) -> None:
        self.folder = tempfile.mkdtemp(prefix="sp-")
        self.lines: list[tuple[bytes, bytes]] = []
        self._decoder = protocol.LineDecoder()
        self._listeners = [self._listen(name) for name in ("control", "event")]
        argv = [python, "-u", os.path.join(tree, "worker", "nuwrap_runtime", "worker", "main.py")]
        argv += ["--handler", handler, "--event-socket-path", self._path("event")]
        argv += ["--control-socket-path", self._path("control"), "--platform-kind", "local", "--namespace", ""]
        argv += ["--worker-id", "0", "--trigger-kind", "http", "--trigger-name", "web", "--decode-event-strings"]
        if spec is not None:
            argv += ["--worker-spec", self._write_spec(root, handler, spec)]
        self._outputs = [open(self._path(name), "wb") for name in ("stdout", "stderr")]  # noqa: SIM115 - see __exit__
        environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COV_CORE_SOURCE")}
        self.process = subprocess.Popen(
            [*argv, *extra],
            cwd=root,
            env={**environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._outputs[0],
            stderr=self._outputs[1],
            start_new_session=True,
        )
        self._peers: list[socket.socket] = []

    def __enter__(self) -> ScriptedProcessor:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_exc: object) -> None:
        for one in (*self._peers, *self._listeners, *self._outputs):
            one.close()
        end_group(self.process)
        shutil.rmtree(self.folder)

    def accept(self) -> ScriptedProcessor:
        """Take the event connection, then the control connection, as the processor does."""
        for listener in reversed(self._listeners):
            while not self._readable(listener, 0.05):
                if self.process.poll() is not None:
                    raise WorkerGone(self.process.returncode)
            self._peers.append(listener.accept()[0])
        return self

    def start(self) -> ScriptedProcessor:
        """Wait for the worker's `s`. Raises WorkerGone when it ends instead."""
        self.accept()
        self.wait(protocol.START)
        return self

    def wait(self, kind: bytes, *, count: int = 1) -> list[bytes]:
        """Return the payloads of the next `count` lines of this kind; lines of all kinds are kept in `lines`."""
        seen = len(self.lines)
        found: list[bytes] = []
        until = time.monotonic() + DEADLINE_S
        while len(found) < count:
            if seen == len(self.lines):
                if not self._readable(self._peers[0], until - time.monotonic()):
                    raise TimeoutError(f"no {kind!r} line; so far {self.lines[-5:]}; stderr: {self.stderr()[-2000:]}")
                self._receive()
            new, seen = self.lines[seen:], len(self.lines)
            found += [payload for one, payload in new if one == kind]
        return found

    def send(self, *pieces: bytes) -> None:
        """Send the pieces one by one, each in a write of its own."""
        for piece in pieces:
            self._peers[0].sendall(piece)

    def ask(self, body: Any = b"", **fields: Any) -> protocol.Reply:
        """Send one event and return the reply to it."""
        self.send(frame(body, **fields))
        return protocol.decode_reply(self.wait(protocol.REPLY)[0])

    def answers(self) -> Any:
        """Return the JSON body of the reply to an empty event."""
        return json.loads(self.ask().body)

    def finish(self) -> int:
        """Close the event socket as a processor that goes does; return the worker's exit code."""
        self._peers[0].shutdown(socket.SHUT_WR)
        try:
            while self._receive():
                pass
        except WorkerGone as gone:
            return gone.code
        return self.process.wait(DEADLINE_S)

    def logs(self) -> list[dict[str, Any]]:
        """Return the log records that came so far."""
        return [json.loads(payload) for kind, payload in self.lines if kind == protocol.LOG]

    def count(self, kind: bytes) -> int:
        """Return how many lines of this kind came so far."""
        return sum(one == kind for one, _ in self.lines)

    def stdout(self) -> str:
        """Return what the worker printed so far."""
        return self._read("stdout")

    def stderr(self) -> str:
        """Return what the worker wrote to standard error so far."""
        return self._read("stderr")

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _read(self, name: str) -> str:
        with open(self._path(name), encoding="utf-8", errors="replace") as stream:
            return stream.read()

    def _listen(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self._path(name))
        listener.listen(4)
        return listener

    def _write_spec(self, root: Any, handler: str, spec: Mapping[str, Any]) -> str:
        with open(self._path("spec.json"), "w", encoding="utf-8") as stream:
            json.dump({"api": API, "root": str(root), "handler": handler, "pythonpath": "", **spec}, stream)
        return self._path("spec.json")

    def _readable(self, peer: socket.socket, seconds: float) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(peer, selectors.EVENT_READ)
            return bool(selector.select(max(0.0, seconds)))

    def _receive(self) -> bool:
        try:
            data = self._peers[0].recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            raise WorkerGone(self.process.wait(DEADLINE_S))
        self.lines += self._decoder.feed(data)
        return True


def frame(body: Any = b"", **fields: Any) -> bytes:
    """Return one event as the processor frames it; `fields` replace the event's own."""
    return protocol.encode_frame(msgpack.packb({**protocol.make_event(body), **fields}))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End the worker's whole group."""
    if process.poll() is None:
        os.killpg(process.pid, 9)
    process.wait()
