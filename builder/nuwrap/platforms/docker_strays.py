"""Containers that a killed nuwrap has left: each run holds its `docker.json` locked while it goes on, and the next one
that is placed on this machine removes those of its user that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from nuwrap.errors import PlatformError
from nuwrap.platforms.docker_engine import Engine
from nuwrap.platforms.docker_wanted import FILE_NAME

RUN, FOLDER, OWNER = "dev.nuwrap.run", "dev.nuwrap.folder", "dev.nuwrap.owner"
ENDED: Final = ("created", "exited", "dead")


def labels(folder: str, run: str) -> dict[str, str]:
    """Return what tells whose a container is."""
    return {RUN: run, FOLDER: folder, OWNER: _owner()}


@contextmanager
def held(folder: str) -> Iterator[None]:
    """Say for the time of the body that the containers of the run in this folder are somebody's."""
    file = os.open(os.path.join(folder, FILE_NAME), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def remove_strays(engine: Engine) -> None:
    """Remove what this user's killed runs on this machine have left; what cannot be told stays."""
    with suppress(PlatformError):
        for container in engine.list_containers(RUN, f"{OWNER}={_owner()}"):
            found = engine.inspect(container)
            if found and _is_left(found):
                engine.remove(container)


def _is_left(found: Mapping[str, Any]) -> bool:
    """Tell whether nobody stays with it. Of a running one whose folder is gone that is not known."""
    path = os.path.join(found["Config"]["Labels"].get(FOLDER, ""), FILE_NAME)
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return found["State"]["Status"] in ENDED
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def _owner() -> str:
    """Return this user of this machine; the daemon may be that of several."""
    return f"{os.getuid()}@{socket.gethostname()}"
