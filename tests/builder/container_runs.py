"""Runs on platform `docker` as a run's supervisor has them: placed here, attended by a process without site-packages.

A test module imports the fixture: `from container_runs import run`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from container_images import PYTHON

from nuwrap import errors
from nuwrap.platforms import Container, Job, Placed
from nuwrap.platforms import docker as platform
from nuwrap_runtime import errors as runtime_errors
from nuwrap_runtime.launch import Launch

PLACES = [str(Path(one.__file__).parent.parent) for one in (errors, runtime_errors)]
ATTEND = (
    "import json, os, sys; sys.path += json.loads(sys.argv[1]); from nuwrap.platforms import Placed, Screen, docker; "
    "placed = Placed(sys.argv[2], os.getcwd(), dict(os.environ)); secrets = json.load(sys.stdin); "
    "sys.exit(docker.attend(placed, sys.argv[3], secrets=secrets, screen=Screen((1,))))"
)


@dataclass
class Under:
    """A run: its process, its folder, its id."""

    process: subprocess.Popen[bytes]
    folder: Path
    run: str

    @property
    def code(self) -> int:
        return self.process.wait()

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return found

    @property
    def results(self) -> list[Any]:
        return list(self.result["results"].values())

    @property
    def log(self) -> str:
        """What it has printed until now, and what its supervisor has said of itself."""
        return "".join(path.read_text() for path in (self.folder / "log.txt", self.errors) if path.is_file())

    @property
    def errors(self) -> Path:
        return self.folder.parent / "errors"

    @property
    def container(self) -> str:
        return f"nuwrap-{self.folder.name}"


def wait_for(is_so: Callable[[], bool], under: Under, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert under.process.poll() is None, under.log
        assert time.monotonic() < until, under.log
        time.sleep(0.05)


@dataclass
class Runner:
    """Runs jobs from a folder of the test's own, in our image of Python 3.11 unless told otherwise."""

    base: Path
    registry: str
    warnings: list[str] = field(default_factory=list)

    def job(self, code: str, *, container: Mapping[str, Any], environ: Mapping[str, str], **keys: Any) -> Job:
        launch = Launch(**{"handler": "f", "run": str(uuid.uuid4()), "code": code, **keys})
        asked = Container(**{"images_registry": self.registry, **container})
        return Job(launch, str(self.base), str(self.base), PYTHON, environ, container=asked)

    def place(self, code: str = "", **keys: Any) -> Placed:
        job = self.job(code, **{"container": {}, "environ": {}, **keys})
        return platform.place(job, say=self.warnings.append)

    @contextmanager
    def started(self, code: str = "", *, values: Mapping[str, str] | None = None, **keys: Any) -> Iterator[Under]:
        """Start a run; it is killed after the body where it has not ended by itself. `values` are its secrets."""
        placed = self.place(code, **{"secrets": tuple(values or ()), **keys})
        folder = Path(placed.folder)
        action = json.loads((folder / "launch.json").read_text()).get("mode", "job")
        with (folder.parent / "errors").open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", ATTEND, json.dumps(PLACES), placed.folder, action],
                cwd=placed.start,
                env=dict(placed.environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        assert process.stdin
        process.stdin.write(json.dumps(values or {}).encode())
        process.stdin.close()
        try:
            yield Under(process, folder, json.loads((folder / "launch.json").read_text())["run"])
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()

    def __call__(self, code: str = "", **keys: Any) -> Under:
        """Run to the end."""
        with self.started(code, **keys) as under:
            under.process.wait()
        return under


@pytest.fixture
def run(tmp_path: Path, own_images: str) -> Runner:
    return Runner(tmp_path, own_images)
