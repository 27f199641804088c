"""Pods of a Job that the cluster took, and whether a further one comes: the Job counts them, and decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.cluster.reasons import ended_container, is_made_anew, is_taken, why_gone
from nuwrap.plan.kubernetes.request import OWN_CODES

ASK_S: Final = 1.0  # between two looks at the Job, which waits ten seconds and more before its next pod

Pod = Mapping[str, Any]


class Evictions:
    """The evictions of one Job; `tell` hears of each that another pod follows, once."""

    def __init__(self, cluster: Cluster, job: str, tell: Callable[[str], None]) -> None:
        self._cluster, self._job, self._tell = cluster, job, tell
        self._told: list[str] = []
        self._asked: tuple[str, float] = ("", 0.0)
        self._goes_on = False

    def waits_for_another(self, pod: Pod, now: float, *, is_gone: bool) -> bool:
        """Tell whether a further pod comes in the place of this one; while the cluster does not say, it is taken to."""
        if not is_taken(pod) or not (is_gone or _has_ended(pod)) or _has_own_end(pod):
            return False
        name = str(pod["metadata"]["name"])
        if self._asked[0] == name and now < self._asked[1] + ASK_S:
            return self._goes_on
        self._asked = name, now
        try:
            job = self._cluster.get("Job", self._job)
        except ClusterError:  # the run goes on, be it seen or not
            self._goes_on = True
            return True
        self._goes_on = job is not None and is_made_anew(job, pod)
        if job and self._goes_on and name not in self._told:
            self._told.append(name)
            self._tell_of(job, pod)
        return self._goes_on

    def _tell_of(self, job: Mapping[str, Any], pod: Pod) -> None:
        number = max(len(self._told), count_failed(job))  # others may have been followed by another process
        limit = job["spec"]["backoffLimit"]
        if number <= limit:  # else the Job has yet to say that it is given up
            self._tell(f"evicted: {why_gone(pod) or 'its node is gone'}; a further pod is made ({number} of {limit})")


def count_failed(job: Mapping[str, Any]) -> int:
    """Return how many pods of the Job have failed, as it has counted."""
    return int(job.get("status", {}).get("failed") or 0)


def _has_ended(pod: Pod) -> bool:
    return ended_container(pod) is not None or _is_failed(pod)  # a pod that its node has lost tells no container's end


def _has_own_end(pod: Pod) -> bool:
    """Tell whether the function came to its end, or failed, though the cluster was about to take the pod."""
    ended = ended_container(pod)
    return ended is not None and (ended.exit_code in OWN_CODES or (ended.exit_code == 0 and not _is_failed(pod)))


def _is_failed(pod: Pod) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Failed")
