"""Start an ended run once more."""

from __future__ import annotations

from collections.abc import Callable

from nuwrap.errors import NotFound, StoreError
from nuwrap.runs import order, supervisor
from nuwrap.spec.run_values import make_run_values
from nuwrap.store import ENDED, RunRecord, Store


def start_again(store: Store, home: str, record: RunRecord, *, say: Callable[[str], None]) -> RunRecord:
    """Start the run with what it was given, as its next attempt. See `watch.resume`."""
    if record.state not in ENDED:
        raise StoreError(f"run {record.id!r} is {record.state}: what has not ended is not started again")
    function = store.get_function(record.project, record.function, record.function_id)
    if function is None:
        raise NotFound(
            f"run {record.id!r} cannot be started again: its version of function {record.function!r} was deleted"
        )
    values = make_run_values(record.action, {"platform": record.platform, **record.spec}, origin=f"run {record.id!r}")
    placed = order.place(store, home, function, values, say=say, order=order.Order(again=record))
    return supervisor.start(home, placed)
