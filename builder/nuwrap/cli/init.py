"""`nuwrap init`: a function to begin with, a test of it, and the file that says how it is run."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Final

from nuwrap.errors import PlatformError, UsageError
from nuwrap.spec.document import dump_document
from nuwrap.spec.function import PYTHON_VERSIONS, make_function
from nuwrap.spec.function_file import FILE_NAME
from nuwrap.text import escape

CODE, TEST = "main.py", "test_main.py"
MODULE: Final = '''"""The function that function.yaml names."""

from nuwrap import handler


@handler(outputs=["greeting"])
def greet(name: str = "world", times: int = 1) -> str:
    """Greet somebody, as often as it is asked for."""
    return " ".join([f"hello {name}"] * times)
'''
TESTS: Final = '''"""A decorated function is an ordinary function in a test."""

from main import greet


def test_greet_says_hello_as_often_as_asked() -> None:
    assert greet("you", times=2) == "hello you hello you"
'''
HEAD: Final = "# What nuwrap runs, and how. `nuwrap schema function` tells all fields.\n"


def begin(folder: str, *, name: str, project: str, python_version: str, as_json: bool) -> int:
    """Write the three files into the folder, made when it is missing, and print what to type next.

    All of them are there then, or none. Raises UsageError for a file that is there already and for a wrong name or
    version, PlatformError when the folder cannot be written.
    """
    fields = {
        "name": name or _name_of(folder),
        "kind": "python",
        "project": project,
        "python_version": _spelled(python_version),
        "code_src": CODE,
        "handler": "greet",
        "requirements": [],
    }
    make_function(fields, origin="the function")
    files = {FILE_NAME: HEAD + dump_document(fields), CODE: MODULE, TEST: TESTS}
    _check_free(folder, files)
    _write_all(folder, files)
    commands = _next_commands(folder)
    if as_json:
        print(json.dumps({"folder": os.path.abspath(folder), "files": list(files), "next": commands}))
    else:
        lines = "".join(f"  {line}\n" for line in commands)
        print(escape(f"made {', '.join(files)} in {os.path.join(folder, '')}\n\nnext:\n{lines}"), end="")
    return 0


def _name_of(folder: str) -> str:
    """Return the folder's name as a function may be called."""
    kept = re.sub(r"[^A-Za-z0-9_.-]+", "-", os.path.basename(os.path.abspath(folder)))
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", kept[:128]) or "my-function"


def _spelled(python_version: str) -> str:
    """Return the version as a function file spells it: of `3.11` too, and of "" the one that runs this."""
    here = "{}.{}".format(*sys.version_info)
    given = python_version or (here if here in PYTHON_VERSIONS.values() else list(PYTHON_VERSIONS.values())[-1])
    return {version: name for name, version in PYTHON_VERSIONS.items()}.get(given, given)


def _check_free(folder: str, files: Mapping[str, str]) -> None:
    there = [name for name in files if os.path.lexists(os.path.join(folder, name))]
    if there:
        verb = "is" if len(there) == 1 else "are"
        raise UsageError(
            f"{', '.join(there)} {verb} in {folder!r} already, and nothing is overwritten; name another folder, as in "
            "`nuwrap init my-function`"
        )


def _write_all(folder: str, files: Mapping[str, str]) -> None:
    """Write all files, or take away again what was made."""
    folders, made = _missing(folder), []
    try:
        os.makedirs(folder, exist_ok=True)
        for name, text in files.items():
            path = os.path.join(folder, name)
            with open(path, "x", encoding="utf-8") as stream:
                made.append(path)
                stream.write(text)
    except BaseException as exc:  # a stop too
        for path in made:
            os.unlink(path)
        for one in reversed(folders):
            with suppress(OSError):  # not made yet, or somebody has put a file into it
                os.rmdir(one)
        if isinstance(exc, OSError):
            raise PlatformError(f"cannot make a function in {folder!r}: {exc.strerror or exc}") from exc
        raise


def _missing(folder: str) -> list[str]:
    """Return the folders that are to be made, the outermost first."""
    path, found = os.path.abspath(folder), []
    while not os.path.lexists(path):
        found.append(path)
        path = os.path.dirname(path)
    return found[::-1]


def _next_commands(folder: str) -> list[str]:
    change = [] if os.path.realpath(folder) == os.path.realpath(os.curdir) else [f"cd {shlex.quote(folder)}"]
    install = [] if find_spec("pytest") else ["python -m pip install pytest"]
    run = ["nuwrap check .", "nuwrap run . -p name=you -p times=2"]
    return [*change, *run, *install, f"python -m pytest -q {TEST}"]
