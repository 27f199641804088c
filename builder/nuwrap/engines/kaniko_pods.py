"""The pods of a build in a cluster: waited for until they are so far, and why they are not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.cluster.pod_news import PodNews, events_about
from nuwrap.cluster.reasons import ended_container, is_running, job_failure, why_gone, why_waiting
from nuwrap.engines.kaniko_place import Watch
from nuwrap.errors import BuildError
from nuwrap.plan.kubernetes.build_job import FILL, BuildPlace
from nuwrap.plan.kubernetes.profiles import MAIN
from nuwrap.spec.build import Event

EVENTS_S: Final = 2.0

Pod = Mapping[str, Any]


class BuildPods:
    """Waits in the calling thread, a build's stops and time in view; `report` gets what a person should know."""

    def __init__(self, cluster: Cluster, place: BuildPlace, watch: Watch, report: Callable[[Event], None]) -> None:
        self._cluster, self._place, self._watch, self._report = cluster, place, watch, report
        self._last_note = ""

    def note(self, text: str) -> None:
        """Tell a text when it is another than the last."""
        if text != self._last_note:
            self._last_note = text
            self._report(Event("note", text))

    def wait_for(self, news: PodNews, holds: Callable[[Pod], bool], *, is_job: bool = True) -> Pod:
        """Return the pod when it holds. Raises BuildError when that cannot come, or the build is to end."""
        began, next_look = time.monotonic(), 0.0
        while True:
            news.take()
            self._watch.check()
            pod = news.newest
            if pod and holds(pod):
                return pod
            if pod and news.is_gone(pod):
                why = why_gone(pod) or "somebody has removed it"
                raise BuildError(f"the pod of the build is gone: {why}", "engine")
            if pod:
                _refuse_end(pod)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + EVENTS_S
                self._look(pod, time.monotonic() - began, is_job=is_job)

    def _look(self, pod: Pod | None, waited_s: float, *, is_job: bool) -> None:
        """Tell why nothing runs. Raises BuildError for what never will, and for a Job that the cluster has given up."""
        try:
            job = self._cluster.get("Job", self._place.name) if is_job else {}
            if job is None:
                raise BuildError("the Job of the build is gone: somebody has removed it", "engine")
            failure = job_failure(job)
            if failure[0] and not (pod and has_ended(pod)):
                raise BuildError(f"the cluster has given the build up: {failure[0]}: {failure[1]}", "engine")
            if pod and is_running(pod, MAIN):
                return
            names = [self._place.name, *([str(pod["metadata"]["name"])] if pod else [])]
            waiting = why_waiting(pod, events_about(self._cluster, names))
        except ClusterError as exc:
            self.note(f"the cluster does not answer: {exc}")
            return
        if not (pod and is_running(pod, FILL)):
            self.note(f"waiting: {waiting.reason}")
        limit = self._place.pending_timeout_s
        if waiting.is_hopeless or (limit and waited_s > limit):
            how = "can never begin" if waiting.is_hopeless else f"has not begun within {limit:g} s"
            raise BuildError(f"the build {how}: {waiting.reason}", "engine")


def has_ended(pod: Pod) -> bool:
    """Tell whether the executor has ended, well or not."""
    return ended_container(pod) is not None


def _refuse_end(pod: Pod) -> None:
    """Raise BuildError for a container that ended before its time: the executor's end is waited for."""
    ended = ended_container(pod)
    if ended and ended.container != MAIN:
        told = why_gone(pod) or ended.message or ended.reason or "no reason is told"
        raise BuildError(f"container {ended.container!r} ended with {ended.exit_code}: {told}", "engine")
