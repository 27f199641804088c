"""The cluster's own ways to a service that reach this machine. A load balancer's may come minutes after the pods are
ready: who makes it is a program of the cloud's, and its name is known everywhere later still.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nuwrap.cluster.client import Cluster, ClusterError
from nuwrap.cluster.pod_news import events_about
from nuwrap.cluster.reasons import why_no_balancer
from nuwrap.platforms.kubernetes_wanted import Wanted

CONNECT_S: Final = 1.0
TRIES, PAUSE_S = 4, 0.5  # a node hears of a ready pod a moment after us
NODES: Final = 3  # of which one is asked whether it can be reached from here
LATE_S: Final = 2.0, 60.0  # between two looks, at first and of who has waited for long
PATIENCE: Final = 10  # pauses are a tenth of what was waited for
WAITS_FOR: Final = "waits_for"
BALANCER: Final = "LoadBalancer"

Place = tuple[str, int]


@dataclass(frozen=True)
class Way:
    """An address, "" for none, and why a better one than a connection through the API server is yet to come."""

    url: str = ""
    waits_for: str = ""


NOT_LOOKED: Final = Way()


class LateWay:
    """What `find` returned last. It is called by `look`, and then in a thread of its own, ever more seldom, for as long
    as something is waited for: a name may take long to be found.
    """

    def __init__(self, find: Callable[[], Way]) -> None:
        self._find = find
        self._over = threading.Event()
        self._has_looked = False
        self.found = NOT_LOOKED

    def look(self) -> None:
        """Look once; further calls do nothing."""
        if self._has_looked:
            return
        self._has_looked = True
        self.found = self._find()
        if self.found.waits_for:
            threading.Thread(target=self._look_again, daemon=True).start()

    def leave(self) -> None:
        """Look no more."""
        self._over.set()

    def _look_again(self) -> None:
        began, (first, longest) = time.monotonic(), LATE_S
        while self.found.waits_for:
            if self._over.wait(min(max(first, (time.monotonic() - began) / PATIENCE), longest)):
                return
            self.found = self._find()


def find_way(cluster: Cluster, wanted: Wanted, *, is_inside: bool) -> Way:
    """Return the first of the cluster's ways that takes a connection from here.

    One that refuses it is asked again: that host is reached. One that says nothing is not.
    """
    trouble = ""
    for _ in range(TRIES):
        is_refused = False
        service, lack = _service(cluster, wanted.name)
        balancers = list(_balancers(service, wanted))
        for place in _candidates(cluster, wanted, service, is_inside=is_inside):
            try:
                socket.create_connection(place, CONNECT_S).close()
            except (OSError, UnicodeError) as exc:  # the latter of what can be no host's name
                is_refused = is_refused or isinstance(exc, ConnectionRefusedError)
                if place in balancers:
                    why = getattr(exc, "strerror", "") or exc
                    trouble = f"its load balancer's address {place[0]} does not answer here yet: {why}"
            else:
                return Way(_url(place))
        if not is_refused:
            break
        time.sleep(PAUSE_S)
    if wanted.objects["serving"]["service_type"] != BALANCER:
        return NOT_LOOKED
    return Way("", trouble or lack or why_no_balancer(events_about(cluster, [wanted.name])))


def _candidates(cluster: Cluster, wanted: Wanted, service: Mapping[str, Any], *, is_inside: bool) -> Iterator[Place]:
    serve = wanted.objects["serving"]
    if is_inside:
        yield f"{wanted.name}.{wanted.namespace}.svc", serve["port"]
    yield from _balancers(service, wanted)
    ports = [one.get("nodePort") for one in service.get("spec", {}).get("ports", ()) if one.get("nodePort")]
    if ports and serve["service_type"] == "NodePort":
        for host in _nodes(cluster):
            yield host, ports[0]


def _balancers(service: Mapping[str, Any], wanted: Wanted) -> Iterator[Place]:
    serve = wanted.objects["serving"]
    if serve["service_type"] == BALANCER:
        for one in (service.get("status", {}).get("loadBalancer", {}).get("ingress")) or ():
            for host in (one.get("hostname"), one.get("ip")):
                if host:
                    yield host, serve["port"]


def _url(place: Place) -> str:
    host, port = place
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _service(cluster: Cluster, name: str) -> tuple[Mapping[str, Any], str]:
    """Return the Service, and why nothing is known of it, "" where it is."""
    try:
        return cluster.get("Service", name) or {}, ""
    except ClusterError as exc:
        return {}, f"its load balancer is not known: {exc}"


def _nodes(cluster: Cluster) -> list[str]:
    """Return the addresses of the nodes, those from outside first; without the right to ask there are none."""
    try:
        nodes = cluster.list("Node")
    except ClusterError:
        return []
    found = [one for node in nodes for one in node.get("status", {}).get("addresses") or ()]
    order = ("ExternalIP", "InternalIP")
    return [one["address"] for kind in order for one in found if one.get("type") == kind][:NODES]
