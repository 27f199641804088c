"""`nuwrap doctor`: what this machine has, what each lack means, and the command that mends it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from nuwrap.cli import programs
from nuwrap.cli.programs import Finding
from nuwrap.cli.show import show_rows
from nuwrap.cli.terminal import STDERR
from nuwrap.errors import NuwrapError, PlatformError
from nuwrap.host import ask_host
from nuwrap.platforms.interpreters import SUPPORTED, find_interpreters
from nuwrap.store import open_store
from nuwrap.store.config import read_config
from nuwrap.store.database import FILE_NAME
from nuwrap.store.home import home_folder
from nuwrap.text import escape


def examine(*, as_json: bool) -> int:
    """Print what was found on this machine; return 0 unless something is missing that every run needs."""
    return show_findings(_find_all(), as_json=as_json)


def show_findings(found: Iterable[Finding], *, as_json: bool) -> int:
    """Print the findings; return 0 unless something is missing that every run needs."""
    findings = list(found)
    missing = [one.name for one in findings if one.is_needed and one.lack]
    if as_json:
        print(json.dumps({"ok": not missing, "findings": [asdict(one) for one in findings]}, indent=1))
    else:
        _show(findings, missing)
    return PlatformError.exit_code if missing else 0


def _show(findings: Sequence[Finding], missing: Sequence[str]) -> None:
    """Print what was found, and below it each lack with its command on a line of its own, to be copied."""
    summary = f"no run can begin: {', '.join(missing)}" if missing else "all that every run needs is there"
    show_rows(("what", "found"), [(one.name, one.found or "missing") for one in findings], summary)
    for one in findings:
        if one.lack:
            print(escape(f"\n{one.name}: {one.lack}\n    {one.mend}"))


def _find_all() -> Iterator[Finding]:
    answer = ask_host(["doctor"], os.environ, err=(STDERR,))
    if not answer.document:
        raise PlatformError("the host cannot tell what this machine has; why, stands above")
    told = answer.document
    yield from _pythons(str(told["uv"]))
    yield programs.uv(str(told["uv"]))
    yield programs.git()
    yield programs.docker()
    yield programs.images(_images_registry())
    yield programs.kubectl()
    yield programs.s3(os.environ)
    yield _home()
    yield _cache(str(told["cache"]), str(told["cache_error"]))
    yield _packages(str(told["tree"]), can_install=bool(told["uv"] or told["has_pip"]))


def _pythons(uv: str) -> Iterator[Finding]:
    there = {one.version: one.path for one in find_interpreters(os.environ)}
    for version in SUPPORTED:
        name = f"Python {version}"
        if version in there:
            yield Finding(name, there[version])
        else:
            lack = f"functions of python_version PYTHON{version.replace('.', '_')} do not run here"
            yield Finding(name, "", lack, programs.uv_command(uv, f"python install {version}"), is_needed=not there)


def _images_registry() -> str:
    try:
        return read_config(home_folder(os.environ)).build.images_registry
    except NuwrapError:  # a home that cannot be read is told below
        return ""


def _home() -> Finding:
    try:
        home = home_folder(os.environ)
        fault = _home_fault(home)
    except NuwrapError as exc:
        home, fault = "", str(exc)
    mend = "export NUWRAP_HOME=FOLDER, one that you may write to" if fault else ""
    is_new = home and not os.path.isdir(home)
    found = f"{home}, made by the first run" if is_new else home
    return Finding("history", "" if fault else found, fault, mend, is_needed=True)


def _home_fault(home: str) -> str:
    """Return why no history can be kept in the folder, "" when it can; makes none. Raises StoreError."""
    if os.path.exists(os.path.join(home, FILE_NAME)):
        open_store(home).close()
    nearest = home
    while not os.path.lexists(nearest):
        nearest = os.path.dirname(nearest)
    is_fit = os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK)
    return (
        ""
        if is_fit
        else f"the history cannot be kept in {home!r}: {nearest!r} is no folder that this user may write to"
    )


def _cache(folder: str, error: str) -> Finding:
    mend = "export NUWRAP_CACHE=FOLDER, one that you may write to" if error else ""
    return Finding("cache", "" if error else folder, error, mend, is_needed=True)


def _packages(tree: str, *, can_install: bool) -> Finding:
    """Say whether nuwrap's own packages are in the cache, or can be put there."""
    name = "nuwrap's files"
    if tree or can_install:
        return Finding(name, tree or "set up by the first run", is_needed=True)
    lack = "there is neither uv nor pip, which set up nuwrap's own packages"
    return Finding(name, "", lack, "python -m ensurepip", is_needed=True)
