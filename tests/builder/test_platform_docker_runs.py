"""Runs on platform `docker` as a person asks for them: by the SDK and by the command line, from start to stop."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from command_line import Nuwrap, clean_environment, nuwrap_argv, write_function
from container_images import left_of, own_images

__all__ = ["own_images"]


@pytest.fixture
def containers(dh: ModuleType, own_images: str, tmp_path: Path) -> ModuleType:
    """The SDK of a person whose images come from the tests' own ones."""
    argv = nuwrap_argv(["config", "set", "images.registry", own_images])
    subprocess.run(argv, env=clean_environment({"NUWRAP_HOME": str(tmp_path / "home")}), check=True)
    return dh


def function(dh: ModuleType, code: str, **fields: Any) -> Any:
    project = dh.get_or_create_project("p")
    return project.new_function(name="fn", kind="python", python_version="PYTHON3_11", code=code, handler="f", **fields)


def test_a_job_is_a_run_as_any_other(containers: ModuleType) -> None:
    (Path.cwd() / "data.csv").write_text("a,b\n1,2\n")
    fn = function(containers, "import os\ndef f(di, x):\n    return x + 1, open(di.path, 'rb').read(), os.getuid()")
    run = fn.run(
        "job", platform="docker", inputs={"di": "data.csv"}, parameters={"x": 1}, resources={"mem": "1Gi"}, wait=True
    )
    assert run.state == "COMPLETED", run.logs()
    assert run.result("output_0") == 2
    assert run.result("output_2") == 8877
    assert Path(run.output("output_1").path).read_bytes() == b"a,b\n1,2\n"
    assert left_of(run.id) == ""


def test_a_service_is_called_and_stopped(containers: ModuleType) -> None:
    fn = function(containers, "def f(name: str): return {'hello': name}")
    run = fn.run("serve", platform="docker")
    try:
        assert run.invoke(json={"name": "you"}).json() == {"hello": "you"}
        assert run.refresh().state == "RUNNING"
    finally:
        run.stop()
    assert run.refresh().state == "STOPPED"
    assert left_of(run.id) == ""


def test_a_stop_ends_a_job(containers: ModuleType) -> None:
    run = function(containers, "import signal\ndef f(): signal.pause()").run("job", platform="docker", wait=False)
    run.stop()
    assert run.refresh().state == "STOPPED"
    assert left_of(run.id) == ""


def test_the_command_line_prints_what_the_container_does(
    containers: ModuleType, run_nuwrap: Nuwrap, tmp_path: Path
) -> None:
    write_function(tmp_path, code="def f(x):\n    print('hello')\n    return x", project="p")
    more = {"NUWRAP_HOME": str(tmp_path / "home")}
    done = run_nuwrap("run", ".", "--platform", "docker", "-p", "x=3", "--json", **more)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"] == {"output_0": 3}
    assert "hello\n" in done.stderr


def test_the_command_line_fails_as_the_function_does(
    containers: ModuleType, run_nuwrap: Nuwrap, tmp_path: Path
) -> None:
    write_function(tmp_path, code="def f():\n    raise ValueError('no good')", project="p")
    done = run_nuwrap("run", ".", "--platform", "docker", NUWRAP_HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    assert "failed in phase handler: ValueError: no good" in done.stdout
