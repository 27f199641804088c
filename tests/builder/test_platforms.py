"""The table of platforms, and what each of them must have."""

from __future__ import annotations

import inspect

import pytest

from nuwrap.errors import UsageError
from nuwrap.platforms import PLATFORMS, Platform, get_platform


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_platform_has_what_the_protocol_asks(name: str) -> None:
    wanted = inspect.signature(Platform.run_job).parameters
    assert list(inspect.signature(get_platform(name).run_job).parameters) == [key for key in wanted if key != "self"]


def test_an_unknown_platform_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="platform 'locl' is not known; allowed: local; did you mean 'local'"):
        get_platform("locl")
