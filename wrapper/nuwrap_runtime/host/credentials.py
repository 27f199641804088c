"""Which environment variables who may see: the fetcher, the user's code. Names of secrets may show, values never."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from nuwrap_runtime.host.index import url_secrets
from nuwrap_runtime.launch import VARIABLES

SOURCE_PREFIX = "NUWRAP_SOURCE_"
SOURCE_FAMILIES = ("GIT_", "AWS_")
FETCH_ONLY = ("GIT_TOKEN", "GIT_PASSWORD", "GIT_SSH_KEY", "GIT_ASKPASS", "SSH_ASKPASS")
INDEX_VARIABLES = (
    *("UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
    *("UV_FIND_LINKS", "PIP_FIND_LINKS"),
)
LINE_CHARACTERS = 8  # a shorter line of a key or a document is no secret by itself, and would mask half the log
_VALUES = ("GIT_TOKEN", "GIT_PASSWORD", "GIT_SSH_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


_ACCOUNTS = (
    *("GIT_TOKEN", "GIT_USERNAME", "GIT_USER", "GIT_PASSWORD", "GIT_SSH_KEY"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
)
_ROLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")


def fetch_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a fetching child gets: `NUWRAP_SOURCE_GIT_…` and `…_AWS_…` under their plain names.

    Who is given so is one account: of a family that has any, no plain credential is left (a plain GIT_TOKEN would
    win over NUWRAP_SOURCE_GIT_PASSWORD, a plain AWS_SESSION_TOKEN would spoil the other account's keys).
    """
    given = {name[len(SOURCE_PREFIX) :]: value for name, value in environ.items() if name.startswith(SOURCE_PREFIX)}
    given = {name: value for name, value in given.items() if name.startswith(SOURCE_FAMILIES) and value}
    replaced = {name for name in _ACCOUNTS if any(name[:4] == other[:4] for other in given if other in _ACCOUNTS)}
    hidden = {name for name in environ if name in replaced or name.startswith(SOURCE_PREFIX)}
    return {**{name: value for name, value in environ.items() if name not in hidden}, **given}


def data_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a child gets that moves inputs and outputs: the run's own accounts, as the function has them.

    Of a family that has no plain account it gets the one that was given for fetching the source.
    """
    source = fetch_environment(environ)
    plain = {name: value for name, value in environ.items() if not name.startswith(SOURCE_PREFIX)}
    has_own = any(plain.get(name) for name in (*_ACCOUNTS, *_ROLES) if name.startswith("AWS_"))
    return plain if has_own else source


def user_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the user's code gets: no credentials for fetching or of an index, none of the launch's variables."""
    return {name: value for name, value in without_fetching(environ).items() if not _is_index_login(name, value)}


def without_fetching(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of our own installer: an index's login stays, a source's and the launch's variables go."""
    hidden = {*FETCH_ONLY, *VARIABLES, "NUWRAP_LAUNCH"}
    return {name: value for name, value in environ.items() if name not in hidden and not name.startswith(SOURCE_PREFIX)}


def secret_values(environ: Mapping[str, str], names: Sequence[str], folder: str) -> tuple[str, ...]:
    """Return every value that no log line and no result may show; of one with several lines, each line too."""
    found = [environ.get(name, "") for name in (*_VALUES, *names)]
    found += [environ.get(SOURCE_PREFIX + name, "") for name in _VALUES]
    found += [_read(os.path.join(folder, name)) for name in names]
    found += _passwords(environ)
    whole = {value.strip() for value in found if value.strip()}
    lines = {line.strip() for value in whole if "\n" in value for line in value.splitlines()}
    return tuple(whole | {line for line in lines if len(line) >= LINE_CHARACTERS})


def secret_variables(names: Sequence[str], folder: str) -> dict[str, str]:
    """Return the secrets whose names may name a variable, from their files."""
    found = {name: _read(os.path.join(folder, name)) for name in names if name.isidentifier() and name.isascii()}
    return {name: value for name, value in found.items() if value and "\0" not in value}


def secrets_folder(environ: Mapping[str, str]) -> str:
    """Return the folder with a file for each secret: `$NUWRAP_SECRETS`, in containers /run/secrets."""
    return environ.get("NUWRAP_SECRETS", "") or "/run/secrets"


def _is_index_login(name: str, value: str) -> bool:
    if name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD")):
        return True
    return name in INDEX_VARIABLES and bool(re.search(r"//[^/\s]+@", value))


def _passwords(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the passwords for indexes and proxies."""
    plain = [value for name, value in environ.items() if name.startswith("UV_INDEX_") and name.endswith("_PASSWORD")]
    texts = [value for name, value in environ.items() if name in INDEX_VARIABLES or name.upper().endswith("_PROXY")]
    return (*plain, *url_secrets(texts))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(1024 * 1024)
    except OSError:
        return ""
