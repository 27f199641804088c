"""`nuwrap plan --action build`: the image that a build would make, its Dockerfile, and what of it is there already."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from nuwrap.builds.preparing import Asked, Prepared, prepare
from nuwrap.builds.reuse import find_built
from nuwrap.cli.arguments import Options, open_function, say, task_fields
from nuwrap.cli.show import show_rows, show_text
from nuwrap.cli.terminal import STDERR
from nuwrap.runs.placing_builds import choose_builder, settle_place
from nuwrap.sdk import context
from nuwrap.spec.build import Built
from nuwrap.spec.function import Function, has_scheme
from nuwrap.spec.function_file import FunctionFile
from nuwrap.spec.run_values import make_run_values
from nuwrap.store import BUILT_IMAGE
from nuwrap.store.config import read_config
from nuwrap.store.home import home_folder
from nuwrap.store.network import network_of_steps, with_network
from nuwrap.store.secrets import Secrets
from nuwrap.text import escape


@dataclass(frozen=True)
class Look:
    """A planned build, the image that has the same content, if there is one, and which keys of `network` steps get."""

    prepared: Prepared
    built: Built | None
    network: Sequence[str] = ()


def show_build_plan(options: Options, instructions: Sequence[str]) -> int:
    """Print what would be built. The code is fetched to see what it is, into a folder that is gone afterwards."""
    file = open_function(options)
    fields = {"instructions": list(instructions) or None, "platform": options.platform or None}
    with look_at_build(file, {**fields, **task_fields(options, taken=fields)}) as look:
        if options.as_json:
            print(json.dumps(_document(look), indent=1), flush=True)
            return 0
        plan = look.prepared.plan
        show_rows(("part", "what a build would do"), list(_rows(look)))
        show_text("")
        print(escape(plan.dockerfile.rstrip("\n")), flush=True)
    return 0


@contextmanager
def look_at_build(file: FunctionFile, fields: dict[str, Any]) -> Iterator[Look]:
    """Give the planned build of a function file; its code lies in a folder that is gone after the body.

    Raises NuwrapError as a build would.
    """
    function = file.function
    values = make_run_values("build", fields, origin=f"the build of {function.name!r}")
    start = str(file.folder) if file.function.code_src and not has_scheme(file.function.code_src) else os.getcwd()
    home = home_folder(os.environ)
    config = read_config(home)
    platform = choose_builder(values, home)
    local = Secrets(home).names(function.project)
    settings = settle_place(function, values, config, platform, run="plan", attempt=1, local_secrets=local, say=say)
    environ = with_network(os.environ, config.values)
    with tempfile.TemporaryDirectory(prefix="nuwrap-plan-") as work:
        network = network_of_steps(os.environ, config.values, values.secrets, say)
        asked = Asked(function, values, settings, start, "plan", environ, say, (STDERR,), network)
        prepared = prepare(asked, work)
        yield Look(prepared, find_built(prepared, asked.environ), tuple(sorted(network)))


def built_image(function: Function) -> str:
    """Return the image that was built last of the function, else the one that it names, "" for none."""
    record = context.current().store.get_function(function.project, function.name)
    return str(record.spec.get(BUILT_IMAGE) or "") if record else function.image


def _document(look: Look) -> dict[str, Any]:
    prepared = look.prepared
    plan = prepared.plan
    return {
        "image": plan.reference,
        "content": plan.content,
        "engine": prepared.chosen.name,
        "why": prepared.chosen.why,
        "push": prepared.push,
        "built": look.built.pinned if look.built else None,
        "base": asdict(prepared.facts.base),
        "source": {"code_src": prepared.facts.source.address, "revision": prepared.facts.source.revision},
        "dockerfile": plan.dockerfile,
        "files": [one.path for one in plan.files],
        "labels": dict(plan.labels),
        "inputs": dict(plan.inputs),
        "secrets": list(plan.secrets),
        "network": list(look.network),
        "notes": list(plan.notes),
    }


def _rows(look: Look) -> Iterator[tuple[str, str]]:
    prepared = look.prepared
    plan, facts = prepared.plan, prepared.facts
    yield "image", plan.reference
    yield "engine", f"{prepared.chosen.name}: {prepared.chosen.why}"
    yield "base", f"{facts.base.reference}, {facts.base.digest[:19]}, Python {facts.base.python or 'to be seen'}"
    yield "code", f"{facts.source.revision[:19]}, {len(facts.source.files)} files"
    if look.built:
        yield "reused", f"{look.built.pinned} has the same content: nothing would be built"
    else:
        yield "steps", f"{len(plan.steps)}, what the engine's cache has of them is used again"
    if look.network:
        yield "network", f"{', '.join(look.network)}: the steps get it, the image keeps nothing of it"
    yield "push", f"to {plan.reference.partition('/')[0]}" if prepared.push else "no, it stays with the engine"
    yield from (("note", text) for text in plan.notes)
