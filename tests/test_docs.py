"""Every page that shows commands and code does what it says, in an empty folder with an empty history."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nuwrap.docker import inspect_image, why_unusable
from nuwrap.spec.images import python_image
from nuwrap_runtime import __version__
from page import blocks

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
RUN = ("README.md", "docs/index.md", *(path.relative_to(ROOT).as_posix() for path in GUIDES))


def _why_not(name: str) -> str:
    """Why a page cannot be done on this machine: the one on images needs Docker and nuwrap's own image in it."""
    if name != "docs/guides/images.md":
        return ""
    image = python_image("", __version__, "{}.{}".format(*sys.version_info))
    reason = why_unusable(os.environ)
    return reason or (
        "" if inspect_image(os.environ, image) else f"Docker has no {image}; `make build-images` makes it"
    )


@pytest.mark.parametrize("name", RUN)
def test_a_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    if reason := _why_not(name):
        pytest.skip(reason)
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("NUWRAP_", "AWS_"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NUWRAP_HOME": str(tmp_path / "home"),
        "COLUMNS": "100",
        "PYTHONWARNINGS": "default",
    }
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "page.py"), str(ROOT / name)],
        cwd=tmp_path / "work",
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_block_is_of_a_language_that_says_what_becomes_of_it() -> None:
    known = {"bash", "console", "ini", "json", "python", "text", "yaml"}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found = {
        f"{block.place} {block.language}" for path in pages for block in blocks(path) if block.language not in known
    }
    assert found == set()
