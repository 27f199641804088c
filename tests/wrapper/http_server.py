"""A real HTTP(S) server and a real proxy in this process, whose answers a test scripts: whole, cut, slow, endless.

with HttpServer() as server:
    server.on("/main.py", File(b"x = 1", etag='"1"'))       # ranges and conditions as RFC 9110 has them
    server.on("/flaky", status(503), File(b"x = 1"))        # one answer after the other; the last one stays
    server.on("/old", redirect("/main.py"))
    … server.url + "/flaky" … server.seen, server.sent
"""

from __future__ import annotations

import base64
import select
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

LONG_AGO = "Mon, 02 Jan 2023 03:04:05 GMT"
SOURCE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Asked:
    """One request as it came. `path` has the query; names of headers are in lower case."""

    path: str
    headers: Mapping[str, str]

    @property
    def login(self) -> str:
        """The `user:password` that was sent, "" for none."""
        return _plain(self.headers.get("authorization", ""))


class Request(BaseHTTPRequestHandler):
    """What an answer gets: the request's headers, and ways to send any bytes."""

    protocol_version = "HTTP/1.1"
    server: HttpServer

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.next_answer(self.path, Asked(self.path, headers))
        answer(self)

    def reply(self, code: int, body: bytes = b"", headers: Optional[Mapping[str, str]] = None) -> None:
        """Answer in a regular way."""
        self.head(code, {"Content-Length": str(len(body)), **(headers or {})})
        self.body(body)

    def head(self, code: int, headers: Mapping[str, str]) -> None:
        """Send the status and headers alone, Date among them."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def body(self, block: bytes) -> None:
        """Send bytes and count them in `server.sent`, before they go: a client that has them may look at once."""
        for begin in range(0, len(block), SOURCE_BYTES):
            piece = block[begin : begin + SOURCE_BYTES]
            with self.server.lock:
                self.server.sent += len(piece)
            self.wfile.write(piece)

    def hang_up(self) -> None:
        """Close the connection, whatever was announced."""
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


Answer = Callable[[Request], None]


@dataclass(frozen=True)
class File:
    """A file that knows `If-None-Match`, `Range` and `If-Range`, unless told otherwise.

    `cut` ends each answer after so many bytes of its body; `announced` is a wrong Content-Length; `has_ranges` False
    ignores Range; `is_chunked` sends chunks of `block` bytes, each after `pause_s`.
    """

    content: bytes
    etag: str = ""
    modified: str = ""
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    has_ranges: bool = True
    is_chunked: bool = False
    cut: Optional[int] = None
    announced: Optional[int] = None
    block: int = SOURCE_BYTES
    pause_s: float = 0.0

    def __call__(self, request: Request) -> None:
        if self.etag and request.headers.get("If-None-Match") == self.etag:
            return request.head(304, {"ETag": self.etag})
        begin = self._begin(request)
        if begin >= len(self.content) and begin:
            return request.reply(416, headers={"Content-Range": f"bytes */{len(self.content)}"})
        headers = self._headers(begin)
        request.head(206 if begin else 200, headers)
        return self._send(request, self.content[begin:])

    def _begin(self, request: Request) -> int:
        wanted, condition = request.headers.get("Range"), request.headers.get("If-Range")
        is_same = condition is None or condition in (self.etag, self.modified)
        return int(wanted[len("bytes=") : -1]) if wanted and is_same and self.has_ranges else 0

    def _headers(self, begin: int) -> dict[str, str]:
        size = len(self.content)
        length = size - begin if self.announced is None else self.announced
        told = {
            "Content-Type": self.content_type,
            "ETag": self.etag,
            "Last-Modified": self.modified,
            "Accept-Ranges": "bytes" if self.has_ranges else "",
            "Content-Range": f"bytes {begin}-{size - 1}/{size}" if begin else "",
            **({"Transfer-Encoding": "chunked"} if self.is_chunked else {"Content-Length": str(length)}),
            **self.headers,
        }
        return {name: value for name, value in told.items() if value}

    def _send(self, request: Request, content: bytes) -> None:
        for begin in range(0, len(content), self.block):
            piece = content[begin : begin + self.block if self.cut is None else min(begin + self.block, self.cut)]
            request.body(b"%x\r\n%s\r\n" % (len(piece), piece) if self.is_chunked else piece)
            if self.cut is not None and begin + self.block >= self.cut:
                return request.hang_up()
            time.sleep(self.pause_s)
        if self.is_chunked:
            request.body(b"0\r\n\r\n")
        if self.announced is not None:
            request.hang_up()
        return None


def status(code: int, text: str = "", **headers: str) -> Answer:
    """Answer with a status and a line of text; `_` in a header's name is `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: request.reply(code, text.encode(), {"Content-Type": "text/plain", **named})


def redirect(location: str, code: int = 302) -> Answer:
    """Send the client elsewhere."""
    return lambda request: request.reply(code, b"gone elsewhere", {"Location": location})


def raw(*pieces: bytes, pause_s: float = 0.0) -> Answer:
    """Send these bytes, status line and all, with a pause after each, and close."""

    def answer(request: Request) -> None:
        for piece in pieces:
            request.wfile.write(piece)
            time.sleep(pause_s)
        request.hang_up()

    return answer


def endless(block: bytes = bytes(65536), head: bytes = b"HTTP/1.1 200 OK\r\n\r\n", pause_s: float = 0.0) -> Answer:
    """Send the block again and again until the client has left."""

    def answer(request: Request) -> None:
        request.hang_up()
        request.wfile.write(head)
        while True:
            request.body(block)
            time.sleep(pause_s)

    return answer


def mute(request: Request) -> None:
    """Never answer; ends when the client has left."""
    request.hang_up()
    request.connection.recv(1)


def for_login(login: str, answer: Answer) -> Answer:
    """Answer 401 to everybody who does not send `user:password`."""

    def guarded(request: Request) -> None:
        if _plain(request.headers.get("Authorization", "")) == login:
            answer(request)
        else:
            request.reply(401, b"who are you?", {"Content-Type": "text/plain", "WWW-Authenticate": "Basic"})

    return guarded


class HttpServer(ThreadingHTTPServer):
    """Serves what `on` says at `url` until the `with` block ends, everything else is a 404.

    `seen` has each request; `connections` and `sent`, the bytes of bodies, are counted. `tls` is a PEM file with
    key and certificate.
    """

    daemon_threads = True

    def __init__(self, *, host: str = "127.0.0.1", tls: Optional[Path] = None, handler: type[Any] = Request) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), handler)
        self.lock = threading.Lock()
        self.seen: list[Asked] = []
        self.sent = self.connections = 0
        self.port = int(self.server_address[1])
        self.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._answers: dict[str, list[Answer]] = {}
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if self._tls:
            self._tls.load_cert_chain(str(tls))
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def on(self, path: str, *answers: Answer) -> str:
        """Answer requests for the path, which counts with its query or without; return its address."""
        self._answers[path] = list(answers)
        return self.url + path

    def next_answer(self, path: str, asked: Asked) -> Answer:
        """Note the request; return what answers it."""
        with self.lock:
            self.seen.append(asked)
            left = self._answers.get(path) or self._answers.get(urlsplit(path).path) or [status(404, "not here")]
            return left.pop(0) if len(left) > 1 else left[0]

    def get_request(self) -> tuple[Any, Any]:
        opened, address = super().get_request()
        self.connections += 1
        if self._tls:  # the handshake comes with the first read, which is the request's thread's
            opened = self._tls.wrap_socket(opened, server_side=True, do_handshake_on_connect=False)
        return opened, address

    def __enter__(self) -> HttpServer:  # noqa: PYI034 - Self is not in 3.9's typing
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that leave early are part of the tests."""


class _Proxying(Request):
    server: HttpProxy

    def do_GET(self) -> None:
        if self._is_welcome():
            parts = urlsplit(self.path)
            with socket.create_connection((str(parts.hostname), parts.port or 80)) as upstream:
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                passed = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
                lines = "".join(f"{name}: {value}\r\n" for name, value in {**passed, "Connection": "close"}.items())
                upstream.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
                self._pass_on(upstream)

    def do_CONNECT(self) -> None:
        if self._is_welcome():
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port))) as upstream:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                self._pass_on(upstream)

    def _is_welcome(self) -> bool:
        headers = {name.lower(): value for name, value in self.headers.items()}
        login = _plain(headers.get("proxy-authorization", ""))
        with self.server.lock:
            self.server.seen.append(Asked(f"{self.command} {self.path}", headers))
        self.hang_up()
        if login != self.server.login:
            self.reply(407, b"", {"Proxy-Authenticate": "Basic"})
        return login == self.server.login

    def _pass_on(self, upstream: socket.socket) -> None:
        """Copy both ways until either side has ended."""
        ends = {self.connection: upstream, upstream: self.connection}
        with suppress(OSError):
            while True:
                waiting = [one for one in ends if isinstance(one, ssl.SSLSocket) and one.pending()]
                for one in waiting or select.select(list(ends), [], [], 30)[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    ends[one].sendall(data)


class HttpProxy(HttpServer):
    """A proxy for both kinds of requests; `seen` has their methods in `path`, `login` is wanted from everybody."""

    def __init__(self, *, login: str = "", tls: Optional[Path] = None) -> None:
        super().__init__(tls=tls, handler=_Proxying)
        self.login = login


def make_certificate(folder: Path, *names: str) -> Path:
    """Return a PEM file with a fresh key and its self-signed certificate, for `tls=` and as a CA."""
    path = folder / "server.pem"
    kinds = ",".join(f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in names or ("127.0.0.1", "localhost"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a test"]
    files = ["-addext", f"subjectAltName={kinds}", "-keyout", str(path), "-out", str(folder / "certificate.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (folder / "certificate.pem").read_bytes())
    return path


def _plain(header: str) -> str:
    return base64.b64decode(header.partition(" ")[2]).decode() if header else ""
