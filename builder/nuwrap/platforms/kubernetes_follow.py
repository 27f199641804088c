"""Stay with a Job that the cluster has: why it waits, what it prints, how it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.cluster.pod_news import PodNews, events_about
from nuwrap.cluster.reasons import (
    MAINS,
    Ended,
    Waiting,
    ended_container,
    is_main_running,
    is_taken,
    job_failure,
    why_gone,
    why_waiting,
)
from nuwrap.command import Stops
from nuwrap.errors import NuwrapError, PlatformError
from nuwrap.plan.kubernetes.labels import RUN_LABEL
from nuwrap.platforms import GoesOn, Screen
from nuwrap.platforms.kubernetes_earlier import Earlier
from nuwrap.platforms.kubernetes_evictions import Evictions, count_failed
from nuwrap.platforms.kubernetes_log import Heard, LogReader, Paper
from nuwrap.platforms.kubernetes_login import LoginNews
from nuwrap.platforms.kubernetes_stop import ask_to_end, is_stopped
from nuwrap.platforms.kubernetes_wanted import Wanted, is_submitted
from nuwrap_runtime.result_lines import LOG_FOLDER

LOOK_S: Final = 0.2
EVENTS_S: Final = 2.0
JOB_S: Final = 5.0  # between two looks at the Job itself; its pod's changes come by themselves
LOG_END_S: Final = 60.0
LOST_S: Final = 30.0  # a Job that has ended, and whose pod is gone, gets no other news


@dataclass
class Outcome:
    """How a Job ended: the container's end, the Job's own failure (`reason`, words), and why the cluster ended it.

    `is_stopped` tells that it was asked to. `result` are the lines by which the host told its result. `taken` counts
    the pods that the cluster took, where the last was one of them.
    """

    ended: Ended | None = None
    failure: tuple[str, str] = ("", "")
    gone: str = ""
    is_stopped: bool = False
    is_missing: bool = False
    result: Sequence[bytes] = ()
    taken: int = 0


class NeverBegins(PlatformError):
    """The run waits for what will not come, or has waited for too long."""


@dataclass(frozen=True)
class Following:
    """A run that is followed: where it is, what it wanted, who looks on, and the folder with its open log.

    `secrets` are values that must not show.
    """

    cluster: Cluster
    wanted: Wanted
    screen: Screen
    stops: Stops
    folder: str
    log: int
    secrets: Sequence[str] = field(default=(), repr=False)

    def read_log(self, pod: str, container: str, *, runs_once: bool) -> LogReader:
        """Return a reader of the container's log, which is passed on to the screen and the run's log; see LogLines."""
        paper = Paper((*self.screen.out, self.log), (*self.screen.err, self.log), self.folder, self.log, self.secrets)
        is_kept = container in MAINS and self.wanted.launch.get("keep_log")
        earlier = Earlier(lambda: self.screen.fetch_left(f"{LOG_FOLDER}/")) if is_kept else None
        return LogReader(self.cluster, pod, container, paper, runs_once=runs_once, earlier=earlier)

    def tell(self, text: str) -> None:
        """See `Screen.tell`."""
        self.screen.tell(text, self.log)

    def events(self, *names: str) -> list[Mapping[str, Any]]:
        """See `events_about`."""
        return events_about(self.cluster, names)

    def check_waiting(self, waiting: Waiting, waited_s: float) -> None:
        """Raises NeverBegins for a run that will not begin, or has waited for too long; what the cluster says now
        counts, not what was heard of it. Raises ClusterError where it says nothing.
        """
        limit = self.wanted.pending_timeout_s
        if not (waiting.is_hopeless or (limit and waited_s > limit)):
            return
        pods = self.cluster.list("Pod", labels={RUN_LABEL: self.wanted.run})
        if any(is_main_running(pod) or ended_container(pod) for pod in pods if not is_taken(pod)):
            return
        how = "it can never begin" if waiting.is_hopeless else f"it has not begun within {limit:g} s"
        raise NeverBegins(f"{how}: {waiting.reason}")


@contextmanager
def telling(folder: str, wanted: Wanted, log: int) -> Iterator[None]:
    """Write an error of the body to the log too, for who looks later; of a run that goes on it is raised as GoesOn."""
    try:
        yield
    except NuwrapError as exc:
        os.write(log, f"nuwrap  error: {exc}\n".encode())
        if isinstance(exc, NeverBegins) or not is_submitted(folder):
            raise
        raise GoesOn(f"{exc}. The run goes on in the cluster: `nuwrap logs -f {wanted.run[:8]}` follows it") from exc


class JobFollower:
    """Follows one Job in the calling thread until it has ended; a stop of a detached screen ends the following."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._began, self._next_events = time.monotonic(), 0.0
        self._news = PodNews(following.cluster, {RUN_LABEL: following.wanted.run})
        self._readers: dict[tuple[str, str], LogReader] = {}
        self._heard = Heard(self._tell_waiting)
        self._login = LoginNews(following.cluster, following.tell)
        self._evictions = Evictions(following.cluster, following.wanted.name, self._tell_eviction)
        self._has_begun = self._is_asked = False

    def follow(self) -> Outcome | None:
        """Return how the Job ended, None where this process was told to leave it.

        Raises NeverBegins, and ClusterError where the cluster does not say how it ended.
        """
        with self._news:
            try:
                return self._follow()
            finally:
                for reader in self._readers.values():
                    reader.stop()

    def _follow(self) -> Outcome | None:
        next_job = over_since = 0.0
        while True:
            for pod in self._news.take().values():
                self._start_reading(pod)
            if self._following.stops.has_come and self._leaves():
                return None
            newest, now = self._news.newest, time.monotonic()
            is_gone = self._news.is_gone(newest)
            if newest and self._evictions.waits_for_another(newest, now, is_gone=is_gone):
                self._look_at_waiting(None, now)
                continue
            ended = ended_container(newest) if newest else None
            if newest and ended:
                job = self._ask_job()
                if job is not None:
                    return self._end(newest, ended, job)
                continue
            if now >= next_job or is_gone:
                outcome = self._look_at_job(newest)
                over_since = (over_since or now) if outcome else 0.0
                if outcome and (is_gone or newest is None or now - over_since > LOST_S):
                    return outcome
                next_job = now + (LOOK_S if outcome else JOB_S)
            if not self._login.is_out():
                self._look_at_waiting(newest, now)

    def _start_reading(self, pod: Mapping[str, Any]) -> None:
        name = pod["metadata"]["name"]
        status = pod.get("status", {})
        for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            state, container = one.get("state") or {}, str(one.get("name"))
            if not {"running", "terminated"} & set(state) or container == "runtime":
                continue
            if (name, container) not in self._readers:
                reader = self._following.read_log(name, container, runs_once=True)
                self._finish_others()
                self._readers[name, container] = reader
                reader.start()
            if container in MAINS and not self._has_begun:
                self._has_begun = True
                self._following.screen.on_start(os.getpid())

    def _finish_others(self) -> bool:
        """Let what came before print to its end first; False where this process was told to leave meanwhile."""
        return all(reader.finish(LOG_END_S, self._is_to_leave) for reader in self._readers.values())

    def _is_to_leave(self) -> bool:
        self._login.is_out()
        return self._following.screen.is_detached and self._following.stops.has_come

    def _ask_job(self) -> dict[str, Any] | None:
        """Return the Job, {} where there is none, None while the cluster does not say, which passes.

        Raises ClusterError for what does not.
        """
        try:
            return self._get_job() or {}
        except ClusterError as exc:
            if not self._login.is_out() and not exc.passes:
                raise
            self._tell_outage(exc)
            return None

    def _end(self, pod: Mapping[str, Any], ended: Ended, job: Mapping[str, Any]) -> Outcome | None:
        self._start_reading(pod)
        if not self._finish_others():
            return None
        job = self._ask_job() or job  # which may have got its reason by now
        name = pod["metadata"]["name"]  # another pod's result is not the run's
        readers = [reader for (one, _), reader in self._readers.items() if one == name]
        if ended.message:
            for reader in readers:
                reader.miss_end()
        lines = [line for reader in readers for line in reader.result]
        taken = _count_taken(job, pod)
        return Outcome(ended, job_failure(job), why_gone(pod), is_stopped(job), result=lines, taken=taken)

    def _look_at_job(self, pod: Mapping[str, Any] | None) -> Outcome | None:
        """Return how the Job ended without a word of its container, None while it goes on or is not known."""
        try:
            job = self._get_job()
        except ClusterError as exc:
            self._tell_outage(exc)
            return None
        if job is None:
            return Outcome(is_missing=True, gone=why_gone(pod))
        failure = job_failure(job)
        if failure[0]:
            taken = _count_taken(job, pod)
            return Outcome(failure=failure, gone=why_gone(pod), is_stopped=is_stopped(job), taken=taken)
        return None

    def _tell_outage(self, exc: ClusterError) -> None:
        if not self._login.is_out():  # which it tells itself
            self._heard.say(f"the cluster does not answer, the run goes on: {exc}")

    def _get_job(self) -> dict[str, Any] | None:
        return self._following.cluster.get("Job", self._following.wanted.name)

    def _look_at_waiting(self, pod: Mapping[str, Any] | None, now: float) -> None:
        if self._has_begun or now < self._next_events:
            return
        self._next_events = now + EVENTS_S
        names = [self._following.wanted.name, *([str(pod["metadata"]["name"])] if pod else [])]
        waiting = why_waiting(pod, self._following.events(*names))
        self._heard.say(waiting.reason)
        try:
            self._following.check_waiting(waiting, now - self._began)
        except ClusterError as exc:
            self._heard.say(f"the cluster does not answer: {exc}")

    def _tell_waiting(self, reason: str) -> None:
        self._following.tell(f"waiting: {reason}")
        if not self._has_begun:
            self._following.screen.on_wait(reason)

    def _tell_eviction(self, text: str) -> None:
        """Say it, and begin to wait anew: the next pod may have no place either."""
        self._following.tell(text)
        self._has_begun = False
        self._began = time.monotonic()
        self._following.screen.on_wait(text)

    def _leaves(self) -> bool:
        """Tell whether a stop ends the following alone; else the run is asked to end, once."""
        if self._following.screen.is_detached:
            return True
        if not self._is_asked:
            self._is_asked = True
            ask_to_end(self._following.cluster, self._following.wanted)
        return False


def _count_taken(job: Mapping[str, Any], pod: Mapping[str, Any] | None) -> int:
    return max(1, count_failed(job)) if pod and is_taken(pod) else 0
