"""Where code comes from: a scheme is one row here and one file beside it. Siblings never know each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable, Final

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.launch import Launch, Limits, Network
from nuwrap_runtime.schema import did_you_mean

if TYPE_CHECKING:
    from nuwrap_runtime.host.source_cache import SourceCache

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
    """Code on this machine: `revision` says which (a commit, a digest), a bare handler is in `default_module`.

    Code that is `from_image` is nobody's to change: it is no copy.
    """

    root: str
    revision: str
    default_module: str = "main"
    from_cache: bool = False
    from_image: bool = False


Fetch = Callable[[Source, str, Mapping[str, str]], Checkout]

FETCHERS: Final[Mapping[str, str]] = {
    "": "nuwrap_runtime.host.sources.local",
    "git+file": "nuwrap_runtime.host.sources.git",
    "git+http": "nuwrap_runtime.host.sources.git",
    "git+https": "nuwrap_runtime.host.sources.git",
    "git+ssh": "nuwrap_runtime.host.sources.git",
    "http": "nuwrap_runtime.host.sources.remote",
    "https": "nuwrap_runtime.host.sources.remote",
    "s3": "nuwrap_runtime.host.sources.remote",
    "zip+http": "nuwrap_runtime.host.sources.remote",
    "zip+https": "nuwrap_runtime.host.sources.remote",
    "zip+s3": "nuwrap_runtime.host.sources.remote",
}


def parse_source(launch: Launch) -> Source:
    """Return the source that `code_src` names, be it by a store:// key.

    Raises SourceError for a scheme that no file here serves.
    """
    location = launch.code_src
    if location.startswith("store://"):
        location = str(launch.entities[location]["path"])
    scheme = split_scheme(location)
    if scheme not in FETCHERS:
        near = did_you_mean(scheme, [name for name in FETCHERS if name])
        known = ", ".join(f"{name}://" for name in FETCHERS if name)
        raise SourceError(
            f"code_src {shown(location)!r}: scheme {scheme!r} is not known; allowed: a path, {known}, store://{near}"
        )
    return Source(
        scheme,
        location,
        launch.sha256,
        keep_git=launch.keep_git,
        limits=launch.limits,
        network=launch.network,
    )


def split_scheme(code_src: str) -> str:
    """Return the scheme in lower case, "" for a path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", code_src)
    return found.group(1).lower() if found else ""


def is_local(launch: Launch) -> bool:
    """Tell whether the code is a path of this machine."""
    entity = launch.entities.get(launch.code_src, {})
    return bool(launch.code_src) and not split_scheme(str(entity.get("path", launch.code_src)))


def check_digest(wanted: str, found: str, name: str) -> None:
    """See that a file's digest is the one that `sha256` names, "" being any. Raises SourceError with the one found."""
    if wanted not in ("", found):
        raise SourceError(f"{name}: its SHA-256 is {found}, not {wanted} (sha256)")


def fetch(source: Source, into: str, environ: Mapping[str, str]) -> Checkout:
    """Put the source's files into the empty folder `into` and say what they are.

    What fails half-way leaves `into` empty. Credentials come from `environ` alone. Raises SourceError.
    """
    fetcher: Fetch = import_module(FETCHERS[source.scheme]).fetch
    return fetcher(source, into, environ)


def kept(source: Source, cache: SourceCache) -> list[str]:
    """Return the revisions that the cache has of the source, the likeliest first; asks nobody and changes nothing.

    A start uses one of them when the server says that it is the right one. Raises SourceError for a source that is
    refused before anything is fetched.
    """
    look: Callable[[Source, SourceCache], list[str]] = import_module(FETCHERS[source.scheme]).kept
    return look(source, cache)


def child(request: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Fetch in a child process; see `children`."""
    given = dict(request["source"])
    limits, network = Limits(**given.pop("limits")), Network(**given.pop("network"))
    return asdict(fetch(Source(**given, limits=limits, network=network), request["into"], environ))
