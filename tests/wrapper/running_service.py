"""A host that serves a function, as a process of its own, and clients that see every byte of what it answers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from running_job import is_running

DEADLINE_S = 60.0  # only for what would hang for ever
HELLO = "def f(context, event):\n    return 'hello'\n"

Place = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """One answer as it came; names of headers are lower case. A body that was cut is no answer but a `CutOff`."""

    version: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    chunks: tuple[bytes, ...] = ()

    def header(self, name: str) -> str:
        """Return the header's value, "" when it is not there; it must not be there twice."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        """Return the values of every line of this name."""
        return [value for key, value in self.headers if key == name.lower()]

    def json(self) -> Any:
        """Return the body's JSON."""
        return json.loads(self.body)


class CutOff(Exception):
    """The connection ended, or was reset, before the answer was whole; `data` is what had come of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"cut off after {data[:200]!r}")
        self.data = data


class Client:
    """A connection that sends any bytes and reads answers strictly. Use as a context manager."""

    def __init__(self, place: Place, *, small_window: bool = False) -> None:
        self.socket = socket.socket()
        if small_window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(DEADLINE_S)
        self.data = b""
        try:
            self.socket.connect(place)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Client:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_exc: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def try_send(self, data: bytes) -> bool:
        """Send all of it; False when the other side did not take it to its end."""
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            return False
        return True

    def shut(self) -> None:
        """Close the sending half."""
        self.socket.shutdown(socket.SHUT_WR)

    def ask(self, data: bytes, method: str = "GET") -> Answer:
        """Send a request and return its answer; `method` is needed for HEAD only."""
        self.send(data)
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """Return the next final answer. Raises CutOff; AssertionError for what is no HTTP/1.1 answer."""
        while True:
            found = self.head()
            if found.status >= 200:
                return self._body(found, method)

    def head(self) -> Answer:
        """Return the next answer's head, also that of a 100 (Continue)."""
        while b"\r\n\r\n" not in self.data:
            self._more()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        first, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
        version, _, rest = first.partition(" ")
        assert version == "HTTP/1.1", first
        assert rest[:3].isdigit(), first
        assert rest[3:4] == " ", first
        pairs = []
        for line in lines:
            name, colon, value = line.partition(": ")
            assert colon, line
            assert "\n" not in line, line
            assert "\r" not in line, line
            pairs.append((name.lower(), value))
        return Answer(version, int(rest[:3]), tuple(pairs))

    def is_closed(self) -> bool:
        """Wait for the end; whether nothing came before it. A reset is an end, too."""
        try:
            self._more()
        except CutOff as cut:
            return not cut.data
        return False

    def rest(self) -> bytes:
        """Wait for the end and return all that came before it."""
        try:
            while True:
                self._more()
        except CutOff as cut:
            return cut.data

    def chunk(self) -> bytes:
        """Return the next chunk of a body whose head was read with `head`; b"" is the last."""
        size = int(self._line(), 16)
        data = self._exactly(size + 2)
        assert data[size:] == b"\r\n"
        return data[:size]

    def _body(self, head: Answer, method: str) -> Answer:
        if method == "HEAD" or head.status in (204, 304):
            return head
        length, coding = head.header("content-length"), head.header("transfer-encoding")
        assert not (length and coding), head
        if coding:
            assert coding == "chunked", head
            chunks = []
            while chunks[-1:] != [b""]:
                chunks.append(self.chunk())
            return Answer(head.version, head.status, head.headers, b"".join(chunks), tuple(chunks[:-1]))
        if length:
            return Answer(head.version, head.status, head.headers, self._exactly(int(length)))
        assert head.header("connection") == "close", head
        return Answer(head.version, head.status, head.headers, self._until_end())

    def _until_end(self) -> bytes:
        parts = [self.data]
        while True:
            data = self.socket.recv(1 << 18)  # a reset is no end here: it says that the body is not whole
            if not data:
                self.data = b""
                return b"".join(parts)
            parts.append(data)

    def _exactly(self, size: int) -> bytes:
        parts, have = [self.data], len(self.data)
        while have < size:
            self.data = b""
            try:
                self._more()
            except CutOff:
                raise CutOff(b"".join(parts)) from None
            parts.append(self.data)
            have += len(self.data)
        whole = b"".join(parts)
        self.data = whole[size:]
        return whole[:size]

    def _line(self) -> bytes:
        while b"\r\n" not in self.data:
            self._more()
        line, _, self.data = self.data.partition(b"\r\n")
        return line

    def _more(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            raise CutOff(self.data)
        self.data += data


def request(method: str = "GET", target: str = "/", body: Optional[bytes] = None, **headers: str) -> bytes:
    """Return the bytes of a request; `x_a="1"` is the header `x-a`. A body has its Content-Length."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given.setdefault("host", "test")
    if body is not None:
        given.setdefault("content-length", str(len(body)))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + (body or b"")


class RunningService:
    """`nuwrap-host serve` under way. Use as a context manager: nothing of it is left running."""

    def __init__(self, tree: str, folder: Path, code: str, keys: Mapping[str, Any]) -> None:
        given = dict(keys)
        options, env = given.pop("popen", {}), given.pop("env", {})
        serve = {"port": 0, "admin_port": 0, "address": "127.0.0.1", "workers": 1, **given.pop("serve", {})}
        serve = {key: value for key, value in serve.items() if value is not None}  # None leaves a key out
        document = {"api": "nuwrap/v1", "handler": "f", "python": sys.executable, "grace_s": 10, "serve": serve}
        document.update({"code": code, **given} if code else given)
        self.folder = folder
        (folder / "launch.json").write_text(json.dumps(document))
        entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
        hidden = ("PYTHONPATH", "NUWRAP_WORK", "VIRTUAL_ENV")
        environ = {name: value for name, value in os.environ.items() if name not in hidden}
        environ["NUWRAP_CACHE"] = str(folder / "cache")
        with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-u", entry, "serve", "--json", "--launch", str(folder / "launch.json")],
                cwd=folder,
                env={**environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                **options,
            )
        self.place: Place = ("", 0)
        self.admin: Place = ("", 0)

    def __enter__(self) -> RunningService:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_exc: object) -> None:
        for number, seconds in ((signal.SIGTERM, 1.5), (signal.SIGTERM, 5.0), (signal.SIGKILL, DEADLINE_S)):
            if self.process.poll() is None:
                workers = self.worker_pids() if number == signal.SIGKILL else []
                self.process.send_signal(number)
                for pid in filter(is_running, workers):
                    os.kill(pid, signal.SIGKILL)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue

    def announced(self) -> RunningService:
        """Wait for the first line of standard output, which tells both addresses."""

        def told() -> Any:
            line, end, _ = self.stdout().partition("\n")
            return json.loads(line) if end else None

        first = self.until(told)
        assert first["event"] == "listening", first
        self.place, self.admin = _place(first["address"]), _place(first["admin"])
        return self

    def ready(self) -> RunningService:
        """Wait until the function can be called."""
        if not self.admin[1]:
            self.announced()
        self.until(lambda: self.admin_page("/ready").status == 200)
        return self

    def until(self, is_so: Callable[[], Any], *, may_end: bool = False) -> Any:
        """Wait until it is so, while the host runs, and return what it is."""
        until = time.monotonic() + DEADLINE_S
        while True:
            has_ended = self.process.poll() is not None
            found = is_so()
            if found:
                return found
            assert may_end or not has_ended, self.stderr()
            assert time.monotonic() < until, self.stderr()
            time.sleep(0.01)

    def client(self, *, small_window: bool = False) -> Client:
        """Open a connection to the service's port."""
        return Client(self.place, small_window=small_window)

    def ask(self, data: bytes = b"", method: str = "GET") -> Answer:
        """Send one request on a connection of its own, a GET of / when none is given."""
        with self.client() as client:
            return client.ask(data or request(), method)

    def call(
        self, method: str = "GET", target: str = "/", body: Any = None, headers: Optional[Mapping[str, str]] = None
    ) -> Answer:
        """Send one request with the standard library's client; `body` may be bytes, or an iterable: then in chunks."""
        return call(self.place, method, target, body, headers)

    def admin_page(self, path: str) -> Answer:
        """Return a page of the second port."""
        return call(self.admin, "GET", path)

    def metric(self, name: str) -> float:
        """Return the sum of a metric's values over all labels."""
        lines = self.admin_page("/metrics").body.decode().splitlines()
        found = [line for line in lines if line.partition("{")[0].partition(" ")[0] == name]
        assert found, f"no metric {name} in {lines}"
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def worker_pids(self) -> list[int]:
        """Return the processes that the host has started and that are there still."""
        try:
            folders = list(Path(f"/proc/{self.process.pid}/task").iterdir())
            return [int(pid) for folder in folders for pid in (folder / "children").read_text().split()]
        except OSError:
            return []

    def rss(self) -> int:
        """Return the host's resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait for the end and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the log that are whole; each is JSON."""
        return [json.loads(line) for line in self.stderr().split("\n")[:-1] if line]

    def await_log(self, **fields: Any) -> dict[str, Any]:
        """Wait for a line of the log with these fields and return it."""

        def found() -> Optional[dict[str, Any]]:
            return next((one for one in self.log() if all(one.get(key) == fields[key] for key in fields)), None)

        return dict(self.until(found, may_end=True))

    def stdout(self) -> str:
        """Return what the host has printed so far."""
        return (self.folder / "stdout").read_text(encoding="utf-8", errors="replace")

    def stderr(self) -> str:
        """Return what the host has said so far."""
        return (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")


def call(
    place: Place,
    method: str = "GET",
    target: str = "/",
    body: Any = None,
    headers: Optional[Mapping[str, str]] = None,
) -> Answer:
    """Send one request with the standard library's client and return the answer. Raises OSError or HTTPException."""
    with closing(http.client.HTTPConnection(*place, timeout=DEADLINE_S)) as connection:
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        pairs = tuple((name.lower(), value) for name, value in response.getheaders())
        return Answer("HTTP/1.1", response.status, pairs, response.read())


def _place(address: str) -> Place:
    host, _, port = address.partition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)
