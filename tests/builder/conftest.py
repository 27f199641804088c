"""What several of the toolkit's tests need."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from command_line import Nuwrap, clean_environment, nuwrap_argv

import nuwrap


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


@pytest.fixture
def dh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`import nuwrap as dh` of a person who stands in an empty folder and has an empty history."""
    from nuwrap.sdk import context

    monkeypatch.setenv("NUWRAP_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield nuwrap
    context.close()
