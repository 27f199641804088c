"""What a pod and the events about it say, in words for a person: why it waits, and how it has ended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nuwrap.text import escape

MAINS: Final = frozenset({"main", "nuclio"})  # the function's own container, ours or as Nuclio names it
TEXT_CHARACTERS: Final = 2000
# Reasons of a waiting container that time alone does not mend (kubelet, pkg/kubelet/images/types.go and
# kuberuntime_container.go); a pull is tried again by the node, and a registry may come back.
HOPELESS: Final = frozenset({"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})
PULLING: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"})
CANNOT_START: Final = frozenset({"StartError", "ContainerCannotRun"})  # of a container that never ran
FAILED_CREATE: Final = frozenset({"FailedCreate", "FailedScheduling", "FailedMount", "FailedAttachVolume", "Failed"})
NO_BALANCER: Final = frozenset({"SyncLoadBalancerFailed", "UpdateLoadBalancerFailed"})  # cloud-provider, of services
HINTS: Final[Mapping[str, str]] = {
    "OOMKilled": "it was killed for lack of memory; give it more by resources.mem.limits",
    "DeadlineExceeded": "it ran into its deadline; set a longer one with `nuwrap config set kubernetes.deadline_s`",
    "Evicted": "the node threw it out",
}


@dataclass(frozen=True)
class Waiting:
    """Why a run has not begun. `is_hopeless` tells that it never will as it is."""

    reason: str
    is_hopeless: bool = False


@dataclass(frozen=True)
class Ended:
    """How a container has ended. `message` is its termination message, `reason` the kubelet's own word."""

    container: str
    exit_code: int
    reason: str = ""
    message: str = ""


def why_waiting(pod: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]]) -> Waiting:
    """Return why nothing of the run runs yet; without a `pod` there is none, `events` are the job's and the pod's."""
    if pod is None:
        return Waiting(_last(events, FAILED_CREATE) or "its pod is not made yet")
    for status in _statuses(pod):
        waiting = status.get("state", {}).get("waiting") or {}
        reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
        if reason in HOPELESS or reason in PULLING:
            told = _last(events, frozenset({"Failed"})) if reason in PULLING else ""
            why = _line(told or message or reason)
            what = f"image {status.get('image', '')!r}: " if reason in PULLING else ""
            return Waiting(what + why, reason in HOPELESS)
    condition = _condition(pod, "PodScheduled")
    if condition.get("status") == "False":
        return Waiting(f"no node takes it: {_line(condition.get('message') or condition.get('reason') or '')}")
    if not pod.get("spec", {}).get("nodeName"):
        return Waiting("it waits for a node")
    return Waiting(_last(events, FAILED_CREATE) or _step(pod))


def why_no_balancer(events: Sequence[Mapping[str, Any]]) -> str:
    """Return why a service has no load balancer, `events` being its own."""
    return _join("its load balancer has no address yet", _last(events, NO_BALANCER))


def ended_container(pod: Mapping[str, Any], *, last: bool = False) -> Ended | None:
    """Return how the run's container has ended, of one that failed before it that one's; None while it goes on.

    With `last` the end before a new start counts too.
    """
    for status in _statuses(pod):
        before = (status.get("lastState") or {}).get("terminated") if last else None
        ended = (status.get("state") or {}).get("terminated") or before or {}
        name = str(status.get("name", ""))
        if ended and (name in MAINS or ended.get("exitCode")):
            message = str(ended.get("message", ""))
            return Ended(name, int(ended.get("exitCode", 0)), str(ended.get("reason", "")), message)
    return None


def is_main_running(pod: Mapping[str, Any]) -> bool:
    """Tell whether the function's own container runs."""
    return any(is_running(pod, name) for name in MAINS)


def is_running(pod: Mapping[str, Any], container: str) -> bool:
    """Tell whether the container runs."""
    return any(one.get("name") == container and "running" in (one.get("state") or {}) for one in _statuses(pod))


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether the pod takes requests."""
    return "deletionTimestamp" not in pod["metadata"] and _condition(pod, "Ready").get("status") == "True"


def why_gone(pod: Mapping[str, Any] | None) -> str:
    """Return why the cluster has ended a pod by itself, "" where it has not: an eviction, a deadline, a lost node."""
    if pod is None:
        return ""
    status = pod.get("status", {})
    reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    if status.get("phase") == "Failed" and reason:
        return _join(HINTS.get(reason, reason), message)
    disrupted = _condition(pod, "DisruptionTarget")
    if disrupted.get("status") == "True" and disrupted.get("reason") != "DeletionByPodGC":
        return _join("the cluster took its node or its place", str(disrupted.get("message", "")))
    return ""


def is_taken(pod: Mapping[str, Any]) -> bool:
    """Tell whether the cluster took the pod, or is about to: evicted, preempted, drained, or with its node."""
    is_done = pod.get("status", {}).get("phase") == "Succeeded"
    return not is_done and _condition(pod, "DisruptionTarget").get("status") == "True"


def is_made_anew(job: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Tell whether the Job makes a further pod in the place of this one, which has ended; a Job that may do so is
    taken to until it says otherwise.
    """
    conditions = job.get("status", {}).get("conditions") or ()
    is_over = any(one.get("type") in ("Complete", "Failed") and one.get("status") == "True" for one in conditions)
    return not is_over and bool(job["spec"].get("backoffLimit")) and is_taken(pod)


def job_failure(job: Mapping[str, Any]) -> tuple[str, str]:
    """Return reason and words of a Job that the controller has given up, ("", "") of another."""
    for one in job.get("status", {}).get("conditions", ()):
        if one.get("type") == "Failed" and one.get("status") == "True":
            return str(one.get("reason", "")), _line(str(one.get("message", "")))
    return "", ""


def _statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the states of all containers in the order that they begin."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _step(pod: Mapping[str, Any]) -> str:
    """Return what a pod on its node is about."""
    for one in pod.get("status", {}).get("initContainerStatuses") or ():
        if "running" in (one.get("state") or {}):
            doing = {"fetch": "its code and inputs are fetched", "runtime": "the runtime is brought in"}
            return doing.get(str(one.get("name")), f"its container {one.get('name')!r} runs first")
    if is_main_running(pod):
        return "its function is loaded, and init_function runs"
    return f"node {pod['spec']['nodeName']!r} gets its images and volumes"


def _condition(pod: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = pod.get("status", {}).get("conditions") or ()
    return next((one for one in found if one.get("type") == kind), {})


def _last(events: Sequence[Mapping[str, Any]], reasons: frozenset[str]) -> str:
    """Return the words of the latest event of one of the reasons, "" without one."""
    fitting = [one for one in events if one.get("reason") in reasons and one.get("type") != "Normal"]
    fitting.sort(key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
    return _line(str(fitting[-1].get("message", ""))) if fitting else ""


def _join(first: str, second: str) -> str:
    return f"{first}: {_line(second)}" if second else first


def _line(text: str) -> str:
    """Return what the cluster says as one line, which commands no terminal."""
    return escape(re.sub(r"\s+", " ", text).strip()[:TEXT_CHARACTERS])
