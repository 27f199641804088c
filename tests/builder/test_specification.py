"""The examples of DigitalHub's page on the Python runtime, as they stand there; only the import line is another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from lab import docker

CREATION = """
import digitalhub as dh

project = dh.get_or_create_project("my_project")

# From project
function = project.new_function(
    name="python-function",
    kind="python",
    code_src="main.py",
    handler="function",
    python_version="PYTHON3_10"
)

# Or from sdk
function = dh.new_function(
    project="my-project",
    name="python-function",
    kind="python",
    code_src="main.py",
    handler="function",
    python_version="PYTHON3_10"
)
"""

JOB = """
run = function.run(
    action="job",
    inputs={
        "dataitem": dataitem.key
    }
)
"""

BUILD = """
run = function.run(
    action="build",
    instructions=["apt-get install -y git"]
)
"""

SERVE = """
run = function.run(
    action="serve",
    replicas=2,
    service_type="NodePort"
)
"""

INVOCATION = """
# After serving
run = function.run("serve", ...)

json = {
    "some-func-param": data
}

run.invoke(json=json)
"""

MAIN = """
def function(dataitem):
    with open(dataitem.as_file()) as stream:
        return stream.read()

def service(context, event):
    return event.body
"""


def play(example: str, **scope: Any) -> dict[str, Any]:
    exec(example.replace("import digitalhub as dh", "import nuwrap as dh"), scope)  # noqa: S102 - the examples above
    return scope


def make(dh: Any, **fields: Any) -> Any:
    Path("main.py").write_text(MAIN)
    version = "PYTHON{}_{}".format(*sys.version_info)
    return dh.new_function("p", "fn", "python", code_src="main.py", python_version=version, **fields)


def test_a_function_is_made_from_the_project_and_from_the_library(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("main.py").write_text(MAIN)
    function = play(CREATION)["function"]
    assert function.key == f"store://my-project/function/python/python-function:{function.id}"
    assert function.handler == function.spec.handler == "function"
    assert [one.name for one in dh.get_project("my_project").list_functions()] == ["python-function"]
    assert capsys.readouterr().err == "nuwrap: project 'my-project' is new\n"


def test_a_job_gets_its_inputs(dh: Any) -> None:
    Path("rows.txt").write_text("a row")
    dataitem = dh.new_dataitem("p", "rows", path="rows.txt")
    run = play(JOB, function=make(dh, handler="function"), dataitem=dataitem)["run"].wait()
    assert (run.state, run.results()) == ("COMPLETED", {"output_0": "a row"}), run.logs()
    assert {name: one.key for name, one in run.inputs().items()} == {"dataitem": dataitem.key}


def test_a_build_makes_the_image_that_the_next_job_runs_in(dh: Any, own_image: str, python_image: Any) -> None:
    base = python_image(own_image.rpartition("-")[2])  # which has no git
    function = make(dh, handler="function", base_image=base)
    run = play(BUILD, function=function)["run"].wait()
    assert run.state == "COMPLETED", run.logs()
    image = run.result("image")
    try:
        assert function.refresh().image == image
        assert docker("run", "--rm", "--entrypoint", "git", image, "--version").startswith("git version")
        Path("rows.txt").write_text("a row")
        dataitem = dh.new_dataitem("p", "rows", path="rows.txt")
        job = function.run(action="job", inputs={"dataitem": dataitem.key}, platform="docker").wait()
        assert (job.state, job.results()) == ("COMPLETED", {"output_0": "a row"}), job.logs()
        assert "from the image" in job.logs()
        assert "requirements  " not in job.logs()
    finally:
        docker("image", "rm", "--force", image)


def test_a_service_is_started_and_called(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    function = make(dh, handler="service")
    run = play(SERVE, function=function)["run"]
    try:
        err = capsys.readouterr().err
        assert "replicas" in err
        assert "service_type" in err
        assert run.wait().state == "RUNNING"
    finally:
        assert run.stop().state == "STOPPED"


def test_a_service_answers_what_it_is_sent(dh: Any) -> None:
    run = play(INVOCATION, function=make(dh, handler="service"), data=[1, 2])["run"]
    try:
        assert run.invoke(json={"some-func-param": [1, 2]}).json() == {"some-func-param": [1, 2]}
    finally:
        run.stop()
