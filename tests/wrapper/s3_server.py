"""Moto's S3 (and STS) as a process of its own, behind a server in this process that sees requests and spoils answers.

`python s3_server.py` is the process: it prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Callable, Optional
from urllib.parse import parse_qs, quote, unquote, urlsplit

KEY, SECRET = "AKIAEXAMPLE", "the-secret-value"
FORWARDED = 65536


@dataclass(frozen=True)
class Request:
    """What came: `host` and `path` as sent, an address in its whole where this server was used as a proxy."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)

    @property
    def host(self) -> str:
        return self.headers.get("host", "")

    @property
    def key(self) -> str:
        """The object's bucket and key, as path style has them."""
        return unquote(urlsplit(self.path).path).lstrip("/")


@dataclass(frozen=True)
class Fault:
    """An answer in place of moto's, or, without a status, what is done to moto's."""

    status: int = 0
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Optional[bytes] = None
    delay: float = 0.0  # seconds before the answer
    cut_after: Optional[int] = None  # bytes of the body, then the connection is closed
    pause: float = 0.0  # seconds before each piece of the body

    @property
    def content(self) -> bytes:
        if self.body is not None:
            return self.body
        message = "as the test wants it"
        return f"<?xml version='1.0'?><Error><Code>{self.code}</Code><Message>{message}</Message></Error>".encode()


class S3Server(ThreadingHTTPServer):
    """An S3 server at `url` until the `with` block ends.

    `seen` has all requests. `spoil` is asked for each one and may return a Fault; `spoil_first` sets one that holds
    for the first requests that fit.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen: list[Request] = []
        self.spoil: Callable[[Request], Optional[Fault]] = lambda _request: None
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.moto = 0

    def __enter__(self) -> S3Server:  # noqa: PYI034 - Self is not in 3.9's typing
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
        command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve())]
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout
        self.moto = int(self._process.stdout.readline())
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        assert self._process
        self._process.communicate()

    @property
    def direct_url(self) -> str:
        """The address of moto itself, for what is many."""
        return f"http://127.0.0.1:{self.moto}"

    def reset(self) -> None:
        """Forget faults and requests; what is stored stays."""
        self.spoil = lambda _request: None
        self.seen = []

    def environ(self, **more: str) -> dict[str, str]:
        """Return the variables of somebody who may use this server; nothing asks a cloud's metadata service."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            **more,
        }

    def spoil_first(self, count: int, fault: Fault, fits: Callable[[Request], bool] = lambda _request: True) -> None:
        """Spoil the first `count` requests that fit."""
        left, lock = [count], threading.Lock()

        def spoil(request: Request) -> Optional[Fault]:
            with lock:
                if not left[0] or not fits(request):
                    return None
                left[0] -= 1
                return fault

        self.spoil = spoil

    def make(self, bucket: str, objects: Optional[Mapping[str, bytes]] = None) -> None:
        """Make the bucket, and objects by key."""
        self.ask("PUT", f"/{bucket}")
        for key, content in (objects or {}).items():
            self.ask("PUT", f"/{bucket}/{quote(key)}", content)

    def content(self, bucket: str, key: str) -> bytes:
        return self.ask("GET", f"/{bucket}/{quote(key)}")

    def keys(self, bucket: str) -> list[str]:
        listed = self.ask("GET", f"/{bucket}?list-type=2&max-keys=1000").decode()
        return [unescape(key) for key in re.findall("<Key>(.*?)</Key>", listed)]

    def unfinished(self, bucket: str) -> int:
        """Return how many multipart uploads are under way."""
        return self.ask("GET", f"/{bucket}?uploads").count(b"<UploadId>")

    def publish(self, bucket: str, key: str) -> None:
        """Let anybody read the object."""
        self.ask("PUT", f"/{bucket}/{quote(key)}?acl", headers={"x-amz-acl": "public-read"})

    def ask(self, method: str, path: str, body: bytes = b"", headers: Optional[Mapping[str, str]] = None) -> bytes:
        """Ask moto itself, not through the faults."""
        connection = http.client.HTTPConnection("127.0.0.1", self.moto)
        try:
            signed = {"Host": "127.0.0.1", "Authorization": SIGNED, **(headers or {})}
            connection.request(method, path, body, signed)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status < 400, f"{method} {path}: {answer.status} {content[:300]!r}"
        return content

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that leave early are part of the tests."""


SIGNED = f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


class _Handler(BaseHTTPRequestHandler):
    server: S3Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers)
        self.server.seen.append(request)
        fault = self.server.spoil(request) or Fault()
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(fault.delay)
        if fault.status:
            content = fault.content
            self._start(fault.status, {"Content-Length": str(len(content)), **fault.headers})
            self._send(content if self.command != "HEAD" else b"", fault)
        else:
            self._forward(body, fault)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def handle_expect_100(self) -> bool:
        """Leave it to `do_GET`: a fault is told instead of the body being read."""
        return True

    def _forward(self, body: bytes, fault: Fault) -> None:
        parts = urlsplit(self.path)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection = http.client.HTTPConnection("127.0.0.1", self.server.moto)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            connection.request(self.command, path, body, headers)
            answer = connection.getresponse()
            told = {name: value for name, value in answer.getheaders() if name.lower() != "connection"}
            content = answer.read()
            if self.command != "HEAD":
                told = {name: value for name, value in told.items() if name.lower() != "transfer-encoding"}
                told = {**told, "Content-Length": str(len(content))}
            self._start(answer.status, {**told, **fault.headers})
            self._send(content, fault)
        finally:
            connection.close()

    def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, content: bytes, fault: Fault) -> None:
        kept = content[: fault.cut_after]
        for first in range(0, len(kept), FORWARDED):
            time.sleep(fault.pause)
            self.wfile.write(kept[first : first + FORWARDED])
        if fault.cut_after is not None:
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def credential_region(request: Request) -> str:
    """Return the region a request is signed for, "" when it is not signed."""
    credential = request.headers.get("authorization", "").partition("Credential=")[2]
    return credential.split("/")[2] if credential else ""


def query(request: Request) -> dict[str, list[str]]:
    return parse_qs(urlsplit(request.path).query, keep_blank_values=True)


def main() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
