"""Secrets of a build as private files, in memory where there is such a place; gone when the build is over."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from nuwrap.errors import BuildError


@contextmanager
def private_folder(environ: Mapping[str, str]) -> Iterator[str]:
    """Give a new folder of this user alone; it is gone after the body. Raises BuildError when none can be made."""
    path = _make_folder(environ)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write_secrets(folder: str, names: Sequence[str], values: Mapping[str, str]) -> dict[str, str]:
    """Write the named values and return each one's file. Raises BuildError for a name without a value."""
    found = {}
    for number, name in enumerate(names):
        if name not in values:
            raise BuildError(f"secret {name!r} is mounted by the plan, but has no value; `nuwrap secret set {name}`")
        path = os.path.join(folder, f"secret-{number}")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(values[name].encode("utf-8", "surrogateescape"))
        found[name] = path
    return found


def _make_folder(environ: Mapping[str, str]) -> str:
    memory = (environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm")  # noqa: S108 - mkdtemp: a new name, this user's
    for place in (*filter(os.path.isabs, memory), None):
        with suppress(OSError):
            return tempfile.mkdtemp(prefix="nuwrap-", dir=place)
    raise BuildError(
        f"no private folder can be made in {tempfile.gettempdir()!r}; set TMPDIR to one of your own", "disk"
    )
