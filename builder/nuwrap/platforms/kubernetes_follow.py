"""Stay with a Job that the cluster has: why it waits, what it prints, how it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.command import Stops
from nuwrap.errors import PlatformError
from nuwrap.platforms import Screen
from nuwrap.platforms.kubernetes_log import Heard, LogReader, Paper
from nuwrap.platforms.kubernetes_news import PodNews
from nuwrap.platforms.kubernetes_reasons import MAIN, Ended, ended_container, job_failure, why_gone, why_waiting
from nuwrap.platforms.kubernetes_wanted import Wanted

LOOK_S: Final = 0.2
EVENTS_S: Final = 2.0
JOB_S: Final = 5.0  # between two looks at the Job itself; its pod's changes come by themselves
LOG_END_S: Final = 60.0
STOPPED_BY: Final = "nuwrap.dev/stopped-by"
LOST_S: Final = 30.0  # a Job that has ended, and whose pod is gone, gets no other news


@dataclass
class Outcome:
    """How a Job ended: the container's end, the Job's own failure (`reason`, words), and why the cluster ended it.

    `is_stopped` tells that it was asked to. `result` are the lines by which the host told its result.
    """

    ended: Ended | None = None
    failure: tuple[str, str] = ("", "")
    gone: str = ""
    is_stopped: bool = False
    is_missing: bool = False
    result: Sequence[bytes] = ()


@dataclass
class JobFollower:
    """Follows one Job in the calling thread until it has ended; a stop of a detached screen ends the following."""

    cluster: Cluster
    wanted: Wanted
    screen: Screen
    stops: Stops
    log: int
    folder: str
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._news = PodNews(self.cluster, self.wanted.run)
        self._readers: dict[tuple[str, str], LogReader] = {}
        self._heard = Heard(self._tell_waiting)
        self._has_begun = self._is_asked = False

    def follow(self) -> Outcome | None:
        """Return how the Job ended, None where this process was told to leave it. Raises PlatformError for one that
        never begins.
        """
        with self._news:
            try:
                return self._follow()
            finally:
                for reader in self._readers.values():
                    reader.stop()

    def _follow(self) -> Outcome | None:
        next_events = next_job = over_since = 0.0
        while True:
            for pod in self._news.take().values():
                self._start_reading(pod)
            if self.stops.has_come and self._leaves():
                return None
            newest, now = self._news.newest, time.monotonic()
            ended = ended_container(newest) if newest else None
            if newest and ended:
                return self._end(newest, ended)
            is_gone = self._news.is_gone(newest)
            if now >= next_job or is_gone:
                outcome = self._look_at_job(newest)
                over_since = (over_since or now) if outcome else 0.0
                if outcome and (is_gone or newest is None or now - over_since > LOST_S):
                    return outcome
                next_job = now + (LOOK_S if outcome else JOB_S)
            if not self._has_begun and now >= next_events:
                next_events = now + EVENTS_S
                self._look_at_waiting(newest, now)

    def _start_reading(self, pod: Mapping[str, Any]) -> None:
        name = pod["metadata"]["name"]
        status = pod.get("status", {})
        for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            state, container = one.get("state") or {}, str(one.get("name"))
            if not {"running", "terminated"} & set(state) or container == "runtime":
                continue
            if (name, container) not in self._readers:
                paper = Paper((*self.screen.out, self.log), (*self.screen.err, self.log), self.folder)
                reader = LogReader(self.cluster, name, container, paper)
                self._finish_others()
                self._readers[name, container] = reader
                reader.start()
            if container == MAIN and not self._has_begun:
                self._has_begun = True
                self.screen.on_start(os.getpid())

    def _finish_others(self) -> None:
        """Let what came before print to its end first."""
        for reader in self._readers.values():
            reader.finish(LOG_END_S)

    def _end(self, pod: Mapping[str, Any], ended: Ended) -> Outcome:
        self._start_reading(pod)
        self._finish_others()
        lines = [line for reader in self._readers.values() for line in reader.result]
        job = self.cluster.get("Job", self.wanted.name) or {}
        return Outcome(ended, job_failure(job), why_gone(pod), _is_stopped(job), result=lines)

    def _look_at_job(self, pod: Mapping[str, Any] | None) -> Outcome | None:
        """Return how the Job ended without a word of its container, None while it goes on or is not known."""
        try:
            job = self.cluster.get("Job", self.wanted.name)
        except ClusterError as exc:
            self._heard.say(f"the cluster does not answer, the run goes on: {exc}")
            return None
        if job is None:
            return Outcome(is_missing=True, gone=why_gone(pod))
        failure = job_failure(job)
        if failure[0]:
            return Outcome(failure=failure, gone=why_gone(pod), is_stopped=_is_stopped(job))
        return None

    def _look_at_waiting(self, pod: Mapping[str, Any] | None, now: float) -> None:
        waiting = why_waiting(pod, list(self._events(pod)))
        self._heard.say(waiting.reason)
        limit = self.wanted.pending_timeout_s
        if waiting.is_hopeless or (limit and now - self.began > limit):
            how = "it can never begin" if waiting.is_hopeless else f"it has not begun within {limit:g} s"
            raise PlatformError(f"{how}: {waiting.reason}")

    def _events(self, pod: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
        """Yield the events of Job and pod; without the right to read them there are none."""
        names = [self.wanted.name, *([pod["metadata"]["name"]] if pod else [])]
        for name in names:
            try:
                yield from self.cluster.list("Event", fields=f"involvedObject.name={name}")
            except ClusterError:
                return

    def _tell_waiting(self, reason: str) -> None:
        line = f"nuwrap  waiting: {reason}\n".encode()
        for target in (*self.screen.err, self.log):
            os.write(target, line)
        if not self._has_begun:
            self.screen.on_wait(reason)

    def _leaves(self) -> bool:
        """Tell whether a stop ends the following alone; else the run is asked to end, once."""
        if self.screen.is_detached:
            return True
        if not self._is_asked:
            self._is_asked = True
            stop_job(self.cluster, self.wanted)
        return False


def stop_job(cluster: Cluster, wanted: Wanted) -> None:
    """Ask a Job to end: its deadline comes at once, so its pod has its grace, and the Job is one that has ended.

    An annotation tells everybody that it was asked for. One that is gone hears nothing.
    """
    change = {
        "metadata": {"annotations": {STOPPED_BY: cluster.where.user or "unknown"}},
        "spec": {"activeDeadlineSeconds": 1},
    }
    try:
        cluster.patch("Job", wanted.name, change)
    except ClusterError as exc:
        if exc.status != 404:
            raise


def _is_stopped(job: Mapping[str, Any]) -> bool:
    return STOPPED_BY in (job.get("metadata", {}).get("annotations") or {})
