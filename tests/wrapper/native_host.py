"""A peer that plays the service host of `nuwrap/1`: real sockets, descriptors both ways, messages as they come."""

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
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

import msgpack
from scripted_processor import DEADLINE_S, WorkerGone, end_group

from nuwrap_runtime.worker import native, protocol
from nuwrap_runtime.worker.spec import API


@dataclass
class Answer:
    """One whole answer: `ended` is `r`, `e` or `x`; `pieces` the chunks as they came."""

    status: int
    content_type: str
    headers: Mapping[str, Any]
    length: int
    ended: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    in_file: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def json(self) -> Any:
        return json.loads(self.body)


class Socket:
    """One event socket, the host's end. `messages` has all that came, `taken` how many a test has seen."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.messages: list[tuple[bytes, bytes]] = []
        self.taken = 0
        self.files: list[int] = []
        self._data = bytearray()

    def receive(self) -> bool:
        """Take in what there is; False at the end."""
        try:
            data, files, _flags, _ = socket.recv_fds(self.peer, 1 << 18, 16)
        except ConnectionResetError:
            return False
        self.files += files
        self._data += data
        while len(self._data) >= 5:
            end = 4 + int.from_bytes(self._data[:4], "big")
            if len(self._data) < end:
                break
            self.messages.append((bytes(self._data[4:5]), bytes(self._data[5:end])))
            del self._data[:end]
        return bool(data)

    def close(self) -> None:
        self.peer.close()
        for one in self.files:
            os.close(one)


_LOGS = (protocol.LOG, native.STRAY)


class NativeHost:
    """One worker and the host's ends of its sockets. Use as a context manager: nothing is left running."""

    def __init__(
        self,
        tree: str,
        root: Any,
        *,
        handler: str = "main:f",
        env: Optional[Mapping[str, str]] = None,
        python: str = sys.executable,
        **spec: Any,
    ) -> None:
        self.folder = tempfile.mkdtemp(prefix="nh-")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self._path("event"))
        self._listener.listen(64)
        self.sockets: list[Socket] = []
        self.seconds: dict[str, float] = {}
        document = {"api": API, "root": str(root), "handler": handler, "pythonpath": "", "reply_form": native.FORM}
        with open(self._path("spec.json"), "w", encoding="utf-8") as stream:
            json.dump({**document, "mode": "event", **spec}, stream)
        argv = [python, "-u", os.path.join(tree, "worker", "nuwrap_runtime", "worker", "main.py")]
        argv += ["--event-socket-path", self._path("event"), "--worker-spec", self._path("spec.json")]
        self._outputs = [open(self._path(name), "wb") for name in ("stdout", "stderr")]  # noqa: SIM115 - see __exit__
        environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COV_CORE_SOURCE")}
        self.process = subprocess.Popen(
            argv,
            cwd=root,
            env={**environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._outputs[0],
            stderr=self._outputs[1],
            start_new_session=True,
        )

    def __enter__(self) -> NativeHost:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_exc: object) -> None:
        for one in (*self.sockets, self._listener, *self._outputs):
            one.close()
        end_group(self.process)
        shutil.rmtree(self.folder)

    @property
    def first(self) -> Socket:
        return self.sockets[0]

    def accept(self) -> NativeHost:
        """Take one event connection."""
        while not _readable(self._listener, 0.05):
            if self.process.poll() is not None:
                raise WorkerGone(self.process.returncode)
        self.sockets.append(Socket(self._listener.accept()[0]))
        return self

    def start(self) -> NativeHost:
        """Wait for the worker's `s` and take as many sockets as it tells."""
        told = json.loads(self.accept().next(protocol.START)[1])
        self.seconds = told["seconds"]
        for _ in range(told["sockets"] - 1):
            self.accept()
        return self

    def send(self, event: Mapping[str, Any], *, file: Optional[int] = None, to: int = 0) -> None:
        """Send one frame, with a descriptor when there is one."""
        data = protocol.encode_frame(msgpack.packb(event, unicode_errors="surrogateescape"))
        self.send_raw(data, file=file, to=to)

    def send_raw(self, data: bytes, *, file: Optional[int] = None, to: int = 0) -> None:
        """Send bytes as they are."""
        peer = self.sockets[to].peer
        if file is not None:
            data = data[socket.send_fds(peer, [data], [file]) :]
        peer.sendall(data)

    def post(self, body: Any = b"", *, to: int = 0, **fields: Any) -> str:
        """Send one event and return its id."""
        event = {**protocol.make_event(body), **fields}
        self.send(event, to=to)
        return str(event["id"])

    def post_file(self, body: bytes, size: Optional[int] = None) -> None:
        """Send one event whose body is in a file."""
        with tempfile.TemporaryFile() as stream:
            stream.write(body)
            stream.flush()
            event = {**protocol.make_event(None), native.SIZE: len(body) if size is None else size}
            self.send(event, file=stream.fileno())

    def cancel(self, event_id: str, *, to: int = 0) -> None:
        """Send the order to stop answering an event."""
        self.send({native.CANCEL: event_id}, to=to)

    def next(self, *kinds: bytes, to: int = 0) -> tuple[bytes, bytes]:
        """Return the next message of one of the kinds; what comes before it counts as seen. Raises WorkerGone."""
        one = self.sockets[to]
        until = time.monotonic() + DEADLINE_S
        while True:
            while one.taken < len(one.messages):
                message = one.messages[one.taken]
                one.taken += 1
                if message[0] in kinds:
                    return message
            if not _readable(one.peer, until - time.monotonic()):
                raise TimeoutError(f"no {kinds}; so far {one.messages[-3:]}; stderr: {self.stderr()[-2000:]}")
            if not one.receive():
                raise WorkerGone(self.process.wait(DEADLINE_S))

    def answer(self, *, to: int = 0) -> Answer:
        """Return the next whole answer."""
        kind, payload = self.next(protocol.REPLY, native.HEAD, to=to)
        fields = msgpack.unpackb(payload, unicode_errors="surrogateescape")
        if kind == protocol.REPLY:
            status, content_type, headers, body, size = native.check_reply(fields)
            in_file = body is None
            if body is None:
                body = self._take_file(to, size)
            return Answer(status, content_type, headers, size, kind, [body], in_file)
        answer = Answer(*native.check_head(fields))
        while not answer.ended:
            kind, payload = self.next(native.CHUNK, native.END, native.BROKEN, protocol.REPLY, native.HEAD, to=to)
            assert kind in (native.CHUNK, native.END, native.BROKEN), "a second answer begins within the first"
            if kind == native.CHUNK:
                answer.pieces.append(payload)
            else:
                answer.ended = kind
        return answer

    def ask(self, body: Any = b"", *, to: int = 0, **fields: Any) -> Answer:
        """Send one event and return the answer to it."""
        self.post(body, to=to, **fields)
        return self.answer(to=to)

    def finish(self) -> int:
        """Half-close all event sockets, read on to their ends, return the worker's exit code."""
        for one in self.sockets:
            one.peer.shutdown(socket.SHUT_WR)
        for one in self.sockets:
            while one.receive():
                pass
        return self.process.wait(DEADLINE_S)

    def logs(self, *, of: Optional[int] = None) -> list[dict[str, Any]]:
        """Return the log records that came so far, of one socket or of all; what tells the phase only of one."""
        sockets = self.sockets if of is None else [self.sockets[of]]
        found = [json.loads(payload) for one in sockets for kind, payload in one.messages if kind in _LOGS]
        return [one for one in found if of is not None or "nuwrap_phase" not in one["with"]]

    def answers_count(self) -> int:
        """Return how many answers have begun so far."""
        begins = (protocol.REPLY, native.HEAD)
        return sum(kind in begins for one in self.sockets for kind, _ in one.messages)

    def stdout(self) -> str:
        return self._read("stdout")

    def stderr(self) -> str:
        return self._read("stderr")

    def open_files(self) -> int:
        """Return how many descriptors the worker has."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def _take_file(self, to: int, size: int) -> bytes:
        file = self.sockets[to].files.pop(0)
        try:
            assert os.fstat(file).st_size == size
            return os.pread(file, size, 0)
        finally:
            os.close(file)

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _read(self, name: str) -> str:
        with open(self._path(name), encoding="utf-8", errors="replace") as stream:
            return stream.read()


def _readable(peer: socket.socket, seconds: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(peer, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, seconds)))
