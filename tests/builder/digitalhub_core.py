"""DigitalHub's client as a person has it, in an environment of its own, and the few routes of its server that it needs.

Source of the routes: digitalhub 0.15, `stores/client/builders/api.py`; what a project lists of an entity that is not
embedded, and the texts of errors: `entities/project/_base/entity.py`, `stores/client/http/response.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import Self

LISTS = ("functions", "dataitems", "artifacts", "models")


def find_python() -> str:
    """The Python that has DigitalHub's client. Skips where there is none: `make .venvs/digitalhub/stamp` makes it."""
    usual = Path(__file__).parents[2] / ".venvs" / "digitalhub" / "bin" / "python"
    found = os.environ.get("NUWRAP_DIGITALHUB_PYTHON", str(usual))
    if not os.access(found, os.X_OK):
        pytest.skip(
            f"no Python with the digitalhub package: {found} is not there; make .venvs/digitalhub/stamp makes it"
        )
    return found


class Core(ThreadingHTTPServer):
    """DigitalHub's server, as far as an export and an import go: it keeps what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kept: dict[str, dict[str, Any]] = {}
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def run(self, script: str, folder: Path) -> Any:
        """Run a script of a user of DigitalHub's client in the folder; return the JSON value of its last line."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DHCORE_ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "DHCORE_ACCESS_TOKEN": "any",
        }
        command = [find_python(), "-W", "ignore", "-c", script]
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def answer(self, method: str, path: str, sent: Any) -> tuple[int, Any]:
        if method == "POST":
            path = f"{path}/{sent.get('id') or sent['name']}"
            if path in self.kept:
                return 400, {"message": "Duplicated entity"}
            self.kept[path] = sent
        if path not in self.kept:
            return 404, {"message": "No such EntityName"}
        if method == "PUT":
            self.kept[path] = sent
        return 200, self._shown(path)

    def _shown(self, path: str) -> dict[str, Any]:
        found = self.kept[path]
        _, kind, name = path.rsplit("/", 2)
        if kind != "projects":
            return found
        lists = {one: self._listed(f"/api/v1/-/{name}/{one}/") for one in LISTS}
        return {**found, "spec": {**found.get("spec", {}), **lists}}

    def _listed(self, prefix: str) -> list[dict[str, Any]]:
        found = [one for path, one in self.kept.items() if path.startswith(prefix)]
        short = [{name: value for name, value in one.items() if name not in ("spec", "status")} for one in found]
        return [whole if whole["metadata"].get("embedded") else part for whole, part in zip(found, short, strict=True)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Core

    def log_message(self, *_: Any) -> None: ...

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(length)) if length else None
        status, value = self.server.answer(self.command, self.path.partition("?")[0], sent)
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _handle
