"""Give a run to the cluster: its objects in an order in which nothing is left behind when one is refused."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes import own, plan_run
from nuwrap.plan.kubernetes.labels import run_labels
from nuwrap.plan.kubernetes.request import RunObjects
from nuwrap.platforms import Placed
from nuwrap.platforms.kubernetes_wanted import Wanted, note_submitted, read_files
from nuwrap.platforms.passing import passed_on

# What keeps each from having pods, as part, key and value, and the value that lets it begin.
HOLDS: Final[Mapping[str, tuple[str, str, Any, Any]]] = {
    "Job": ("spec", "suspend", True, False),
    "Deployment": ("spec", "paused", True, False),
    "NuclioFunction": ("status", "state", "", "waitingForResourceConfiguration"),
}


def manifests(folder: str, wanted: Wanted) -> list[dict[str, Any]]:
    """Return the run's objects, without the Secrets of values that are not in the folder."""
    return plan_run(RunObjects.from_document(wanted.objects, read_files(folder)))


def submit(cluster: Cluster, placed: Placed, wanted: Wanted, secrets: Mapping[str, str]) -> None:
    """Give the Job or Deployment with all that belongs to it; see `give`."""
    give(cluster, [*manifests(placed.folder, wanted), *secret_objects(wanted, placed.environ, secrets)], placed.folder)


def give(cluster: Cluster, objects: Sequence[Mapping[str, Any]], folder: str) -> None:
    """Create the workload first, held, so that all else belongs to it and goes with it; then let it begin.

    Nothing of the run stays in the cluster when one object is refused; what a process that was killed has left half
    done is gone on with. Raises PlatformError.
    """
    workload = next(one for one in objects if one["kind"] in HOLDS)
    kind, name = str(workload["kind"]), str(workload["metadata"]["name"])
    part, key, held, free = HOLDS[kind]
    try:
        made = cluster.create({**workload, part: {**workload.get(part, {}), key: held}})
    except ClusterError as exc:
        if exc.status != 409:  # a cut connection's first try has made it
            raise
        made = cluster.get(kind, name) or {}
        if not made:
            raise
    try:
        for one in objects:
            if one is not workload:
                create_once(cluster, own(one, name, kind, made["metadata"]["uid"]))
        cluster.patch(kind, name, {part: {key: free}})
        note_submitted(folder)
    except PlatformError:
        with suppress(PlatformError):
            cluster.delete(kind, name)
        raise


def create_once(cluster: Cluster, manifest: Mapping[str, Any]) -> None:
    """See that there is such an object. Raises ClusterError."""
    try:
        cluster.create(manifest)
    except ClusterError as exc:
        if exc.status != 409:
            raise


def secret_objects(wanted: Wanted, environ: Mapping[str, str], secrets: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the Secrets with values of this machine: those of the function, and credentials for its code."""
    values = {name: secrets[name] for name in wanted.sent if name in secrets}
    if len(values) < len(wanted.sent):
        missing = sorted(set(wanted.sent) - set(values))
        raise PlatformError(f"secret {missing[0]!r} was to be sent from this machine, and is not here any more")
    passed = passed_on(environ)
    source, store = (
        {name: passed[name] for name in names if name in passed}
        for names in (wanted.credentials, wanted.store_credentials)
    )
    made = []
    for suffix, found in (("secrets", values), ("source", source), ("store", store)):
        if found:
            made.append(_secret(f"nuwrap-{wanted.run}-{suffix}", wanted, found))
    return made


def _secret(name: str, wanted: Wanted, values: Mapping[str, str]) -> dict[str, Any]:
    objects = wanted.objects
    labels = run_labels(objects["project"], objects["function"], wanted.run, wanted.action, objects["attempt"])
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": wanted.namespace, "labels": labels},
        "type": "Opaque",
        "immutable": True,
        "data": {key: base64.b64encode(one.encode("utf-8", "surrogateescape")).decode() for key, one in values.items()},
    }
