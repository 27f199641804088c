"""`nuwrap run`: read the function, plan the launch, run it, show how it ended."""

from __future__ import annotations

import ctypes
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
from nuwrap.cli.terminal import Stopped, tell
from nuwrap.errors import PlatformError, ResultError, UsageError
from nuwrap.plan.launch import plan_launch
from nuwrap.platforms import Finished, Job, get_platform
from nuwrap.spec.function import PYTHON_VERSIONS
from nuwrap.spec.function_file import FunctionFile, read_function
from nuwrap.spec.inputs import parse_parameters, resolve_inputs, split_pairs
from nuwrap.spec.task import JobTask
from nuwrap.store.results import FILE_NAME as RESULT
from nuwrap.store.results import read_result
from nuwrap_runtime.launch import SECRET_NAME

VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
PR_SET_DUMPABLE = 4  # linux/prctl.h
EARLY_STOPS = (130, 143)  # of a host that a signal ended before it could take it
SHORTEST_MASKED = 3  # characters; see nuwrap.command.Mask
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
    """Run the function to its end, show its result and return the host's exit code, be it shown or not."""
    hide_environment()
    _check_folder()
    file = read_function(Path(options.file))
    for text in file.warnings:
        say(text)
    secrets = read_secrets(options.secrets, os.environ)
    job = _make_job(file, _make_task(file, options), options, secrets)
    finished = get_platform("local").run_job(job, say=say)
    try:
        shown = _show(finished, as_json=options.as_json)
    except (OSError, SystemExit, Stopped) as exc:  # SystemExit: rich's answer to a reader that is gone
        tell(f"nuwrap: cannot print the result, which is in {finished.folder!r}: {exc!r}")
        return finished.exit_code
    if not shown and finished.exit_code in EARLY_STOPS:
        return 143
    if not shown and finished.exit_code in (0, 1):  # "done" and "the handler raised" are a result's to say
        return ResultError.exit_code
    return finished.exit_code


def say(text: str) -> None:
    """Print a warning the way the host prints its own."""
    tell(f"nuwrap  warning: {text}")


def hide_environment() -> None:
    """Keep other processes of this user, the worker above all, from reading this one's environment (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _check_folder() -> None:
    try:
        os.getcwd()
    except OSError as exc:
        raise PlatformError(f"the folder you stand in is gone ({exc.strerror}); change to another") from exc


def read_secrets(names: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets' values, each that of the environment variable of its name. Raises UsageError."""
    wrong = [name for name in names if not re.search(SECRET_NAME, name)]
    if wrong:
        raise UsageError(f"--secret {wrong[0]!r} is no name of a secret: letters, digits, '.', '_' and '-'")
    missing = [name for name in names if name not in environ]
    if missing:
        raise UsageError(f"--secret {', '.join(missing)}: no such variable in the environment; export it first")
    short = [name for name in names if 0 < len(environ[name].strip()) < SHORTEST_MASKED]
    if short:
        say(f"--secret {', '.join(short)}: a value of less than {SHORTEST_MASKED} characters cannot be masked")
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
        is_early = finished.exit_code in EARLY_STOPS and not os.path.lexists(os.path.join(finished.folder, RESULT))
        tell("nuwrap: stopped before it began" if is_early else f"nuwrap: {exc}")
        return False
    if as_json:
        print(json.dumps(result.to_document(), indent=1), flush=True)
    else:
        show_result(result, finished.folder)
    return True
