"""Where a function runs: a platform is one row here and one file beside it. Platforms never know each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Protocol, cast

from nuwrap.errors import UsageError
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.schema import did_you_mean


@dataclass(frozen=True)
class Container:
    """What a run asks of the container that it gets, where the platform has containers.

    `image` runs as it is when it is one of ours, and else with the runtime brought in, as `base_image` does; without
    both it is nuwrap's own image of the Python version, from `images_registry`. `resources` and `volumes` have the
    shapes of `spec.shapes`, as plain values. `user` and `group` are numbers.
    """

    image: str = ""
    base_image: str = ""
    images_registry: str = ""
    user: int | None = None
    group: int | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    volumes: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Job:
    """A launch with what a platform needs beside it.

    `folder` is where a relative `code_src` starts, `base` where files of the run go, `python_version` the minor version
    (`3.11`), `environ` what the function gets beside the platform's own environment. `attempt` counts the starts of
    the same run. A service's `host` is who takes its requests: "nuclio" is Nuclio's processor, all else our own.
    `container` is for platforms that have some.
    """

    launch: Launch
    folder: str
    base: str
    python_version: str
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    attempt: int = 1
    host: str = ""
    container: Container = Container()


@dataclass(frozen=True)
class Placed:
    """A run that can be started: its folder with the launch document, where it starts, and its environment."""

    folder: str
    start: str
    environ: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Screen:
    """Where a run prints beside its log, as file descriptors: a person's terminal, a pipe, or nowhere.

    With `is_json` a service tells its addresses and logs as JSON lines. `on_start` gets the process that was started,
    `keep_open` are descriptors that it holds as long as it lives.
    """

    out: Sequence[int] = ()
    err: Sequence[int] = ()
    is_json: bool = False
    on_start: Callable[[int], None] = lambda _pid: None
    keep_open: Sequence[int] = ()


class Platform(Protocol):
    """What a module of this folder has; a module satisfies it."""

    def place(self, job: Job, *, say: Callable[[str], None]) -> Placed:
        """Look at all that can be refused, then make the run's folder; `say` gets each warning.

        Raises PlatformError when the run cannot be started: nothing is left then.
        """

    def attend(self, placed: Placed, action: str, *, secrets: Mapping[str, str], screen: Screen) -> int:
        """Run a job to its end, or serve until a stop ends it, and return the exit code.

        Of a service the first stop is a clean end with exit code 0, a second is at once. The folder has `log.txt`, and
        `result.json` unless the process was killed (a job's, where `output_path` names another place). Without an
        address in the launch only this machine can reach a service. `secrets` are the values to the launch's names.
        """


PLATFORMS: Final[Mapping[str, str]] = {
    "docker": "nuwrap.platforms.docker",
    "local": "nuwrap.platforms.local",
}


def get_platform(name: str) -> Platform:
    """Return the platform of that name. Raises UsageError for one that is in no row."""
    if name not in PLATFORMS:
        raise UsageError(
            f"platform {name!r} is not known; allowed: {', '.join(PLATFORMS)}{did_you_mean(name, list(PLATFORMS))}"
        )
    return cast("Platform", import_module(PLATFORMS[name]))
