"""What a shell offers for a name that is begun: names of the history. A history that cannot be read has none."""

from __future__ import annotations

from nuwrap.cli.finding import GOING_ON
from nuwrap.errors import NuwrapError
from nuwrap.sdk import context
from nuwrap.sdk.runs import SHORT_ID


def complete_project(begun: str) -> list[str]:
    """Return the projects whose names begin so."""
    return [name for name in _projects() if name.startswith(begun)]


def complete_run(begun: str) -> list[str]:
    """Return the functions whose names begin so, and the short ids of runs that go on."""
    try:
        store = context.current().store
        names = {one.name for project in _projects() for one in store.list_functions(project)}
        short = [one.id[:SHORT_ID] for one in store.list_runs(states=GOING_ON)]
    except NuwrapError:
        return []
    return [name for name in [*sorted(names), *short] if name.startswith(begun)]


def _projects() -> list[str]:
    try:
        return sorted(one.name for one in context.current().store.list_projects())
    except NuwrapError:
        return []
