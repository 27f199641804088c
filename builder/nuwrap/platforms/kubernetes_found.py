"""Runs that a cluster has, be they of this machine or of a colleague: found by labels, taken over by what their Secret
says. What a cluster says is another's word: documents are checked before anything is made of them.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes import LAUNCH, RECORD
from nuwrap.plan.kubernetes.labels import ACTION_LABEL, ATTEMPT_LABEL, MANAGED, PROJECT_LABEL, RUN_LABEL, label_value
from nuwrap.platforms import Found
from nuwrap.platforms.kubernetes_wanted import Wanted, note_ready, note_submitted, write_wanted
from nuwrap.platforms.run_folder import LAUNCH as LAUNCH_FILE
from nuwrap.platforms.run_folder import make_run_folder, write_private
from nuwrap_runtime.errors import LaunchError
from nuwrap_runtime.launch import parse_launch

ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
KINDS: Final = {"Job": "job", "Deployment": "serve"}
OTHERS: Final = "!nuclio.io/class"  # no label of Nuclio's: its controller gives ours to the Deployments that it makes
RECORD_BYTES: Final = 1024 * 1024
SERVICES: Final = {"Deployment": "{}", "NuclioFunction": "nuclio-{}"}  # how the Service of each is called


def find_runs(cluster: Cluster, project: str, known: frozenset[str], kinds: Mapping[str, str] = KINDS) -> list[Found]:
    """Return the runs of the namespace that are not known, of one project where it is given.

    `kinds` are those of the platform's workloads, each with the action of its runs.
    """
    labels = {**MANAGED, **({PROJECT_LABEL: label_value(project)} if project else {})}
    selector = ",".join([*(f"{name}={one}" for name, one in labels.items()), OTHERS])
    found = []
    for kind, action in kinds.items():
        for one in cluster.list(kind, labels=selector):
            run = str(one["metadata"]["labels"].get(RUN_LABEL, ""))
            is_build = one["metadata"]["labels"].get(ACTION_LABEL) == "build"  # which is its builder's alone
            if ID.fullmatch(run) and run not in known and not is_build:
                found.append(_read(cluster, kind, action, one))
    return found


def take_over(cluster: Cluster, found: Found, base: str, settings: Mapping[str, Any]) -> str:
    """Make the run's folder below `base` as if it had been asked for here, and return it. Raises PlatformError."""
    folder = make_run_folder(base, found.run, found.attempt)
    serving = found.launch.get("serve") or {}
    wanted = Wanted(
        context=cluster.where.context,
        namespace=cluster.namespace,
        action=found.action,
        name=found.name,
        run=found.run,
        launch=found.launch,
        objects={
            "serving": {
                "port": serving.get("port", 8080),
                "admin_port": serving.get("admin_port", 8082),
                "service_type": found.service_type,
            }
        },
        grace_s=float(found.launch.get("grace_s", 30.0)),
        pending_timeout_s=float(settings["kubernetes.pending_timeout_s"]),
        keep_finished_s=int(settings["kubernetes.keep_finished_s"]),
    )
    write_private(os.path.join(folder, LAUNCH_FILE), json.dumps(found.launch, indent=1))
    write_wanted(folder, wanted)
    note_submitted(folder)
    note_ready(folder)  # it may have been: this machine has not seen its start
    return folder


def _read(cluster: Cluster, kind: str, action: str, workload: Mapping[str, Any]) -> Found:
    """Return the run of a workload; one whose Secret cannot be read, or is not ours, has a `reason`."""
    about = workload["metadata"]
    name, labels = str(about["name"]), about["labels"]
    made = {
        "name": name,
        "run": labels[RUN_LABEL],
        "action": action,
        "created": about.get("creationTimestamp", ""),
    }
    try:
        secret = cluster.get("Secret", f"{name}-launch")
        if secret is None:
            raise PlatformError(f"its Secret {name}-launch is gone")
        launch, record = (_document(secret, key) for key in (LAUNCH, RECORD))
        parsed = parse_launch(launch)
        function, run = record["function"], record["run"]
        if parsed.run != labels[RUN_LABEL] or not ID.fullmatch(function["id"]):
            raise PlatformError("its documents are another run's")
        if parsed.output_path and "://" not in parsed.output_path:
            raise PlatformError(f"its output_path {parsed.output_path!r} is a path of one machine")
        return Found(
            **made,
            project=parsed.project,
            function=parsed.function,
            attempt=int(labels.get(ATTEMPT_LABEL, "1")),
            service_type=_service_type(cluster, kind, name),
            launch=launch,
            function_id=function["id"],
            spec=dict(run["spec"]),
        )
    except (PlatformError, LaunchError) as exc:
        return Found(**made, reason=str(exc))
    except (KeyError, TypeError, ValueError) as exc:
        return Found(**made, reason=f"its Secret is none of this nuwrap's: {exc!r}")


def _document(secret: Mapping[str, Any], key: str) -> dict[str, Any]:
    text = base64.b64decode((secret.get("data") or {})[key])[:RECORD_BYTES]
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError(f"{key} is no mapping")
    return found


def _service_type(cluster: Cluster, kind: str, name: str) -> str:
    if kind not in SERVICES:
        return ""
    try:
        service = cluster.get("Service", SERVICES[kind].format(name)) or {}
    except ClusterError:
        return ""
    return str(service.get("spec", {}).get("type", ""))
