"""From a service to what a cluster with Nuclio is asked for; what it can refuse by itself is asked about first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes.request import RunObjects
from nuwrap.plan.nuclio import KIND
from nuwrap.plan.nuclio_objects import STOP_S, Processor, plan_objects, plan_pod_of, plan_project
from nuwrap.platforms import Job
from nuwrap.platforms.kubernetes_place import plan_wanted
from nuwrap.platforms.kubernetes_wanted import Wanted
from nuwrap_runtime.launch import Serve

PROCESSOR: Final = "processor"  # beside the keys of a `RunObjects`


def plan_function(job: Job, cluster: Cluster, environ: Mapping[str, str], say: Callable[[str], None]) -> Wanted:
    """Return what the service wants of the cluster. Raises PlatformError for what Nuclio cannot do."""
    _check(job)
    plain = Serve()
    serve = replace(job.launch.serve, port=plain.port, admin_port=plain.admin_port)
    wanted = plan_wanted(replace(job, launch=replace(job.launch, serve=serve)), cluster, environ, say)
    processor = Processor(
        python_version=job.python_version,
        description=str(job.cluster.record.get("function", {}).get("spec", {}).get("description", "")),
        triggers=job.cluster.fields.get("triggers") or {},
        ready_s=int(wanted.pending_timeout_s) or Processor.ready_s,
    )
    if wanted.grace_s > STOP_S and "grace_s" in job.launch.to_document():
        say(f"grace_s is {wanted.grace_s:g}; a pod of Nuclio's has 30 s to end, so calls have {STOP_S:g} s")
    # who fetches installs too, and is always there: a processor that does not answer for 20 s is killed
    pod = {**wanted.objects["pod"], "fetches": True}
    return replace(wanted, objects={**wanted.objects, "pod": pod, PROCESSOR: asdict(processor)})


def manifests(wanted: Wanted, files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Return the run's objects, without the Secrets of values that are not in the folder."""
    return plan_objects(*_parts(wanted, files))


def project_of(wanted: Wanted) -> dict[str, Any]:
    """Return the NuclioProject that the function is one of."""
    return plan_project(_parts(wanted, {})[0])


def check_admission(cluster: Cluster, wanted: Wanted, made: Sequence[Mapping[str, Any]]) -> None:
    """Let the server check everything without making it, the pod too that Nuclio will make of it.

    What the user may not ask is left for the making. Raises PlatformError.
    """
    (function,) = [one for one in made if one["kind"] == KIND]
    try:
        cluster.create(function, dry_run=True)
    except ClusterError as exc:
        if exc.status == 404 and "namespaces" not in str(exc):
            raise PlatformError(
                f"the cluster of {cluster.where.server} has no Nuclio: its API server knows no {KIND}; install Nuclio "
                "there, or serve on platform 'kubernetes'"
            ) from exc
        raise
    for one in (project_of(wanted), *made):
        if one is not function and not (one["kind"] == "NuclioProject" and has_project(cluster, one)):
            cluster.create(one, dry_run=True)
    try:
        cluster.create(plan_pod_of(dict(function)), dry_run=True)
    except ClusterError as exc:
        if "violates PodSecurity" in str(exc):
            raise PlatformError(
                f"{exc}: a function of Nuclio cannot say more of its containers; use a namespace that enforces "
                "'baseline' at most, or platform 'kubernetes'"
            ) from exc
        if exc.status not in (403, 429):
            raise


def has_project(cluster: Cluster, project: Mapping[str, Any]) -> bool:
    """Tell whether the namespace has the NuclioProject."""
    return cluster.get("NuclioProject", str(project["metadata"]["name"])) is not None


def _parts(wanted: Wanted, files: Mapping[str, bytes]) -> tuple[RunObjects, Processor]:
    objects = dict(wanted.objects)
    processor = Processor(**objects.pop(PROCESSOR))
    return RunObjects.from_document(objects, files), processor


def _check(job: Job) -> None:
    if job.launch.mode != "serve":
        raise PlatformError("platform 'nuclio' serves, and runs no jobs; run them on platform 'kubernetes'")
    images = job.cluster.images
    if images.is_foreign or (images.is_baked and not images.becomes_another):
        what = "was built to run by itself" if images.is_baked else "has no processor of Nuclio"
        raise PlatformError(
            f"image {images.image!r} {what}, and Nuclio starts what an image starts; leave image and base_image out, "
            "or name nuwrap's own with a processor, nuwrap/nuclio:VERSION-PYTHON, as base_image"
        )
