"""Which variables of the caller a container gets: those that say how packages, code and data are reached.

All else of this machine stays here: a container is the image's, and gives the same result for everybody.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

_PASSED = re.compile(
    r"PIP_(INDEX_URL|EXTRA_INDEX_URL|NO_INDEX|PRE|NO_BINARY|ONLY_BINARY|PREFER_BINARY|DEFAULT_TIMEOUT|TIMEOUT|RETRIES"
    r"|TRUSTED_HOST|PROXY)"
    r"|UV_(INDEX|DEFAULT_INDEX|EXTRA_INDEX_URL|INDEX_\w+|PRERELEASE|RESOLUTION|EXCLUDE_NEWER|NO_BINARY|NO_BUILD"
    r"|NO_BINARY_PACKAGE|NO_BUILD_PACKAGE|TORCH_BACKEND|INSECURE_HOST|HTTP_\w+|REQUEST_TIMEOUT)"
    r"|(?:NUWRAP_SOURCE_)?GIT_(TOKEN|USERNAME|USER|PASSWORD|SSH_KEY|SSH_KNOWN_HOSTS)"
    r"|(?:NUWRAP_SOURCE_)?AWS_\w+|S3_\w+|NUWRAP_(?:GRACE_S|ISOLATED|LIMITS|NETWORK)"
)
_PROXIES = re.compile(r"(?:http|https|all|no)_proxy", re.IGNORECASE)
# A profile and a path mean something on this machine alone.
_HERE = re.compile(r"(?:NUWRAP_SOURCE_)?AWS_(?:\w*PROFILE|\w+_FILE|CA_BUNDLE|DATA_PATH|CONTAINER_\w+)")
_TEXT_OR_FILE = re.compile(r"(?:NUWRAP_SOURCE_)?GIT_SSH_(?:KEY|KNOWN_HOSTS)")
_LOOPBACK = re.compile(r"//(?:[^/@\s]*@)?(?:localhost|127(?:\.\d+){3}|\[::1\])(?=[:/\s]|$)", re.IGNORECASE)
_FETCHING = re.compile(r"GIT_\w+|NUWRAP_SOURCE_\w+")
# Of what is passed on, what opens doors.
CREDENTIALS = re.compile(
    r"(?:NUWRAP_SOURCE_)?(?:GIT_(?:TOKEN|USERNAME|USER|PASSWORD|SSH_KEY|SSH_KNOWN_HOSTS)|AWS_\w+)"
    r"|S3_\w+"
)


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of the caller's variables a container gets; a proxy of this machine's own is out of its reach."""
    found = {}
    for name, value in environ.items():
        if _PASSED.fullmatch(name) and not _HERE.fullmatch(name):
            is_path = bool(_TEXT_OR_FILE.fullmatch(name)) and os.path.isfile(value)
            found[name] = _read(value) if is_path else value
        elif _PROXIES.fullmatch(name) and (name.lower() == "no_proxy" or not _LOOPBACK.search(value)):
            found[name] = value
    return found


def without_fetching(environ: Mapping[str, str], *, keeps_store: bool) -> dict[str, str]:
    """Return the variables without the credentials for code; `keeps_store` leaves those that outputs are stored by."""
    kept = "NUWRAP_SOURCE_AWS_" if keeps_store else "\0"
    return {name: one for name, one in environ.items() if not _FETCHING.fullmatch(name) or name.startswith(kept)}


def warn_of_variables(environ: Mapping[str, str], decided: set[str], say: Callable[[str], None]) -> None:
    """Say which of the caller's variables a container does not get, or cannot use, though they look as if it did."""
    dropped = sorted(decided & set(environ))
    if dropped:
        say(f"{', '.join(dropped)} of the environment are not used: the function file and the arguments decide")
    passed = passed_on(environ)
    local = sorted(name for name, value in passed.items() if _LOOPBACK.search(value))
    local += sorted(name for name in environ if _PROXIES.fullmatch(name) and name not in passed)
    if local:
        say(f"{', '.join(local)}: names this machine by its loopback address, which in a container is the container")
    if environ.get("AWS_PROFILE") and not environ.get("AWS_ACCESS_KEY_ID"):
        say("AWS_PROFILE means nothing in a container; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        return stream.read()
