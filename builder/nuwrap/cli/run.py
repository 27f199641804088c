"""`nuwrap run`: read the function, plan the launch, run it, show how it ended."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nuwrap.cli.show import show_result
from nuwrap.errors import ResultError, UsageError
from nuwrap.plan.launch import plan_launch
from nuwrap.platforms import Finished, Job, get_platform
from nuwrap.spec.function import PYTHON_VERSIONS
from nuwrap.spec.function_file import FunctionFile, read_function
from nuwrap.spec.inputs import parse_parameters, resolve_inputs, split_pairs
from nuwrap.spec.task import JobTask
from nuwrap.store.results import read_result
from nuwrap_runtime.launch import SECRET_NAME

VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
RESERVED = ("PROJECT_NAME", "RUN_ID")  # the host sets them


@dataclass(frozen=True)
class Options:
    """The arguments of `nuwrap run` as they were typed."""

    file: str
    params: Sequence[str] = ()
    inputs: Sequence[str] = ()
    init_params: Sequence[str] = ()
    timeout_s: float | None = None
    python: str = ""
    envs: Sequence[str] = ()
    secrets: Sequence[str] = ()
    refresh: bool = False
    as_json: bool = False


def run_function(options: Options) -> int:
    """Run the function to its end, show its result and return the host's exit code."""
    file = read_function(Path(options.file))
    for text in file.warnings:
        say(text)
    secrets = read_secrets(options.secrets, os.environ)
    job = _make_job(file, _make_task(file, options), options, secrets)
    finished = get_platform("local").run_job(job, say=say)
    shown = _show(finished, as_json=options.as_json)
    if not shown and finished.exit_code in (0, 1):  # "done" and "the handler raised" are a result's to say
        return ResultError.exit_code
    return finished.exit_code


def say(text: str) -> None:
    """Print a warning the way the host prints its own."""
    print(f"nuwrap  warning: {text}", file=sys.stderr)


def read_secrets(names: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets' values, each that of the environment variable of its name. Raises UsageError."""
    wrong = [name for name in names if not re.search(SECRET_NAME, name)]
    if wrong:
        raise UsageError(f"--secret {wrong[0]!r} is no name of a secret: letters, digits, '.', '_' and '-'")
    missing = [name for name in names if name not in environ]
    if missing:
        raise UsageError(f"--secret {', '.join(missing)}: no such variable in the environment; export it first")
    return {name: environ[name] for name in names}


def _make_task(file: FunctionFile, options: Options) -> JobTask:
    if options.timeout_s is not None and not (options.timeout_s > 0 and math.isfinite(options.timeout_s)):
        raise UsageError(f"--timeout-s {options.timeout_s:g}: allowed: seconds, more than 0")
    inputs = resolve_inputs(options.inputs, flag="-i", project=file.function.project, known={}, folder=os.getcwd())
    return JobTask(
        run=str(uuid.uuid4()),
        inputs=inputs.keys,
        entities=inputs.entities,
        parameters=parse_parameters(options.params, flag="-p"),
        init_parameters=parse_parameters(options.init_params, flag="--init-param"),
        secrets=tuple(sorted(set(options.secrets))),
        timeout_s=options.timeout_s,
        python=_absolute(options.python),
        refresh=options.refresh,
    )


def _make_job(file: FunctionFile, task: JobTask, options: Options, secrets: Mapping[str, str]) -> Job:
    environ = split_pairs(options.envs, flag="--env", form=VARIABLE)
    reserved = [name for name in RESERVED if name in environ]
    if reserved:
        raise UsageError(f"--env {reserved[0]!r} is set by nuwrap itself; name the variable differently")
    return Job(
        launch=plan_launch(file.function, task),
        folder=str(file.folder),
        python_version=PYTHON_VERSIONS[file.function.python_version],
        environ=environ,
        secrets=secrets,
        image=file.function.image,
        base_image=file.function.base_image,
        is_stdout_free=options.as_json,
    )


def _absolute(python: str) -> str:
    """Return the interpreter's path for a name on PATH; one that is not there stays, for the platform to refuse."""
    found = shutil.which(python) if python else None
    return os.path.abspath(found) if found else python


def _show(finished: Finished, *, as_json: bool) -> bool:
    """Print the result; False when there is none that can be read, and it has been said why."""
    try:
        result = read_result(finished.folder)
    except ResultError as exc:  # the host has said why there is none, on the lines above and in the log
        print(f"nuwrap: {exc}", file=sys.stderr)
        return False
    if as_json:
        print(json.dumps(result.to_document(), indent=1))
    else:
        show_result(result, finished.folder)
    return True
