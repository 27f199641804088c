"""A remote run that nobody here follows: what it is at, and its end into the history."""

from __future__ import annotations

import os
from dataclasses import replace

from nuwrap.errors import NuwrapError, StoreError
from nuwrap.platforms import Placed, Screen, get_remote
from nuwrap.runs import alive, collect
from nuwrap.store import PENDING, RUNNING, RunRecord, Store


def catch_up(store: Store, home: str, record: RunRecord) -> RunRecord:
    """Return the run as its platform says it is now; what one that has ended has left is brought here.

    Where the platform does not answer it is what was known last, and its message says so.
    """
    try:
        held = alive.take(home, record.id)
    except StoreError:  # another process does it just now
        return store.get_run(record.id) or record
    try:
        return _catch_up(store, record)
    except NuwrapError as exc:
        return replace(record, message=f"as it was known last; {exc}")
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
