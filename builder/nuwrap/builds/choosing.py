"""Which engine builds, and why that one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nuwrap.engines import ENGINES, Engine, get_engine
from nuwrap.errors import BuildError
from nuwrap.spec.build import BuildSettings


@dataclass(frozen=True)
class Chosen:
    """An engine that can build here; `why` is a sentence for a person. `passed` are engines before it that cannot."""

    name: str
    engine: Engine
    why: str
    passed: tuple[str, ...] = ()


def choose_engine(settings: BuildSettings, environ: Mapping[str, str], *, push: bool) -> Chosen:
    """Return the engine that the settings name, of `auto` the first in the table that can be used.

    Raises UsageError for a name that is in no row, BuildError when none can be used, with the reason of each.
    """
    names = list(ENGINES) if settings.engine == "auto" else [settings.engine]
    reasons: list[str] = []
    for name in names:
        engine = get_engine(name)
        found = engine.look(replace(settings, engine=name), environ, push=push)
        if found.is_usable:
            return Chosen(name, engine, found.reason, tuple(reasons))
        reasons.append(f"{name}: {found.reason}")
    raise BuildError("no engine can build an image here:\n" + "\n".join(f"  {line}" for line in reasons), "engine")
