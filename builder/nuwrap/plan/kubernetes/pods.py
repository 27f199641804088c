"""The pod of a run: its containers, what they may, where it stands."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nuwrap.plan.kubernetes.labels import workload_name
from nuwrap.plan.kubernetes.profiles import MAIN, apply_profile
from nuwrap.plan.kubernetes.request import Pod, RunObjects, Serving
from nuwrap.plan.kubernetes.volumes import (
    RUN,
    TREE,
    WORK,
    claim_mounts,
    own_mounts,
    plan_mounts,
    plan_volumes,
    secrets_folder,
)
from nuwrap.plan.rendering import render
from nuwrap.spec.document import parse_documents
from nuwrap_runtime.launch import LEAVE_SECONDS

HOST: Final = f"{TREE}/bin/nuwrap-host"
GPU: Final = "nvidia.com/gpu"
GRACE_SPARE_S: Final = 5
START_LOOK_S: Final = 2
DEFAULT_REQUESTS: Final[Mapping[str, str]] = {"cpu": "100m", "memory": "256Mi"}  # DigitalHub's (core)
CONTAINER_SECURITY: Final[Mapping[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# Into an empty folder of another owner: its root keeps its own times, all else those of the image.
BRING: Final = f"cp -a {TREE}/* /tree/"
_NAMES: Final[Mapping[str, str]] = {"cpu": "cpu", "mem": "memory", "gpu": GPU}


def plan_pod(objects: RunObjects, labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return the pod's template: metadata and spec, the profile applied."""
    pod, serving = objects.pod, objects.serving
    stored = _env_from(pod.store_credentials)
    credentials = [*_env_from(pod.source_credentials), *stored]
    leave_s = LEAVE_SECONDS if serving else 0
    text = render(
        "kubernetes/pod.yaml.j2",
        {
            "labels": labels,
            "annotations": annotations,
            "restart_policy": "Always" if serving else "Never",
            "grace_s": math.ceil(objects.grace_s + leave_s) + GRACE_SPARE_S,
            **plan_placement(pod),
            "user": pod.user,
            "group": pod.group,
            "fs_group": pod.fs_group or pod.group,
            "init_containers": _init_containers(objects, credentials),
            "container_security": CONTAINER_SECURITY,
            "image": pod.image,
            "command": [HOST],
            "args": [*(["serve", "--text"] if serving else ["job"]), "--launch", f"{RUN}/launch.json"],
            "env": _env(objects),
            "env_from": stored if pod.fetches else credentials,
            "resources": plan_resources(pod.resources),
            "mounts": plan_mounts(objects),
            "serving": _serving(serving) if serving else None,
            "volumes": plan_volumes(objects, f"{workload_name(objects.run, objects.attempt)}-launch"),
        },
    )
    template: dict[str, Any] = parse_documents(text, "pod")[0]
    return apply_profile(template, pod.profile)


def plan_placement(pod: Pod) -> dict[str, Any]:
    """Return where the pod stands, as whom, and how its images come, as the templates have it."""
    return {
        "service_account": pod.service_account,
        "priority_class": pod.priority_class,
        "pull_secrets": [{"name": name} for name in pod.pull_secrets],
        "node_selector": {one["key"]: one["value"] for one in pod.node_selector},
        "tolerations": [_toleration(one) for one in pod.tolerations],
        "affinity": camel_case(pod.affinity),
    }


def plan_resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return requests and limits. Memory that is asked for is the limit too: a pod that needs more ends where it is
    known why, and takes no neighbour with it. A processor has no limit unless one is given.
    """
    requests, limits = dict(DEFAULT_REQUESTS), {}
    for name, key in _NAMES.items():
        asked, most = _amount(resources.get(name))
        if asked or most:
            requests[key] = asked or most
        if most or (asked and name != "cpu"):
            limits[key] = most or asked
    asked, most = _amount(resources.get("disk"))
    if asked or most:
        requests["ephemeral-storage"] = asked or most
    return {"requests": requests, "limits": limits}


def has_devices(template: Mapping[str, Any]) -> bool:
    """Tell whether the function's container has GPUs, or other devices of a node, be it by a profile."""
    main = next(one for one in template["spec"]["containers"] if one["name"] == MAIN)
    return any("/" in name for name in main["resources"].get("limits") or {})


def camel_case(value: Any) -> Any:
    """Return a document of the Python client's spelling as the API has it; labels, which are values, stay."""
    if isinstance(value, Mapping):
        return {
            _camel(name): dict(one) if name == "match_labels" else camel_case(one)
            for name, one in value.items()
            if one is not None
        }
    return [camel_case(one) for one in value] if isinstance(value, (list, tuple)) else value


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _toleration(one: Mapping[str, Any]) -> dict[str, Any]:
    return {_camel(name): value for name, value in one.items() if value not in (None, "")}


def _amount(value: Any) -> tuple[str, str]:
    if isinstance(value, Mapping):
        return str(value.get("requests") or ""), str(value.get("limits") or "")
    return str(value or ""), ""


def _env_from(secret: str) -> list[dict[str, Any]]:
    return [{"secretRef": {"name": secret}}] if secret else []


def _env(objects: RunObjects) -> list[dict[str, str]]:
    places = {"NUWRAP_WORK": WORK, "NUWRAP_CACHE": "/cache", "TMPDIR": "/tmp"}  # noqa: S108 - a pod's
    own = {"PROJECT_NAME": objects.project, "RUN_ID": objects.run}
    secrets = {"NUWRAP_SECRETS": secrets_folder(objects.pod.profile)} if objects.pod.secrets else {}
    found = {**objects.pod.envs, **own, **places, **secrets}
    # Kubernetes puts the variable in for $(NAME), and takes $$ for $: a value is what it was given as
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in found.items()]


def _init_containers(objects: RunObjects, credentials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    pod = objects.pod
    made = []
    if pod.is_foreign:
        mounts = [{"name": "nuwrap-tree", "mountPath": "/tree"}]
        made.append(_init(pod, "runtime", ["/bin/sh", "-c"], [BRING], mounts=mounts))
    if pod.fetches:
        args = ["fetch", "--launch", f"{RUN}/launch.json"]
        mounts = [*own_mounts(), *claim_mounts(pod)]
        made.append(_init(pod, "fetch", [HOST], args, mounts=mounts, env=_env(objects), env_from=list(credentials)))
    return made


def _init(
    pod: Pod,
    name: str,
    command: Sequence[str],
    args: Sequence[str],
    *,
    mounts: Sequence[Mapping[str, Any]],
    env: Sequence[Mapping[str, str]] = (),
    env_from: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "name": name,
        "image": pod.fetch_image,
        "command": command,
        "args": args,
        "mounts": mounts,
        "env": env,
        "env_from": env_from,
        "resources": {"requests": dict(DEFAULT_REQUESTS), "limits": {}},
    }


def _serving(serving: Serving) -> dict[str, Any]:
    return {
        "port": serving.port,
        "admin_port": serving.admin_port,
        "start_looks": math.ceil(serving.start_s / START_LOOK_S),
    }
