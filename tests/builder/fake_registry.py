"""A registry in this process whose answers a test scripts, for what a real one does too seldom to be tested.

with FakeRegistry() as fake:
    fake.on("GET", "/v2/", Reply(200))
    fake.on("GET", "/v2/a/manifests/1", Reply(503), Reply(200, b"{}"))    # one after the other; the last one stays
    … fake.address … fake.asked
"""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from registries import MANIFEST, digest_of, make_layer
from typing_extensions import Self


@dataclass(frozen=True)
class Asked:
    """A request as it came, its path without the query; names of headers are in small letters."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")


@dataclass(frozen=True)
class Reply:
    """An answer; `is_cut` ends the connection in the middle of the body, status 0 ends it at once."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False


Script = Callable[[Asked], Reply]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # a client that has read enough
            self.close_connection = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        reply = self.server.fake.answer(Asked(self.command, parts.path, parse_qs(parts.query), headers, body))
        if not reply.status:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.is_cut else reply.body)
        self.close_connection = self.close_connection or reply.is_cut

    do_HEAD = do_POST = do_DELETE = do_GET

    def log_message(self, *_arguments: Any) -> None:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeRegistry


class FakeRegistry:
    """Listens on a free port of 127.0.0.1, in the body of `with`. What has no script is 404.

    `certificate` and its key make it speak TLS.
    """

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        self.asked: list[Asked] = []
        self._scripts: dict[tuple[str, str], list[Reply | Script]] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.port = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"

    def on(self, method: str, path: str, *replies: Reply | Script) -> None:
        self._scripts[method, path] = list(replies)

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        scripts = self._scripts.get((asked.method, asked.path), [Reply(404)])
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return script if isinstance(script, Reply) else script(asked)

    def paths(self, method: str = "GET") -> list[str]:
        return [one.path for one in self.asked if one.method == method]

    def put_image(
        self, repository: str = "a", tag: str = "1", *, image: Mapping[str, Any] | None = None, layer: bytes = b""
    ) -> str:
        """Have an image for all who ask, and return the digest of its layer."""
        blob = layer or gzip.compress(make_layer({"usr/local/bin/python3": "-> python3.11"}))
        content = json.dumps({"architecture": "amd64", "config": {}, **(image or {})}).encode()
        manifest = {
            "mediaType": MANIFEST,
            "config": {"digest": digest_of(content), "size": len(content)},
            "layers": [{"digest": digest_of(blob), "size": len(blob)}],
        }
        self.on("GET", "/v2/", Reply(200))
        self.on("GET", f"/v2/{repository}/manifests/{tag}", Reply(200, json.dumps(manifest).encode()))
        for data in (content, blob):
            self.on("GET", f"/v2/{repository}/blobs/{digest_of(data)}", Reply(200, data))
        return digest_of(blob)

    def ask_for_token(self, repository: str = "a", *, tokens: int = 1, realm: str = "") -> None:
        """Let in who has the newest of so many tokens, and give them at `/token` of this server or of the realm."""
        given: list[str] = []
        scripts = dict(self._scripts)
        challenge = f'Bearer realm="{realm or f"http://{self.address}/token"}",service="fake"'

        def give(_asked: Asked) -> Reply:
            given.append(f"token-{len(given) + 1}")
            return Reply(200, json.dumps({"token": given[-1]}).encode())

        def guard(found: list[Reply | Script]) -> Script:
            def answer(asked: Asked) -> Reply:
                if asked.authorization == f"Bearer token-{tokens}":
                    reply = found[0]
                    return reply if isinstance(reply, Reply) else reply(asked)
                return Reply(401, headers={"WWW-Authenticate": f'{challenge},scope="repository:{repository}:pull"'})

            return answer

        for (method, path), found in scripts.items():
            self.on(method, path, guard(found))
        self.on(
            "GET", "/v2/", Reply(401, headers={"WWW-Authenticate": f'{challenge},scope="repository:an/other:pull"'})
        )
        self.on("GET", "/token", give)
        self.on("POST", "/token", give)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
