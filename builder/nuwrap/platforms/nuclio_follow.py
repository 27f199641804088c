"""Stay with a function that Nuclio has: what its controller makes of it, where it is found, and what its pods print."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.cluster.reasons import Waiting, is_ready, why_waiting
from nuwrap.plan.nuclio import KIND
from nuwrap.plan.nuclio_objects import made_name
from nuwrap.platforms.kubernetes_follow import Following, Outcome
from nuwrap.platforms.kubernetes_service import Pods, ServiceFollower
from nuwrap.platforms.kubernetes_wanted import Wanted
from nuwrap.platforms.left import write_stopped
from nuwrap.platforms.nuclio_state import ERROR, UNHEALTHY, message_of, state_of
from nuwrap_runtime.launch import parse_launch

MADE: Final = ("Deployment", "Service", "ConfigMap")  # of each function, by the controller
LEFT_S: Final = 60.0  # beyond the grace, of pods whose function is gone
HEARS_S, LOOK_S = 20.0, 0.5  # until a controller that is there removes what it has made


def ask_function_to_end(cluster: Cluster, wanted: Wanted) -> None:
    """Remove the function, and with it all that belongs to it; its pods end, what its controller has made is left.

    A worker of the controller's, of four by default, is with each new function until its Deployment is available or a
    quarter of an hour has passed, and hears of no removal. One whose Deployment is gone waits on, and four of them
    hold up all other functions; a Deployment without replicas is available (functionres/lazy.go).
    """
    cluster.delete(KIND, wanted.name)
    rest(cluster, wanted)


def rest(cluster: Cluster, wanted: Wanted) -> None:
    """Let the pods of a function end that is removed. Who may not do that leaves it to the controller."""
    with suppress(ClusterError):
        cluster.patch("Deployment", made_name(wanted.name), {"spec": {"replicas": 0}})


def remove_function(cluster: Cluster, wanted: Wanted) -> None:
    """See `ask_function_to_end`; what the controller has made goes too, by it or, where it is not there, from here."""
    ask_function_to_end(cluster, wanted)
    until = time.monotonic() + HEARS_S
    with suppress(ClusterError):
        while _is_left(cluster, wanted) and time.monotonic() < until:
            time.sleep(LOOK_S)
    for kind in MADE:
        with suppress(ClusterError):
            cluster.delete(kind, made_name(wanted.name))


def _is_left(cluster: Cluster, wanted: Wanted) -> bool:
    found = cluster.get("Deployment", made_name(wanted.name))
    return found is not None and "deletionTimestamp" not in found["metadata"]


class FunctionFollower(ServiceFollower):
    """Follows one function of Nuclio's; it has no word for one that rests, so what is asked to end is removed."""

    def __init__(self, following: Following) -> None:
        super().__init__(following)
        self._trouble = ""
        self._gone_since = 0.0

    def served(self) -> Wanted:
        wanted = self.following.wanted
        return replace(wanted, name=made_name(wanted.name))

    def has_begun(self, pods: Pods) -> bool:
        return any(map(is_ready, pods.values()))

    def take_name(self) -> None:
        """A second function with the same stable name is refused: Nuclio's controller makes the Services."""

    def ask_to_end(self) -> None:
        ask_function_to_end(self.following.cluster, self.following.wanted)

    def remove(self) -> None:
        remove_function(self.following.cluster, self.following.wanted)

    def write_end(self, outcome: Outcome) -> int:
        if not outcome.is_stopped:
            return super().write_end(outcome)
        # a processor that was told to end leaves no word of its own
        write_stopped(self.following.folder, parse_launch(dict(self.following.wanted.launch)))
        return 0

    def why_waiting(self, pods: Pods) -> Waiting:
        cluster = self.following.cluster
        waiting = why_waiting(next(iter(pods.values()), None), list(self._events(pods)))
        with suppress(ClusterError):
            if not (pods or self._gone_since) and cluster.get("Deployment", self.served().name) is None:
                return Waiting(
                    "Nuclio's controller has made nothing of the function yet; is it there, does it look after "
                    f"namespace {cluster.namespace!r}, is it with other functions?"
                )
        return replace(waiting, reason=f"{waiting.reason}; Nuclio says: {self._trouble}") if self._trouble else waiting

    def look(self, pods: Pods) -> Outcome | None:
        try:
            function = self.following.cluster.get(KIND, self.following.wanted.name)
        except ClusterError as exc:
            self.tell_outage(exc)
            return None
        if function is None:  # whoever removed it has stopped it
            return self._end_when_drained(pods)
        state, message = state_of(function), message_of(function)
        if state == ERROR:
            return self.failed(("NuclioError", f"Nuclio's controller cannot make it: {message}"))
        self._trouble = message if state == UNHEALTHY else ""
        return None

    def _end_when_drained(self, pods: Pods) -> Outcome | None:
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        is_left = now - self._gone_since > self.following.wanted.grace_s + LEFT_S
        if pods and not is_left:
            if not all("deletionTimestamp" in pod["metadata"] for pod in pods.values()):
                rest(self.following.cluster, self.following.wanted)
            return None
        if pods:
            said = f"{', '.join(pods)} goes on: Nuclio's controller, whose it is to remove that, has not yet"
            self.following.tell(said)
        return self.stopped(is_missing=True)

    def _events(self, pods: Pods) -> Iterator[Mapping[str, Any]]:
        """Yield the events of Deployment and pods, and of what stands between the two."""
        name = self.served().name
        yield from self.following.events(name, *pods)
        with suppress(ClusterError):
            for event in self.following.cluster.list("Event", fields="involvedObject.kind=ReplicaSet"):
                if str(event.get("involvedObject", {}).get("name", "")).startswith(f"{name}-"):
                    yield event
