"""docs/own-jobs.md: what other programs start our images by, as it stands there."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import yaml

from nuwrap.cluster.client import Cluster
from nuwrap.spec.images import python_image
from nuwrap_runtime import __version__
from nuwrap_runtime.launch import parse_launch

PAGE = Path(__file__).parent.parent.parent / "docs" / "own-jobs.md"


def objects() -> list[dict[str, Any]]:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return list(yaml.safe_load_all(text))


def test_the_document_of_the_example_is_one() -> None:
    launch = parse_launch(json.loads(objects()[0]["stringData"]["launch.json"]))
    assert (launch.handler, launch.parameters) == ("main", {"x": 3})


def test_the_example_runs_where_pods_are_restricted(cluster: Cluster, namespace: str, pushed_images: str) -> None:
    secret, job = objects()
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == python_image("registry.example/team", __version__, "3.11")
    pod["containers"][0]["image"] = python_image(pushed_images, __version__, "3.11")
    for one in (secret, job):
        cluster.create({**one, "metadata": {**one["metadata"], "namespace": namespace}})
    ended: dict[str, Any] = {}
    deadline = time.monotonic() + 120
    while not ended:
        assert time.monotonic() < deadline
        time.sleep(0.5)
        for found in cluster.list("Pod", labels={"job-name": "add"}, namespace=namespace):
            (status,) = found["status"].get("containerStatuses") or ({},)
            ended = status.get("state", {}).get("terminated") or {}
    assert ended["exitCode"] == 0, ended
    result = json.loads(ended["message"])
    assert (result["state"], result["run"], result["results"]) == ("COMPLETED", "add-1", {"output_0": 5})
