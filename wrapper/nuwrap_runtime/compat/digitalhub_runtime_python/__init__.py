"""`handler` for function files written for DigitalHub; on sys.path last, so the user's own package of the name wins."""

from __future__ import annotations

from nuwrap_runtime.decorator import handler

__all__ = ["handler"]
