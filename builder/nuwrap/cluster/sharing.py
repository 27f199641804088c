"""One watch of a namespace's pods, and one list of its events, for all runs that a process follows."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from nuwrap.cluster.client import Cluster
from nuwrap.errors import PlatformError

WATCH_S: Final = 10 * 365 * 24 * 3600.0  # one watch, so that no change falls between two
RETRY_S: Final = 1.0
EVENTS_S: Final = 1.5
FEW: Final = 4  # runs whose events are asked for one by one: a namespace may have thousands of others

Document = Mapping[str, Any]
Hear = Callable[[tuple[str, Document]], None]


class Namespace:
    """What many follow together. Who listens hears of the pods whose label `by` has its value, from those that there
    are on: ADDED, MODIFIED, DELETED.
    """

    def __init__(self, cluster: Cluster, by: str) -> None:
        self.by = by
        self._cluster = cluster
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._listeners: dict[str, list[Hear]] = defaultdict(list)
        self._pods: dict[str, dict[str, Document]] = defaultdict(dict)
        self._events: dict[str, list[Document]] = {}
        self._events_at = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def listen(self, cluster: Cluster, value: str, hear: Hear) -> None:
        """Have `hear` called from now on; `cluster` has the newest log-in, and is asked from the next time on."""
        with self._lock:
            self._cluster = cluster
            self._listeners[value].append(hear)
            for pod in self._pods[value].values():
                hear(("ADDED", pod))

    def leave(self, value: str, hear: Hear) -> None:
        """Have it called no more."""
        with self._lock:
            self._listeners[value].remove(hear)
            if not self._listeners[value]:
                del self._listeners[value]

    def events(self, names: Iterable[str]) -> list[Document] | None:
        """Return the events about objects of these names, None where so few listen that each asks for itself.

        Raises ClusterError.
        """
        with self._lock:
            if len(self._listeners) <= FEW:
                return None
            cluster = self._cluster
        with self._asking:  # not the pods' lock: their news come while a server is slow to answer
            if time.monotonic() - self._events_at > EVENTS_S:
                try:
                    self._events = _by_name(cluster.list("Event"))
                finally:  # a refusal counts for all who wait for it here: else each would wait for its own
                    self._events_at = time.monotonic()
            known = self._events
        return [event for name in names for event in known.get(name, ())]

    def _watch(self) -> None:
        while True:
            with suppress(PlatformError):  # a watch tells again what there is, and what of it is gone by then
                for kind, pod in self._cluster.watch("Pod", labels=self.by, timeout_s=WATCH_S):
                    self._tell(kind, pod)
            time.sleep(RETRY_S)

    def _tell(self, kind: str, pod: Document) -> None:
        about = pod["metadata"]
        value, name = str((about.get("labels") or {}).get(self.by, "")), str(about["name"])
        with self._lock:
            if kind == "DELETED":
                self._pods[value].pop(name, None)
                if not self._pods[value]:
                    del self._pods[value]
            else:
                self._pods[value][name] = pod
            for hear in self._listeners.get(value, ()):
                hear((kind, pod))


def _by_name(events: Iterable[Document]) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = defaultdict(list)
    for event in events:
        found[str((event.get("involvedObject") or {}).get("name", ""))].append(event)
    return found


_shared: dict[tuple[str, ...], Namespace] = {}
_by: list[str] = []
_lock = threading.Lock()


def share(by: str) -> None:
    """Let this process have one watch of each namespace, as long as it lives: of the pods with the label `by`."""
    _by[:] = [by]


def find_shared(cluster: Cluster) -> Namespace | None:
    """Return what is shared of the cluster's namespace, None in a process that shares nothing."""
    if not _by:
        return None
    where = cluster.where
    key = (where.server, where.namespace, where.user, where.context)
    with _lock:
        if key not in _shared:
            _shared[key] = Namespace(cluster, _by[0])
        return _shared[key]
