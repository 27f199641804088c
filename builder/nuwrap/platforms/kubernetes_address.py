"""Where a service of the cluster is found from here: by the cluster's own ways where they reach this machine, else by
a connection through the API server that lives as long as who follows the service.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from nuwrap.cluster.client import Cluster
from nuwrap.cluster.pod_news import PodNews
from nuwrap.cluster.reasons import is_main_running, is_ready
from nuwrap.errors import PlatformError
from nuwrap.platforms.kubernetes_wanted import Wanted
from nuwrap.platforms.kubernetes_ways import NOT_LOOKED, WAITS_FOR, LateWay, find_way

IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"


class Address:
    """The addresses of one service."""

    def __init__(self, cluster: Cluster, wanted: Wanted, news: PodNews, stack: ExitStack) -> None:
        self._cluster, self._wanted, self._news, self._stack = cluster, wanted, news, stack
        self._opened: dict[int, int] = {}
        self._way = LateWay(lambda: find_way(cluster, wanted, is_inside=bool(os.environ.get(IN_CLUSTER))))
        stack.callback(self._way.leave)
        self._told = NOT_LOOKED

    def open(self, *, is_ready: bool) -> Mapping[str, Any]:
        """Open what is to be opened, once a pod can take connections, and return what `service.json` has.

        Where the cluster's own ways may reach this machine the address is "" until a pod is ready: they lead to none
        before. One that is yet to come has `waits_for` in `more`; until then the address is that of a connection.
        """
        serve = self._wanted.objects["serving"]
        more = {
            "cluster_url": f"http://{self._wanted.name}.{self._wanted.namespace}.svc:{serve['port']}",
            "type": serve["service_type"],
            "namespace": self._wanted.namespace,
        }
        has_ways = bool(os.environ.get(IN_CLUSTER)) or serve["service_type"] != "ClusterIP"
        if has_ways and is_ready:
            self._way.look()
        self._told = self._way.found
        if self._told.waits_for:
            more[WAITS_FOR] = self._told.waits_for
        url = self._told.url
        if not url and (is_ready or not has_ways or serve["port"] in self._opened):
            url = self._through(serve["port"])
        return {"address": url, "admin": self._through(serve["admin_port"]), "more": more}

    def has_news(self) -> bool:
        """Tell whether `open` returns something else than it did."""
        return self._way.found != self._told

    def _through(self, port: int) -> str:
        """Return the address of a port here that leads to the pods'."""
        if port not in self._opened:
            self._opened[port] = self._stack.enter_context(self._cluster.forward(self._pick, port)).port
        return f"http://127.0.0.1:{self._opened[port]}"

    def _pick(self) -> str:
        """Return the pod that a connection goes to, a ready one where there is one."""
        pods = self._news.pods
        names = [name for name, pod in pods.items() if is_ready(pod)] or [
            name for name, pod in pods.items() if is_main_running(pod)
        ]
        if not names:
            raise PlatformError("no pod of the service runs")
        return names[-1]


@contextmanager
def find_address(cluster: Cluster, wanted: Wanted, news: PodNews) -> Iterator[Address]:
    """Give the service's addresses; what was opened for them is closed after the body."""
    with ExitStack() as stack:
        yield Address(cluster, wanted, news, stack)
