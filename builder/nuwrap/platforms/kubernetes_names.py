"""The stable name of a service: it leads to the newest whole run of its function, and the run before it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nuwrap.cluster.client import Cluster
from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes import own
from nuwrap.plan.kubernetes.labels import FUNCTION_LABEL, PROJECT_LABEL, RUN_LABEL, label_value, service_name
from nuwrap.platforms.kubernetes_follow import Following
from nuwrap.platforms.kubernetes_stop import ask_workload_to_end
from nuwrap.platforms.kubernetes_submit import create_once, manifests
from nuwrap.platforms.kubernetes_wanted import Wanted

Manifest = Mapping[str, Any]


def stable_name(wanted: Wanted) -> str:
    """Return the name of the run's Service that outlives it, "" for none."""
    given = (wanted.objects.get("serving") or {}).get("service_name")
    return service_name(f"{wanted.objects['function']}-{given}") if given else ""


def without_taken(cluster: Cluster, wanted: Wanted, objects: Sequence[Manifest]) -> list[Manifest]:
    """Return the objects without a Service of that name which an earlier run of the function has.

    Raises PlatformError where it is somebody else's.
    """
    name = stable_name(wanted)
    there = cluster.get("Service", name) if name else None
    if there is None:
        return list(objects)
    labels = there["metadata"].get("labels") or {}
    project, function = str(wanted.objects["project"]), str(wanted.objects["function"])
    whose = labels.get(PROJECT_LABEL), labels.get(FUNCTION_LABEL)
    if whose != (label_value(project), label_value(function)):
        owner = f"function {whose[1]!r} of project {whose[0]!r}" if all(whose) else "another program"
        raise PlatformError(
            f"service_name: namespace {cluster.namespace!r} has a Service {name!r} already, of {owner}; choose another"
        )
    return [one for one in objects if (one["kind"], one["metadata"]["name"]) != ("Service", name)]


def take_name(following: Following) -> None:
    """Lead the stable name to this run, unless a newer one has it, and ask the run that had it to end.

    Raises PlatformError.
    """
    cluster, wanted = following.cluster, following.wanted
    name = stable_name(wanted)
    deployment = cluster.get("Deployment", wanted.name) if name else None
    if deployment is None:
        return
    made = next(one for one in manifests(following.folder, wanted) if one["metadata"]["name"] == name)
    made = own(made, wanted.name, "Deployment", deployment["metadata"]["uid"])
    there = cluster.get("Service", name)
    if there is None:  # it went with the run before
        create_once(cluster, made)
        return
    before = str((there["spec"].get("selector") or {}).get(RUN_LABEL, ""))
    others = cluster.list("Deployment", labels={RUN_LABEL: before})
    if before == label_value(wanted.run) or any(_is_newer(one, deployment) for one in others):
        return
    about = {part: made["metadata"][part] for part in ("labels", "annotations", "ownerReferences")}
    cluster.patch("Service", name, {"metadata": about, "spec": made["spec"]})
    following.tell(f"service {name!r} leads to this run now, run {before[:8]} is asked to end")
    for one in others:
        ask_workload_to_end(cluster, "Deployment", one["metadata"]["name"])


def _is_newer(one: Manifest, than: Manifest) -> bool:
    return str(one["metadata"]["creationTimestamp"]) > str(than["metadata"]["creationTimestamp"])
