"""What several of the toolkit's tests need."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from command_line import Nuwrap, clean_environment, nuwrap_argv


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
