"""Stay with a service that the cluster has: until it answers, where it is found from here, and what its pods print."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.command import Stops
from nuwrap.errors import PlatformError
from nuwrap.platforms import Placed, Screen
from nuwrap.platforms.kubernetes_address import find_address
from nuwrap.platforms.kubernetes_end import write_end
from nuwrap.platforms.kubernetes_follow import STOPPED_BY, Outcome
from nuwrap.platforms.kubernetes_log import Heard, LogReader, Paper
from nuwrap.platforms.kubernetes_news import PodNews
from nuwrap.platforms.kubernetes_reasons import Ended, ended_container, is_main_running, is_ready, why_waiting
from nuwrap.platforms.kubernetes_wanted import Wanted
from nuwrap.platforms.run_folder import write_private
from nuwrap_runtime.launch import parse_launch

ADDRESSES: Final = "service.json"
EVENTS_S: Final = 2.0
LOOK_S: Final = 5.0
LOG_END_S: Final = 10.0
FINAL_CODES: Final = range(2, 8)  # launch, source, requirements, load, init, inputs: another start ends the same way


def attend_service(
    cluster: Cluster, placed: Placed, wanted: Wanted, screen: Screen, stops: Stops, log: int
) -> int | None:
    """Follow the service to its end; see `Platform.attend`. With a detached screen a stop of this process leaves it."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(placed.folder, ADDRESSES))  # of who followed before
    follower = _ServiceFollower(cluster, placed, wanted, screen, stops, log)
    outcome = follower.follow()
    if outcome is None:
        return None
    remove_service(cluster, wanted)
    return write_end(placed.folder, parse_launch(dict(wanted.launch)), outcome, wanted.paths)


def stop_service(cluster: Cluster, wanted: Wanted) -> None:
    """Ask the service to end: its pods drain and go; who follows removes the rest. One that is gone hears nothing."""
    change = {
        "metadata": {"annotations": {STOPPED_BY: cluster.where.user or "unknown"}},
        "spec": {"replicas": 0},
    }
    try:
        cluster.patch("Deployment", wanted.name, change)
    except ClusterError as exc:
        if exc.status != 404:
            raise


def remove_service(cluster: Cluster, wanted: Wanted) -> None:
    """Remove the Deployment, and with it all that belongs to it."""
    cluster.delete("Deployment", wanted.name)


@dataclass
class _ServiceFollower:
    cluster: Cluster
    placed: Placed
    wanted: Wanted
    screen: Screen
    stops: Stops
    log: int
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._news = PodNews(self.cluster, self.wanted.run)
        self._readers: dict[str, LogReader] = {}
        self._heard = Heard(self._tell)
        self._is_told = self._was_ready = self._is_asked = False
        self._last_end: Ended | None = None

    def follow(self) -> Outcome | None:
        with self._news, find_address(self.cluster, self.wanted, self._news) as address:
            try:
                return self._follow(address)
            finally:
                for reader in self._readers.values():
                    reader.stop()

    def _follow(self, address: Any) -> Outcome | None:
        next_look = next_events = 0.0
        while True:
            pods = self._news.take()
            self._read_logs(pods)
            if self.stops.has_come and self._leaves():
                return None
            failed = self._failed_for_good(pods)
            if failed:
                self._finish_logs()
                return Outcome(failed)
            self._was_ready = self._was_ready or any(map(is_ready, pods.values()))
            if not self._is_told and any(map(is_main_running, pods.values())) and address.is_open():
                self._tell_address(address.told())
            now = time.monotonic()
            if now >= next_look:
                next_look = now + (0.5 if self._is_asked else LOOK_S)
                outcome = self._look(pods)
                if outcome:
                    return outcome
            if not self._is_told and now >= next_events:
                next_events = now + EVENTS_S
                self._look_at_waiting(pods, now)

    def _read_logs(self, pods: Mapping[str, Mapping[str, Any]]) -> None:
        for name, pod in pods.items():
            statuses = [
                *(pod.get("status", {}).get("initContainerStatuses") or ()),
                *(pod.get("status", {}).get("containerStatuses") or ()),
            ]
            for one in statuses:
                state = one.get("state") or {}
                key = f"{name}/{one.get('name')}/{one.get('restartCount', 0)}"
                if one.get("name") == "runtime" or key in self._readers or not ({"running", "terminated"} & set(state)):
                    continue
                paper = Paper((*self.screen.out, self.log), (*self.screen.err, self.log), self.placed.folder)
                reader = LogReader(self.cluster, name, str(one["name"]), paper)
                self._readers[key] = reader
                reader.start()

    def _finish_logs(self) -> None:
        for reader in self._readers.values():
            reader.finish(LOG_END_S)

    def _failed_for_good(self, pods: Mapping[str, Mapping[str, Any]]) -> Ended | None:
        """Return the end of a container that no further start will change, of a service that has never been ready."""
        for pod in pods.values():
            ended = ended_container(pod, last=True)
            if ended:
                self._last_end = ended
                if not self._was_ready and ended.exit_code in FINAL_CODES:
                    return ended
        return None

    def _look(self, pods: Mapping[str, Mapping[str, Any]]) -> Outcome | None:
        try:
            deployment = self.cluster.get("Deployment", self.wanted.name)
        except ClusterError as exc:
            self._heard.say(f"the cluster does not answer, the service goes on: {exc}")
            return None
        if deployment is None:  # whoever removed it has stopped it
            self._finish_logs()
            return Outcome(self._last_end, is_stopped=True, is_missing=True)
        if STOPPED_BY in (deployment["metadata"].get("annotations") or {}) and not pods:
            self._finish_logs()
            return Outcome(self._last_end, is_stopped=True)
        return None

    def _look_at_waiting(self, pods: Mapping[str, Mapping[str, Any]], now: float) -> None:
        pod = next(iter(pods.values()), None)
        names = [self.wanted.name, *pods]
        events: list[Mapping[str, Any]] = []
        with suppress(ClusterError):
            for name in names:
                events += self.cluster.list("Event", fields=f"involvedObject.name={name}")
        waiting = why_waiting(pod, events)
        self._heard.say(f"waiting: {waiting.reason}")
        self.screen.on_wait(waiting.reason)
        limit = self.wanted.pending_timeout_s
        if waiting.is_hopeless or (limit and now - self.began > limit):
            remove_service(self.cluster, self.wanted)
            how = "it can never begin" if waiting.is_hopeless else f"it has not begun within {limit:g} s"
            raise PlatformError(f"{how}: {waiting.reason}")

    def _tell_address(self, told: Mapping[str, Any]) -> None:
        self._is_told = True
        self.screen.on_start(os.getpid())
        with suppress(PlatformError):  # it serves, be that written down or not
            write_private(os.path.join(self.placed.folder, ADDRESSES), json.dumps(told))
        if self.screen.is_json:
            for target in self.screen.out:
                os.write(target, (json.dumps({"event": "serving", **told}) + "\n").encode())
        else:
            self._heard.say(f"serving {self.wanted.launch.get('function', 'function')} at {told['address']}")

    def _tell(self, text: str) -> None:
        for target in (*(() if self.screen.is_json else self.screen.err), self.log):
            os.write(target, f"nuwrap  {text}\n".encode())

    def _leaves(self) -> bool:
        if self.screen.is_detached:
            return True
        if not self._is_asked:
            self._is_asked = True
            stop_service(self.cluster, self.wanted)
        return False
