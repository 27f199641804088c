"""`nuwrap serve` as a process of its own: started, called, stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line import clean_environment, nuwrap_argv


@dataclass
class Service:
    """A `nuwrap serve` that is under way; what it prints is in the files `out` and `err` of its folder."""

    process: subprocess.Popen[bytes]
    folder: Path
    address: str = ""
    admin: str = ""

    def stop(self, sent: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(sent)
        return self.process.wait()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def log(self) -> str:
        (run,) = (self.folder / ".nuwrap/runs").iterdir()
        return (run / "log.txt").read_text()


def call(address: str, data: Any = None) -> tuple[int, bytes]:
    """Send a GET, or a POST of the value as JSON, past any proxy, and return status and body."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310 - our own
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()


def is_ready(admin: str) -> bool:
    try:
        return call(f"{admin}/ready")[0] == 200
    except OSError:
        return False


@contextmanager
def started(folder: Path, *arguments: str, **more: str) -> Iterator[Service]:
    """Start a service on any free ports; it is stopped after the body where it has not ended by itself."""
    argv = nuwrap_argv(["serve", ".", "--port", "0", "--admin-port", "0", *arguments])
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            argv, cwd=folder, env=clean_environment(more), stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
    service = Service(process, folder)
    try:
        yield service
    finally:
        for sent in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(sent)
                time.sleep(0 if sent == signal.SIGKILL else 1)
        process.wait()


@contextmanager
def served(folder: Path, *arguments: str, **more: str) -> Iterator[Service]:
    """Start a service and wait until it is ready."""
    with started(folder, "--json", *arguments, **more) as service:
        while not (service.admin and is_ready(service.admin)):
            assert service.process.poll() is None, service.err
            line = (folder / "out").read_bytes().partition(b"\n")[0]
            if line and not service.admin:
                first = json.loads(line)
                assert first["event"] == "listening"
                service.address, service.admin = first["address"], first["admin"]
            time.sleep(0.05)
        yield service
