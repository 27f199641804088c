"""kaniko for tests: an image around the executor that `NUWRAP_KANIKO` names, which no test ever runs by itself, and
the image `nuwrap/kaniko` around that. Both have random names and go when the tests are over.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from nuwrap.docker import why_unusable

ROOT = Path(__file__).parents[2]
REASON = "neither NUWRAP_TEST_KANIKO_IMAGE nor NUWRAP_KANIKO names an executor of kaniko"
_DOCKERFILE = """
FROM scratch
COPY executor /kaniko/executor
ENV PATH=/usr/local/bin:/kaniko HOME=/root USER=root
ENTRYPOINT ["/kaniko/executor"]
"""


@cache
def executor_image() -> str:
    """Return the executor's image: `NUWRAP_TEST_KANIKO_IMAGE`, else one made of `NUWRAP_KANIKO`, "" without both."""
    named, program = os.environ.get("NUWRAP_TEST_KANIKO_IMAGE", ""), os.environ.get("NUWRAP_KANIKO", "")
    if named or not program:
        return named
    reason = why_unusable(os.environ)
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(program, Path(folder) / "executor")
        (Path(folder) / "Dockerfile").write_text(_DOCKERFILE)
        return _build("nuwrap-test-executor", folder)


@cache
def own_image() -> str:
    """Return the image `nuwrap/kaniko`, made of the executor's image and this checkout."""
    named = os.environ.get("NUWRAP_TEST_PYTHON_IMAGE", "python")
    arguments = [f"KANIKO_IMAGE={executor_image()}", f"PYTHON_IMAGE={named}:3.11-slim"]
    dockerfile = str(ROOT / "images" / "kaniko" / "Dockerfile")
    return _build("nuwrap-test-kaniko", str(ROOT), "--file", dockerfile, *(f"--build-arg={one}" for one in arguments))


def _build(title: str, *arguments: str) -> str:
    name = f"{title}-{secrets.token_hex(6)}"
    argv = [os.environ.get("NUWRAP_DOCKER", "docker"), "build", "--quiet", "--tag", name, *arguments]
    environ = {**os.environ, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    atexit.register(subprocess.run, [argv[0], "image", "rm", "--force", name], capture_output=True, check=False)
    return name
