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


def remove_function(cluster: Cluster, wanted: Wanted) -> None:
    """Remove the function, and with it all that belongs to it.

    What its controller has made too: it does not hear of the removal while it waits for the first pod of the function,
    which may take a quarter of an hour. Who may not do that leaves it to the controller.
    """
    cluster.delete(KIND, wanted.name)
    for kind in MADE:
        with suppress(ClusterError):
            cluster.delete(kind, made_name(wanted.name))


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
        self.remove()

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
                    "Nuclio's controller has made nothing of the function yet; is it there, and does it look after "
                    f"namespace {cluster.namespace!r}?"
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
