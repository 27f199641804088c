"""What `nuwrap run` and `nuwrap serve` share: from the arguments as they were typed to what a platform runs."""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import shutil
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwrap.cli.terminal import tell
from nuwrap.errors import PlatformError, UsageError
from nuwrap.platforms import Job
from nuwrap.spec.function import PYTHON_VERSIONS
from nuwrap.spec.function_file import FunctionFile, read_function
from nuwrap.spec.inputs import parse_parameters, resolve_inputs, split_pairs
from nuwrap_runtime.launch import NAME, SECRET_NAME, Launch

VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
PR_SET_DUMPABLE = 4  # linux/prctl.h
SHORTEST_MASKED = 3  # characters; see nuwrap.command.Mask
LACK_OF_MEMORY = " (most often by the system, for a lack of memory)"
READ_BYTES = 1024 * 1024  # of a Python file that was given for a YAML file
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


def task_values(file: FunctionFile, options: Options) -> dict[str, Any]:
    """Return the fields of a `Task` that the arguments decide. Raises UsageError."""
    timeout_s = options.timeout_s
    if timeout_s is not None and not (timeout_s > 0 and math.isfinite(timeout_s)):
        raise UsageError(f"--timeout-s {timeout_s:g}: allowed: seconds, more than 0")
    inputs = resolve_inputs(options.inputs, flag="-i", project=file.function.project, known={}, folder=os.getcwd())
    return {
        "run": str(uuid.uuid4()),
        "inputs": inputs.keys,
        "entities": inputs.entities,
        "parameters": parse_parameters(options.params, flag="-p"),
        "init_parameters": parse_parameters(options.init_params, flag="--init-param"),
        "secrets": tuple(sorted(set(options.secrets))),
        "timeout_s": timeout_s,
        "python": _absolute(options.python),
        "refresh": options.refresh,
    }


def make_job(file: FunctionFile, launch: Launch, options: Options, secrets: Mapping[str, str]) -> Job:
    """Return what a platform runs. Raises UsageError for a variable that is not the caller's to set."""
    environ = split_pairs(options.envs, flag="--env", form=VARIABLE)
    reserved = [name for name in RESERVED if name in environ]
    if reserved:
        raise UsageError(f"--env {reserved[0]!r} is set by nuwrap itself; name the variable differently")
    return Job(
        launch=launch,
        folder=str(file.folder),
        python_version=PYTHON_VERSIONS[file.function.python_version],
        environ=environ,
        secrets=secrets,
        image=file.function.image,
        base_image=file.function.base_image,
        is_json=options.as_json,
    )


def _absolute(python: str) -> str:
    """Return the interpreter's path for a name on PATH; one that is not there stays, for the platform to refuse."""
    found = shutil.which(python) if python else None
    return os.path.abspath(found) if found else python
