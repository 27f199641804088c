"""`nuwrap build`: read the function, plan its image, build it, tell its name."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nuwrap.cli.arguments import VARIABLE, Options, open_function, place_run
from nuwrap.cli.terminal import STDERR, tell
from nuwrap.errors import ResultError
from nuwrap.platforms import Screen
from nuwrap.runs.collect import own_result
from nuwrap.runs.supervisor import attend
from nuwrap.spec.inputs import split_pairs
from nuwrap.store import RunRecord
from nuwrap.text import escape

EARLY_STOPS = (130, 143)


@dataclass(frozen=True)
class BuildOptions(Options):
    """The arguments of `nuwrap build` as they were typed."""

    push: bool | None = None
    engine: str | None = None
    instructions: Sequence[str] = ()
    persistent: Sequence[str] = ()
    destinations: Sequence[str] = ()
    tar_path: str | None = None
    oci_path: str | None = None
    rebuild: bool = False
    verbose: bool = False


def build_function(options: BuildOptions) -> int:
    """Build the image, print its name and return the build's exit code."""
    file = open_function(options)
    ctx, placed = place_run(file, "build", options, **_fields(options))
    screen = Screen(out=(STDERR,) if options.verbose else (), err=(STDERR,))
    code, record = attend(ctx.store, ctx.home, placed, screen)
    return _tell(record, code, as_json=options.as_json)


def _fields(options: BuildOptions) -> dict[str, Any]:
    """Return the fields of a build that only its own arguments give."""
    kept = split_pairs(options.persistent, flag="--persist-env", form=VARIABLE)
    passing = split_pairs(options.envs, flag="--env", form=VARIABLE)
    envs: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in passing.items()]
    envs += [{"name": name, "value": value, "persist": True} for name, value in kept.items()]
    return {
        "push": options.push,
        "engine": options.engine,
        "destinations": list(options.destinations) or None,
        "tar_path": options.tar_path,
        "oci_path": options.oci_path,
        "instructions": list(options.instructions) or None,
        "envs": envs or None,
        "rebuild": options.rebuild or None,
    }


def _tell(record: RunRecord, code: int, *, as_json: bool) -> int:
    try:
        result = own_result(record, record.folder)
    except ResultError as exc:
        tell("nuwrap: stopped before it began" if code in EARLY_STOPS else f"nuwrap: {exc}")
        return 143 if code in EARLY_STOPS else code or exc.exit_code
    if as_json:
        print(json.dumps(result.to_document(), indent=1), flush=True)
    elif code == 0:
        if result.results.get("reused"):
            tell("nuwrap  build: nothing has changed, the image is there already")
        print(escape(str(result.results["image"])), flush=True)
    else:
        tell(f"nuwrap: what the build has printed is in {os.path.join(os.path.relpath(record.folder), 'log.txt')}")
    return code
