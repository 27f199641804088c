"""The host as PID 1 of a container, of this Python's version: read-only root, a user that nobody knows."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

UID = "12345:54321"
DEADLINE_S = 60.0
CODE, RECORDS, TREE = "/opt/function", "/opt/nuwrap-image", "/opt/nuwrap"
ENTRY = f"{TREE}/worker/nuwrap_runtime/host/entry.py"


def find_image() -> str:
    """Return the Python image of this version; skips the test, with the reason, where there is none."""
    name = os.environ.get("NUWRAP_TEST_PYTHON_IMAGE", "")
    if not name:
        pytest.skip("NOT TESTED: NUWRAP_TEST_PYTHON_IMAGE names no repository of Python images")
    if not shutil.which("docker"):
        pytest.skip("NOT TESTED: there is no docker on PATH")
    done = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED: docker does not answer: {done.stderr.strip()[:200]}")
    image = f"{name}:{sys.version_info[0]}.{sys.version_info[1]}-slim"
    commands = (["docker", "image", "inspect", image], ["docker", "pull", "--quiet", image])
    if all(subprocess.run(one, capture_output=True, check=False).returncode for one in commands):
        pytest.skip(f"NOT TESTED: Docker has no {image}, nor has its registry")
    return image


def readable_copy(tree: str, folder: Path) -> Path:
    """Copy the tree so that every uid reads it: the cache's own belongs to one user."""
    shutil.copytree(tree, folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@dataclass(frozen=True)
class Ended:
    """How a container ended."""

    code: int
    stdout: str
    stderr: str


class RunningContainer:
    """A container under way; as a context manager it is removed at the end, whatever it does."""

    def __init__(
        self, image: str, mounts: Mapping[Path, str], *, environ: Mapping[str, str], options: Sequence[str] = ()
    ) -> None:
        self.name = f"nuwrap-test-{secrets.token_hex(6)}"
        self._argv = ["docker", "run", "--rm", "--name", self.name, *options]
        self._argv += [part for name, value in environ.items() for part in ("-e", f"{name}={value}")]
        self._argv += [part for path, place in mounts.items() for part in ("-v", f"{path}:{place}")]
        self._argv += [image]
        self.process: subprocess.Popen[str]

    def start(self, *command: str) -> RunningContainer:
        """Start it with this command."""
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([*self._argv, *command], stdout=pipe, stderr=pipe, text=True)
        return self

    def __enter__(self) -> RunningContainer:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_exc: object) -> None:
        subprocess.run(["docker", "rm", "--force", self.name], capture_output=True, check=False)
        self.process.communicate()

    def wait(self) -> Ended:
        """Wait for its end."""
        stdout, stderr = self.process.communicate(timeout=DEADLINE_S)
        return Ended(self.process.returncode, stdout, stderr)

    def signal(self, name: str) -> None:
        """Send its PID 1 a signal."""
        subprocess.run(["docker", "kill", "--signal", name, self.name], check=True, capture_output=True)

    def ask(self, *command: str) -> str:
        """Return what a command prints in it, "" when that fails."""
        done = subprocess.run(["docker", "exec", self.name, *command], capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""

    def await_file(self, path: Path) -> str:
        """Wait until the function has written this file of a mounted folder; return its text."""
        until = time.monotonic() + DEADLINE_S
        while not path.exists() or not path.read_text():
            assert time.monotonic() < until, f"no {path}"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)
        return path.read_text()
