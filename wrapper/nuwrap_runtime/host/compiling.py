"""Compiles folders and modules for the interpreter that runs this. Runs in the user's Python, knows nothing of ours.

Only what has no bytecode yet is compiled, and no tests. The bytecode is not compared with its source at a start (PEP
552): an image's files do not change, and their times say nothing, since layers cut them and reproducible builds set
them.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys
import sysconfig
import warnings

SKIPPED = ("test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib-dynload")
RARE = ("idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "pydoc_data")  # of the standard library
STANDARD = "stdlib"  # in the place of a path
FILES_OF_A_PROCESS = 50


def main(arguments: list[str]) -> None:
    """Compile what lies at the paths, in as many processes as there are processors, and print the number of files."""
    paths = [path for argument in arguments for path in _files(argument) if not os.path.exists(_compiled(path))]
    count = max(1, min(os.cpu_count() or 1, len(paths) // FILES_OF_A_PROCESS))
    children = [_start(paths[number::count]) for number in range(count)]
    for child in children:
        os.waitpid(child, 0)
    print(sum(os.path.exists(_compiled(path)) for path in paths))


def _files(argument: str) -> list[str]:
    if argument == STANDARD:
        return _below(sysconfig.get_path("stdlib"), RARE)
    return _below(argument, ()) if os.path.isdir(argument) else [argument]


def _below(folder: str, skipped: tuple[str, ...]) -> list[str]:
    found = []
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and name not in skipped)
        found += [os.path.join(path, name) for name in sorted(names) if name.endswith(".py")]
    return found


def _compiled(path: str) -> str:
    return importlib.util.cache_from_source(path)


def _start(paths: list[str]) -> int:
    """Return the process that compiles them: a pool's would need /dev/shm, which a build may not have."""
    child = os.fork()
    if child:
        return child
    try:
        warnings.simplefilter("ignore")
        for path in paths:
            _compile(path)
    finally:
        os._exit(0)


def _compile(path: str) -> None:
    try:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(path, doraise=True, invalidation_mode=mode)
    except (py_compile.PyCompileError, OSError, ValueError, RecursionError):  # a template, a read-only folder: as it is
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
