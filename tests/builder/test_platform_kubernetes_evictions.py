"""Pods that a real cluster takes from a job: another one is made when that was asked for, and only then."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from cluster_runs import Kube

from nuwrap.cluster.client import Cluster
from nuwrap.cluster.kinds import find_kind
from nuwrap.errors import SpecError
from nuwrap.runs import alive
from nuwrap.sdk import context


def until(is_so: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it has not come about in time"
        time.sleep(0.2)


def evict(cluster: Cluster, namespace: str, run: Any, *, without_follower: bool = False) -> None:
    """Ask for the eviction of the run's pod once its function prints, its follower killed before where that is said."""
    begun = run.logs().count("line 1\n")
    until(lambda: run.logs().count("line 1\n") > begun)
    if without_follower:
        home = context.current().home
        alive.kill(home, run.id, "supervisor", signal.SIGKILL)
        until(lambda: not alive.is_held(home, run.id))
    pods = cluster.list("Pod", labels={"nuwrap.dev/run": run.id}, namespace=namespace)
    name = max(pods, key=lambda one: str(one["metadata"]["creationTimestamp"]))["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    cluster._transport.ask("POST", find_kind("Pod").path(namespace, name, "eviction"), body=body, what="evict")


def failed_pods(cluster: Cluster, namespace: str, run: Any) -> int:
    (job,) = cluster.list("Job", labels={"nuwrap.dev/run": run.id}, namespace=namespace)
    return int(job["status"].get("failed", 0))


def test_a_job_whose_pod_is_evicted_ends_with_that_unless_another_is_asked_for(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    run = kube.function("lines").run("job", parameters={"n": 600})
    evict(cluster, namespace, run)
    run.wait(120, log_info=False)
    assert (run.state, run.status.exit_code) == ("ERROR", 10), run.logs()
    assert "evicted: the cluster took its node or its place" in run.status.message
    assert "retry_evictions=1" in run.status.message


def test_an_evicted_job_begins_again_and_the_last_pods_result_is_the_runs(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    run = kube.function("lines").run("job", parameters={"n": 50}, retry_evictions=2)
    evict(cluster, namespace, run)
    run.wait(300, log_info=False)
    assert (run.state, run.result("output_0"), run.status.exit_code) == ("COMPLETED", 50, 0), run.logs()
    told = [line for line in run.logs().splitlines() if "a further pod is made" in line]
    assert len(told) == 1
    assert "evicted: the cluster took its node or its place" in told[0]
    assert told[0].endswith("(1 of 2)")
    assert run.logs().count("line 0\n") == 2
    assert failed_pods(cluster, namespace, run) == 1


def test_further_pods_are_used_up(kube: Kube, cluster: Cluster, namespace: str) -> None:
    run = kube.function("lines").run("job", parameters={"n": 600}, retry_evictions=1)
    evict(cluster, namespace, run)
    evict(cluster, namespace, run)
    run.wait(120, log_info=False)
    assert (run.state, run.status.exit_code) == ("ERROR", 10), run.logs()
    assert "evicted 2 times, its further pods (retry_evictions) are used up" in run.status.message
    assert failed_pods(cluster, namespace, run) == 2


def test_a_function_that_fails_by_itself_is_not_run_again(kube: Kube, cluster: Cluster, namespace: str) -> None:
    run = kube.job("boom", retry_evictions=2)
    assert (run.state, run.status.exit_code) == ("ERROR", 1)
    assert "ValueError: the reason" in run.status.message
    until(lambda: failed_pods(cluster, namespace, run) == 1)
    (job,) = cluster.list("Job", labels={"nuwrap.dev/run": run.id}, namespace=namespace)
    (failed,) = [one for one in job["status"]["conditions"] if one["type"] == "Failed"]
    assert failed["reason"] == "PodFailurePolicy"


def test_a_stop_ends_a_job_that_waits_for_its_next_pod(kube: Kube, cluster: Cluster, namespace: str) -> None:
    run = kube.function("lines").run("job", parameters={"n": 600}, retry_evictions=3)
    evict(cluster, namespace, run)
    until(lambda: "a further pod is made" in run.logs())
    run.stop()
    assert (run.state, run.status.exit_code) == ("STOPPED", 143), run.logs()


@pytest.mark.parametrize("wrong", [-1, 101, "often", 1.5])
def test_a_number_that_is_none_is_refused(kube: Kube, wrong: Any) -> None:
    with pytest.raises(SpecError, match=r"retry_evictions: .*0 to 100"):
        kube.function("add").run("job", retry_evictions=wrong)


def test_an_eviction_that_nobody_followed_is_known_to_who_follows_next(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    run = kube.function("lines").run("job", parameters={"n": 50}, retry_evictions=1)
    evict(cluster, namespace, run, without_follower=True)
    until(lambda: failed_pods(cluster, namespace, run) == 1)
    assert run.refresh().state in ("PENDING", "RUNNING")  # and not over
    run.wait(300, log_info=False)
    assert (run.state, run.result("output_0")) == ("COMPLETED", 50), run.logs()
