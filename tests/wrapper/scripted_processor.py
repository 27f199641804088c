"""A peer that plays the Nuclio processor: real sockets, its argv, frames cut as a test wants, lines as they come.

Source of argv and socket order: facts of nuclio/nuclio pkg/processor/runtime/rpc and runtime/python (1.6 to 1.15).
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import msgpack

from nuwrap_runtime.worker import protocol
from nuwrap_runtime.worker.spec import API

DEADLINE_S = 60.0  # only for what would hang for ever; no test waits that long when all is well
BOTH, ONE, LISTEN = "both", "one", "listen"  # sockets: as from 1.9 on, as before it, as in the async mode of 1.15

NO_ACK = "x-nuclio-stream-no-ack"


class WorkerGone(Exception):
    """The worker closed its socket or ended; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the worker ended with {code}")
        self.code = code


class Peer:
    """The processor's end of one event connection. `ended` waits for the worker's end, `told` is what it has said."""

    def __init__(self, connection: socket.socket, ended: Callable[[], int], told: Callable[[], str]) -> None:
        self.socket = connection
        self.lines: list[tuple[bytes, bytes]] = []
        self._decoder = protocol.LineDecoder()
        self._ended = ended
        self._told = told

    def wait(self, kind: bytes, *, count: int = 1) -> list[bytes]:
        """Return the payloads of the next `count` lines of this kind; lines of all kinds are kept in `lines`."""
        seen = len(self.lines)
        found: list[bytes] = []
        until = time.monotonic() + DEADLINE_S
        while len(found) < count:
            if seen == len(self.lines):
                if not readable(self.socket, until - time.monotonic()):
                    raise TimeoutError(f"no {kind!r} line; so far {self.lines[-5:]}; stderr: {self._told()[-2000:]}")
                self.receive()
            new, seen = self.lines[seen:], len(self.lines)
            found += [payload for one, payload in new if one == kind]
        return found

    def send(self, *pieces: bytes) -> None:
        """Send the pieces one by one, each in a write of its own."""
        for piece in pieces:
            self.socket.sendall(piece)

    def ask(self, body: Any = b"", **fields: Any) -> protocol.Reply:
        """Send one event and return the reply to it."""
        self.send(frame(body, **fields))
        return self.reply()

    def reply(self) -> protocol.Reply:
        """Return the next reply, alone in its line or in a list of one."""
        document = json.loads(self.wait(protocol.REPLY)[0])
        [one] = document if isinstance(document, list) else [document]
        return reply_of(one)

    def batch(self, *events: Mapping[str, Any]) -> dict[str, protocol.Reply]:
        """Send the events as one frame; return the replies by their event's id."""
        self.send(batch(*events))
        replies = [reply_of(one) for one in json.loads(self.wait(protocol.REPLY)[0])]
        found = {one.event_id: one for one in replies}
        assert len(found) == len(replies), replies
        return found

    def receive(self) -> bool:
        """Take in what has come. Raises WorkerGone at the end."""
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            raise WorkerGone(self._ended())
        self.lines += self._decoder.feed(data)
        return True

    def take(self) -> None:
        """Take in what is there already."""
        while readable(self.socket, 0):
            self.receive()

    def logs(self) -> list[dict[str, Any]]:
        """Return the log records that came so far."""
        return [json.loads(payload) for kind, payload in self.lines if kind == protocol.LOG]

    def count(self, kind: bytes) -> int:
        """Return how many lines of this kind came so far."""
        return sum(one == kind for one, _ in self.lines)


class ScriptedProcessor:
    """One worker and the processor's ends of its sockets. Use as a context manager: nothing is left running.

    `sockets` is BOTH, ONE (a single `--socket-path`), or LISTEN: the worker is told an address to listen on. Of the
    first two, all that `Peer` has is here as well.
    """

    def __init__(
        self,
        tree: str,
        root: Any,
        *,
        handler: str = "main:f",
        spec: Optional[Mapping[str, Any]] = None,
        env: Optional[Mapping[str, str]] = None,
        python: str = sys.executable,
        script: str = "",
        extra: Sequence[str] = (),
        sockets: str = BOTH,
        trigger: tuple[str, str] = ("http", "web"),
        is_decoded: bool = True,
        **popen: Any,
    ) -> None:
        self.folder = tempfile.mkdtemp(prefix="sp-")
        self.event: Peer
        self.address = ("127.0.0.1", free_port()) if sockets == LISTEN else None
        self._names = {BOTH: ("control", "event"), ONE: ("event",), LISTEN: ("control",)}[sockets]
        self._listeners = {name: self._listen(name) for name in self._names}
        self._open: list[socket.socket] = []
        self._control: Optional[socket.socket] = None
        self._controls = bytearray()
        argv = [python, "-u", script or os.path.join(tree, "worker", "nuwrap_runtime", "worker", "main.py")]
        argv += ["--handler", handler, *self._paths(sockets), "--platform-kind", "local", "--namespace", ""]
        argv += ["--worker-id", "0", "--trigger-kind", trigger[0], "--trigger-name", trigger[1]]
        argv += ["--decode-event-strings"] if is_decoded else []
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
            **{"start_new_session": True, **popen},
        )

    def __enter__(self) -> ScriptedProcessor:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_exc: object) -> None:
        for one in (*self._open, *self._listeners.values(), *self._outputs):
            one.close()
        end_group(self.process)
        shutil.rmtree(self.folder)

    def accept(self) -> ScriptedProcessor:
        """Take the event connection, then the control connection, as the processor does."""
        for name in reversed(self._names):
            while not readable(self._listeners[name], 0.05):
                if self.process.poll() is not None:
                    raise WorkerGone(self.process.returncode)
            connection = self._listeners[name].accept()[0]
            self._open.append(connection)
            if name == "event":
                self.event = self._peer(connection)
            else:
                self._control = connection
        return self

    def start(self) -> ScriptedProcessor:
        """Wait for the worker's `s`. Raises WorkerGone when it ends instead."""
        self.accept()
        self.event.wait(protocol.START)
        return self

    def connect(self) -> Peer:
        """Return a new connection to a worker that listens, once it has said `s`."""
        until = time.monotonic() + DEADLINE_S
        while True:
            connection = socket.socket()
            try:
                connection.connect(self.address)
            except ConnectionRefusedError:
                connection.close()
                if self.process.poll() is not None:
                    raise WorkerGone(self.process.returncode) from None
                assert time.monotonic() < until, self.stderr()
                time.sleep(0.02)
            else:
                break
        self._open.append(connection)
        peer = self._peer(connection)
        peer.wait(protocol.START)
        return peer

    def signal(self, *numbers: int) -> None:
        """Send the worker the signals, one after the other."""
        for number in numbers:
            self.process.send_signal(number)

    def controls(self, kind: str = "", *, count: int = 0) -> list[dict[str, Any]]:
        """Return the messages on the control socket so far, of one kind or all; waits until there are `count`."""
        until = time.monotonic() + DEADLINE_S
        while True:
            assert self._control is not None
            while readable(self._control, 0):
                data = self._control.recv(1 << 18)
                self._controls += data
                if not data:
                    break
            found = [json.loads(line) for line in bytes(self._controls).split(b"\n")[:-1]]
            found = [one for one in found if kind in ("", one["kind"])]
            if len(found) >= count:
                return found
            assert time.monotonic() < until, f"{found}; stderr: {self.stderr()[-2000:]}"
            readable(self._control, 0.05)

    @property
    def lines(self) -> list[tuple[bytes, bytes]]:
        """See Peer, as for the methods below."""
        return self.event.lines

    def wait(self, kind: bytes, *, count: int = 1) -> list[bytes]:
        return self.event.wait(kind, count=count)

    def send(self, *pieces: bytes) -> None:
        self.event.send(*pieces)

    def ask(self, body: Any = b"", **fields: Any) -> protocol.Reply:
        return self.event.ask(body, **fields)

    def logs(self) -> list[dict[str, Any]]:
        return self.event.logs()

    def count(self, kind: bytes) -> int:
        return self.event.count(kind)

    def answers(self) -> Any:
        """Return the JSON body of the reply to an empty event."""
        return json.loads(self.ask().body)

    def finish(self) -> int:
        """Close the event socket as a processor that goes does; return the worker's exit code."""
        self.event.socket.shutdown(socket.SHUT_WR)
        return self.end()

    def end(self) -> int:
        """Read on until the worker has ended; return its exit code."""
        try:
            while self.event.receive():
                pass
        except WorkerGone as gone:
            return gone.code
        return self.process.wait(DEADLINE_S)

    def hang_up(self) -> None:
        """Close all connections at once, as a processor that was killed."""
        for one in self._open:
            one.close()

    def ended(self) -> int:
        """Wait for the worker's end and return its exit code."""
        return self.process.wait(DEADLINE_S)

    def stdout(self) -> str:
        """Return what the worker printed so far."""
        return self._read("stdout")

    def stderr(self) -> str:
        """Return what the worker wrote to standard error so far."""
        return self._read("stderr")

    def _paths(self, sockets: str) -> list[str]:
        if sockets == ONE:
            return ["--socket-path", self._path("event")]
        event = "{}:{}".format(*self.address) if self.address else self._path("event")
        return ["--event-socket-path", event, "--control-socket-path", self._path("control")]

    def _peer(self, connection: socket.socket) -> Peer:
        return Peer(connection, self.ended, self.stderr)

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


def readable(peer: socket.socket, seconds: float) -> bool:
    """Tell whether there is something to read, waiting for it that long."""
    with selectors.DefaultSelector() as selector:
        selector.register(peer, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, seconds)))


def frame(body: Any = b"", **fields: Any) -> bytes:
    """Return one event as the processor frames it; `fields` replace the event's own."""
    return protocol.encode_frame(pack(event_of(body, **fields)))


def batch(*events: Mapping[str, Any]) -> bytes:
    """Return a frame of several events."""
    return protocol.encode_frame(pack(list(events)))


def pack(value: Any) -> bytes:
    """Return MessagePack; half a character in a text stands for a byte that is no UTF-8."""
    packed: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return packed


def event_of(body: Any = b"", **fields: Any) -> dict[str, Any]:
    """Return an event; `fields` replace its own."""
    plain = body if isinstance(body, bytes) else b""  # of a body that is a map the size is 0
    return {**protocol.make_event(plain), "body": body, **fields}


def reply_of(document: Mapping[str, Any]) -> protocol.Reply:
    """Return one reply as the HTTP trigger sends it: without the flag that is for stream triggers."""
    headers = {name: value for name, value in document["headers"].items() if name.lower() != NO_ACK}
    return protocol.decode_reply(json.dumps({**document, "headers": headers}).encode())


def content_of(reply: protocol.Reply) -> bytes:
    """Return the body as a client gets it; a file that the reply names is deleted then, as the processor does it."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    path = headers.get("x-nuclio-filestream-path", "")
    if not path:
        return reply.body.encode("utf-8", "surrogateescape") if isinstance(reply.body, str) else reply.body
    with open(path, "rb") as stream:
        body = stream.read()
    if "x-nuclio-filestream-delete-after-send" in headers:
        os.unlink(path)
    return body


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End the worker's whole group, or itself where it leads none."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
    process.wait()
