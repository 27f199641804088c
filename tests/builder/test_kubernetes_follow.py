"""Runs of the real cluster whose follower has a bad day: his log-in has run out, their log is more than is kept."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from cluster_accounts import Login, kubectl
from cluster_runs import Kube

from nuwrap.cluster.client import Cluster
from nuwrap.plan.kubernetes.labels import RUN_LABEL


def until(is_so: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it has not come about in time"
        time.sleep(0.2)


def test_a_run_that_ended_without_a_log_in_is_fetched_with_the_next_one(
    kube: Kube, login: Login, cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, next_one, administrator = login("nuwrap-job"), login("nuwrap-job"), os.environ["KUBECONFIG"]
    monkeypatch.setenv("KUBECONFIG", str(here))
    run = kube.function("lines").run("job", parameters={"n": 60})
    until(lambda: "line 3" in run.logs())
    kubectl("-n", namespace, "delete", "serviceaccount", here.stem, kubeconfig=administrator)
    until(lambda: "has run out; log in again" in run.logs())
    pods = {RUN_LABEL: run.id}
    until(lambda: cluster.list("Pod", labels=pods, namespace=namespace)[0]["status"]["phase"] == "Succeeded")
    assert run.refresh().state == "RUNNING"
    next_one.replace(here)
    run.wait(120, log_info=False)
    assert (run.state, run.result("output_0")) == ("COMPLETED", 60), run.logs()
    told = [line for line in run.logs().splitlines() if line.startswith("line ")]
    assert told == [f"line {number}" for number in range(60)]
    assert run.logs().count("has run out") == 1


def test_a_log_that_is_longer_than_the_cluster_keeps_comes_in_order_to_its_end(kube: Kube) -> None:
    run = kube.job("flood", parameters={"n": 200_000})
    assert run.state == "COMPLETED", run.logs()[-2000:]
    found = [int(line[:7]) for line in run.logs().splitlines() if line.endswith(" " + "x" * 91)]
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (0, 199_999)
    if len(found) < 199_900:  # a line at a file's edge may be cut
        assert "lines may be missing here" in run.logs()
