"""The docker client: found, asked, and what is said when it cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import client_without_buildx, engine_environ, python_image

from nuwrap.docker import ask, find_docker, inspect_image, why_unusable
from nuwrap.errors import PlatformError

__all__ = ["engine_environ", "python_image"]

# What the clients of Docker 20.10, Docker 28 and podman 4 print for `version --format '{{json .}}'`.
NO_SERVER = '{"Client":{"Version":"20.10.24","ApiVersion":"1.41"},"Server":null}'
DENIED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/version": dial unix /var/run/docker.sock: connect: permission denied'
)
PODMAN = '{"Client":{"APIVersion":"4.3.1","Version":"4.3.1","BuiltTime":"","OsArch":"linux/amd64"}}'
OLD_SERVER = '{"Client":{"Version":"20.10.24","ApiVersion":"1.38"},"Server":{"Version":"18.06.1-ce"}}'


@pytest.fixture
def client(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Gives the environment of a client that answers `version` so, and has no plugin."""

    def make(output: str = "", errors: str = "", code: int = 0) -> dict[str, str]:
        (tmp_path / "output").write_text(output)
        (tmp_path / "errors").write_text(errors)
        path = tmp_path / "docker"
        path.write_text(
            f'#!/bin/sh\ncd {tmp_path}; [ "$1" = version ] || exit 1\ncat output; cat errors >&2; exit {code}\n'
        )
        path.chmod(0o755)
        return {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    return make


def test_the_client_is_the_first_on_path(client: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    assert find_docker(client()) == str(tmp_path / "docker")


def test_a_variable_names_another_client() -> None:
    assert find_docker({"NUWRAP_DOCKER": "/bin/sh", "PATH": "/nowhere"}) == "/bin/sh"
    with pytest.raises(PlatformError, match=r"NUWRAP_DOCKER='/bin/nothing' is no program"):
        find_docker({"NUWRAP_DOCKER": "/bin/nothing", "PATH": os.defpath})


def test_a_machine_without_docker_is_told_what_to_install() -> None:
    assert "no `docker` on PATH; install Docker" in why_unusable({"PATH": "/nowhere"})
    with pytest.raises(PlatformError, match="no `docker` on PATH"):
        ask({"PATH": "/nowhere"}, ["ps"])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((NO_SERVER, DENIED, 1), "may not be used by this user: permission denied .*usermod -aG docker"),
        ((PODMAN,), r"is not Docker's own \(podman is not supported\); set NUWRAP_DOCKER"),
        (("docker version 1",), "is not Docker's own"),
        ((OLD_SERVER,), "Docker 18.06.1-ce has no BuildKit; images need Docker 18.09"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    client: Callable[..., dict[str, str]], answer: tuple[object, ...], expected: str
) -> None:
    reason = why_unusable(client(*answer))
    assert "\n" not in reason
    with pytest.raises(PlatformError, match=expected):
        raise PlatformError(reason)


def test_a_docker_that_answers_with_buildkit_can_be_used(engine_environ: dict[str, str]) -> None:
    assert why_unusable(engine_environ) == ""


def test_a_daemon_that_is_not_there_is_named(engine_environ: dict[str, str], tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/no.sock"
    reason = why_unusable({**engine_environ, "DOCKER_HOST": address})
    assert reason.startswith(f"Docker does not answer: Cannot connect to the Docker daemon at {address}; start it")


def test_a_client_without_buildkit_is_told_which_plugin_to_install(tmp_path: Path) -> None:
    client = client_without_buildx(tmp_path)
    reason = why_unusable({**os.environ, "NUWRAP_DOCKER": client, "DOCKER_CONFIG": str(tmp_path)})
    assert "has no BuildKit without its buildx plugin" in reason
    assert "docker-buildx-plugin" in reason


def test_an_image_is_inspected_where_the_daemon_has_it(
    engine_environ: dict[str, str], python_image: Callable[[str], str]
) -> None:
    found = inspect_image(engine_environ, python_image("3.11"))
    assert found
    assert found["Architecture"] == "amd64"
    assert inspect_image(engine_environ, "nuwrap-test-nobody-has-this:1") is None


def test_a_daemon_that_cannot_be_asked_for_an_image_is_an_error(engine_environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"cannot tell what 'python:3' is: .*no\.sock"):
        inspect_image({**engine_environ, "DOCKER_HOST": f"unix://{tmp_path}/no.sock"}, "python:3")
