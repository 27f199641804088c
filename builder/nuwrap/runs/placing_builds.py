"""A build as a run: planned in its folder, in the history, ready for a supervisor."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Collection

from nuwrap.builds import preparing
from nuwrap.builds.in_cluster import Wanted, settle_in_cluster
from nuwrap.errors import UsageError
from nuwrap.platforms import REMOTE
from nuwrap.platforms import Placed as PlacedHere
from nuwrap.platforms.run_folder import make_run_folder
from nuwrap.runs import alive
from nuwrap.runs.inputs import Resolved
from nuwrap.runs.order import (
    Order,
    Placed,
    base_folder,
    choose_platform,
    known_secrets,
    read_secrets,
    to_build,
    write_down,
)
from nuwrap.spec.build import BuildSettings
from nuwrap.spec.fields import platform_notes
from nuwrap.spec.function import Function
from nuwrap.spec.run_values import RunValues
from nuwrap.store import FunctionRecord, RunRecord, Store
from nuwrap.store.config import Config, read_config
from nuwrap.store.network import network_of_steps, proxy_variables, with_network

HERE = ("local", "docker")  # both build on this machine
CLUSTER = "kubernetes"
STDERR = 2


def choose_builder(values: RunValues, home: str) -> str:
    """Return the platform that builds. Raises UsageError for one that does not."""
    platform = choose_platform(values, home)
    if platform in REMOTE and not values.platform:  # a setting for runs: their cluster builds, be it Nuclio's too
        return CLUSTER
    if platform not in (*HERE, CLUSTER):
        raise UsageError(f"platform {platform!r} cannot build; allowed: {', '.join((*HERE, CLUSTER))}")
    return platform


def settle_place(
    function: Function,
    values: RunValues,
    config: Config,
    platform: str,
    *,
    run: str,
    attempt: int,
    local_secrets: Collection[str],
    say: Callable[[str], None],
) -> BuildSettings:
    """Return the settings of a build on that platform. Raises NuwrapError for what a cluster would refuse.

    `local_secrets` are the names of secrets that this machine has.
    """
    if platform != CLUSTER:
        return config.build
    proxies = proxy_variables(config.values)
    local = frozenset(local_secrets)
    wanted = Wanted(function, values, config.values, run, attempt, dict(os.environ), proxies, say, local)
    return settle_in_cluster(config.build, wanted)


def place_build(
    store: Store, home: str, function: FunctionRecord, values: RunValues, *, say: Callable[[str], None], order: Order
) -> Placed:
    """Plan the build and write it down as PENDING; see `order.place`."""
    spec = to_build(function)
    platform = choose_builder(values, home)
    for note in platform_notes(spec, values, CLUSTER if platform == CLUSTER else HERE[0]):
        say(note)
    secrets = (known_secrets if platform == CLUSTER else read_secrets)(home, spec.project, values, order)
    config = read_config(home)
    base = base_folder(order)
    run = order.again.id if order.again else str(uuid.uuid4())
    held = alive.take(home, run)
    try:
        attempt = order.again.attempt + 1 if order.again else 1
        settings = settle_place(
            spec, values, config, platform, run=run, attempt=attempt, local_secrets=secrets, say=say
        )
        folder = make_run_folder(base, run, attempt)
        try:
            asked = preparing.Asked(
                function=spec,
                values=values,
                settings=settings,
                start=function.folder or base,
                run=run,
                environ=with_network(os.environ, config.values),
                say=say,
                err=(STDERR,) if order.is_attended else (),
                network=network_of_steps(os.environ, config.values, values.secrets, say),
            )
            preparing.place(asked, folder)
            record = RunRecord(run, spec.project, spec.name, function.id, "", values.action, platform, {}, folder)
            written = write_down(store, function, values, Resolved(), record, order)
            return Placed(written, PlacedHere(folder, base, dict(os.environ)), held, secrets)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except BaseException:
        alive.release(home, run, held)
        raise
