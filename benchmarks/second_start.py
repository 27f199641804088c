"""Whole jobs whose code is kept in the cache, beside the same code inline: what asking its server costs a start."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "wrapper"))

from s3_server import S3Server  # noqa: E402 - found by the line above

CODE = b"def handler():\n    return 'hello'\n"
AIM = 50.0


class SecondStart:
    """One function at a git repository, an HTTP server and an S3 server of this machine."""

    def __init__(self, entry: Path, python: str, folder: Path, s3: S3Server) -> None:
        self._argv = [sys.executable, "-I", "-S", "-u", str(entry), "job", "--launch"]
        self._python, self._folder = python, folder
        self._environ = {
            **os.environ,
            **s3.environ(AWS_ENDPOINT_URL=s3.direct_url),
            "NUWRAP_CACHE": str(folder / "kept"),
        }
        folder.mkdir()
        s3.make("code", {"fn.py": CODE})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._sources: Mapping[str, Mapping[str, str]] = {
            "inline": {"code": CODE.decode(), "handler": "handler"},
            "http": {"code_src": f"http://127.0.0.1:{self._server.server_port}/fn.py", "handler": "handler"},
            "git": {"code_src": f"git+file://{_repository(folder / 'repository')}", "handler": "fn:handler"},
            "s3": {"code_src": "s3://code/fn.py", "handler": "handler"},
        }

    def measure(self, rounds: int) -> list[tuple[str, float, float]]:
        """Return source, its milliseconds, those of inline code: medians of rounds in turn, all kept before."""
        for name in self._sources:
            self._start(name), self._start(name)
        seconds = {name: [] for name in self._sources}
        for _ in range(rounds):
            for name, found in seconds.items():
                found.append(self._start(name))
        self._server.shutdown()
        middle = {name: statistics.median(found) * 1000 for name, found in seconds.items()}
        return [(name, middle[name], middle["inline"]) for name in ("http", "git", "s3")]

    def _start(self, name: str) -> float:
        launch = self._folder / f"{name}.json"
        document = {"api": "nuwrap/v1", "run": name, "python": self._python, **self._sources[name]}
        launch.write_text(json.dumps({**document, "output_path": str(self._folder / f"out-{name}")}))
        began = time.perf_counter()
        subprocess.run([*self._argv, str(launch)], check=True, env=self._environ, capture_output=True)
        return time.perf_counter() - began


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    etag = f'"{hashlib.sha256(CODE).hexdigest()}"'

    def do_GET(self) -> None:
        is_known = self.headers.get("If-None-Match") == self.etag
        self.send_response(304 if is_known else 200)
        self.send_header("ETag", self.etag)
        self.send_header("Content-Length", "0" if is_known else str(len(CODE)))
        self.end_headers()
        self.wfile.write(b"" if is_known else CODE)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def _repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "fn.py").write_bytes(CODE)
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]):
        who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        subprocess.run(["git", *who, *arguments], cwd=folder, check=True)
    return folder
