"""What DigitalHub has and nuwrap has not, said by name. Imports nothing: it is asked while modules are imported."""

from __future__ import annotations

_A_PLATFORMS = ("workflow", "trigger", "share", "search")


def explain_absence(name: str) -> str:
    """Return why there is no such name, "" for one that DigitalHub has not either."""
    found = [word for word in _A_PLATFORMS if word in name]
    if not found:
        return ""
    return (
        f": {found[0]} is a platform's; nuwrap has projects, functions, runs, dataitems, artifacts, models and secrets"
    )
