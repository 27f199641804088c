"""Wait for what comes about by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(is_so: Callable[[], T], seconds: float = 120.0, pause: float = 0.05) -> T:
    """Return what `is_so` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it has not come about in time"
        time.sleep(pause)
    return found
