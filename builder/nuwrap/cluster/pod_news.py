"""Pods with certain labels as the cluster tells of them, in a thread of its own: who follows looks when he likes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.cluster.sharing import RETRY_S, WATCH_S, find_shared
from nuwrap.errors import PlatformError

LOOK_S: Final = 0.2
MANY_LOOK_S: Final = 1.0  # where many threads look; news wake each at once

Pod = Mapping[str, Any]


def events_about(cluster: Cluster, names: Iterable[str]) -> list[Mapping[str, Any]]:
    """Return the events about objects of these names; without the right to read them there are none."""
    found: list[Mapping[str, Any]] = []
    names, shared = list(names), find_shared(cluster)
    with suppress(ClusterError):
        known = shared.events(names) if shared else None
        if known is not None:
            return known
        for name in names:
            found += cluster.list("Event", fields=f"involvedObject.name={name}")
    return found


class PodNews:
    """Pods that there are, by name, and the last that was known of each that is gone."""

    def __init__(self, cluster: Cluster, labels: Mapping[str, str]) -> None:
        self._cluster, self._labels = cluster, labels
        shared = find_shared(cluster)
        self._shared = shared if shared and set(labels) == {shared.by} else None
        self._news: queue.Queue[tuple[str, Pod]] = queue.Queue()
        self._over = threading.Event()
        self.pods: dict[str, Pod] = {}
        self.gone: dict[str, Pod] = {}

    def __enter__(self) -> PodNews:  # noqa: PYI034 - nobody derives from it
        if self._shared:
            self._shared.listen(self._cluster, self._labels[self._shared.by], self._news.put)
        else:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._shared:
            self._shared.leave(self._labels[self._shared.by], self._news.put)

    def take(self) -> dict[str, Pod]:
        """Wait a moment for news and return the pods that there are."""
        timeout = MANY_LOOK_S if self._shared else LOOK_S
        while True:
            try:
                kind, pod = self._news.get(timeout=timeout) if timeout else self._news.get_nowait()
            except queue.Empty:
                return dict(self.pods)
            name, timeout = str(pod["metadata"]["name"]), 0.0
            if kind == "DELETED":
                self.pods.pop(name, None)
                self.gone[name] = pod
            else:
                self.pods[name] = pod

    @property
    def newest(self) -> Pod | None:
        """The pod that was made last, be it gone or not."""
        known = [*self.gone.values(), *self.pods.values()]
        return max(known, key=lambda one: str(one["metadata"].get("creationTimestamp", "")), default=None)

    def is_gone(self, pod: Pod | None) -> bool:
        """Tell whether there was such a pod, and is none any more."""
        return pod is not None and pod["metadata"]["name"] not in self.pods

    def _watch(self) -> None:
        while not self._over.is_set():
            try:
                for kind, pod in self._cluster.watch("Pod", labels=self._labels, timeout_s=WATCH_S):
                    self._news.put((kind, pod))
                    if self._over.is_set():
                        return
            except PlatformError:
                self._over.wait(RETRY_S)
