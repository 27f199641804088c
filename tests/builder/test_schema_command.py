"""`nuwrap schema`: the schemas that are published, for an editor."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Nuwrap

from nuwrap.cli.commands.setup import SCHEMAS
from nuwrap.spec import fields

PUBLISHED = Path(__file__).parent.parent.parent / "docs" / "schemas"


def test_its_names_are_those_of_the_schemas() -> None:
    assert SCHEMAS == fields.SCHEMAS


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        ([], "function.schema.json"),
        (["function"], "function.schema.json"),
        (["run"], "run.schema.json"),
        (["launch"], "launch.v1.json"),
        (["result"], "result.v1.json"),
    ],
)
def test_it_prints_what_is_published(run_nuwrap: Nuwrap, arguments: list[str], file: str) -> None:
    assert run_nuwrap("schema", *arguments).stdout == (PUBLISHED / file).read_text(encoding="utf-8")


def test_help_says_how_an_editor_gets_it(run_nuwrap: Nuwrap) -> None:
    lines = [line.strip() for line in run_nuwrap("schema", "--help").stdout.splitlines()]
    assert "nuwrap schema > function.schema.json" in lines
    assert "# yaml-language-server: $schema=function.schema.json" in lines


def test_another_name_is_refused(run_nuwrap: Nuwrap) -> None:
    done = run_nuwrap("schema", "functoin")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'functoin' is not one of 'function', 'run', 'launch', 'result'" in done.stderr
