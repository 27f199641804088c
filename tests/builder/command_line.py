"""The `nuwrap` command as a person runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import nuwrap
import nuwrap_runtime

START = "import sys; sys.path[:0] = {places!r}; from nuwrap.cli.main import main; main()"
Nuwrap = Callable[..., "subprocess.CompletedProcess[str]"]


def nuwrap_argv(arguments: Sequence[str]) -> list[str]:
    """The command without a PYTHONPATH, which the function would get too."""
    places = [str(Path(str(module.__file__)).parent.parent) for module in (nuwrap, nuwrap_runtime)]
    return [sys.executable, "-I", "-c", START.format(places=places), *arguments]


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, **more}


def write_function(folder: Path, **fields: Any) -> Path:
    version = "PYTHON{}_{}".format(*sys.version_info)
    plain = {"name": "fn", "kind": "python", "project": "p", "python_version": version, "handler": "f"}
    path = folder / "function.yaml"
    path.write_text(yaml.safe_dump({**plain, **fields}))
    return path
