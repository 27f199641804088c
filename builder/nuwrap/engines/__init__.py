"""What builds an image from a plan: an engine is one row here and one file beside it. Engines never know each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Protocol, cast

from nuwrap.errors import UsageError
from nuwrap.spec.build import BuildPlan, BuildSettings, Built, Event
from nuwrap_runtime.schema import did_you_mean


@dataclass(frozen=True)
class Availability:
    """Whether an engine can be used here, and why (not), in a sentence that says what to do."""

    is_usable: bool
    reason: str
    version: str = ""


@dataclass(frozen=True)
class Order:
    """A build to carry out: the plan, the folder that holds its context (the Dockerfile beside it, not in it), and
    where the image goes.

    `destinations` are whole references, the first is the image's name; `push` sends them to their registries.
    `secrets` are values to the plan's names. `tar_path` and `oci_path` write the image to a file or folder as well.
    `network` is the block that the steps get, without log-ins, {} for none. `timeout_s` ends the build. `environ` is
    the caller's environment; what the engine prints goes, masked, to the descriptors `log`.
    """

    plan: BuildPlan
    context: str
    dockerfile: str
    destinations: Sequence[str]
    settings: BuildSettings
    push: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    tar_path: str = ""
    oci_path: str = ""
    network: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    log: Sequence[int] = ()
    has_cache: bool = True


class Engine(Protocol):
    """What a module of this folder has; a module satisfies it."""

    HAS_SECRETS: bool

    def look(self, settings: BuildSettings, environ: Mapping[str, str], *, push: bool) -> Availability:
        """Tell whether a build could begin, without beginning one."""

    def build(self, order: Order, *, report: Callable[[Event], None]) -> Built:
        """Build the image, and push it where that is asked for.

        Nothing of the build goes on when this returns or raises, a stop (SIGTERM, SIGINT) included. Raises BuildError
        with the class of the failure, the last lines of the log and what helps.
        """

    def scan(self, order: Order, built: Built) -> list[str]:
        """List where configuration and history of what was built have a value of the order's secrets; never a value.

        Raises BuildError when they cannot be read.
        """


ENGINES: Final[Mapping[str, str]] = {
    "docker": "nuwrap.engines.docker",
    "kaniko": "nuwrap.engines.kaniko",
}


def get_engine(name: str) -> Engine:
    """Return the engine of that name. Raises UsageError for one that is in no row."""
    if name not in ENGINES:
        allowed = ["auto", *ENGINES]
        raise UsageError(f"engine {name!r} is not known; allowed: {', '.join(allowed)}{did_you_mean(name, allowed)}")
    return cast("Engine", import_module(ENGINES[name]))
