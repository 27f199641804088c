"""From a run to what its cluster is asked for; what the cluster can refuse by itself is asked about first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from nuwrap.cluster.admission import WORKLOADS
from nuwrap.cluster.client import Cluster
from nuwrap.plan.kubernetes import plan_run
from nuwrap.plan.kubernetes.labels import label_value
from nuwrap.plan.kubernetes.pods import has_devices
from nuwrap.plan.kubernetes.profiles import check_profile
from nuwrap.plan.kubernetes.request import Pod, RunObjects, SecretItem, Serving
from nuwrap.plan.launch import GPU_WORKERS
from nuwrap.platforms import Job
from nuwrap.platforms.kubernetes_claims import mount_claims
from nuwrap.platforms.kubernetes_cluster import (
    CREDENTIALS_KIND,
    STORE_KIND,
    check_shared,
    find_secrets,
    load_profile,
    no_secret,
)
from nuwrap.platforms.kubernetes_wanted import Wanted
from nuwrap.platforms.passing import CREDENTIALS, passed_on
from nuwrap.spec.build import GROUP, USER
from nuwrap.spec.claims import is_in_claim
from nuwrap_runtime.launch import Launch

IN_POD: Final = "NUWRAP_RESULT_LINES"
OUTPUT_PATH: Final = "NUWRAP_OUTPUT_PATH"  # of the host, before the launch document's: there it is an address for all


def plan_wanted(job: Job, cluster: Cluster, environ: Mapping[str, str], say: Callable[[str], None]) -> Wanted:
    """Return what the run wants of the cluster. Raises PlatformError, NotFound for a secret that nobody has."""
    settings, fields = job.cluster.settings, job.cluster.fields
    claims = mount_claims(job.launch, cluster)
    job = replace(job, launch=claims.launch)
    launch = _launch_inside(job.launch)
    secrets, sent = _secrets(job, cluster, say)
    source, store = _credentials(job, cluster, environ, say)
    check_shared(cluster, launch.project, _shared_claims(fields.get("volumes", ())))
    profile = fields.get("profile")
    patch = load_profile(cluster, str(settings["kubernetes.profiles"]), profile) if profile else {}
    check_profile(str(profile), patch)
    pod = replace(
        _pod(job, launch, patch, {OUTPUT_PATH: claims.output} if claims.output else {}),
        secrets=secrets,
        source_credentials=source.secret,
        store_credentials=store.secret,
        claims_read=claims.read,
        claim_written=claims.written,
        fetches=job.cluster.images.is_foreign or bool(source.secret),
    )
    objects = RunObjects(
        project=launch.project,
        function=launch.function,
        run=launch.run,
        attempt=job.attempt,
        action="serve" if launch.mode == "serve" else "job",
        user=label_value(cluster.where.user),
        namespace=cluster.namespace,
        launch=launch.to_document(),
        record=job.cluster.record,
        pod=pod,
        labels=fields.get("object_labels", {}),
        annotations=fields.get("object_annotations", {}),
        deadline_s=int(settings["kubernetes.deadline_s"]) or None,
        retry_evictions=fields.get("retry_evictions") or 0,
        grace_s=launch.grace_s,
        serving=_serving(launch, fields) if launch.mode == "serve" else None,
    )
    workload = next(one for one in plan_run(objects) if one["kind"] in WORKLOADS)
    if launch.mode == "serve" and "workers" not in fields and has_devices(workload["spec"]["template"]):
        # the launch knows those of `resources`, a profile may have brought more
        launch = replace(launch, serve=replace(launch.serve, workers=GPU_WORKERS))
        objects = replace(objects, launch=launch.to_document())
    return Wanted(
        context=cluster.where.context,
        namespace=cluster.namespace,
        action=objects.action,
        name=workload["metadata"]["name"],
        run=launch.run,
        launch=launch.to_document(),
        objects=objects.to_document(),
        credentials=source.names,
        store_credentials=store.names,
        sent=sent,
        paths={**job.cluster.paths, **claims.paths},
        grace_s=launch.grace_s,
        pending_timeout_s=float(settings["kubernetes.pending_timeout_s"]),
        keep_finished_s=int(settings["kubernetes.keep_finished_s"]),
    )


def _launch_inside(launch: Launch) -> Launch:
    """Return the launch as the pod reads it: results come back by the log; outputs, and the log itself, which a cluster
    does not keep whole, go to an address alone.
    """
    keeps = "://" in launch.output_path
    if launch.mode != "job":
        return launch
    return replace(launch, keep_log=True) if keeps else replace(launch, output_path="", keep_outputs=False)


def _pod(job: Job, launch: Launch, patch: Mapping[str, Any], places: Mapping[str, str]) -> Pod:
    fields, settings, images = job.cluster.fields, job.cluster.settings, job.cluster.images
    return Pod(
        image=images.image,
        fetch_image=images.fetcher,
        is_foreign=images.is_foreign,
        user=fields.get("run_as_user") or USER,
        group=fields.get("run_as_group") or GROUP,
        fs_group=fields.get("fs_group"),
        resources=fields.get("resources") or {},
        volumes=fields.get("volumes", ()),
        storage_class=str(settings["kubernetes.storage_class"]),
        node_selector=fields.get("node_selector", ()),
        tolerations=fields.get("tolerations", ()),
        affinity=fields.get("affinity") or {},
        priority_class=fields.get("priority_class") or "",
        envs={**job.environ, **({IN_POD: "1"} if launch.mode == "job" else {}), **places},
        pull_secrets=tuple(settings["kubernetes.pull_secrets"]),
        service_account=str(settings["kubernetes.service_account"]),
        cache_claim=str(settings["kubernetes.cache_claim"]),
        profile=patch,
    )


def _serving(launch: Launch, fields: Mapping[str, Any]) -> Serving:
    return Serving(
        port=launch.serve.port,
        admin_port=launch.serve.admin_port,
        replicas=fields.get("replicas") or 1,
        service_type=fields.get("service_type") or "ClusterIP",
        service_name=fields.get("service_name") or "",
    )


def _secrets(job: Job, cluster: Cluster, say: Callable[[str], None]) -> tuple[list[SecretItem], tuple[str, ...]]:
    """Return where each secret comes from, and the names of those whose values this machine sends."""
    names = job.launch.secrets
    if not names:
        return [], ()
    there = find_secrets(cluster, job.launch.project)
    may_send = bool(job.cluster.settings["kubernetes.send_secrets"])
    sent = tuple(name for name in names if name not in there and may_send and name in job.cluster.local_secrets)
    missing = [name for name in names if name not in there and name not in sent]
    if missing:
        is_here = missing[0] in job.cluster.local_secrets
        raise no_secret(missing[0], there, job.launch.project, cluster, is_here=is_here)
    if sent:
        say(f"sent from this machine: {', '.join(sent)}")
    own = f"nuwrap-{job.launch.run}-secrets"
    return [SecretItem(name, there.get(name, own), name) for name in names], sent


@dataclass(frozen=True)
class _Credentials:
    """The Secret that has them, "" for none, and the names of this machine's variables that go there."""

    secret: str = ""
    names: tuple[str, ...] = ()


def _credentials(
    job: Job, cluster: Cluster, environ: Mapping[str, str], say: Callable[[str], None]
) -> tuple[_Credentials, _Credentials]:
    """Return credentials for code, and those for inputs and outputs: the namespace's first."""
    launch = job.launch
    paths = [str(one["path"]) for one in launch.entities.values()]
    has_source = "://" in launch.code_src
    paths.append("" if is_in_claim(launch.output_path) else launch.output_path)
    has_store = any("://" in path for path in paths)
    known = [name for name in sorted(passed_on(environ)) if CREDENTIALS.fullmatch(name)]
    of_stores = tuple(name for name in known if name.startswith(("AWS_", "S3_")))
    wanted = [
        (CREDENTIALS_KIND, "source", has_source, tuple(name for name in known if name not in of_stores)),
        (STORE_KIND, "store", has_store or (has_source and "s3://" in launch.code_src), of_stores),
    ]
    found: list[_Credentials] = []
    kept: list[str] = []
    for kind, suffix, is_needed, names in wanted:
        there = set(find_secrets(cluster, launch.project, kind).values()) if is_needed else set()
        if there:
            found.append(_Credentials(min(there)))
        elif is_needed and names and job.cluster.settings["kubernetes.send_secrets"]:
            found.append(_Credentials(f"nuwrap-{launch.run}-{suffix}", names))
        else:
            found.append(_Credentials())
            kept += names if is_needed else ()
    if kept:
        say(
            f"{', '.join(kept)} of this machine are not sent to the cluster; `nuwrap config set "
            "kubernetes.send_secrets true` sends them"
        )
    return found[0], found[1]


def _shared_claims(volumes: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        (one.get("spec") or {}).get("claim_name") or str(one["name"])
        for one in volumes
        if one["volume_type"] == "shared_volume"
    ]
