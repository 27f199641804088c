"""The examples, built for each Python that the specification names, run in containers as a uid that nobody has."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import docker

from nuwrap.spec.images import python_image as own_name
from nuwrap_runtime import __version__

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
GREET = 'def greet(name: str, times: int = 1):\n    return {"greeting": " ".join([f"hello {name}"] * times)}\n'
CARRIERS = {"UA": "United Air Lines Inc.", "DL": "Delta Air Lines Inc."}


@pytest.fixture(params=["3.9", "3.10", "3.11"])
def python(request: pytest.FixtureRequest, engine_environ: dict[str, str]) -> str:
    """A Python whose image of ours is in Docker."""
    version = str(request.param)
    name = own_name("", __version__, version)
    if not docker("image", "inspect", name):
        pytest.skip(f"Docker has no {name}; `make build-images` makes it")
    return version


def version_field(python: str) -> str:
    return f"PYTHON{python.replace('.', '_')}"


def test_the_example_runs_as_a_job_from_its_image(dh: Any, python: str, image_name: str) -> None:
    shutil.copytree(EXAMPLES / "delays" / "src", "src")
    fields = yaml.safe_load((EXAMPLES / "delays" / "function.yaml").read_text())
    fields |= {"python_version": version_field(python), "image": image_name}
    function = dh.new_function(**fields)
    built = function.run("build").wait()
    assert built.state == "COMPLETED", built.logs()
    uid = random.randint(20_000, 60_000)  # noqa: S311 - any number
    run = function.run(
        "job",
        platform="docker",
        run_as_user=uid,
        run_as_group=uid,
        inputs={"table": str(EXAMPLES / "delays" / "data" / "flights.csv")},
        parameters={"threshold": 0.5},
        init_parameters={"carriers": CARRIERS},
    ).wait()
    assert run.state == "COMPLETED", run.logs()
    assert "from the image" in run.logs()
    assert run.result("flights") > 1000
    assert list(run.output("carriers").as_df().columns)[:2] == ["carrier", "name"]
    assert Path(run.output("plot").path).read_bytes().startswith(b"\x89PNG")


def test_a_service_runs_from_its_image(dh: Any, python: str, image_name: str) -> None:
    version = version_field(python)
    function = dh.new_function(
        "p", "greet", "python", code=GREET, handler="greet", python_version=version, image=image_name
    )
    assert function.run("build").wait().state == "COMPLETED"
    uid = random.randint(20_000, 60_000)  # noqa: S311 - any number
    run = function.run("serve", platform="docker", run_as_user=uid, run_as_group=uid)
    try:
        assert run.invoke(json={"name": "you", "times": 2}).json() == {"greeting": "hello you hello you"}
        assert "from the image" in run.logs()
    finally:
        assert run.stop().state == "STOPPED"
