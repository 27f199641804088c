"""Where a service of the cluster is found from here: by the cluster's own ways where they reach this machine, else by
a connection through the API server that lives as long as who follows the service.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.cluster.pod_news import PodNews
from nuwrap.cluster.reasons import is_main_running, is_ready
from nuwrap.errors import PlatformError
from nuwrap.platforms.kubernetes_wanted import Wanted

CONNECT_S: Final = 1.0
TRIES, PAUSE_S = 4, 0.5  # a node hears of a ready pod a moment after us
NODES: Final = 3  # of which one is asked whether it can be reached from here
IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"


class Address:
    """The addresses of one service."""

    def __init__(self, cluster: Cluster, wanted: Wanted, news: PodNews, stack: ExitStack) -> None:
        self._cluster, self._wanted, self._news, self._stack = cluster, wanted, news, stack
        self._opened: dict[int, int] = {}

    def open(self, *, is_ready: bool) -> Mapping[str, Any]:
        """Open what is to be opened, once a pod can take connections, and return what `service.json` has.

        Where the cluster's own ways may reach this machine the address is "" until a pod is ready: they lead to none
        before.
        """
        serve = self._wanted.objects["serving"]
        more = {
            "cluster_url": f"http://{self._wanted.name}.{self._wanted.namespace}.svc:{serve['port']}",
            "type": serve["service_type"],
            "namespace": self._wanted.namespace,
        }
        has_ways = bool(os.environ.get(IN_CLUSTER)) or serve["service_type"] != "ClusterIP"
        url = ""
        if is_ready or not has_ways:
            url = (self._reachable(serve) if has_ways else "") or self._through(serve["port"])
        return {"address": url, "admin": self._through(serve["admin_port"]), "more": more}

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

    def _reachable(self, serve: Mapping[str, Any]) -> str:
        """Return the first address of the cluster's own that takes a connection from here, "" for none.

        One that refuses it is asked again: that host is reached. One that says nothing is not.
        """
        for _ in range(TRIES):
            is_refused = False
            for host, port in self._candidates(serve):
                try:
                    socket.create_connection((host, port), CONNECT_S).close()
                except OSError as exc:
                    is_refused = is_refused or isinstance(exc, ConnectionRefusedError)
                else:
                    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            if not is_refused:
                break
            time.sleep(PAUSE_S)
        return ""

    def _candidates(self, serve: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
        wanted = self._wanted
        if os.environ.get(IN_CLUSTER):
            yield f"{wanted.name}.{wanted.namespace}.svc", serve["port"]
        service = self._service()
        if serve["service_type"] == "LoadBalancer":
            for one in (service.get("status", {}).get("loadBalancer", {}).get("ingress")) or ():
                yield one.get("hostname") or one.get("ip", ""), serve["port"]
        ports = [one.get("nodePort") for one in service.get("spec", {}).get("ports", ()) if one.get("nodePort")]
        if ports and serve["service_type"] == "NodePort":
            for host in self._nodes():
                yield host, ports[0]

    def _service(self) -> Mapping[str, Any]:
        """Return the Service; without the right to ask nothing is known of it."""
        try:
            return self._cluster.get("Service", self._wanted.name) or {}
        except ClusterError:
            return {}

    def _nodes(self) -> list[str]:
        """Return the addresses of the nodes, those from outside first; without the right to ask there are none."""
        try:
            nodes = self._cluster.list("Node")
        except ClusterError:
            return []
        found = [one for node in nodes for one in node.get("status", {}).get("addresses") or ()]
        order = ("ExternalIP", "InternalIP")
        return [one["address"] for kind in order for one in found if one.get("type") == kind][:NODES]


@contextmanager
def find_address(cluster: Cluster, wanted: Wanted, news: PodNews) -> Iterator[Address]:
    """Give the service's addresses; what was opened for them is closed after the body."""
    with ExitStack() as stack:
        yield Address(cluster, wanted, news, stack)
