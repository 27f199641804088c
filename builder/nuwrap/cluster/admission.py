"""What a cluster would refuse, asked before anything is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError

WORKLOADS: Final = ("Job", "Deployment")


def check_admission(cluster: Cluster, manifests: Sequence[Mapping[str, Any]]) -> None:
    """Let the server check everything without making it, the pod by itself too: a Job's is looked at late.

    What the user may not ask of pods is left for the making. Raises ClusterError.
    """
    for one in manifests:
        if one["kind"] == "Pod":
            _check_pod(cluster, one)
            continue
        cluster.create(one, dry_run=True)
        if one["kind"] in WORKLOADS:
            template = one["spec"]["template"]
            name = {"name": one["metadata"]["name"], "namespace": one["metadata"].get("namespace", cluster.namespace)}
            metadata = {**template["metadata"], **name}
            _check_pod(cluster, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})


def _check_pod(cluster: Cluster, pod: Mapping[str, Any]) -> None:
    try:
        cluster.create(pod, dry_run=True)
    except ClusterError as exc:
        if "violates PodSecurity" in str(exc) or exc.status not in (403, 429):
            raise
