"""Runs whose objects have a golden file each: `golden/kubernetes/NAME.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nuwrap.plan.kubernetes import plan_run
from nuwrap.plan.kubernetes.build_job import BuildPlace, plan_build_job
from nuwrap.plan.kubernetes.request import Pod, RunObjects, SecretItem, Serving
from nuwrap.spec.run_values import make_run_values

RUN = "0da4b5f6-da2b-49b2-ac8d-2c08a3fd0806"
IMAGE = "registry.example/nuwrap/python@sha256:" + "1" * 64
LAUNCH = {"api": "nuwrap/v1", "handler": "fn:main", "code_src": "/run/nuwrap/code.zip", "run": RUN}


def pod(action: str = "job", *, image: str = IMAGE, more: Mapping[str, Any] | None = None, **fields: Any) -> Pod:
    """Return a pod with the fields of a task, as `function.run` takes them; `more` is what is no field of a task."""
    values = make_run_values(action, fields).model_dump(mode="json", exclude_none=True)
    names = ("resources", "volumes", "node_selector", "tolerations", "affinity", "priority_class")
    given = {name: values[name] for name in names if values.get(name)}
    envs = {one["name"]: one["value"] for one in values.get("envs", ())}
    return Pod(**{"image": image, "fetch_image": IMAGE, "envs": envs, **given, **(more or {})})


def objects(pod: Pod, **fields: Any) -> RunObjects:
    """Return the run of a pod."""
    plain = {"project": "demo", "function": "fn", "run": RUN, "action": "job", "namespace": "team", "launch": LAUNCH}
    return RunObjects(**{**plain, "pod": pod, "given": {"code.zip": b"PK"}, "record": {"function": {}}, **fields})


ALL = pod(
    node_selector=[{"key": "disktype", "value": "ssd"}],
    tolerations=[{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "toleration_seconds": 60}],
    affinity={
        "node_affinity": {
            "required_during_scheduling_ignored_during_execution": {
                "node_selector_terms": [{"match_expressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
            }
        }
    },
    volumes=[
        {"volume_type": "persistent_volume_claim", "name": "data", "mount_path": "/data", "spec": {"size": "10Gi"}},
        {"volume_type": "ephemeral", "name": "scratch", "mount_path": "/scratch"},
        {"volume_type": "empty_dir", "name": "fast", "mount_path": "/fast", "spec": {"sizeLimit": "1Gi"}},
        {"volume_type": "shared_volume", "name": "team", "mount_path": "/team"},
    ],
    resources={"cpu": "500m", "mem": {"requests": "1.5Gi", "limits": "2Gi"}, "disk": "5Gi"},
    envs=[{"name": "MODE", "value": "x y"}],
    priority_class="low",
    more={"pull_secrets": ["pull"], "service_account": "runner", "cache_claim": "cache", "fs_group": 2000},
)
FOREIGN = pod(
    image="registry.example/base:1",
    more={
        "is_foreign": True,
        "fetches": True,
        "source_credentials": f"nuwrap-{RUN}-source",
        "store_credentials": "store",
        "secrets": [SecretItem("TOKEN", "team", "TOKEN")],
    },
)
PROFILE = {
    "labels": {"cost-centre": "research"},
    "resources": {"limits": {"cpu": "4"}},
    "pod": {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "volumes": [{"name": "nuwrap-tmp", "emptyDir": {"medium": "Memory"}}],
    },
}
PLANS: Mapping[str, RunObjects] = {
    "job": objects(pod()),
    "all-fields": objects(ALL, labels={"team": "blue"}, annotations={"note": "mine"}, user="ada", attempt=2),
    "foreign": objects(FOREIGN),
    "profile": objects(
        pod(
            node_selector=[{"key": "pool", "value": "cpu"}],
            tolerations=[{"key": "spot", "operator": "Exists"}],
            more={"profile": PROFILE},
        )
    ),
    "service": objects(
        pod("serve"), action="serve", serving=Serving(replicas=2, service_type="NodePort", service_name="live")
    ),
    "gpu-service": objects(pod("serve", resources={"gpu": 1}), action="serve", serving=Serving()),
    "evictions": objects(FOREIGN, retry_evictions=2),
    "claims": objects(
        pod(
            image="registry.example/base:1",
            more={"is_foreign": True, "fetches": True, "claims_read": ["data", "team"], "claim_written": "team"},
        )
    ),
    "long-names": objects(pod(), project="My_Project." + "x" * 90, function="fn_1"),
}


BUILD = BuildPlace(
    context="here", namespace="builds", project="demo", function="fn", run=RUN, user="ada", cache="/tmp/none",
    pod=pod(image="r.example/kaniko:1", resources={"mem": "2Gi"}, node_selector=[{"key": "pool", "value": "ci"}]),
    labels={"team": "blue"},
)  # fmt: skip


def build_job() -> dict[str, Any]:
    """Return the Job of a build."""
    argv = ["--context=dir:///kaniko/nuwrap/context", "--destination=registry.example/team/demo-fn:1"]
    return plan_build_job(BUILD, "/kaniko/nuwrap", argv, {"DOCKER_CONFIG": "/kaniko/nuwrap/docker"})


def manifests(name: str) -> list[dict[str, Any]]:
    """Return the objects of a plan."""
    return plan_run(PLANS[name])
