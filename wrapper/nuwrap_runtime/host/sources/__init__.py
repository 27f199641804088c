"""Where code comes from: a scheme is one row here and one file beside it. Siblings never know each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Callable, Final

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.process import MASK
from nuwrap_runtime.launch import Launch, Limits, Network
from nuwrap_runtime.schema import did_you_mean

DEPTH: Final = 200  # most folders inside each other: the standard library's own walks end at 1,000 (recursion)


@dataclass(frozen=True)
class Source:
    """A `code_src`, cut into what every scheme needs. `scheme` is "" for a path, else as written (`git+https`).

    `cache` is the folder of kept sources, "" when none is kept.
    """

    scheme: str
    location: str
    sha256: str = ""
    cache: str = ""
    keep_git: bool = False
    limits: Limits = field(default_factory=Limits)
    network: Network = field(default_factory=Network)


@dataclass(frozen=True)
class Checkout:
    """Code on this machine: `revision` says which (a commit, a digest), a bare handler is in `default_module`."""

    root: str
    revision: str
    default_module: str = "main"


Fetch = Callable[[Source, str, Mapping[str, str]], Checkout]

FETCHERS: Final[Mapping[str, str]] = {
    "": "nuwrap_runtime.host.sources.local",
    "git+file": "nuwrap_runtime.host.sources.git",
    "git+http": "nuwrap_runtime.host.sources.git",
    "git+https": "nuwrap_runtime.host.sources.git",
    "git+ssh": "nuwrap_runtime.host.sources.git",
}


def parse_source(launch: Launch) -> Source:
    """Return the source that `code_src` names. Raises SourceError for a scheme that no file here serves."""
    scheme = split_scheme(launch.code_src)
    if scheme not in FETCHERS:
        near = did_you_mean(scheme, [name for name in FETCHERS if name])
        known = ", ".join(f"{name}://" for name in FETCHERS if name)
        raise SourceError(
            f"code_src {shown(launch.code_src)!r}: scheme {scheme!r} is not known; allowed: a path, {known}{near}"
        )
    return Source(scheme, launch.code_src, launch.sha256, launch.keep_git, launch.limits, launch.network)


def shown(code_src: str) -> str:
    """Return `code_src` as messages and documents may quote it: `***` in place of a login in the address.

    A password may hold what an address would have to encode: up to the last `@` before the path, or, where what
    precedes the first `/` ends in neither a host nor a port, before anything.
    """
    begin = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/+|", code_src)
    head = begin.group() if begin else ""
    rest = code_src[len(head) :]
    netloc = rest.partition("/")[0]
    if "@" in netloc and (head or ":" in netloc.partition("@")[0]):
        return f"{head}{MASK}@{rest[netloc.rindex('@') + 1 :]}"
    if head and "@" in rest and re.search(r":(?!\d*$)", netloc) and not netloc.startswith("["):
        return f"{head}{MASK}@{rest[rest.rindex('@') + 1 :]}"
    return code_src


def split_scheme(code_src: str) -> str:
    """Return the scheme in lower case, "" for a path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", code_src)
    return found.group(1).lower() if found else ""


def check_digest(wanted: str, content: bytes, name: str) -> None:
    """See that a file is the one that `sha256` names, "" being any. Raises SourceError with the digest found."""
    found = hashlib.sha256(content).hexdigest()
    if wanted not in ("", found):
        raise SourceError(f"{name}: its SHA-256 is {found}, not {wanted} (sha256)")


def fetch(source: Source, into: str, environ: Mapping[str, str]) -> Checkout:
    """Put the source's files into the empty folder `into` and say what they are.

    What fails half-way leaves `into` empty. Credentials come from `environ` alone. Raises SourceError.
    """
    fetcher: Fetch = import_module(FETCHERS[source.scheme]).fetch
    return fetcher(source, into, environ)
