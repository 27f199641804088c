"""What a pod, a Job and their events say, in a person's words."""

from __future__ import annotations

from typing import Any

import pytest

from nuwrap.cluster.reasons import (
    ended_container,
    is_made_anew,
    is_main_running,
    is_ready,
    is_taken,
    job_failure,
    why_gone,
    why_no_balancer,
    why_waiting,
)


def pod(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "registry/image:1", "state": state}] if state is not None else []
    return {
        "metadata": {"name": "p"},
        "spec": {"nodeName": "node-1"},
        "status": {"containerStatuses": containers, **status},
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def event(reason: str, message: str, at: str = "2026-11-28T07:00:00Z") -> dict[str, Any]:
    return {"reason": reason, "message": message, "type": "Warning", "lastTimestamp": at}


def test_without_a_pod_the_jobs_own_events_say_why() -> None:
    denied = 'pods "x" is forbidden: exceeded quota: team'
    assert why_waiting(None, [event("FailedCreate", denied)]).reason == denied
    assert why_waiting(None, []).reason == "its pod is not made yet"


def test_the_latest_event_counts() -> None:
    events = [event("FailedCreate", "later", "2026-11-28T07:00:02Z"), event("FailedCreate", "earlier")]
    assert why_waiting(None, events).reason == "later"


def test_a_pod_that_no_node_takes_says_what_it_lacks() -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu"}]
    told = why_waiting(pod(conditions=conditions), [])
    assert told.reason == "no node takes it: 0/1 nodes are available: 1 Insufficient cpu"
    assert not told.is_hopeless


def test_an_image_that_cannot_be_pulled_is_named_with_the_registrys_words() -> None:
    told = why_waiting(pod(waiting("ImagePullBackOff", "Back-off")), [event("Failed", "manifest unknown")])
    assert told.reason == "image 'registry/image:1': manifest unknown"
    assert not told.is_hopeless  # a registry comes back


@pytest.mark.parametrize("reason", ["InvalidImageName", "CreateContainerConfigError"])
def test_what_time_does_not_mend_is_hopeless(reason: str) -> None:
    told = why_waiting(pod(waiting(reason, "couldn't find key TOKEN")), [])
    assert (told.reason, told.is_hopeless) == ("couldn't find key TOKEN", True)


def test_a_volume_that_cannot_be_mounted_is_told() -> None:
    told = why_waiting(pod(waiting("ContainerCreating")), [event("FailedMount", "secret not found")])
    assert told.reason == "secret not found"


def test_what_runs_before_the_function_is_told() -> None:
    first = [{"name": "fetch", "state": {"running": {}}}]
    assert why_waiting(pod(initContainerStatuses=first), []).reason == "its code and inputs are fetched"


def test_the_end_of_a_container_is_its_own() -> None:
    ended = ended_container(pod({"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "m"}}))
    assert ended is not None
    assert (ended.container, ended.exit_code, ended.reason, ended.message) == ("main", 137, "OOMKilled", "m")
    assert ended_container(pod({"running": {}})) is None


def test_a_first_container_counts_when_it_fails_and_not_when_it_is_done() -> None:
    def first(code: int) -> Any:
        return ended_container(
            pod({"waiting": {}}, initContainerStatuses=[{"name": "fetch", "state": {"terminated": {"exitCode": code}}}])
        )

    assert first(0) is None
    assert (first(3).container, first(3).exit_code) == ("fetch", 3)


def test_an_end_before_a_new_start_counts_only_where_it_is_asked_for() -> None:
    again = pod({"running": {}})
    again["status"]["containerStatuses"][0]["lastState"] = {"terminated": {"exitCode": 6}}
    assert ended_container(again) is None
    found = ended_container(again, last=True)
    assert found is not None
    assert found.exit_code == 6


def test_a_pod_that_the_cluster_took_says_why() -> None:
    assert why_gone(pod(phase="Failed", reason="Evicted", message="low on memory")) == (
        "the node threw it out: low on memory"
    )
    drained = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}]
    assert why_gone(pod(conditions=drained)) == "the cluster took its node or its place: drained"
    assert why_gone(pod({"running": {}}, phase="Running")) == ""
    assert why_gone(None) == ""


TAKEN = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "m"}]


def job(retries: int, *conditions: str) -> dict[str, Any]:
    found = [{"type": one, "status": "True"} for one in conditions]
    return {"spec": {"backoffLimit": retries}, "status": {"conditions": found}}


def test_a_pod_is_made_anew_where_the_cluster_took_it_and_the_job_may_try_again() -> None:
    taken = pod({"terminated": {"exitCode": 143}}, phase="Failed", conditions=TAKEN)
    assert is_made_anew(job(1), taken)
    assert is_made_anew(job(1, "FailureTarget"), taken)  # it has yet to say that it is given up
    assert not is_made_anew(job(0), taken)
    assert not is_made_anew(job(1, "Failed"), taken)
    assert not is_made_anew(job(1, "Complete"), taken)
    assert not is_made_anew(job(1), pod({"terminated": {"exitCode": 143}}, phase="Failed"))


def test_a_pod_that_was_done_when_the_cluster_took_it_is_not_taken() -> None:
    assert is_taken(pod({"running": {}}, phase="Running", conditions=TAKEN))
    assert not is_taken(pod({"terminated": {"exitCode": 0}}, phase="Succeeded", conditions=TAKEN))


def test_a_job_that_was_given_up_says_why() -> None:
    conditions = [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "was active\n longer"}]
    assert job_failure({"status": {"conditions": conditions}}) == ("DeadlineExceeded", "was active longer")
    assert job_failure({"status": {}}) == ("", "")


def test_a_pod_takes_requests_when_it_is_ready_and_not_on_its_way_out() -> None:
    conditions = [{"type": "Ready", "status": "True"}]
    ready = pod({"running": {}}, conditions=conditions)
    assert is_ready(ready)
    assert is_main_running(ready)
    ready["metadata"]["deletionTimestamp"] = "2026-11-28T07:00:00Z"
    assert not is_ready(ready)


def test_a_service_without_a_load_balancer_waits_for_it_or_for_what_its_cloud_says() -> None:
    assert why_no_balancer([event("FailedScheduling", "of its pod")]) == "its load balancer has no address yet"
    events = [event("SyncLoadBalancerFailed", "Error syncing load balancer:\nno subnet")]
    assert why_no_balancer(events) == "its load balancer has no address yet: Error syncing load balancer: no subnet"


def test_a_pod_that_is_not_ready_yet_waits_for_its_function() -> None:
    assert why_waiting(pod({"running": {}}), []).reason == "its function is loaded, and init_function runs"
