"""nuwrap's own images: their names, what `make build-images` refuses, and what it makes with a real engine."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import docker, engine_environ, image_name, is_there, python_image, registry, remove_images

from nuwrap.docker import why_unusable
from nuwrap.errors import BuildError
from nuwrap.registry.images import read_image
from nuwrap.spec import images
from nuwrap.spec.build import LABEL_API, LABEL_BASE_DIGEST, LABEL_PYTHON, RegistryAccess
from nuwrap_runtime.host.cli import COMMANDS, PLAIN
from nuwrap_runtime.host.tree import ABIS

__all__ = ["engine_environ", "image_name", "python_image", "registry"]
ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "images" / "build.py"
MEBI, MEGA = 1024 * 1024, 1_000_000
sys.path.insert(0, str(PROGRAM.parent))

from archives import make_archive  # noqa: E402
from making import find_platform  # noqa: E402
from smoke import try_image  # noqa: E402
from wanted import Choice, list_images  # noqa: E402


def build(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


def test_names_begin_with_the_registry_and_end_with_version_and_python() -> None:
    assert images.runtime_image("", "0.1.0") == "nuwrap/runtime:0.1.0"
    assert images.runtime_image("host:5000/team/", "0.1.0", has_uv=False) == "host:5000/team/nuwrap/runtime:0.1.0-slim"
    assert images.python_image("host:5000/team", "0.1.0", "3.11") == "host:5000/team/nuwrap/python:0.1.0-3.11"
    assert images.nuclio_image("", "0.1.0", "3.9") == "nuwrap/nuclio:0.1.0-3.9"
    assert images.kaniko_image("", "0.1.0") == "nuwrap/kaniko:0.1.0"
    assert images.base_image("3.12", "mirror/library/python") == "mirror/library/python:3.12-slim"


def test_there_is_an_image_for_each_python_that_the_tree_is_made_for() -> None:
    assert images.PYTHONS == ABIS


def test_what_an_image_says_it_can_do_are_commands_of_its_host() -> None:
    assert set(images.FEATURES) <= {*COMMANDS, *PLAIN}


def test_each_image_can_be_built_from_those_before_it() -> None:
    choice = Choice(("3.9", "3.11"), "1", "host/team", processor_image="processor:1", kaniko_image="executor:1")
    found = list_images(choice)
    names = [one.reference.removeprefix("host/team/nuwrap/") for one in found]
    assert names[:4] == ["runtime:1", "runtime:1-slim", "python:1-3.9", "python:1-3.11"]
    assert names[4:] == ["nuclio:1-3.9", "nuclio:1-3.11", "kaniko:1"]
    for number, one in enumerate(found):
        assert (PROGRAM.parent / one.folder / "Dockerfile").is_file()
        if one.kind == "nuclio":
            assert one.base in [before.reference for before in found[:number]]


def test_without_a_processor_and_an_executor_their_images_are_left_out() -> None:
    assert {one.kind for one in list_images(Choice(images.PYTHONS, "1"))} == {"runtime", "python"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pythons", "3.11 3.8"], ["'3.8'", "3.9, 3.10, 3.11, 3.12, 3.13"]),
        (["--engine", "kaniko"], ["'kaniko'", "allowed: docker"]),
        (["--push"], ["PUSH=1 needs REGISTRY=HOST/TEAM"]),
    ],
    ids=["python", "engine", "push"],
)
def test_what_cannot_be_is_refused_before_anything_is_built(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    done = build(*arguments, "--folder", str(tmp_path / "build"), NUWRAP_DOCKER="/nowhere")
    assert done.returncode == 2
    assert [word for word in words if word not in done.stderr] == []
    assert not (tmp_path / "build").exists()


def test_without_docker_it_says_so(tmp_path: Path) -> None:
    done = build("--folder", str(tmp_path), NUWRAP_DOCKER="/nowhere")
    assert (done.returncode, "NUWRAP_DOCKER='/nowhere'" in done.stderr) == (10, True)


@dataclass(frozen=True)
class Run:
    """A run of the program: the exit code, what it said and wrote, and the names that only it has."""

    said: str
    record: dict[str, Any]
    registry: str
    version: str

    def one(self, kind: str) -> dict[str, Any]:
        return next(one for one in self.record["images"] if one["kind"] == kind)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """All images for Python 3.11, pushed; the Nuclio one where NUWRAP_PROCESSOR names a processor."""
    reason, own = why_unusable(os.environ), f"nuwrap-test-{secrets.token_hex(6)}"
    host, base = os.environ.get("NUWRAP_TEST_REGISTRY", ""), os.environ.get("NUWRAP_TEST_PYTHON_IMAGE", "")
    if reason or not host or not base:
        pytest.skip(reason or "NUWRAP_TEST_REGISTRY and NUWRAP_TEST_PYTHON_IMAGE name no registry and no image")
    if not is_there(f"{base}:3.11-slim"):
        pytest.skip(f"the registry has no {base}:3.11-slim")
    folder = tmp_path_factory.mktemp("images")
    processor = _processor_image(own, folder)
    arguments = ["--pythons", "3.11", "--base", base, "--registry", f"{host}/{own}", "--push", "--version-tag", "1.2.3"]
    try:
        done = build(*arguments, "--processor-image", processor, "--folder", str(folder), "--json")
        assert done.returncode == 0, done.stderr
        yield Run(done.stderr, json.loads(done.stdout), f"{host}/{own}", "1.2.3")
    finally:
        for kind in ("runtime", "python", "nuclio"):
            remove_images(f"{own}/nuwrap/{kind}")
        remove_images(own)


def _processor_image(own: str, folder: Path) -> str:
    program = os.environ.get("NUWRAP_PROCESSOR", "")
    if not program:
        return ""
    context = folder / "processor"
    context.mkdir()
    shutil.copyfile(program, context / "processor")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY processor /usr/local/bin/processor\n")
    assert docker("build", "--quiet", "--tag", f"{own}:1.14.1", str(context))
    return f"{own}:1.14.1"


@pytest.mark.timeout(900)
def test_all_is_built_tried_and_pushed(made: Run) -> None:
    for one in made.record["images"]:
        facts = read_image(one["reference"], RegistryAccess(), os.environ, has_files=False)
        assert facts.digest == one["digest"]
        assert facts.labels[LABEL_API] == "nuwrap/v1"
        assert one["tried_seconds"] > 0
    assert "a service answers, reaps orphans as PID 1" in made.said


@pytest.mark.timeout(900)
def test_the_runtime_is_small_and_one_layer_of_every_image(made: Run) -> None:
    full, slim = (one for one in made.record["images"] if one["kind"] == "runtime")
    assert full["compressed_bytes"] < 26 * MEGA
    assert slim["compressed_bytes"] < 8 * MEGA
    layers = [
        {layer.digest for layer in read_image(one, RegistryAccess(), os.environ, has_files=False).layers}
        for one in (full["reference"], made.one("python")["reference"])
    ]
    assert len(layers[0]) == 1
    assert layers[0] < layers[1]


@pytest.mark.timeout(900)
def test_an_image_tells_its_python_its_base_and_how_it_starts(made: Run) -> None:
    facts = read_image(made.one("python")["reference"], RegistryAccess(), os.environ, has_files=False)
    assert (facts.labels[LABEL_PYTHON], facts.user) == ("3.11", "8877:999")
    assert facts.labels[LABEL_BASE_DIGEST].startswith("sha256:")
    assert (list(facts.entrypoint), list(facts.command)) == (["/opt/nuwrap/bin/nuwrap-host"], ["job"])


@pytest.mark.timeout(900)
def test_the_same_checkout_makes_the_same_layer_each_time(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path
) -> None:
    layers = []
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        archive = tmp_path / str(number) / "runtime.tar"
        make_archive(str(archive), sys.executable, find_platform(engine_environ), engine_environ, has_uv=False)
        file, name = str(PROGRAM.parent / "runtime" / "Dockerfile"), f"{image_name}:{number}"
        assert docker(
            "build",
            "-q",
            "--no-cache",
            "--build-arg",
            f"ARCHIVE={archive.name}",
            "-f",
            file,
            "-t",
            name,
            str(archive.parent),
        )
        layers.append(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", name))
    assert layers[0] == layers[1] != ""


@pytest.mark.timeout(900)
def test_nuclios_processor_is_what_its_image_becomes(made: Run) -> None:
    if not os.environ.get("NUWRAP_PROCESSOR"):
        assert "PROCESSOR_IMAGE=IMAGE" in made.said
        pytest.skip("NOT TESTED: NUWRAP_PROCESSOR names no processor of Nuclio")
    facts = read_image(made.one("nuclio")["reference"], RegistryAccess(), os.environ, has_files=False)
    assert [*facts.entrypoint, *facts.command] == ["/opt/nuwrap/bin/nuwrap-host", "exec", "--", "processor"]
    assert facts.env["NUWRAP_NUCLIO_VERSION"] == "1.14.1"
    assert "Nuclio's processor answers" in made.said


@pytest.mark.timeout(900)
def test_an_image_that_does_not_do_its_work_is_found_out(
    engine_environ: dict[str, str], python_image: Callable[[str], str]
) -> None:
    with pytest.raises(BuildError, match="`nuwrap-host --version` should say it"):
        list(try_image("python", python_image("3.11"), "3.11", engine_environ))
    with pytest.raises(BuildError, match="licenses"):
        list(try_image("runtime", python_image("3.11"), "", engine_environ))


@pytest.mark.timeout(900)
def test_a_base_with_another_python_fails_the_build(
    engine_environ: dict[str, str], python_image: Callable[[str], str], image_name: str, tmp_path: Path
) -> None:
    docker("pull", python_image("3.11"))
    docker("tag", python_image("3.11"), f"{image_name}:3.10-slim")
    arguments = ["--pythons", "3.10", "--base", image_name, "--no-smoke", "--registry", image_name]
    done = build(*arguments, "--folder", str(tmp_path), "--version-tag", "1")
    for kind in ("runtime", "python"):
        remove_images(f"{image_name}/nuwrap/{kind}")
    assert done.returncode == 10
    assert "the base image has Python 3.11, not 3.10" in done.stderr
