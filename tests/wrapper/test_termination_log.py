"""What Kubernetes is told of a container's end: the same short document for whatever it was started for."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from running_job import RunningJob

KEY = "store://p/artifact/artifact/a:1"
ANY_PORT = {"port": 0, "admin_port": 0, "address": "127.0.0.1"}
MISSING = {"inputs": {"x": KEY}, "entities": {KEY: {"kind": "artifact", "path": "https://127.0.0.1:9/x"}}}


class Told:
    """Runs of the host with a file as a pod's termination log."""

    def __init__(self, folder: Path, job: Callable[..., RunningJob]) -> None:
        self.log, self.job = folder / "termination-log", job
        self.log.touch()
        self.env = {"NUWRAP_TERMINATION_LOG": str(self.log), "NUWRAP_WORK": str(folder / "work")}

    def start(self, command: str, code: str, **keys: Any) -> RunningJob:
        given = {**({"serve": ANY_PORT} if command == "serve" else {}), **keys}
        return self.job(code, command=command, env={**self.env, **given.pop("env", {})}, **given)

    def end(self, command: str, code: str, **keys: Any) -> tuple[int, dict[str, Any]]:
        """Return the exit code and what was told."""
        with self.start(command, code, **keys) as running:
            return running.process.wait(60), self.read()

    def read(self) -> dict[str, Any]:
        return dict(json.loads(self.log.read_bytes()))


@pytest.fixture
def told(tmp_path: Path, job: Callable[..., RunningJob]) -> Told:
    return Told(tmp_path, job)


@pytest.mark.parametrize("command", ["fetch", "prepare", "job", "serve"])
@pytest.mark.parametrize(
    ("keys", "phase", "exit_code"),
    [
        ({"timeout_s": -1}, "launch", 2),
        ({"code": "", "code_src": "not/there.py"}, "source", 3),
        (MISSING, "inputs", 7),
    ],
    ids=["launch", "source", "inputs"],
)
def test_what_cannot_be_fetched_is_told(
    told: Told, command: str, keys: dict[str, Any], phase: str, exit_code: int
) -> None:
    given = {"code": "def f(x=1): pass", **keys}
    code, found = told.end(command, given.pop("code"), **given)
    assert (code, found["exit_code"], found["state"], found["failure"]["phase"]) == (
        exit_code,
        exit_code,
        "ERROR",
        phase,
    )


@pytest.mark.parametrize("command", ["job", "serve"])
@pytest.mark.parametrize(
    ("code", "keys", "phase", "exit_code"),
    [
        ("def f(): pass", {"requirements": ["no-such-thing ; nonsense"]}, "requirements", 4),
        ("import nope", {}, "load", 5),
        ("def g(context): raise OSError('no model')\ndef f(): pass", {"init_function": "g"}, "init", 6),
        ("import os\nos.kill(os.getpid(), 9)", {}, "load", 137),
    ],
    ids=["requirements", "load", "init", "killed"],
)
def test_what_does_not_start_is_told(
    told: Told, command: str, code: str, keys: dict[str, Any], phase: str, exit_code: int
) -> None:
    ended, found = told.end(command, code, run="r-1", project="p", **keys)
    assert (ended, found["exit_code"], found["failure"]["phase"]) == (exit_code, exit_code, phase)
    assert (found["run"], found["project"]) == ("r-1", "p")


def test_a_jobs_end_is_told(told: Told) -> None:
    code, found = told.end("job", "def f(): return 7")
    assert (code, found["state"], found["results"]) == (0, "COMPLETED", {"output_0": 7})
    code, found = told.end("job", "def f(): return 1 / 0")
    assert (code, found["state"], found["failure"]["type"]) == (1, "ERROR", "ZeroDivisionError")


def test_a_stopped_job_is_told(told: Told, tmp_path: Path) -> None:
    code = f"import time\ndef f():\n    open({str(tmp_path / 'begun')!r}, 'w').write('1')\n    time.sleep(600)\n"
    with told.start("job", code) as running:
        running.await_file(tmp_path / "begun")
        os.kill(running.process.pid, signal.SIGTERM)
        assert running.process.wait(60) == 143
    assert (told.read()["state"], told.read()["failure"]["phase"]) == ("STOPPED", "stopped")


@pytest.mark.parametrize("command", ["fetch", "serve"])
def test_a_stop_while_code_is_fetched_is_told(told: Told, tmp_path: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = f"http://127.0.0.1:{silent.getsockname()[1]}/fn.py"
        with told.start(command, "", code_src=source) as running:
            asked, _ = silent.accept()
            with asked:
                os.kill(running.process.pid, signal.SIGTERM)
                assert running.process.wait(60) == 143
    assert told.read()["state"] == "STOPPED"


def test_a_service_that_was_asked_to_end_is_told(told: Told) -> None:
    with told.start("serve", "def f(): pass", run="r-2") as running:
        until = time.monotonic() + 60
        while '"event": "ready"' not in running.stderr():
            assert running.process.poll() is None, running.stderr()
            assert time.monotonic() < until
            time.sleep(0.02)
        os.kill(running.process.pid, signal.SIGTERM)
        assert running.process.wait(60) == 0
    assert (told.read()["state"], told.read()["run"]) == ("STOPPED", "r-2")


def test_no_secret_is_told(told: Told) -> None:
    env = {"NUWRAP_SOURCE_GIT_TOKEN": "hunter2-hunter2"}
    code, found = told.end("fetch", "", code_src="hunter2-hunter2.py", env=env)
    assert (code, "hunter2" in json.dumps(found)) == (3, False)
