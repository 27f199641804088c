"""The engines and registries that tests find on this machine: Docker on PATH, `NUWRAP_TEST_REGISTRY`,
`NUWRAP_TEST_PYTHON_IMAGE`, for kaniko `NUWRAP_TEST_KANIKO_IMAGE`. What is not there skips the test that asks for it,
with the reason.

A test module imports the fixtures that it uses: `from lab import engine_environ, python_image, registry`.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from kaniko_lab import REASON, executor_image

from nuwrap.docker import why_unusable
from nuwrap.engines import get_engine
from nuwrap.registry.images import tag_digest
from nuwrap.spec.build import BuildSettings, RegistryAccess
from nuwrap.spec.images import python_image as python_image_name
from nuwrap_runtime import __version__

MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.index.v1+json"
)


@pytest.fixture
def engine_environ() -> dict[str, str]:
    """The environment of a user whose Docker answers, and builds itself."""
    reason = why_unusable(os.environ)
    if reason:
        pytest.skip(reason)
    return {name: value for name, value in os.environ.items() if name != "BUILDX_BUILDER"}


@pytest.fixture
def registry() -> str:
    """`host:port` of a registry that takes pushes without a password, by plain http."""
    found = os.environ.get("NUWRAP_TEST_REGISTRY", "")
    if not found:
        pytest.skip("NUWRAP_TEST_REGISTRY names no registry")
    return found


@pytest.fixture
def python_image() -> Callable[[str], str]:
    """Gives the reference of a Python image in a registry: `python_image("3.11")`; one that is not there skips."""
    name = os.environ.get("NUWRAP_TEST_PYTHON_IMAGE", "")
    if not name:
        pytest.skip("NUWRAP_TEST_PYTHON_IMAGE names no repository of Python images")

    def find(version: str) -> str:
        reference = f"{name}:{version}-slim"
        if not is_there(reference):
            pytest.skip(f"the registry has no {reference}")
        return reference

    return find


@cache
def is_there(reference: str) -> bool:
    """Whether a registry has the image."""
    return bool(tag_digest(reference, RegistryAccess(), os.environ))


@pytest.fixture
def image_name() -> Iterator[str]:
    """A repository's name that nobody has; its images are removed afterwards, from Docker and from the registry."""
    name = f"nuwrap-test-{secrets.token_hex(6)}"
    yield name
    remove_images(name)
    for one in (name, f"{name}-cache"):
        remove_tags(os.environ.get("NUWRAP_TEST_REGISTRY", ""), one)


def remove_images(name: str) -> None:
    """Remove all that Docker has under repositories whose name ends so, or has a part that begins so."""
    listed = docker("image", "ls", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}")
    rows = [line.split() for line in listed.splitlines() if f"/{name}" in f"/{line}"]
    names = {f"{where}:{tag}" if tag != "<none>" else f"{where}@{digest}" for where, tag, digest in rows}
    if names:
        docker("image", "rm", "--force", *names)


def remove_tags(registry: str, name: str) -> None:
    """Remove all tags of a repository from the registry, where it allows that."""
    if not registry:
        return
    with suppress(OSError, ValueError, KeyError):
        tags = json.loads(_ask(registry, "GET", f"/v2/{name}/tags/list")[1])["tags"] or ()
        for digest in {registry_digest(f"{registry}/{name}:{tag}") for tag in tags} - {""}:
            _ask(registry, "DELETE", f"/v2/{name}/manifests/{digest}")


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


def engine_settings(engine: str, name: str, registry: str) -> BuildSettings:
    """Return the settings by which a test builds with that engine; skips where it cannot, with its reason."""
    image = executor_image() if engine == "kaniko" else ""
    settings = BuildSettings(
        retries=0,
        kaniko_image=image,
        cache_repo=f"{registry}/{name}-cache",
        access=RegistryAccess(insecure=(registry,)),
    )
    if engine == "kaniko" and not image:
        pytest.skip(REASON)
    found = get_engine(engine).look(settings, os.environ, push=True)
    if not found.is_usable:
        pytest.skip(f"{engine}: {found.reason}")
    return settings


def registry_digest(reference: str) -> str:
    """Return the digest that a registry of plain http has under a tag, "" when it has none."""
    host, _, rest = reference.partition("/")
    name, _, tag = rest.rpartition(":")
    return _ask(host, "HEAD", f"/v2/{name}/manifests/{tag}")[0]


def _ask(host: str, method: str, path: str) -> tuple[str, bytes]:
    """Return the digest that a registry answers with, "" without one, and its content."""
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request(method, path, headers={"Accept": MANIFESTS})
        answer = connection.getresponse()
        return answer.getheader("Docker-Content-Digest") or "", answer.read()
    finally:
        connection.close()


def runs(words: str) -> bool:
    """Tell whether a process of this machine has these words in its command line, in whatever container."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if words in path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"):
                return True
    return False


def wait_until(holds: Callable[[], bool], *, timeout_s: float = 60) -> None:
    """Wait until it holds. Fails when it does not in that time."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "it has not come to that"
        time.sleep(0.05)


@pytest.fixture
def own_image(engine_environ: dict[str, str]) -> str:
    """The name of nuwrap's own image for this Python, which is in Docker: `make build-images` has made it."""
    name = python_image_name("", __version__, "{}.{}".format(*sys.version_info))
    if not docker("image", "inspect", name):
        pytest.skip(f"Docker has no {name}; `make build-images` makes it")
    return name
