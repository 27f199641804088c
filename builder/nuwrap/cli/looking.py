"""A function as `check` and `plan` look at it: what a run here would be started with, and nothing of it begun."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from nuwrap.cli.arguments import say
from nuwrap.plan.launch import plan_run
from nuwrap.platforms.interpreters import Interpreter, choose_interpreter
from nuwrap.runs.inputs import resolve
from nuwrap.spec.function import PYTHON_VERSIONS, Function
from nuwrap.spec.run_values import RunValues
from nuwrap.store import Store, open_store
from nuwrap.store.database import FILE_NAME
from nuwrap.store.home import home_folder
from nuwrap_runtime.launch import Launch


def plan_launch_here(function: Function, values: RunValues) -> Launch:
    """Return the launch document of such a run, without its id and its interpreter. Raises UsageError, LaunchError."""
    with _history() as store:
        resolved = resolve(store, function, values, os.getcwd())
    launch = plan_run(function, values, run="", inputs=resolved.keys, entities=resolved.entities)
    return replace(launch, code_src=resolved.code_src or launch.code_src)


def choose_python(function: Function, named: str) -> Interpreter:
    """Return the interpreter of such a run. Raises PlatformError."""
    return choose_interpreter(named, PYTHON_VERSIONS[function.python_version], os.environ, say=say)


@contextmanager
def _history() -> Iterator[Store]:
    """Give this user's history; where there is none yet, an empty one in its place, which is gone after the body."""
    with tempfile.TemporaryDirectory(prefix="nuwrap-plan-") as empty:
        home = home_folder(os.environ)
        is_there = os.path.exists(os.path.join(home, FILE_NAME))
        with closing(open_store(home if is_there else empty)) as store:
            yield store
