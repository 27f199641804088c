"""From one run to what a cluster with Nuclio is given: a NuclioFunction, of which its controller makes a Deployment and
a Service, and what these read. Pure.

Keys are those of nuclio/nuclio: pkg/functionconfig/types.go; what its controller makes of them:
pkg/platform/kube/functionres/lazy.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes import Manifest, plan_run
from nuwrap.plan.kubernetes.labels import MANAGED, object_name, workload_name
from nuwrap.plan.kubernetes.pods import HOST
from nuwrap.plan.kubernetes.profiles import MAIN
from nuwrap.plan.kubernetes.request import RunObjects
from nuwrap.plan.kubernetes.volumes import RUN, SECRETS
from nuwrap.plan.nuclio import (
    API,
    READY_S,
    SECRETS_FOLDER,
    duration,
    event_timeout,
    handler_of,
    http_trigger,
    log_level,
)
from nuwrap.plan.nuclio_triggers import plan_triggers
from nuwrap.plan.rendering import render
from nuwrap.spec.document import parse_documents
from nuwrap_runtime.launch import Launch, parse_launch

CONTAINER: Final = "nuclio"  # how the controller names the function's container
PROJECT_LABEL: Final = "nuclio.io/project-name"
STOP_S: Final = 24.0  # a pod of Nuclio's has 30 s to end, and its processor waits five by itself
_CONFIGURATION: Final = {"processor-config-volume": "processor", "platform-config-volume": "platform"}
# Of a pod's spec what a function has a place for, by its name there.
_PLACES: Final[Mapping[str, str]] = {
    "affinity": "affinity",
    "hostIPC": "hostIPC",
    "nodeName": "nodeName",
    "nodeSelector": "nodeSelector",
    "preemptionPolicy": "preemptionPolicy",
    "priorityClassName": "priorityClassName",
    "securityContext": "securityContext",
    "serviceAccountName": "serviceAccount",
    "tolerations": "tolerations",
}
# What goes elsewhere, or what Nuclio decides by itself; our own values of these are lost.
_ELSEWHERE: Final = frozenset(
    ("automountServiceAccountToken", "containers", "enableServiceLinks", "imagePullSecrets", "initContainers",
     "restartPolicy", "terminationGracePeriodSeconds", "volumes")
)  # fmt: skip


@dataclass(frozen=True)
class Processor:
    """What Nuclio is told beside the pod. `triggers` are as in a function.yaml; `ready_s` is how long its controller
    waits for the first pod.
    """

    python_version: str
    description: str = ""
    triggers: Mapping[str, Any] = field(default_factory=dict)
    ready_s: int = READY_S


def plan_objects(objects: RunObjects, processor: Processor) -> list[Manifest]:
    """Return the run's objects: what it reads, its claims, its stable Service, then its NuclioFunction.

    Raises PlatformError for what a function of Nuclio has no place for.
    """
    made = plan_run(objects)
    (deployment,) = [one for one in made if one["kind"] == "Deployment"]
    name = workload_name(objects.run, objects.attempt)  # what has it would be the controller's to make
    return [*(one for one in made if one["metadata"]["name"] != name), _function(objects, processor, deployment)]


def plan_project(objects: RunObjects) -> Manifest:
    """Return the NuclioProject without which the controller makes nothing of the function."""
    about = {"name": object_name(objects.project), "namespace": objects.namespace, "labels": dict(MANAGED)}
    return {"apiVersion": API, "kind": "NuclioProject", "metadata": about, "spec": {}}


def made_name(function: str) -> str:
    """Return the name of what the controller makes of a function: its Deployment, Service and ConfigMap."""
    return f"nuclio-{function}"


def plan_pod_of(function: Manifest) -> Manifest:
    """Return the pod that the controller makes of the function, for the server to look at before there is one."""
    about, spec = function["metadata"], function["spec"]
    config = {"name": made_name(about["name"]), "optional": True}
    volumes = {one["volume"]["name"]: one["volume"] for one in spec["volumes"]}
    volumes |= {name: {"name": name, "configMap": config} for name in _CONFIGURATION}
    mounts = [one["volumeMount"] for one in spec["volumes"]]
    mounts += [{"name": name, "mountPath": f"/etc/nuclio/config/{one}"} for name, one in _CONFIGURATION.items()]
    keys = ("env", "envFrom", "image", "resources")
    main = {"name": CONTAINER, **{key: spec[key] for key in keys if key in spec}}
    pull = [{"name": spec["imagePullSecrets"]}] if "imagePullSecrets" in spec else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": about,
        "spec": {
            **{name: spec[key] for name, key in _PLACES.items() if key in spec},
            "imagePullSecrets": pull,
            "containers": [{**one, "volumeMounts": mounts} for one in (main, *spec.get("sidecars", ()))],
            "initContainers": [{**one, "volumeMounts": mounts} for one in spec["initContainers"]],
            "volumes": list(volumes.values()),
        },
    }


def _function(objects: RunObjects, processor: Processor, deployment: Manifest) -> Manifest:
    launch = parse_launch(dict(objects.launch))
    about, pod = deployment["metadata"], deployment["spec"]["template"]["spec"]
    (main,) = [one for one in pod["containers"] if one["name"] == MAIN]
    text = render(
        "kubernetes/nuclio_function.yaml.j2",
        {
            "name": about["name"],
            "namespace": objects.namespace,
            "labels": {**about["labels"], PROJECT_LABEL: object_name(objects.project)},
            "annotations": about["annotations"],
            "description": processor.description,
            "runtime": f"python:{processor.python_version}",
            "handler": handler_of(launch),
            "image": main["image"],
            "replicas": deployment["spec"]["replicas"],
            "ready_s": processor.ready_s,
            "level": log_level(objects.pod.envs),
            "event_timeout": event_timeout(launch).get("eventTimeout", ""),
            "triggers": _triggers(objects, processor, launch),
            "env": [*_env(main), {"name": "NUWRAP_LAUNCH", "value": f"@{RUN}/launch.json"}],
            "env_from": main["envFrom"],
            "resources": main["resources"],
            "strategy": deployment["spec"]["strategy"],
            "places": _places(pod),
            "init_containers": [_without_mounts(one, main) for one in pod["initContainers"]],
            "sidecars": [_without_mounts(one, main) for one in pod["containers"] if one is not main],
            "volumes": _volumes(pod, main),
        },
    )
    made: Manifest = parse_documents(text, "nuclio_function", most=len(text) + 1024 * 1024)[0]
    return made


def _triggers(objects: RunObjects, processor: Processor, launch: Launch) -> dict[str, Any]:
    http = http_trigger(launch)
    kind = objects.serving.service_type if objects.serving else ""
    attributes = {**http["attributes"], "serviceType": kind}
    ends = duration(min(launch.grace_s, STOP_S))
    return plan_triggers({**http, "workerTerminationTimeout": ends, "attributes": attributes}, processor.triggers)


def _places(pod: Mapping[str, Any]) -> dict[str, Any]:
    strange = sorted(set(pod) - set(_PLACES) - _ELSEWHERE)
    if strange:
        raise PlatformError(
            f"the profile sets {strange[0]!r} of the pod, for which a function of Nuclio has no place; allowed: "
            f"{', '.join(_PLACES)}"
        )
    pull = [one["name"] for one in pod.get("imagePullSecrets") or ()]
    if len(pull) > 1:
        raise PlatformError(
            f"kubernetes.pull_secrets names {', '.join(pull)}; a function of Nuclio takes one, so put all log-ins there"
        )
    return {
        **{key: pod[name] for name, key in _PLACES.items() if name in pod},
        **({"imagePullSecrets": pull[0]} if pull else {}),
    }


def _without_mounts(container: Mapping[str, Any], main: Mapping[str, Any]) -> dict[str, Any]:
    """Return the container as a function has it; the controller gives each all volumes.

    The one that fetches installs too, in the function's own image: the processor must answer within 20 s of its start.
    """
    kept = {key: value for key, value in container.items() if key != "volumeMounts"}
    kept |= {"env": _env(container)} if "env" in container else {}
    if container["name"] == "fetch":
        kept |= {"image": main["image"], "command": [HOST], "args": ["prepare", "--launch", f"{RUN}/launch.json"]}
    return kept


def _volumes(pod: Mapping[str, Any], main: Mapping[str, Any]) -> list[dict[str, Any]]:
    by_name = {one["name"]: one for one in pod["volumes"]}
    moved = [{**one, "mountPath": _place(one["mountPath"])} for one in main["volumeMounts"]]
    return [{"volume": by_name[one["name"]], "volumeMount": one} for one in moved]


def _env(container: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {**one, "value": _place(one["value"])} if one["name"] == "NUWRAP_SECRETS" else one for one in container["env"]
    ]


def _place(path: str) -> str:
    """Return where it is in a pod of Nuclio's, which has a token below /run/secrets: no place for what is read-only."""
    return SECRETS_FOLDER if path == SECRETS else path
