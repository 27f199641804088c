"""A remote run that nobody here follows: what it is at, its end into the history, and those that colleagues began."""

from __future__ import annotations

import os
from collections.abc import Callable

from nuwrap.errors import PlatformError, StoreError
from nuwrap.platforms import Found, Placed, Screen, get_remote
from nuwrap.runs import alive, collect
from nuwrap.store import PENDING, RUNNING, ProjectRecord, RunRecord, Store
from nuwrap.store.config import read_config


def catch_up(store: Store, home: str, record: RunRecord) -> RunRecord:
    """Return the run as its platform says it is now; what one that has ended has left is brought here.

    Raises NuwrapError where the platform does not answer.
    """
    try:
        held = alive.take(home, record.id)
    except StoreError:  # another process does it just now
        return store.get_run(record.id) or record
    try:
        return _catch_up(store, record)
    finally:
        alive.release(home, record.id, held)


def _catch_up(store: Store, record: RunRecord) -> RunRecord:
    platform = get_remote(record.platform)
    seen = platform.look(record.folder)
    if seen.is_over:
        here = Placed(record.folder, os.getcwd(), dict(os.environ))
        code = platform.attend(here, record.action, secrets={}, screen=Screen(is_detached=True))
        return record if code is None else collect.finish(store, record, code)
    state = RUNNING if seen.is_running else PENDING
    if (state, seen.reason) == (record.state, record.message):
        return record
    return store.change_run(record.id, state, seen.reason, **({"service": seen.service} if seen.service else {}))


def take_over_all(
    store: Store, home: str, platform: str, project: str, base: str, *, say: Callable[[str], None]
) -> int:
    """Bring the runs that the platform has into the history, and return how many were not there: from then on they are
    asked for, followed and stopped as one's own. `say` hears of each that cannot be.

    Raises PlatformError where the platform does not answer.
    """
    remote, settings = get_remote(platform), read_config(home).values
    known = frozenset(one.id for one in store.list_runs())
    taken = 0
    for found in sorted(remote.find(settings, project, known), key=lambda one: one.created):
        if found.reason:
            say(f"run {found.run} of {platform} cannot be taken over: {found.reason}")
            continue
        try:
            folder = remote.take_over(found, base, settings)
        except PlatformError as exc:
            say(f"run {found.run} of {platform} cannot be taken over: {exc}")
            continue
        _write_down(store, found, platform, folder)
        taken += 1
    return taken


def _write_down(store: Store, found: Found, platform: str, folder: str) -> None:
    """Write the run down. Its version of the function is not: by name it would be the latest, and a colleague's code
    would run here under one's own function's name.
    """
    store.add_project(ProjectRecord(found.project))
    record = RunRecord(
        found.run, found.project, found.function, found.function_id, "", found.action, platform, dict(found.spec),
        folder, state=PENDING, attempt=found.attempt, created=found.created.replace("Z", ".000+00:00"),
    )  # fmt: skip
    store.add_run(record)
