"""What a processor says by its options, and what only a person can say of it by variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.worker.context import LEVELS

VERSION = "NUWRAP_NUCLIO_VERSION"  # of the processor, which tells it to nobody: 1.14.1
STREAMS = "NUWRAP_NUCLIO_STREAMS"
FILES = "NUWRAP_NUCLIO_FILES"
LOG_LEVEL = "NUWRAP_LOG_LEVEL"
_NO = ("0", "no", "false", "off", "disable", "disabled")
_LISTS_SINCE = (1, 13)  # before it a reply in a list is an error (nuclio/nuclio, batching)
_STREAMS_SINCE = (1, 15)


@dataclass(frozen=True)
class Settings:
    """How the processor at the other end is to be talked to.

    `event` and `control` are paths of sockets; `control` is "" of a processor before 1.9. An `event` of `host:port` is
    an address to listen on (async mode, 1.14.2 and later).
    `is_http`: events are of its HTTP trigger. `is_raw`: texts of events stay bytes, as it asks for.
    `takes_lists`: a reply may stand in a list, which it decodes in half the time. `takes_streams`: it reads the lines
    `c`, `b`, `e`. `takes_files`: a large body may be a file that it sends and deletes.
    """

    event: str
    control: str = ""
    is_http: bool = True
    is_raw: bool = False
    takes_lists: bool = False
    takes_streams: bool = False
    takes_files: bool = False
    kind: str = "local"
    namespace: str = ""
    log_level: str = "debug"

    @property
    def is_listening(self) -> bool:
        """Whether the processor connects to us."""
        return is_address(self.event)


def is_address(path: str) -> bool:
    """Tell whether it is `host:port` and no path of a socket."""
    return "/" not in path and re.fullmatch(r".*:\d+", path) is not None


def read_settings(options: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """Return the settings. A version that nobody tells is the oldest one: what it reads, all read.

    Raises PlatformError where no processor has started us.
    """
    event = options.get("event-socket-path") or options.get("socket-path")
    if not event:
        raise PlatformError(
            "--event-socket-path is missing: this script is for a Nuclio processor to start, which is told of it by "
            "NUCLIO_PYTHON_WRAPPER_PATH; to serve the function without one: nuwrap-host serve"
        )
    version = _version(environ.get(VERSION, ""))
    is_http = options.get("trigger-kind", "http") == "http"
    level = environ.get(LOG_LEVEL, "").strip().lower()
    return Settings(
        event=event.split(", ")[0],
        control=options.get("control-socket-path", ""),
        is_http=is_http,
        is_raw="decode-event-strings" not in options,
        takes_lists=version >= _LISTS_SINCE,
        takes_streams=is_http and _is_on(environ, STREAMS, default=version >= _STREAMS_SINCE),
        takes_files=is_http and _is_on(environ, FILES, default=True),
        kind=options.get("platform-kind", "local"),
        namespace=_text(options.get("namespace", "")),
        log_level={"warn": "warning"}.get(level, level) or options.get("log-level", "debug").lower(),
    )


def doubts(environ: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the variables, for the log: a worker starts all the same, and sends more, not less."""
    found = []
    level, version = environ.get(LOG_LEVEL, "").strip(), environ.get(VERSION, "").strip()
    levels = sorted({*LEVELS, "warn"})
    if level and level.lower() not in levels:
        from nuwrap_runtime.schema import did_you_mean

        near = did_you_mean(level.lower(), levels)
        found.append(f"{LOG_LEVEL} is {level!r}, which is no level; allowed: {', '.join(levels)}{near}")
    if version and not _version(version):
        found.append(f"{VERSION} is {version!r}, which is no version; it is the processor's, such as 1.14.1")
    return found


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _is_on(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = environ.get(name, "").strip().lower()
    return value not in _NO if value else default


def _text(value: str) -> str:
    return "" if value == "yes" else value  # an empty argument is taken for a flag
