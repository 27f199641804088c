"""The table of platforms, and what each of them must have."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from command_line import write_function

from nuwrap.cli.arguments import Options
from nuwrap.cli.run import run_function
from nuwrap.errors import UsageError
from nuwrap.platforms import PLATFORMS, Platform, get_platform


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("verb", ["place", "attend"])
def test_a_platform_has_what_the_protocol_asks(name: str, verb: str) -> None:
    wanted = inspect.signature(getattr(Platform, verb)).parameters
    found = inspect.signature(getattr(get_platform(name), verb)).parameters
    assert list(found) == [key for key in wanted if key != "self"]


def test_an_unknown_platform_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        UsageError,
        match="platform 'locl' is not known; allowed: docker, kubernetes, local, nuclio; did you mean 'local'",
    ):
        get_platform("locl")


@pytest.mark.parametrize(("left", "answered"), [(0, 10), (1, 10), (10, 10), (137, 137)])
def test_without_a_result_no_exit_code_speaks_for_the_handler(
    tmp_path: Path, ending: Any, left: int, answered: int
) -> None:
    ending.code = left
    assert run_function(Options(str(write_function(tmp_path, code="def f(): pass")))) == answered
