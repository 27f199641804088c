"""Ask a run of a cluster to end: said to the cluster, and remembered here for a run that it does not have yet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.platforms.kubernetes_wanted import Wanted

STOPPED_BY: Final = "nuwrap.dev/stopped-by"
ASKED: Final = "stop-asked"  # file of the run's folder
# What makes each end with its pods' grace, and leaves it for everybody to read.
_CHANGES: Final[Mapping[str, Mapping[str, Any]]] = {
    "Job": {"activeDeadlineSeconds": 1},
    "Deployment": {"replicas": 0},
}


def ask_to_end(cluster: Cluster, wanted: Wanted) -> None:
    """Ask the run's Job or Deployment to end; see `ask_workload_to_end`."""
    ask_workload_to_end(cluster, wanted.kind, wanted.name)


def ask_workload_to_end(cluster: Cluster, kind: str, name: str) -> None:
    """Ask the Job or the Deployment to end; an annotation tells everybody who did. One that is gone hears nothing."""
    annotations = {STOPPED_BY: cluster.where.user or "unknown"}
    try:
        cluster.patch(kind, name, {"metadata": {"annotations": annotations}, "spec": _CHANGES[kind]})
    except ClusterError as exc:
        if exc.status != 404:
            raise


def is_stopped(workload: Mapping[str, Any]) -> bool:
    """Tell whether somebody has asked it to end."""
    return STOPPED_BY in (workload.get("metadata", {}).get("annotations") or {})


def note_asked(folder: str) -> None:
    """Remember that the run shall end: who is about to submit it looks before and after."""
    with open(os.path.join(folder, ASKED), "a", encoding="ascii"):
        pass


def was_asked(folder: str) -> bool:
    """Tell whether `note_asked` was called."""
    return os.path.exists(os.path.join(folder, ASKED))
