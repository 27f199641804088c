"""From one run to the objects of a cluster. Pure: values in, documents out."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from nuwrap.plan.kubernetes.labels import (
    RUN_LABEL,
    exact_names,
    run_labels,
    service_name,
    with_ours,
    workload_name,
)
from nuwrap.plan.kubernetes.pods import has_devices, plan_pod
from nuwrap.plan.kubernetes.request import OWN_CODES, RunObjects, Serving
from nuwrap.plan.kubernetes.volumes import claim_specs, secret_key
from nuwrap.plan.rendering import render
from nuwrap.spec.document import parse_documents

Manifest = dict[str, Any]
PROGRESS_S: Final = 600
LAUNCH, RECORD = "launch.json", "run.json"


def plan_run(objects: RunObjects) -> list[Manifest]:
    """Return the run's objects: what it reads, its claims, then the Job, or the Deployment with its Services."""
    make = partial(_make, objects)
    # its values are base64, which nothing can be hidden in, and a reader of YAML takes a second for what is large
    made = [{**make("secret", launch_name(objects)), "data": _data(objects)}]
    for name, spec in claim_specs(objects):
        made.append(make("claim", name, spec=spec))
    template = plan_pod(objects, labels(objects), _annotations(objects))
    name = workload_name(objects.run, objects.attempt)
    if objects.serving is None:
        made.append(
            make(
                "job",
                name,
                retries=objects.retry_evictions,
                own_codes=OWN_CODES,
                deadline_s=objects.deadline_s,
                ttl_s=None,
                template=template,
            )
        )
        return made
    return [*made, *_service(objects, objects.serving, name, template)]


def launch_name(objects: RunObjects) -> str:
    """Return the name of the Secret that has the launch document and what comes with it."""
    return f"{workload_name(objects.run, objects.attempt)}-launch"


def own(manifest: Mapping[str, Any], name: str, kind: str, uid: str) -> Manifest:
    """Return the object as one that belongs to the workload, and goes with it."""
    version = {"Job": "batch/v1", "Deployment": "apps/v1", "NuclioFunction": "nuclio.io/v1beta1"}[kind]
    owner = {"apiVersion": version, "kind": kind, "name": name, "uid": uid}
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [owner]}}


def labels(objects: RunObjects) -> dict[str, str]:
    """Return the labels of each of its objects; the user's own never replace ours."""
    ours = run_labels(objects.project, objects.function, objects.run, objects.action, objects.attempt, objects.user)
    return with_ours(ours, objects.labels, objects.pod.profile.get("labels", {}))


def hide_secrets(manifest: Mapping[str, Any]) -> Manifest:
    """Return a Secret with the size of each value in its place, another object as it is."""
    if manifest.get("kind") != "Secret":
        return dict(manifest)
    sizes = {key: f"({len(base64.b64decode(one))} bytes)" for key, one in manifest["data"].items()}
    return {**manifest, "data": sizes}


def _service(objects: RunObjects, serving: Serving, name: str, template: Manifest) -> list[Manifest]:
    make = partial(_make, objects)
    selector = {RUN_LABEL: labels(objects)[RUN_LABEL]}
    is_scarce = has_devices(template)
    rolling = {"maxUnavailable": 1, "maxSurge": 0} if is_scarce else {"maxUnavailable": 0, "maxSurge": 1}
    made = [
        make(
            "deployment",
            name,
            replicas=serving.replicas,
            progress_s=max(PROGRESS_S, serving.start_s),
            rolling=rolling,
            selector=selector,
            template=template,
        )
    ]
    names = [name]
    if serving.service_name:
        names.append(service_name(f"{objects.function}-{serving.service_name}"))
    about = {"type": serving.service_type, "selector": selector, "port": serving.port}
    return [*made, *(make("service", one, **about) for one in names)]


def _make(objects: RunObjects, file: str, name: str, **values: Any) -> Manifest:
    text = render(
        f"kubernetes/{file}.yaml.j2",
        {
            "name": name,
            "namespace": objects.namespace,
            "labels": labels(objects),
            "annotations": _annotations(objects),
            **values,
        },
    )
    made: Manifest = parse_documents(text, file, most=len(text) + 1024 * 1024)[0]
    return made


def _annotations(objects: RunObjects) -> dict[str, str]:
    ours = exact_names(objects.project, objects.function)
    return with_ours(ours, objects.annotations, objects.pod.profile.get("annotations", {}))


def _data(objects: RunObjects) -> dict[str, str]:
    texts = {LAUNCH: json.dumps(objects.launch), RECORD: json.dumps(objects.record)}
    found = {name: text.encode("utf-8", "surrogateescape") for name, text in texts.items()}
    files = {secret_key(number): data for number, data in enumerate(objects.given.values())}
    return {name: base64.b64encode(data).decode("ascii") for name, data in {**found, **files}.items()}
