"""Nuclio's own processor with our worker under it, on loopback; found by NUWRAP_PROCESSOR, else on PATH.

It is no part of this repository: tests that need it skip without it, and say so.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from running_service import Answer, call
from scripted_processor import free_port

DEADLINE_S = 60.0  # only for what would hang for ever
VARIABLE = "NUWRAP_PROCESSOR"


def find_processor() -> str:
    """Return the processor's path. Skips the test, loudly, where there is none."""
    found = os.environ.get(VARIABLE) or shutil.which("processor") or ""
    if not found:
        pytest.skip(f"NOT TESTED: there is no Nuclio processor; name one by {VARIABLE}")
    return found


class RealProcessor:
    """One processor and its workers. Use as a context manager: nothing is left running, no socket is left behind.

    `triggers` replaces the one HTTP trigger, `http` adds to it, `keys` are further ones of the function's `spec`.
    """

    def __init__(
        self,
        tree: str,
        folder: Path,
        code: str,
        *,
        handler: str = "main:f",
        workers: int = 1,
        http: Optional[Mapping[str, Any]] = None,
        triggers: Optional[Mapping[str, Any]] = None,
        keys: Optional[Mapping[str, Any]] = None,
        env: Optional[Mapping[str, str]] = None,
        wrapper: str = "",
    ) -> None:
        self.folder = folder
        self.place = ("127.0.0.1", free_port())
        self.health = ("127.0.0.1", free_port())
        (folder / "main.py").write_text(code, encoding="utf-8")
        own = {"kind": "http", "name": "web", "numWorkers": workers, "url": "{}:{}".format(*self.place), **(http or {})}
        spec = {"runtime": "python", "handler": handler, "triggers": {"web": own, **(triggers or {})}, **(keys or {})}
        config = self._write("processor.yaml", {"metadata": {"name": "x", "namespace": "space"}, "spec": spec})
        platform = self._write("platform.yaml", self._platform())
        hidden = ("PYTHONPATH", "NUCLIO_PYTHON_PATH", "COV_CORE_SOURCE")
        environ = {name: value for name, value in os.environ.items() if name not in hidden}
        main = os.path.join(tree, "worker", "nuwrap_runtime", "worker", "main.py")
        environ.update(NUCLIO_PYTHON_WRAPPER_PATH=wrapper or main, NUCLIO_PYTHON_EXE_PATH=sys.executable)
        environ.update(NUCLIO_PYTHON_PATH=str(folder), **(env or {}))
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [find_processor(), "--config", config, "--platform-config", platform],
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> RealProcessor:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_exc: object) -> None:
        workers = self.worker_pids()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self._remove_sockets()

    def ready(self) -> RealProcessor:
        """Wait until the trigger takes events: all workers have started."""
        self.until(self._listens)
        return self

    def until(self, is_so: Callable[[], Any]) -> Any:
        """Wait until it is so, while the processor runs, and return what it is."""
        until = time.monotonic() + DEADLINE_S
        while True:
            found = is_so()
            if found:
                return found
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.01)

    def call(
        self, method: str = "GET", target: str = "/", body: Any = None, headers: Optional[Mapping[str, str]] = None
    ) -> Answer:
        """Send one request with the standard library's client."""
        return call(self.place, method, target, body, headers)

    def ask(self, target: str, body: Any = None, headers: Optional[Mapping[str, str]] = None) -> Answer:
        """Send one request, with the log records of its event in `logs_of` the answer."""
        given = {"x-nuclio-log-level": "debug", **(headers or {})}
        return self.call("GET" if body is None else "POST", target, body, given)

    def worker_pids(self) -> list[int]:
        """Return the processes that the processor has started and that are there still."""
        with suppress(OSError):
            folders = list(Path(f"/proc/{self.process.pid}/task").iterdir())
            return [int(pid) for folder in folders for pid in (folder / "children").read_text().split()]
        return []

    def is_ready(self) -> bool:
        """Ask the processor's health page."""
        with closing(http.client.HTTPConnection(*self.health, timeout=DEADLINE_S)) as connection:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200

    def stop(self) -> int:
        """Stop it as Kubernetes does; return its exit code."""
        self.process.terminate()
        return self.process.wait(DEADLINE_S)

    def log(self) -> str:
        """Return what processor and workers have written so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def _write(self, name: str, document: Mapping[str, Any]) -> str:
        (self.folder / name).write_text(json.dumps(document))
        return str(self.folder / name)

    def _platform(self) -> Mapping[str, Any]:
        level = [{"level": "debug", "sink": "out"}]
        return {
            "kind": "local",
            "webAdmin": {"enabled": False},
            "healthCheck": {"enabled": True, "listenAddress": "{}:{}".format(*self.health)},
            "logger": {"sinks": {"out": {"kind": "stdout"}}, "system": level, "functions": level},
        }

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(self.place) == 0

    def _remove_sockets(self) -> None:
        """Remove what it leaves behind when it is killed; its log names them."""
        for path in set(re.findall(r"/tmp/nuclio-rpc-\w+\.sock", self.log())):
            Path(path).unlink(missing_ok=True)


def logs_of(answer: Answer) -> list[tuple[str, str]]:
    """Return (level, message) of each record that the event's function logged, as the processor tells its client."""
    text = answer.header("x-nuclio-logs").encode("latin-1").decode()
    names = {"warn": "warning"}
    return [(names.get(one["level"], one["level"]), one["message"]) for one in json.loads(text or "[]")]
