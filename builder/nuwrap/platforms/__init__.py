"""Where a function runs: a platform is one row here and one file beside it. Platforms never know each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final, Protocol, cast

from nuwrap.errors import UsageError
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.schema import did_you_mean


@dataclass(frozen=True)
class Job:
    """A launch with what a platform needs beside it.

    `folder` is where a relative `code_src` starts, `python_version` the minor version (`3.11`), `environ` what the
    function gets beside the platform's own environment, `secrets` the values to the launch's names. `image` and
    `base_image` are the function's, "" when it has none. With `is_json` standard output is for a machine: a job writes
    nothing to it (its caller prints the result), a service its addresses, as JSON lines.
    """

    launch: Launch
    folder: str
    python_version: str
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    image: str = ""
    base_image: str = ""
    is_json: bool = False


@dataclass(frozen=True)
class Finished:
    """A run that is over: the host's exit code, and the folder on this machine that has its result and its log."""

    exit_code: int
    folder: str


class Platform(Protocol):
    """What a module of this folder has; a module satisfies it."""

    def run_job(self, job: Job, *, say: Callable[[str], None]) -> Finished:
        """Run the job to its end; `say` gets each warning.

        Raises PlatformError when the run cannot be started: nothing of the function has run then.
        """

    def run_service(self, job: Job, *, say: Callable[[str], None]) -> Finished:
        """Serve the function until a stop ends it; the first is a clean end with exit code 0, a second is at once.

        The folder has the log and no result. Without an address in the launch only this machine can reach it. Raises
        PlatformError as `run_job`.
        """


PLATFORMS: Final[Mapping[str, str]] = {
    "local": "nuwrap.platforms.local",
}


def get_platform(name: str) -> Platform:
    """Return the platform of that name. Raises UsageError for one that is in no row."""
    if name not in PLATFORMS:
        raise UsageError(
            f"platform {name!r} is not known; allowed: {', '.join(PLATFORMS)}{did_you_mean(name, list(PLATFORMS))}"
        )
    return cast("Platform", import_module(PLATFORMS[name]))
