"""Which environment variables who may see: the fetcher, the user's code. Names of secrets may show, values never."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from nuwrap_runtime.launch import VARIABLES

SOURCE_PREFIX = "NUWRAP_SOURCE_"
FETCH_ONLY = ("GIT_TOKEN", "GIT_PASSWORD", "GIT_SSH_KEY", "GIT_ASKPASS", "SSH_ASKPASS")
_VALUES = ("GIT_TOKEN", "GIT_PASSWORD", "GIT_SSH_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def fetch_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a fetching child gets: all of it, `NUWRAP_SOURCE_X` in place of a plain `X`."""
    plain = {name: value for name, value in environ.items() if not name.startswith(SOURCE_PREFIX)}
    given = {name: value for name, value in environ.items() if name.startswith(SOURCE_PREFIX)}
    return {**plain, **{name[len(SOURCE_PREFIX) :]: value for name, value in given.items()}}


def user_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the user's code gets: no credentials for fetching, none of the launch's own variables."""
    hidden = {*FETCH_ONLY, *VARIABLES, "NUWRAP_LAUNCH"}
    return {name: value for name, value in environ.items() if name not in hidden and not name.startswith(SOURCE_PREFIX)}


def secret_values(environ: Mapping[str, str], names: Sequence[str], folder: str) -> tuple[str, ...]:
    """Return every value that no log line and no result may show."""
    found = [environ.get(name, "") for name in (*_VALUES, *names)]
    found += [environ.get(SOURCE_PREFIX + name, "") for name in _VALUES]
    found += [_read(os.path.join(folder, name)) for name in names]
    return tuple({value.strip() for value in found if value.strip()})


def secrets_folder(environ: Mapping[str, str]) -> str:
    """Return the folder with a file for each secret: `$NUWRAP_SECRETS`, in containers /run/secrets."""
    return environ.get("NUWRAP_SECRETS", "/run/secrets")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(1024 * 1024)
    except OSError:
        return ""
