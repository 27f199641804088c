"""Images of nuwrap's own that tests of containers run in: smaller than those of `images/`, made once for all tests.

A test module imports the fixtures: `from container_images import own_images`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import docker, is_there

from nuwrap.docker import why_unusable
from nuwrap.spec.images import python_image, runtime_image
from nuwrap_runtime import __version__

PYTHON = "3.11"
RUNTIME = "FROM scratch\nCOPY tree /opt/nuwrap\n"
FUNCTION = """\
FROM {base}
USER root
RUN mkdir -p /work /cache && chmod 1777 /work /cache
COPY tree /opt/nuwrap
LABEL dev.nuwrap.api=nuwrap/v1
ENV NUWRAP_WORK=/work NUWRAP_CACHE=/cache
USER 8877:999
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]
"""


@pytest.fixture(scope="session")
def own_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What names of nuwrap's own images begin with: there are the runtime's and the one of Python 3.11."""
    reason = why_unusable(os.environ)
    base = os.environ.get("NUWRAP_TEST_PYTHON_IMAGE", "")
    if reason or not base:
        pytest.skip(reason or "NUWRAP_TEST_PYTHON_IMAGE names no repository of Python images")
    if not is_there(f"{base}:{PYTHON}-slim"):
        pytest.skip(f"the registry has no {base}:{PYTHON}-slim")
    folder = tmp_path_factory.mktemp("images")
    subprocess.run([sys.executable, "-m", "nuwrap_runtime.host.tree", str(folder / "tree")], check=True)
    registry = f"nuwrap-test-{secrets.token_hex(6)}"
    names = runtime_image(registry, __version__), python_image(registry, __version__, PYTHON)
    build(folder, RUNTIME, names[0])
    build(folder, FUNCTION.format(base=f"{base}:{PYTHON}-slim"), names[1])
    image = docker("image", "inspect", "--format", "{{.Id}}", names[0]).strip()
    yield registry
    volume = f"nuwrap-runtime-{image.rpartition(':')[2][:16]}"  # as foreign images get it
    docker("rm", volume)
    docker("volume", "rm", volume)
    docker("image", "rm", "--force", *names)


def build(folder: Path, dockerfile: str, name: str) -> None:
    """Build an image out of a folder."""
    subprocess.run(
        [os.environ.get("NUWRAP_DOCKER", "docker"), "build", "--quiet", "--tag", name, "--file", "-", str(folder)],
        input=dockerfile.encode(),
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def left_of(run: str) -> str:
    """Return the containers and volumes that a run has left in Docker."""
    found = docker("ps", "--all", "--quiet", "--filter", f"label=dev.nuwrap.run={run}")
    return found + docker("volume", "ls", "--quiet", "--filter", f"name={run}")
