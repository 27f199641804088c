"""What several of the toolkit's tests need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cluster_accounts import login  # noqa: F401 - a fixture
from cluster_runs import cluster, kube, namespace, pushed_images  # noqa: F401 - fixtures
from command_line import Nuwrap, clean_environment, nuwrap_argv
from lab import engine_environ, image_name, own_image, python_image, registry  # noqa: F401 - fixtures
from nuclio_runs import nuclio, nuclio_namespace, processor_images  # noqa: F401 - fixtures

import nuwrap
from nuwrap.platforms import PLATFORMS, Job, Placed, Screen, run_folder


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A history of the tests' own, for whatever command they start; nobody's real one is touched."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUWRAP_HOME", str(folder))
        yield folder


@pytest.fixture
def run_nuwrap(tmp_path: Path) -> Nuwrap:
    """Run `nuwrap` in the test's own folder; whatever it answers is returned."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            nuwrap_argv(arguments),
            cwd=tmp_path,
            env=clean_environment(more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@dataclass
class Ending:
    """A platform that runs nothing: what it was given, and the exit code that it answers."""

    code: int = 0
    jobs: list[Job] = field(default_factory=list)
    screens: list[Screen] = field(default_factory=list)

    def place(self, job: Job, **_: Any) -> Placed:
        self.jobs.append(job)
        return Placed(run_folder.make_run_folder(job.base, job.launch.run), job.folder, {})

    def attend(self, _placed: Placed, _action: str, *, screen: Screen, **_: Any) -> int:
        self.screens.append(screen)
        return self.code


@pytest.fixture
def ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ending:
    """In the place of `local`, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    found = Ending()
    monkeypatch.setitem(sys.modules, "ending_platform", found)
    monkeypatch.setitem(PLATFORMS, "local", "ending_platform")
    return found


@pytest.fixture
def dh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`import nuwrap as dh` of a person who stands in an empty folder and has an empty history."""
    from nuwrap.sdk import context

    monkeypatch.setenv("NUWRAP_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield nuwrap
    context.close()
