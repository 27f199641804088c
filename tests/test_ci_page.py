"""docs/ci.md: what its pipelines call is there, with those arguments."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from nuwrap.cli.main import cli
from nuwrap.store.config import SETTINGS

TEXT = (Path(__file__).parent.parent / "docs" / "ci.md").read_text()


def scripts() -> list[str]:
    """Each command line of the page's pipelines."""
    github, gitlab = (yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
    steps: list[dict[str, Any]] = github["jobs"]["image"]["steps"]
    shell = "".join(re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)).splitlines()
    return [*(step["run"] for step in steps if "run" in step), *gitlab["image"]["script"], *shell]


CALLS = sorted({one for one in scripts() if one.startswith("nuwrap ")})


def test_the_page_calls_nuwrap() -> None:
    assert {one.split()[1] for one in CALLS} == {"config", "check", "build", "run"}


@pytest.mark.parametrize("line", CALLS)
def test_each_command_of_the_page_takes_its_arguments(line: str) -> None:
    words = shlex.split(line.partition(" >")[0])[1:]
    command = cli.commands[words[0]]
    while hasattr(command, "commands"):
        words = words[1:]
        command = command.commands[words[0]]
    context = command.make_context(words[0], words[1:], resilient_parsing=False)
    assert context.params
    if words[0] == "set":
        assert context.params["name"] in SETTINGS
