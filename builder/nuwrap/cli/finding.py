"""From what a person types to the run, or to whatever else the history keeps, that it names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nuwrap.errors import NotFound, UsageError
from nuwrap.platforms import REMOTE, get_platform
from nuwrap.runs import remote, watch
from nuwrap.sdk import context, entities
from nuwrap.sdk.functions import Function, get_function
from nuwrap.sdk.projects import Project, get_project, list_projects
from nuwrap.sdk.runs import SHORT_ID, Run, get_run, list_runs
from nuwrap.store import CREATED, PENDING, RUNNING, RunRecord
from nuwrap_runtime.errors import InputsError
from nuwrap_runtime.schema import did_you_mean

if TYPE_CHECKING:
    from nuwrap.sdk.entities import Artifact, Dataitem, Model

GOING_ON = (CREATED, PENDING, RUNNING)
NAMES_OF_RUNS = 1000  # newest, of which an unknown name may be a misspelt one


def find_run(text: str, project: str = "", *, action: str = "", going_on: bool = False) -> Run:
    """Return the run of an id, of its first 8 characters or more, of a key, or the latest run of a function.

    A function is written `name` or `project/name`. Of its runs those of the action, and with `going_on` those that
    have not ended, come before all others. Raises NotFound, and UsageError for a name that has run in several projects.
    """
    if text.startswith("store://"):
        return get_run(text, project or None)
    run = _by_id(text, project)
    if run:
        return run
    name, owners = _split(text, project)
    for wanted in (action, ""):
        for states in (GOING_ON, ()) if going_on else ((),):
            found = _latest(name, owners, wanted, states)
            if found:
                return _only(found, name)
    raise _no_run(text, name, owners)


def read_run(run: Run) -> RunRecord:
    """Return all that the history has of the run, as it is now. Raises NotFound when it was deleted meanwhile."""
    store = context.current().store
    record = store.get_run(run.refresh().id)
    if record is None:
        raise NotFound(f"run {run.id!r} is not in the history any more")
    return record


def settle_runs(project: str = "") -> None:
    """Bring the states of all runs up to date: one whose processes are gone has ended. Raises NotFound."""
    ctx = context.current()
    watch.refresh_all(ctx.store, ctx.home, get_project(project).name if project else "")


def take_over(platform: str, project: str = "") -> None:
    """Bring the runs that a platform has into the history, those of others too. Raises UsageError, PlatformError."""
    get_platform(platform)
    if platform in REMOTE:
        ctx = context.current()
        remote.take_over_all(ctx.store, ctx.home, platform, project, os.getcwd(), say=context.say)


def find_thing(text: str, project: str = "") -> Run | Function | Project | Dataitem | Artifact | Model:
    """Return what a key, a run's id, or the name of a function or else of a project stands for.

    Raises NotFound, and UsageError for a function that several projects have.
    """
    if text.startswith("store://"):
        return _by_key(text)
    run = _by_id(text, project)
    if run:
        return run
    name, owners = _split(text, project)
    found = [get_function(name, one) for one in owners if context.current().store.get_function(one, name)]
    if len(found) > 1:
        raise UsageError(_ambiguous(name, [one.project for one in found]))
    if found:
        return found[0]
    if name in owners:
        return get_project(name)
    raise _nothing(text, name, owners)


def _by_id(text: str, project: str) -> Run | None:
    record = context.current().store.get_run(text)
    return Run(record) if record and project in ("", record.project) else None


def _by_key(key: str) -> Run | Function | Project | Dataitem | Artifact | Model:
    parts = key.removeprefix("store://").split("/")
    if len(parts) == 1:
        return get_project(parts[0])
    if parts[1] == "run":
        return get_run(key)
    if parts[1] == "function":
        return get_function(key)
    try:
        found: Dataitem | Artifact | Model = entities.make(entities.find(key))
    except InputsError as exc:
        raise UsageError(str(exc)) from exc
    return found


def _split(text: str, project: str) -> tuple[str, Sequence[str]]:
    """Return the name, and the projects that it may belong to."""
    owner, _, name = text.rpartition("/")
    if not name:
        raise UsageError(f"{text!r} names nothing; allowed: an id, the first {SHORT_ID} characters of it, or a name")
    if owner and project and owner != project:
        raise UsageError(f"{text!r} is of project {owner!r}, and --project says {project!r}; name one of the two")
    if owner or project:
        return name, [get_project(owner or project).name]
    return name, [one.name for one in list_projects()]


def _latest(name: str, owners: Iterable[str], action: str, states: Sequence[str]) -> list[Run]:
    """Return the latest such run of the function in each project."""
    return [run for owner in owners for run in list_runs(owner, function=name, action=action, states=states, limit=1)]


def _only(found: Sequence[Run], name: str) -> Run:
    if len(found) > 1:
        raise UsageError(_ambiguous(name, [run.project for run in found]))
    return found[0]


def _ambiguous(name: str, owners: Iterable[str]) -> str:
    choices = ", ".join(sorted(f"{owner}/{name}" for owner in owners))
    return f"{name!r} is in several projects; write one of {choices}, or add --project NAME"


def _no_run(text: str, name: str, owners: Sequence[str]) -> NotFound:
    store = context.current().store
    if any(store.get_function(owner, name) for owner in owners):
        return NotFound(f"function {text!r} has not run yet; `nuwrap ps --all` lists all runs")
    ran = {one.function for owner in owners for one in store.list_runs(owner, limit=NAMES_OF_RUNS)}
    return NotFound(
        f"there is no run {text!r}: it is neither an id ({SHORT_ID} characters of one at least) nor a function that "
        f"has run{did_you_mean(name, sorted(ran))}; `nuwrap ps --all` lists all runs"
    )


def _nothing(text: str, name: str, owners: Sequence[str]) -> NotFound:
    store = context.current().store
    found = [store.find_entity(owner, type_, name) for owner in owners for type_ in entities.TYPES]
    keys = [one.key.rpartition(":")[0] for one in found if one]
    if keys:
        return NotFound(f"there is no function {text!r}; data is named by its key: {', '.join(keys)}")
    names = sorted({one.name for owner in owners for one in store.list_functions(owner)})
    return NotFound(
        f"there is no {text!r}: it is neither the id of a run ({SHORT_ID} characters of one at least), nor a function"
        f"{did_you_mean(name, names)}, nor a key store://…; `nuwrap ls functions` lists what there is"
    )
