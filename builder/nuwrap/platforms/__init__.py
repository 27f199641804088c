"""Where a function runs: a platform is one row here and one file beside it. Platforms never know each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Protocol, cast

from nuwrap.errors import PlatformError, UsageError
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
class PodImages:
    """The images of a pod, pinned where their registry answers. `image` has the function; `fetcher` is ours of the same
    Python. `is_foreign` tells that the runtime is to be brought in, `is_baked` that the code is in the image,
    `becomes_another` that it is started as Nuclio's processor.
    """

    image: str = ""
    fetcher: str = ""
    is_foreign: bool = False
    is_baked: bool = False
    becomes_another: bool = False


@dataclass(frozen=True)
class ForCluster:
    """What a run tells a cluster: the task's fields as plain values, the user's settings by name, and the record.

    The record is what a colleague's nuwrap takes the run over by: `function` and `run` as the history has them, names
    of secrets alone. `files` come with the run, by their place below `/run/nuwrap`; `paths` tells of places of code
    and inputs in the container which paths here they were. `local_secrets` are the run's secrets of which this machine
    has the values.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    images: PodImages = PodImages()
    files: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)
    local_secrets: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Job:
    """A launch with what a platform needs beside it.

    `folder` is where a relative `code_src` starts, `base` where files of the run go, `python_version` the minor version
    (`3.11`), `environ` what the function gets beside the platform's own environment. `attempt` counts the starts of
    the same run. A service's `host` is who takes its requests: "nuclio" is Nuclio's processor, all else our own.
    `container` and `cluster` are for platforms that have some.
    """

    launch: Launch
    folder: str
    base: str
    python_version: str
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    attempt: int = 1
    host: str = ""
    container: Container = Container()
    cluster: ForCluster = ForCluster()


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
    `on_wait` why a run has not begun yet, `keep_open` are descriptors that the process holds as long as it lives. With
    `is_detached` nobody waits: a stop ends the process that follows a remote run, and not the run. `fetch_left`
    fetches what the host has left beside the outputs, `result.json` or all parts of `log/`, and returns the path of a
    file with it, which the caller removes, "" for nothing.
    """

    out: Sequence[int] = ()
    err: Sequence[int] = ()
    is_json: bool = False
    on_start: Callable[[int], None] = lambda _pid: None
    on_wait: Callable[[str], None] = lambda _reason: None
    keep_open: Sequence[int] = ()
    is_detached: bool = False
    fetch_left: Callable[[str], str] = lambda _name: ""

    def tell(self, text: str, log: int) -> None:
        """Say something of our own, here and in a run's log; a screen for JSON lines hears nothing."""
        for target in (*(() if self.is_json else self.err), log):
            with suppress(OSError):  # nobody reads it
                os.write(target, f"nuwrap  {text}\n".encode())


@dataclass(frozen=True)
class Seen:
    """What a remote run is at now: `is_over` tells that `attend` will bring what it has left at once; `service` are the
    addresses that need nobody here. `reason` says why it has not begun.
    """

    is_running: bool
    is_over: bool = False
    reason: str = ""
    service: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A run that a remote platform has and this machine may not know: `name` is the platform's, all else the run's own.

    `reason` says why it cannot be taken over, "" where it can: what comes after it is empty then.
    """

    name: str
    run: str
    action: str
    created: str = ""
    reason: str = ""
    project: str = ""
    function: str = ""
    attempt: int = 1
    service_type: str = ""
    launch: Mapping[str, Any] = field(default_factory=dict)
    function_id: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)


class GoesOn(PlatformError):
    """A remote run can be followed no further from here, and goes on; whoever asks for it later follows it again."""


class Platform(Protocol):
    """What a module of this folder has; a module satisfies it."""

    def place(self, job: Job, *, say: Callable[[str], None]) -> Placed:
        """Look at all that can be refused, then make the run's folder; `say` gets each warning.

        Raises PlatformError when the run cannot be started: nothing is left then.
        """

    def attend(self, placed: Placed, action: str, *, secrets: Mapping[str, str], screen: Screen) -> int | None:
        """Run a job to its end, or serve until a stop ends it, and return the exit code.

        Of a service the first stop is a clean end with exit code 0, a second is at once. The folder has `log.txt`, and
        `result.json` unless the process was killed (a job's, where `output_path` names another place). Without an
        address in the launch only this machine can reach a service. `secrets` are the values to the launch's names.
        None says that the run goes on without this process, which a remote one alone does, on a detached screen.
        """


class Remote(Platform, Protocol):
    """A platform whose runs live on without a process of ours: `attend` submits a run unless it is there, follows it,
    and brings what it has left, also in another process than the one that began it.
    """

    def plan(self, job: Job, *, say: Callable[[str], None]) -> list[dict[str, Any]]:
        """Return what the platform would be given, values of secrets hidden, once it has looked at it; nothing is made.

        Raises PlatformError as `place` does.
        """

    def find(self, settings: Mapping[str, Any], project: str, known: frozenset[str]) -> list[Found]:
        """Return the runs that the platform has and that are not known, of one project or all. Raises PlatformError."""

    def take_over(self, found: Found, base: str, settings: Mapping[str, Any]) -> str:
        """Make the folder of a run below `base` as if it was asked for here, and return it. Raises PlatformError."""

    def look(self, folder: str) -> Seen:
        """Return what the run of that folder is at. Raises PlatformError where that cannot be known."""

    def stop(self, folder: str) -> None:
        """Ask the run to end; who follows it sees that it does. Raises PlatformError."""


PLATFORMS: Final[Mapping[str, str]] = {
    "docker": "nuwrap.platforms.docker",
    "kubernetes": "nuwrap.platforms.kubernetes",
    "local": "nuwrap.platforms.local",
    "nuclio": "nuwrap.platforms.nuclio",
}
REMOTE: Final = frozenset({"kubernetes", "nuclio"})


def goes_on_there(platform: str, action: str) -> bool:
    """Tell whether a run lives without a process of ours: a build has one wherever it is done."""
    return platform in REMOTE and action != "build"


def share_watches() -> None:
    """Let this process have one watch of a namespace, and not one for each run: it follows many. For a start."""
    from nuwrap.platforms.kubernetes_cluster import share_watches as share

    share()


def get_platform(name: str) -> Platform:
    """Return the platform of that name. Raises UsageError for one that is in no row."""
    if name not in PLATFORMS:
        raise UsageError(
            f"platform {name!r} is not known; allowed: {', '.join(PLATFORMS)}{did_you_mean(name, list(PLATFORMS))}"
        )
    return cast("Platform", import_module(PLATFORMS[name]))


def get_remote(name: str) -> Remote:
    """Return the remote platform of that name. Raises UsageError for another."""
    if name not in REMOTE:
        raise UsageError(
            f"platform {name!r} runs nothing without a process of this machine; {', '.join(sorted(REMOTE))}"
        )
    return cast("Remote", get_platform(name))
