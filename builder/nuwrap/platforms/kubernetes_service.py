"""Stay with a service that the cluster has: until it answers, where it is found from here, and what its pods print."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from nuwrap.cluster.client import ClusterError
from nuwrap.cluster.pod_news import PodNews
from nuwrap.cluster.reasons import CANNOT_START, Ended, Waiting, ended_container, is_main_running, is_ready, why_waiting
from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes.labels import RUN_LABEL
from nuwrap.platforms.kubernetes_address import Address, find_address
from nuwrap.platforms.kubernetes_end import write_end
from nuwrap.platforms.kubernetes_follow import Following, NeverBegins, Outcome
from nuwrap.platforms.kubernetes_log import Heard, LogReader
from nuwrap.platforms.kubernetes_login import LoginNews
from nuwrap.platforms.kubernetes_names import take_name
from nuwrap.platforms.kubernetes_stop import ask_to_end, is_stopped
from nuwrap.platforms.kubernetes_wanted import Wanted, has_been_ready, note_ready
from nuwrap.platforms.kubernetes_ways import WAITS_FOR
from nuwrap.platforms.run_folder import write_private

Pods = Mapping[str, Mapping[str, Any]]

ADDRESSES: Final = "service.json"
EVENTS_S: Final = 2.0
LOOK_S: Final = 5.0
LOG_END_S: Final = 10.0
FINAL_CODES: Final = range(2, 8)  # launch, source, requirements, load, init, inputs: another start ends the same way


def attend_service(follower: ServiceFollower) -> int | None:
    """Follow the service to its end; see `Platform.attend`. With a detached screen a stop of this process leaves it."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(follower.following.folder, ADDRESSES))  # of who followed before
    try:
        outcome = follower.follow()
    except NeverBegins:  # nothing of it stays
        follower.remove()
        raise
    if outcome is None:
        return None
    code = follower.write_end(outcome)
    follower.remove()  # not before: who comes after a process that was killed here finds the reason
    return code


class ServiceFollower:
    """Follows one service in the calling thread. Another workload than a Deployment has the public verbs otherwise."""

    def __init__(self, following: Following) -> None:
        self.following = following
        self._began = time.monotonic()
        self._news = PodNews(following.cluster, {RUN_LABEL: following.wanted.run})
        self._readers: dict[str, LogReader] = {}
        self._heard = Heard(following.tell)
        self._login = LoginNews(following.cluster, following.tell)
        self._is_told = self._is_asked = self._has_name = False
        self._address = ""
        self._was_ready = has_been_ready(following.folder)
        self._last_end: Ended | None = None

    def follow(self) -> Outcome | None:
        """Return how the service ended, None where this process was told to leave it. Raises NeverBegins."""
        with self._news, find_address(self.following.cluster, self.served(), self._news) as address:
            try:
                return self._follow(address)
            finally:
                for reader in self._readers.values():
                    reader.stop()

    def _follow(self, address: Address) -> Outcome | None:
        next_look = next_events = 0.0
        while True:
            pods = self._news.take()
            self._read_logs(pods)
            if self.following.stops.has_come and self._leaves():
                return None
            if not self._was_ready and any(map(is_ready, pods.values())):
                self._was_ready = True
                note_ready(self.following.folder)
            if not self._has_name and self._is_whole(pods):
                self._take_name()
            failed = self._failed_for_good(pods)
            if failed:
                self._finish_logs()
                return Outcome(failed)
            if (not self._address or address.has_news()) and self.has_begun(pods):
                self._tell_address(address.open(is_ready=any(map(is_ready, pods.values()))))
            now = time.monotonic()
            if now >= next_look:
                next_look = now + (0.5 if self._is_asked else LOOK_S)
                outcome = self.look(pods)
                if outcome:
                    return outcome
            if not self._login.is_out() and not self._is_told and now >= next_events:
                next_events = now + EVENTS_S
                self._look_at_waiting(pods, now)

    def _read_logs(self, pods: Pods) -> None:
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
                reader = self.following.read_log(name, str(one["name"]), runs_once=False)
                self._readers[key] = reader
                reader.start()

    def _finish_logs(self) -> None:
        for reader in self._readers.values():
            reader.finish(LOG_END_S, self._is_to_leave)

    def _failed_for_good(self, pods: Pods) -> Ended | None:
        """Return the end of a container that no further start will change, of a service that has never been ready.

        A pod that was told to end says nothing of that kind: a processor of Nuclio's ends with 2 then.
        """
        for pod in pods.values():
            ended = ended_container(pod, last=True)
            if ended:
                self._last_end = ended
                is_final = ended.exit_code in FINAL_CODES or ended.reason in CANNOT_START
                if is_final and not self._was_ready and "deletionTimestamp" not in pod["metadata"]:
                    return ended
        return None

    def _is_whole(self, pods: Pods) -> bool:
        """Tell whether as many pods take requests as were asked for."""
        asked = (self.following.wanted.objects.get("serving") or {}).get("replicas", 1)
        return sum(map(is_ready, pods.values())) >= asked and not self._is_asked

    def _take_name(self) -> None:
        try:
            self.take_name()
            self._has_name = True
        except ClusterError as exc:
            self._heard.say(f"its stable name cannot lead to it yet: {exc}")

    def take_name(self) -> None:
        """Lead the stable name to this run, once it is whole. Raises ClusterError."""
        take_name(self.following)

    def served(self) -> Wanted:
        """Return the run, with the name of its Service."""
        return self.following.wanted

    def has_begun(self, pods: Pods) -> bool:
        """Tell whether a pod has come so far that connections to it can be opened."""
        return any(map(is_main_running, pods.values()))

    def why_waiting(self, pods: Pods) -> Waiting:
        """Return why no pod has begun."""
        return why_waiting(next(iter(pods.values()), None), self.following.events(self.following.wanted.name, *pods))

    def ask_to_end(self) -> None:
        """Ask the service to end."""
        ask_to_end(self.following.cluster, self.following.wanted)

    def write_end(self, outcome: Outcome) -> int:
        """Leave the result in the folder and return the exit code."""
        return write_end(self.following, outcome)

    def remove(self) -> None:
        """Remove the Deployment, and with it all that belongs to it."""
        self.following.cluster.delete("Deployment", self.following.wanted.name)

    def look(self, pods: Pods) -> Outcome | None:
        """Return how the service has ended without a word of a container, None while it goes on or is not known."""
        try:
            deployment = self.following.cluster.get("Deployment", self.following.wanted.name)
        except ClusterError as exc:
            self.tell_outage(exc)
            return None
        if deployment is None:  # whoever removed it has stopped it
            return self.stopped(is_missing=True)
        return self.stopped() if is_stopped(deployment) and not pods else None

    def stopped(self, *, is_missing: bool = False) -> Outcome:
        """Read the logs to their end, and return how a service has ended that somebody has stopped."""
        self._finish_logs()
        return Outcome(self._last_end, is_stopped=True, is_missing=is_missing)

    def failed(self, failure: tuple[str, str]) -> Outcome:
        """Read the logs to their end, and return how a service has ended that the cluster has given up."""
        self._finish_logs()
        return Outcome(self._last_end, failure)

    def tell_outage(self, exc: ClusterError) -> None:
        """Say that nothing is known at present."""
        if not self._login.is_out():  # which it tells itself
            self._heard.say(f"the cluster does not answer, the service goes on: {exc}")

    def _look_at_waiting(self, pods: Pods, now: float) -> None:
        waiting = self.why_waiting(pods)
        self._heard.say(f"waiting: {waiting.reason}")
        self.following.screen.on_wait(waiting.reason)
        try:
            self.following.check_waiting(waiting, now - self._began)
        except ClusterError as exc:
            self._heard.say(f"the cluster does not answer: {exc}")

    def _tell_address(self, told: Mapping[str, Any]) -> None:
        """Tell of the address, or, where it is none yet, of the second port alone, which says what is waited for."""
        screen = self.following.screen
        if not self._is_told:
            screen.on_start(os.getpid())
        elif not told["address"]:
            return
        self._is_told, self._address = True, told["address"]
        with suppress(PlatformError):  # it serves, be that written down or not
            write_private(os.path.join(self.following.folder, ADDRESSES), json.dumps(told))
        if self._address and screen.is_json:
            for target in screen.out:
                with suppress(OSError):  # nobody reads it
                    os.write(target, (json.dumps({"event": "serving", **told}) + "\n").encode())
        elif self._address:
            waits_for = told["more"].get(WAITS_FOR)
            name = self.following.wanted.launch.get("function", "function")
            self._heard.say(f"serving {name} at {self._address}{f'; {waits_for}' if waits_for else ''}")

    def _is_to_leave(self) -> bool:
        self._login.is_out()
        return self.following.screen.is_detached and self.following.stops.has_come

    def _leaves(self) -> bool:
        if self.following.screen.is_detached:
            return True
        if not self._is_asked:
            self._is_asked = True
            self.ask_to_end()
        return False
