"""What this process has open: the user's home folder and its history, opened at first use and anew after a fork."""

from __future__ import annotations

import atexit
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nuwrap.errors import NotFound, UsageError
from nuwrap.store import ProjectRecord, Store, open_store
from nuwrap.store.home import home_folder
from nuwrap.text import escape
from nuwrap_runtime.launch import NAME, NAME_FORM
from nuwrap_runtime.schema import did_you_mean, show


@dataclass(frozen=True)
class Context:
    """A home folder and its history."""

    home: str
    store: Store


# By process and home. A child keeps what its parent has open and never touches it: SQLite forbids both use and close.
_opened: dict[tuple[int, str], Context] = {}


def current() -> Context:
    """Return the context of `$NUWRAP_HOME` as it is now. Raises StoreError."""
    home = home_folder(os.environ)
    key = (os.getpid(), home)
    if key not in _opened:
        made = Context(home, open_store(home))
        if _opened.setdefault(key, made) is not made:  # another thread was first
            made.store.close()
    return _opened[key]


@atexit.register
def close() -> None:
    """Close what this process has opened; the next use opens it anew."""
    for key in [one for one in list(_opened) if one[0] == os.getpid()]:
        _opened.pop(key).store.close()


def say(text: str) -> None:
    """Tell a person something that is no error; what a run has said in it commands no terminal."""
    if sys.stderr:
        print(escape(f"nuwrap: {text}"), file=sys.stderr, flush=True)


def ensure_project(name: Any) -> ProjectRecord:
    """Return the project, made with a notice when it is missing. Raises UsageError for an impossible name."""
    record, is_new = current().store.add_project(ProjectRecord(check_name(name, "project")))
    if is_new:
        say(f"project {record.name!r} is new")
    return record


def find_project(name: Any) -> ProjectRecord:
    """Return the project. Raises NotFound naming what is alike."""
    store = current().store
    record = store.get_project(check_name(name, "project"))
    if record is None:
        names = [one.name for one in store.list_projects()]
        there = f"there is: {', '.join(sorted(names)[:20])}" if names else "there is none yet"
        hint = f"get_or_create_project({name!r}) makes it"
        raise NotFound(f"there is no project {name!r}{did_you_mean(name, names)}; {there}. {hint}")
    return record


def check_name(name: Any, what: str) -> str:
    """Return the name. Raises UsageError when it is no name, as a missing one is none."""
    if isinstance(name, str) and re.search(NAME, name) and not name.endswith("\n"):
        return name
    if name is None or name == "":
        raise UsageError(f"{what}: is missing; give {what}=NAME, where {NAME_FORM}")
    raise UsageError(f"{what}: {show(name)} is no name; allowed: {NAME_FORM}")


def refuse(unknown: Mapping[str, Any], known: list[str], what: str) -> None:
    """Raise UsageError for keyword arguments that a call does not have, each with what was meant."""
    if unknown:
        lines = [f"{name}: unknown argument{did_you_mean(name, known)}" for name in unknown]
        raise UsageError(f"{what}: {'; '.join(lines)}; allowed: {', '.join(known)}")
