"""How a run is placed on a platform in a cluster, and its objects told: the same for each kind of workload."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nuwrap.cluster.client import Cluster
from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes import hide_secrets
from nuwrap.platforms import Job, Placed
from nuwrap.platforms.kubernetes_cluster import connect_for
from nuwrap.platforms.kubernetes_wanted import Wanted, keep_files, read_files, write_wanted
from nuwrap.platforms.passing import warn_of_variables
from nuwrap.platforms.run_folder import LAUNCH, decided_variables, make_run_folder, write_private

Say = Callable[[str], None]
Objects = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Making:
    """What a platform does by itself: from the job to what it wants of the cluster, from that and the files that come
    with the run to its objects, and what the cluster is asked about those before they are made.
    """

    plan: Callable[[Job, Cluster, Mapping[str, str], Say], Wanted]
    make: Callable[[Wanted, Mapping[str, bytes]], Objects]
    check: Callable[[Cluster, Wanted, Objects], None]


def place_run(job: Job, making: Making, say: Say) -> Placed:
    """Make the run's folder with its launch document and `kubernetes.json`, once the cluster has looked at all of it
    and would take it. Nothing of the run is in the cluster yet. Raises PlatformError; there is no folder then.
    """
    environ = dict(os.environ)
    cluster = connect_for(job.cluster.settings, job.launch.project, environ)
    wanted = making.plan(job, cluster, environ, say)
    warn_of_variables(environ, decided_variables(job.launch), say)
    folder = make_run_folder(job.base, job.launch.run, job.attempt)
    try:
        keep_files(folder, job.cluster.files)
        making.check(cluster, wanted, making.make(wanted, read_files(folder)))
        write_private(os.path.join(folder, LAUNCH), json.dumps(wanted.launch, indent=1))
        write_wanted(folder, wanted)
    except BaseException as exc:  # a stop too: no folder is left of a run that there is not
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(exc, OSError):
            raise PlatformError(f"the run's files cannot be kept in {folder!r}: {exc.strerror}") from exc
        raise
    return Placed(folder, os.getcwd(), environ)


def tell_objects(job: Job, making: Making, say: Say) -> list[dict[str, Any]]:
    """Return the run's objects as the cluster would take them; see `Remote.plan`. Raises PlatformError."""
    environ = dict(os.environ)
    cluster = connect_for(job.cluster.settings, job.launch.project, environ)
    wanted = making.plan(job, cluster, environ, say)
    try:
        files = {at: _read(path) for at, path in job.cluster.files.items()}
    except OSError as exc:
        raise PlatformError(f"{exc.filename!r} cannot be read, and the run needs it: {exc.strerror}") from exc
    made = making.make(wanted, files)
    making.check(cluster, wanted, made)
    return [hide_secrets(one) for one in made]


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()
