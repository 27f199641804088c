"""Runs with GPUs in a real cluster. A node without any is told that it has two: it gives them out without looking."""

from __future__ import annotations

import base64
import fcntl
import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cluster_accounts import kubectl
from cluster_runs import Kube
from serving import call
from waiting import until

from nuwrap.cluster.client import Cluster

GPU = "nvidia.com/gpu"
ADVERTISED = 2


def given_out(cluster: Cluster) -> int:
    """How many GPUs the nodes give to pods."""
    return sum(int(node["status"]["allocatable"].get(GPU, 0)) for node in cluster.list("Node"))


def tell(node: str, operation: str, **value: str) -> None:
    change = [{"op": operation, "path": f"/status/capacity/{GPU.replace('/', '~1')}", **value}]
    kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(change))


@pytest.fixture
def gpus(cluster: Cluster) -> Iterator[int]:
    """As many as the nodes have, or say to have as long as the test goes on; one test at a time says that."""
    with (Path(tempfile.gettempdir()) / "nuwrap-test-gpus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        has_own = given_out(cluster)
        if has_own:
            yield has_own
            return
        node = cluster.list("Node")[0]["metadata"]["name"]
        tell(node, "add", value=str(ADVERTISED))
        try:
            until(lambda: given_out(cluster) == ADVERTISED)
            yield ADVERTISED
        finally:
            with suppress(AssertionError):  # it has been removed already
                tell(node, "remove")
            until(lambda: given_out(cluster) == 0)


def main_of(cluster: Cluster, namespace: str, run: Any) -> dict[str, Any]:
    (pod,) = cluster.list("Pod", labels={"nuwrap.dev/run": run.id}, namespace=namespace)
    assert pod["spec"]["nodeName"]
    main: dict[str, Any] = pod["spec"]["containers"][0]
    return main


def asked_workers(cluster: Cluster, namespace: str, run: Any) -> int:
    """How many workers the pod's launch document says."""
    secret = cluster.get("Secret", f"nuwrap-{run.id}-launch", namespace=namespace) or {}
    serve = json.loads(base64.b64decode(secret["data"]["launch.json"])).get("serve", {})
    return int(serve.get("workers", 2))


def workers_of(run: Any) -> int:
    """How many workers the service has, be they ready or not."""
    _, page = call(f"{run.status.service['admin_url']}/metrics")
    lines = [line for line in page.decode().splitlines() if line.startswith("nuwrap_workers{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def test_a_job_gets_the_gpus_that_it_asks_for(kube: Kube, cluster: Cluster, namespace: str, gpus: int) -> None:
    run = kube.job("add", parameters={"x": 1}, resources={"gpu": gpus, "mem": "200Mi"})
    assert (run.state, run.result("output_0")) == ("COMPLETED", 3), run.logs()
    assert main_of(cluster, namespace, run)["resources"] == {
        "requests": {"cpu": "100m", "memory": "200Mi", GPU: str(gpus)},
        "limits": {"memory": "200Mi", GPU: str(gpus)},
    }


@pytest.mark.parametrize(
    ("asked", "workers"),
    [
        ({"resources": {"gpu": 1, "cpu": "200m"}}, 1),
        ({"resources": {"gpu": {"limits": "1"}}, "workers": 2}, 2),
        ({"profile": "with-gpu"}, 1),
        ({"profile": "with-gpu", "workers": 2}, 2),
    ],
    ids=["one worker", "as many as are asked for", "one worker by a profile", "as many as are asked for by a profile"],
)
@pytest.mark.usefixtures("gpus")
def test_a_service_with_a_gpu_has_one_worker_unless_more_are_asked_for(
    kube: Kube, cluster: Cluster, namespace: str, tmp_path: Path, asked: dict[str, Any], workers: int
) -> None:
    (tmp_path / "with-gpu.yaml").write_text(json.dumps({"resources": {"limits": {GPU: 1}}}))
    kube.set("kubernetes.profiles", str(tmp_path))
    run = kube.function("greet").run("serve", **asked).wait(300)
    resources = main_of(cluster, namespace, run)["resources"]
    assert [str(resources[one][GPU]) for one in ("requests", "limits")] == ["1", "1"]
    assert asked_workers(cluster, namespace, run) == workers
    until(lambda: workers_of(run) == workers)
    assert run.invoke(json={"name": "you"}).json() == {"hello": "you"}
    run.stop()


@pytest.mark.parametrize("action", ["job", "serve"])
def test_why_a_run_waits_that_asks_for_more_gpus_than_there_are_is_told(kube: Kube, gpus: int, action: str) -> None:
    run = kube.function("greet").run(action, resources={"gpu": gpus + 1})
    until(lambda: f"Insufficient {GPU}" in run.status.message)
    assert run.state == "PENDING"
    assert "no node takes it" in run.status.message
    run.stop()
    assert run.state == "STOPPED"
