"""The servers that are measured: `nuwrap-host serve`, and functions-framework with its gunicorn.

Each is started as its users start it, in a process group of its own, and is stopped when the block is left.
"""

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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from load import Request

START_S = 30.0
POLL_S = 0.001


class Server:
    """A server that is ready; `ready_s` is the time that took, from the start of its process."""

    name = ""
    address = ""

    def __init__(self, folder: Path, command: list[str], environ: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.log = folder / "out", folder / "log"
        began = time.perf_counter()
        with self.out.open("wb") as out, self.log.open("wb") as log:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": log}
            environ = {**os.environ, **environ}
            self.process = subprocess.Popen(command, cwd=folder, env=environ, start_new_session=True, **streams)
        self.pid = self.process.pid
        while not self._is_ready():
            if self.process.poll() is not None or time.perf_counter() - began > START_S:
                self.stop()
                raise RuntimeError(
                    f"{self.name} did not start: {(self.out.read_text() + self.log.read_text())[-4000:]}"
                )
            time.sleep(POLL_S)
        self.ready_s = time.perf_counter() - began

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def stop(self) -> None:
        """End it as its platform would; after ten seconds end all of it."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> Server:  # noqa: PYI034 - nothing derives from it outside this file
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Nuwrap(Server):
    """`nuwrap-host serve` as an image starts it: isolated, from a tree. Its first line tells both addresses."""

    name = "nuwrap"
    admin = ""

    def __init__(self, folder: Path, entry: Path, python: str, document: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        serve = {"port": 0, "admin_port": 0, "address": "127.0.0.1", **document.get("serve", {})}
        launch = folder / "launch.json"
        launch.write_text(json.dumps({"api": "nuwrap/v1", "python": python, **document, "serve": serve}))
        command = [sys.executable, "-I", "-S", "-u", str(entry), "serve", "--json", "--launch", str(launch)]
        super().__init__(folder, command, {"NUWRAP_WORK": str(folder / "work")})

    def _is_ready(self) -> bool:
        if not self.address:
            first, end, _ = self.out.read_text().partition("\n")
            if not end:
                return False
            told = json.loads(first)
            self.address, self.admin = told["address"], told["admin"]
        return ask(self.admin, Request("/ready"))[0] == 200


class FunctionsFramework(Server):
    """`functions-framework --target F`; `environ` has its WORKERS and THREADS, its defaults else."""

    def __init__(self, folder: Path, program: Path, code: str, target: str, environ: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "main.py").write_text(code)
        self.name = f"functions-framework {environ or 'default'}"
        self._port = free_port()
        command = [str(program), "--target", target, "--host", "127.0.0.1", "--port", str(self._port)]
        super().__init__(folder, command, environ)

    def _is_ready(self) -> bool:
        """Tell whether it answers: gunicorn takes connections before a worker can."""
        address = f"http://127.0.0.1:{self._port}"
        try:
            ask(address, Request())
        except ConnectionRefusedError:
            return False
        self.address = address
        return True


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def connect(address: str) -> http.client.HTTPConnection:
    split = urlsplit(address)
    return http.client.HTTPConnection(str(split.hostname), split.port, timeout=START_S)


def ask(address: str, request: Request) -> tuple[int, bytes]:
    """Send one request on its own connection; return status and body."""
    connection = connect(address)
    try:
        headers = {"Content-Type": request.content_type} if request.content_type else {}
        connection.request("GET" if request.body is None else "POST", request.path, request.body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def processes_of(pid: int) -> list[int]:
    """Return the process and all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in processes_of(int(child)))]
