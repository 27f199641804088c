"""What `nuwrap run` and `nuwrap serve` share: from the arguments as they were typed to what a platform runs."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwrap.cli.terminal import tell
from nuwrap.command import hide_environment
from nuwrap.errors import PlatformError, UsageError
from nuwrap.platforms import REMOTE
from nuwrap.runs import order
from nuwrap.runs.order import Placed
from nuwrap.sdk import context
from nuwrap.sdk.context import Context
from nuwrap.spec.function import PYTHON_VERSIONS, has_scheme
from nuwrap.spec.function_file import FunctionFile, read_function
from nuwrap.spec.inputs import parse_parameters, split_pairs
from nuwrap.spec.run_values import make_run_values
from nuwrap.store import ProjectRecord
from nuwrap.store.config import read_config
from nuwrap.store.home import home_folder
from nuwrap.store.secrets import Secrets
from nuwrap_runtime.launch import NAME, SECRET_NAME
from nuwrap_runtime.schema import did_you_mean

VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
SHORTEST_MASKED = 3  # characters; see nuwrap.command.Mask
LACK_OF_MEMORY = " (most often by the system, for a lack of memory)"
READ_BYTES = 1024 * 1024  # of a Python file that was given for a YAML file
# Of a run's fields, those that options give, be they typed or not.
_OWN_OPTIONS = (
    "action", "platform", "inputs", "parameters", "init_parameters", "envs", "secrets", "timeout_s", "python",
    "refresh", "refresh_code", "output_path", "local_execution", "instructions",
)  # fmt: skip
RESERVED = ("PROJECT_NAME", "RUN_ID")  # the host sets them


@dataclass(frozen=True)
class Options:
    """The arguments of either command as they were typed."""

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
    output_path: str = ""
    platform: str = ""
    refresh_code: bool = False
    sets: Sequence[str] = ()


def open_function(options: Options) -> FunctionFile:
    """Read the function and print its file's warnings; from here on nobody else can read this process's environment."""
    hide_environment()
    _check_folder()
    path = Path(options.file)
    if path.suffix == ".py" and path.is_file():
        raise UsageError(_ask_for_yaml(path))
    file = read_function(path)
    for text in file.warnings:
        say(text)
    return file


def say(text: str) -> None:
    """Print a warning the way the host prints its own."""
    tell(f"nuwrap  warning: {text}")


def _ask_for_yaml(path: Path) -> str:
    """Return what to write so that a Python file can be run; FILE is what says which function of it, and how."""
    version = f"PYTHON{sys.version_info.major}_{sys.version_info.minor}"
    version = version if version in PYTHON_VERSIONS else list(PYTHON_VERSIONS)[-1]
    name = path.stem if re.search(NAME, path.stem) else "my-function"
    lines = (
        f"name: {name}",
        "kind: python",
        f"python_version: {version}",
        f"code_src: {json.dumps(path.name, ensure_ascii=False)}",
        f"handler: {_first_function(path)}",
    )
    target = path.with_suffix(".yaml")
    text = "".join(f"\n    {line}" for line in lines)
    return (
        f"{str(path)!r} is Python; FILE is the YAML file of a function. Name {str(target)!r}, with these lines:{text}"
    )


def _first_function(path: Path) -> str:
    """Return the name of the first function in the file, a word that says so where none is found."""
    with suppress(OSError), path.open("rb") as stream:
        found = re.search(rb"^(?:async[ \t]+)?def[ \t]+([A-Za-z_]\w*)", stream.read(READ_BYTES), re.MULTILINE)
        return found[1].decode("ascii") if found else "NAME_OF_THE_FUNCTION"
    return "NAME_OF_THE_FUNCTION"


def killed_by(exit_code: int) -> str:
    """Return the name of the signal that an exit code of 128 + n stands for, "" for any other code."""
    known = {128 + one.value: one.name for one in signal.Signals}
    return known.get(exit_code, f"signal {exit_code - 128}" if exit_code > 128 else "")


def _check_folder() -> None:
    try:
        os.getcwd()
    except OSError as exc:
        raise PlatformError(f"the folder you stand in is gone ({exc.strerror}); change to another") from exc


def place_run(file: FunctionFile, action: str, options: Options, **more: Any) -> tuple[Context, Placed]:
    """Write function and run down, placed to be run in this process; `more` are further fields of the run.

    Raises UsageError, SpecError for arguments, PlatformError for what cannot be started, StoreError for the history.
    """
    ctx = context.current()
    secrets = read_secrets(options.secrets, os.environ, file.function.project, ctx.home)
    given = {**run_fields(options), **more}
    fields = {**given, **task_fields(options, taken=given)}
    values = make_run_values(action, fields, origin=f"the run of {file.function.name!r}")
    ctx.store.add_project(ProjectRecord(file.function.project))
    folder = str(file.folder) if file.function.code_src and not has_scheme(file.function.code_src) else ""
    function = order.record_function(ctx.store, file.function, folder)
    asked = order.Order(secrets=secrets, is_attended=True)
    return ctx, order.place(ctx.store, ctx.home, function, values, say=say, order=asked)


def read_secrets(names: Sequence[str], environ: Mapping[str, str], project: str, home: str) -> dict[str, str]:
    """Return the values of the secrets that are variables of the environment; the others are the project's to give.

    Raises UsageError for what is no name, and for a secret that is in neither place.
    """
    wrong = [name for name in names if not re.search(SECRET_NAME, name)]
    if wrong:
        raise UsageError(f"--secret {wrong[0]!r} is no name of a secret: letters, digits, '.', '_' and '-'")
    found = {name: environ[name] for name in names if name in environ}
    missing = [name for name in names if name not in found]
    kept = Secrets(home).names(project) if missing else []
    lost = [name for name in missing if name not in kept]
    if lost:
        raise UsageError(
            f"--secret {', '.join(lost)}: no such variable in the environment, and project {project!r} has no secret "
            f"of that name{did_you_mean(lost[0], kept)}; export it first, or keep it: "
            f"`nuwrap secret set {lost[0]} --project {project}`"
        )
    short = [name for name, value in found.items() if 0 < len(value.strip()) < SHORTEST_MASKED]
    if short:
        say(f"--secret {', '.join(short)}: a value of less than {SHORTEST_MASKED} characters cannot be masked")
    return found


def run_fields(options: Options) -> dict[str, Any]:
    """Return the fields of a run that the arguments give. Raises UsageError."""
    timeout_s = options.timeout_s
    if timeout_s is not None and not (timeout_s > 0 and math.isfinite(timeout_s)):
        raise UsageError(f"--timeout-s {timeout_s:g}: allowed: seconds, more than 0")
    environ = split_pairs(options.envs, flag="--env", form=VARIABLE)
    reserved = [name for name in RESERVED if name in environ]
    if reserved:
        raise UsageError(f"--env {reserved[0]!r} is set by nuwrap itself; name the variable differently")
    given: dict[str, Any] = {
        "platform": options.platform,
        "inputs": split_pairs(options.inputs, flag="-i"),
        "parameters": parse_parameters(options.params, flag="-p"),
        "init_parameters": parse_parameters(options.init_params, flag="--init-param"),
        "envs": [{"name": name, "value": value} for name, value in environ.items()],
        "secrets": sorted(set(options.secrets)),
        "timeout_s": timeout_s,
        "python": _absolute(options.python),
        "refresh": options.refresh,
        "refresh_code": options.refresh_code,
    }
    return {name: value for name, value in given.items() if value}


def task_fields(options: Options, *, taken: Collection[str]) -> dict[str, Any]:
    """Return the fields of a task that `--set` gives. Raises UsageError, also for one that has an option of its own."""
    found = parse_parameters(options.sets, flag="--set")
    own = sorted({*taken, *_OWN_OPTIONS} & set(found))
    if own:
        raise UsageError(f"--set {own[0]!r} has an option of its own; give it by that one, see --help")
    return found


def goes_to_cluster(platform: str) -> bool:
    """Tell whether a run of that platform, of the setting's with "", goes to one that keeps runs by itself."""
    return (platform or read_config(home_folder(os.environ)).platform) in REMOTE


def _absolute(python: str) -> str:
    """Return the interpreter's path for a name on PATH; one that is not there stays, for the platform to refuse."""
    found = shutil.which(python) if python else None
    return os.path.abspath(found) if found else python
