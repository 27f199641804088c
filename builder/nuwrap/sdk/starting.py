"""From `function.run(…)` to a run that has begun: its values checked, placed, given to a supervisor, waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nuwrap.errors import UsageError
from nuwrap.runs import order, supervisor
from nuwrap.sdk import context
from nuwrap.sdk.runs import Run
from nuwrap.spec.run_values import make_run_values
from nuwrap.store import FunctionRecord
from nuwrap_runtime.schema import show


def start_run(
    function: FunctionRecord, action: Any, fields: Mapping[str, Any], *, wait: bool | None, log_info: bool
) -> Run:
    """Check the values, place the run, start it, and wait for it where that is asked for."""
    if not isinstance(wait, (bool, type(None), type(...))):  # `run("serve", ...)` stands in DigitalHub's page as it is
        raise UsageError(f"wait: {show(wait)} is not true or false; all else goes by name, as parameters={{…}}")
    values = make_run_values(action, fields, origin=f"run of {function.name!r}")
    ctx = context.current()
    placed = order.place(ctx.store, ctx.home, function, values, say=context.say)
    run = Run(supervisor.start(ctx.home, placed))
    is_local_job = values.action == "job" and values.local_execution is True
    if wait if isinstance(wait, bool) else is_local_job:
        try:
            run.wait(log_info=log_info)
        except KeyboardInterrupt:
            if is_local_job:
                run.stop()
            raise
    return run
