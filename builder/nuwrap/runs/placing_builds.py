"""A build as a run: planned in its folder, in the history, ready for a supervisor."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable

from nuwrap.builds import preparing
from nuwrap.builds.in_cluster import Wanted, settle_in_cluster
from nuwrap.errors import UsageError
from nuwrap.platforms import REMOTE
from nuwrap.platforms import Placed as PlacedHere
from nuwrap.platforms.run_folder import make_run_folder
from nuwrap.runs import alive
from nuwrap.runs.inputs import Resolved
from nuwrap.runs.order import Order, Placed, base_folder, choose_platform, read_secrets, to_build, write_down
from nuwrap.spec.fields import platform_notes
from nuwrap.spec.run_values import RunValues
from nuwrap.store import FunctionRecord, RunRecord, Store
from nuwrap.store.config import read_config
from nuwrap.store.network import proxy_variables, with_network

HERE = ("local", "docker")  # both build on this machine
CLUSTER = "kubernetes"
STDERR = 2


def place_build(
    store: Store, home: str, function: FunctionRecord, values: RunValues, *, say: Callable[[str], None], order: Order
) -> Placed:
    """Plan the build and write it down as PENDING; see `order.place`."""
    spec = to_build(function)
    platform = choose_platform(values, home)
    if platform in REMOTE and not values.platform:  # one of its cluster's own services, which builds nothing
        platform = CLUSTER
    if platform not in (*HERE, CLUSTER):
        raise UsageError(f"platform {platform!r} cannot build; allowed: {', '.join((*HERE, CLUSTER))}")
    for note in platform_notes(spec, values, CLUSTER if platform == CLUSTER else HERE[0]):
        say(note)
    secrets = read_secrets(home, spec.project, values, order)
    config = read_config(home)
    base = base_folder(order)
    run = order.again.id if order.again else str(uuid.uuid4())
    held = alive.take(home, run)
    try:
        attempt = order.again.attempt + 1 if order.again else 1
        settings = config.build
        if platform == CLUSTER:
            proxies = proxy_variables(config.values)
            wanted = Wanted(spec, values, config.values, run, attempt, dict(os.environ), proxies, say)
            settings = settle_in_cluster(settings, wanted)
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
