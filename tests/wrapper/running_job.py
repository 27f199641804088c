"""A host that runs one job, as a process of its own, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwrap_runtime.result import SCHEMA
from nuwrap_runtime.schema import faults

DEADLINE_S = 60.0  # only for what would hang for ever


@dataclass(frozen=True)
class Finished:
    """How the host ended; `result` is the result document, which is valid, or {} when there is none."""

    code: int
    result: dict[str, Any]
    stdout: str
    stderr: str

    @property
    def failure(self) -> dict[str, Any]:
        """The result's failure, {} when there is none."""
        return dict(self.result.get("failure") or {})

    @property
    def value(self) -> Any:
        """The result of a function that returns one."""
        return self.result["results"]["output_0"]


class RunningJob:
    """`nuwrap-host job` (or another `command`) under way. Use as a context manager: nothing of it is left running."""

    def __init__(self, tree: str, folder: Path, code: str, keys: Mapping[str, Any]) -> None:
        given = dict(keys)
        options, env, command = given.pop("popen", {}), given.pop("env", {}), given.pop("command", "job")
        self.out = Path(given.setdefault("output_path", str(folder / "out")))
        document = {"api": "nuwrap/v1", "handler": "f", "python": sys.executable, "grace_s": 10, **given}
        if code:
            document["code"] = code
        launch = folder / "launch.json"
        launch.write_text(json.dumps(document))
        self.folder = folder
        entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
        hidden = ("PYTHONPATH", "NUWRAP_WORK", "VIRTUAL_ENV")
        environ = {name: value for name, value in os.environ.items() if name not in hidden}
        environ["NUWRAP_CACHE"] = str(folder / "cache")
        with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-u", entry, command, "--launch", str(launch)],
                cwd=folder,
                env={**environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                **options,
            )

    def __enter__(self) -> RunningJob:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self) -> Finished:
        """Wait for the host's end; its result document must be valid."""
        code = self.process.wait(DEADLINE_S)
        path = self.out / "result.json"
        result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        assert not result or (not faults(result, SCHEMA) and result["exit_code"] == code)
        return Finished(code, result, self._read("stdout"), self._read("stderr"))

    def await_file(self, name: Any) -> str:
        """Wait until the user's code has written this file; return its text."""
        path, until = Path(name), time.monotonic() + DEADLINE_S
        while not path.exists() or not path.read_text():
            assert time.monotonic() < until, f"no {name}; {self._read('stderr')}"
            assert self.process.poll() is None, self._read("stderr")
            time.sleep(0.01)
        return path.read_text()

    def stderr(self) -> str:
        """Return what the host has said so far."""
        return self._read("stderr")

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8", errors="replace")


def is_running(pid: int) -> bool:
    """Tell whether the process exists and is no zombie."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_gone(pid: int) -> None:
    """Wait until the process is gone."""
    until = time.monotonic() + DEADLINE_S
    while is_running(pid):
        assert time.monotonic() < until, f"process {pid} is still there"
        time.sleep(0.01)
