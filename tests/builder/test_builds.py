"""Builds as runs, with the real engine: what they leave in the history, in Docker and a registry, and how they fail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Nuwrap, write_function
from lab import docker
from sdk_functions import make

from nuwrap.errors import RegistryError, SpecError, UsageError

CODE = "def f(n=1):\n    return n + 1\n"


@pytest.fixture
def function(dh: Any, own_image: str, image_name: str) -> Any:
    """A function whose image gets a name that nobody else has."""
    return make(dh, code=CODE, image=image_name)


def built(run: Any) -> Any:
    run.wait(log_info=False)
    assert run.state == "COMPLETED", (run.status.message, run.logs())
    return run


def test_a_build_gives_the_version_its_image_and_is_not_done_twice(dh: Any, function: Any, image_name: str) -> None:
    first = built(function.run("build"))
    image = first.result("image")
    assert image.startswith(f"{image_name}:")
    assert function.image == image
    assert [one.id for one in dh.get_function_versions("fn", project="p")] == [function.id]
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image))
    assert labels["dev.nuwrap.content"] == first.result("content")
    assert image.endswith(first.result("content").removeprefix("sha256:")[:16])
    second = built(function.run("build"))
    assert (second.result("image"), second.result("reused"), first.result("reused")) == (image, True, False)
    third = built(function.run("build", rebuild=True))
    assert (third.result("tag"), third.result("reused")) == (image, False)


def test_an_image_runs_by_itself_as_any_user_on_a_read_only_root(function: Any) -> None:
    image = built(function.run("build")).result("image")
    bare = ["--rm", "--read-only", "--user", "54321:12345", "--tmpfs", "/work:mode=1777", "--network", "none"]
    told = docker("run", *bare, "--env", 'NUWRAP_PARAMETERS={"n": 41}', image, "job")
    assert told == ""
    told = docker(
        "run", *bare, "--env", 'NUWRAP_PARAMETERS={"n": 41}', "--entrypoint", "sh", image, "-c",
        "/opt/nuwrap/bin/nuwrap-host job 2>/dev/null; cat /work/runs/*/result.json",
    )  # fmt: skip
    assert json.loads(told)["results"] == {"output_0": 42}


def test_an_edit_of_the_code_builds_the_last_layers_alone(dh: Any, own_image: str, image_name: str) -> None:
    Path("fn.py").write_text(CODE)
    function = make(dh, code_src="fn.py", image=image_name, requirements=["packaging"])
    first = built(function.run("build", instructions=["echo once > /once"]))
    Path("fn.py").write_text(CODE.replace("+ 1", "+ 2"))
    second = built(function.run("build", instructions=["echo once > /once"]))
    assert first.result("image") != second.result("image")
    layers = [json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", one.result("image")))
              for one in (first, second)]  # fmt: skip
    assert len(layers[0]) == len(layers[1])
    assert layers[0][:-2] == layers[1][:-2]
    assert "from the cache" in second.logs()


def test_a_failing_instruction_ends_the_run_with_its_last_lines(function: Any) -> None:
    run = function.run("build", instructions=["echo almost there; exit 7"])
    run.wait(log_info=False)
    assert run.state == "ERROR"
    assert run.status.exit_code == 10
    assert "instruction 1" in run.status.message
    assert "almost there" in run.status.message
    assert function.refresh().image.partition("@")[0].partition(":")[1] == ""
    assert docker("image", "ls", "--quiet", function.image) == ""


def test_what_cannot_be_built_is_no_run(dh: Any, own_image: str, python_image: Callable[[str], str]) -> None:
    other = "3.9" if not own_image.endswith("-3.9") else "3.10"
    wrong = make(dh, code=CODE, base_image=python_image(other))
    with pytest.raises(SpecError, match=rf"base_image: .*{other}"):
        wrong.run("build")
    with pytest.raises(SpecError, match=r"instructions\[0\]"):
        make(dh, code=CODE).run("build", instructions=["true\nUSER root"])
    with pytest.raises(
        UsageError, match=r"push: no registry is named; set one with `nuwrap config set build\.registry"
    ):
        make(dh, code=CODE).run("build", push=True)
    with pytest.raises(RegistryError, match=r"base_image '127\.0\.0\.1:9/x:1': "):
        make(dh, code=CODE, base_image="127.0.0.1:9/x:1").run("build")
    with pytest.raises(UsageError, match="platform 'nuclio' cannot build"):
        make(dh, code=CODE).run("build", platform="nuclio")
    assert dh.list_runs() == []
    assert list(Path.cwd().glob(".nuwrap/runs/*")) == []


def test_a_secrets_value_in_the_image_fails_the_build(dh: Any, function: Any) -> None:
    dh.get_or_create_project("p").new_secret(name="TOKEN", secret_value="correct-horse-battery")  # noqa: S106
    seen = 'test "$(cat /run/secrets/TOKEN)" = correct-$(echo horse)-battery'
    assert built(function.run("build", secrets=["TOKEN"], instructions=[seen])).result("reused") is False
    leak = function.run(
        "build", secrets=["TOKEN"], envs=[{"name": "A", "value": "correct-horse-battery", "persist": True}]
    )
    leak.wait(log_info=False)
    assert leak.state == "ERROR"
    assert "a secret's value stands in the image" in leak.status.message
    assert "correct-horse-battery" not in leak.status.message + leak.logs()


def test_a_stop_ends_the_build(function: Any) -> None:
    run = function.run("build", instructions=["sleep 1000"])
    deadline = time.monotonic() + 60
    while "sleep 1000" not in run.logs() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.stop().state == "STOPPED"
    assert run.status.exit_code == 143


def test_a_pushed_image_is_named_by_digest(dh: Any, function: Any, registry: str, image_name: str) -> None:
    name = f"{registry}/{image_name}"
    pushed = built(make(dh, code=CODE, image=name).run("build", push=True))
    assert pushed.result("image") == f"{name}@{pushed.result('digest')}"
    assert docker("pull", "--quiet", pushed.result("image"))
    again = built(make(dh, code=CODE, image=name).run("build", push=True))
    assert (again.result("image"), again.result("reused")) == (pushed.result("image"), True)


def test_an_image_gets_further_names_and_is_written_to_files(dh: Any, function: Any, image_name: str) -> None:
    run = built(function.run("build", destinations=[f"{image_name}:latest"], tar_path="image.tar", oci_path="layout"))
    ids = {
        docker("image", "inspect", "--format", "{{.Id}}", one) for one in (run.result("image"), f"{image_name}:latest")
    }
    assert len(ids) == 1
    docker("image", "rm", "--force", f"{image_name}:latest", run.result("image"))
    assert f"{image_name}:" in docker("load", "--input", "image.tar")
    assert json.loads(Path("layout/oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    with pytest.raises(SpecError, match=r"destinations\[0\]: .* names no image"):
        function.run("build", destinations=["Not/An image"])


def test_the_command_prints_the_images_name(
    run_nuwrap: Nuwrap, tmp_path: Path, own_image: str, image_name: str
) -> None:
    write_function(tmp_path, code=CODE, image=image_name)
    home = {"NUWRAP_HOME": str(tmp_path / "home")}
    done = run_nuwrap("build", ".", **home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{image_name}:")
    assert "step 1/" in done.stderr
    again = run_nuwrap("build", ".", "--json", **home)
    assert json.loads(again.stdout)["results"]["tag"] == done.stdout.strip()
    explained = run_nuwrap("explain", ".", **home)
    assert "nothing has changed since it was built" in explained.stdout
    write_function(tmp_path, code=CODE + "\n", image=image_name)
    told = json.loads(run_nuwrap("explain", ".", "--json", **home).stdout)
    assert [one["name"] for one in told["changes"]] == ["file:main.py", "revision"]
    assert "FROM" in run_nuwrap("plan", ".", "--action", "build", **home).stdout


def test_a_failing_command_has_the_exit_code_of_a_build(
    run_nuwrap: Nuwrap, tmp_path: Path, own_image: str, image_name: str
) -> None:
    write_function(tmp_path, code=CODE, image=image_name)
    done = run_nuwrap("build", ".", "--instruction", "exit 3", NUWRAP_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stdout) == (10, "")
    assert "exit 3" in done.stderr
    write_function(tmp_path, code_src="git+file:///nowhere/at/all", image=image_name)
    done = run_nuwrap("build", ".", NUWRAP_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stdout) == (3, "")
    assert "/nowhere/at/all" in done.stderr


def test_an_engine_that_cannot_be_used_says_why(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=CODE)
    done = run_nuwrap("build", ".", "--engine", "docker", PATH="/nowhere", NUWRAP_HOME=str(tmp_path / "home"))
    assert done.returncode == 10
    assert "docker: there is no `docker` on PATH" in done.stderr
