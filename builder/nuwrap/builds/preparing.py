"""From a function to a build that can begin: engine chosen, code fetched, facts gathered, planned, permission probed.

What can be refused is refused here, before an engine is started.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nuwrap.builds import facts as known
from nuwrap.builds.choosing import Chosen, choose_engine
from nuwrap.builds.context import write_context
from nuwrap.builds.document import BuildDocument, write_document
from nuwrap.builds.reuse import find_built
from nuwrap.builds.source import FOLDER, Fetch, fetch_source
from nuwrap.builds.telling import write_reused
from nuwrap.builds.wheels import FOLDER as WHEELS
from nuwrap.builds.wheels import fetch_wheels, wants_wheels
from nuwrap.errors import SpecError, UsageError
from nuwrap.plan.build import plan_build
from nuwrap.plan.launch import plan_launch
from nuwrap.plan.references import allowed_fault
from nuwrap.registry.permission import check_push
from nuwrap.spec.build import BuildFacts, BuildPlan, BuildSettings, SourceFacts
from nuwrap.spec.function import PYTHON_VERSIONS, Function
from nuwrap.spec.run_values import RunValues
from nuwrap.spec.task import JobTask


@dataclass(frozen=True)
class Asked:
    """A build as it was asked for. `start` is the folder of a relative `code_src`, `err` where a person reads.

    `say` gets what a person should hear, one sentence each. `network` is the block that the steps get.
    """

    function: Function
    values: RunValues
    settings: BuildSettings
    start: str
    run: str
    environ: Mapping[str, str]
    say: Callable[[str], None]
    err: Sequence[int] = ()
    network: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A planned build with all that it was planned from; `seconds` by phase."""

    chosen: Chosen
    settings: BuildSettings
    facts: BuildFacts
    plan: BuildPlan
    push: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    has_wheels: bool = False


def prepare(asked: Asked, work: str) -> Prepared:
    """Return the plan; the code lies in the folder `work` then. Raises NuwrapError for what cannot be built."""
    settings, push = settle(asked.settings, asked.function, asked.values)
    chosen = choose_engine(settings, asked.environ, push=push)
    for reason in chosen.passed:
        asked.say(f"not built with {reason}")
    refused = allowed_fault(asked.function.base_image, settings.allowed_base_images)
    if asked.function.base_image and refused:  # no registry is asked for what may not be used
        raise SpecError(f"function {asked.function.name!r} cannot be built:\n  base_image: {refused}")
    began = time.monotonic()
    source = _fetch(asked, work)
    fetched = time.monotonic()
    look = known.Look(chosen.name, settings, asked.environ, known.facts_cache(asked.environ))
    base = known.find_base(asked.function, look)
    facts = BuildFacts(base=base, source=source, runtime=known.find_runtime(base, look))
    wheels = wants_wheels(asked.function, settings, asked.environ)
    mounts = chosen.name == "docker"  # wheels that are mounted leave no layer; kaniko copies them
    has_network = bool(asked.network)
    plan = plan_build(
        asked.function, asked.values, settings, facts, wheels=wheels, mounts_context=mounts, has_network=has_network
    )
    seconds = {"source": fetched - began, "plan": time.monotonic() - fetched}
    return Prepared(chosen, settings, facts, plan, push, seconds, has_wheels=wheels)


def settle(settings: BuildSettings, function: Function, values: RunValues) -> tuple[BuildSettings, bool]:
    """Return the settings with what the run says of its own, and whether the image is pushed. Raises UsageError."""
    push = bool(settings.registry) if values.push is None else values.push
    if push and not (settings.registry or function.image):
        raise UsageError(
            "push: no registry is named; set one with `nuwrap config set build.registry HOST/TEAM`, or give the "
            "function an image, as HOST/TEAM/NAME"
        )
    return replace(settings, engine=values.engine or settings.engine), push


def place(asked: Asked, folder: str) -> Prepared:
    """Make the folder of a run that builds: document, Dockerfile, context, or at once the result for an image that is
    there already. Raises NuwrapError; the folder is the caller's to remove then.
    """
    prepared = prepare(asked, folder)
    for note in prepared.plan.notes:
        asked.say(note)
    document = _document(asked, prepared)
    is_wanted_elsewhere = document.destinations or document.tar_path or document.oci_path
    built = None if asked.values.rebuild or is_wanted_elsewhere else find_built(prepared, asked.environ)
    write_document(folder, document)
    if built:
        write_reused(folder, document, built)
    else:
        for name in (prepared.plan.reference, *document.destinations) if _can_ask(prepared) else ():
            check_push(name, prepared.settings.access, asked.environ)
        _write_context(asked, prepared, folder)
    shutil.rmtree(os.path.join(folder, FOLDER), ignore_errors=True)
    return prepared


def _can_ask(prepared: Prepared) -> bool:
    """Tell whether the push can be tried from here: by a cluster's own log-ins only the cluster can."""
    return prepared.push and not prepared.settings.cluster.get("push_secret")


def _write_context(asked: Asked, prepared: Prepared, folder: str) -> None:
    files = list(prepared.plan.files)
    if prepared.has_wheels:
        files += fetch_wheels(asked.function, prepared.facts.base, folder, asked.environ, asked.err)
    write_context(folder, replace(prepared.plan, files=files))
    shutil.rmtree(os.path.join(folder, WHEELS), ignore_errors=True)


def _fetch(asked: Asked, work: str) -> SourceFacts:
    launch = plan_launch(asked.function, JobTask(run=asked.run))
    return fetch_source(Fetch(launch, asked.start, work, asked.environ, asked.err))


def _absolute(path: str | None) -> str:
    return os.path.abspath(os.path.expanduser(path)) if path else ""


def _document(asked: Asked, prepared: Prepared) -> BuildDocument:
    function, source = asked.function, prepared.facts.source
    return BuildDocument(
        project=function.project,
        function=function.name,
        run=asked.run,
        engine=prepared.chosen.name,
        why=prepared.chosen.why,
        plan=replace(prepared.plan, files=()),
        settings=prepared.settings,
        push=prepared.push,
        destinations=asked.values.destinations,
        tar_path=_absolute(asked.values.tar_path),
        oci_path=_absolute(asked.values.oci_path),
        has_cache=not asked.values.rebuild,
        timeout_s=asked.values.timeout_s,
        network=asked.network,
        code_src=source.address,
        revision=source.revision,
        python=PYTHON_VERSIONS[function.python_version],
        secrets=asked.values.secrets,
        warnings=prepared.plan.notes,
        seconds=prepared.seconds,
    )
