"""The engines and registries that tests find on this machine: Docker on PATH, `NUWRAP_TEST_REGISTRY`,
`NUWRAP_TEST_PYTHON_IMAGE`. What is not there skips the test that asks for it, with the reason.

A test module imports the fixtures that it uses: `from lab import engine_environ, python_image, registry`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nuwrap.docker import why_unusable


@pytest.fixture
def engine_environ() -> dict[str, str]:
    """The environment of a user whose Docker answers."""
    reason = why_unusable(os.environ)
    if reason:
        pytest.skip(reason)
    return dict(os.environ)


@pytest.fixture
def registry() -> str:
    """`host:port` of a registry that takes pushes without a password, by plain http."""
    found = os.environ.get("NUWRAP_TEST_REGISTRY", "")
    if not found:
        pytest.skip("NUWRAP_TEST_REGISTRY names no registry")
    return found


@pytest.fixture
def python_image() -> Callable[[str], str]:
    """Gives the reference of a Python image in a registry: `python_image("3.11")`."""
    name = os.environ.get("NUWRAP_TEST_PYTHON_IMAGE", "")
    if not name:
        pytest.skip("NUWRAP_TEST_PYTHON_IMAGE names no repository of Python images")
    return lambda version: f"{name}:{version}-slim"


@pytest.fixture
def image_name() -> Iterator[str]:
    """A repository's name that nobody has; its images are removed from Docker afterwards, in whatever registry."""
    name = f"nuwrap-test-{secrets.token_hex(6)}"
    yield name
    remove_images(name)


def remove_images(name: str) -> None:
    """Remove all tags of repositories whose name ends so, and what is left without a tag by it."""
    found = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference=*{name}*:*")
    found += docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference=*/*{name}*:*")
    if found.split():
        docker("image", "rm", "--force", *{one for one in found.split() if "<none>" not in one})


def docker(*arguments: str) -> str:
    """Return what `docker ARGUMENTS` prints, "" when it fails."""
    done = subprocess.run(
        [os.environ.get("NUWRAP_DOCKER", "docker"), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else ""


def client_without_buildx(folder: Path) -> str:
    """Return the newest docker client on PATH that has no BuildKit of its own; skips where there is none."""
    for place in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(place, "docker")
        environ = {**os.environ, "NUWRAP_DOCKER": path, "DOCKER_CONFIG": str(folder)}
        if os.access(path, os.X_OK) and "buildx plugin" in why_unusable(environ):
            return path
    pytest.skip("there is no docker client without buildx on PATH")
