"""`from nuwrap import handler` in a function's file; on sys.path last, so that an installed toolkit wins."""

from __future__ import annotations

from typing import Any

from nuwrap_runtime.decorator import handler

__all__ = ["handler"]


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"nuwrap has no {name!r} within a function: only handler. What is stored comes as inputs, and by the arguments "
        "project and run"
    )
