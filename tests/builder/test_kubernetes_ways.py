"""Which of a cluster's own ways leads here, with a listener of this machine as what the ways lead to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest
from waiting import until

from nuwrap.cluster.client import Cluster
from nuwrap.cluster.errors import ClusterError
from nuwrap.platforms.kubernetes_wanted import Wanted
from nuwrap.platforms.kubernetes_ways import NOT_LOOKED, LateWay, Way, find_way

NO_NAME = "x" * 64 + ".example.com"  # too long a label


class OneService:
    """A cluster with one Service, without events and nodes; where `service` is None nothing may be asked."""

    def __init__(self, *ingress: dict[str, str]) -> None:
        self.service: dict[str, Any] | None = {"status": {"loadBalancer": {"ingress": list(ingress)}}}

    def get(self, _kind: str, _name: str) -> dict[str, Any]:
        if self.service is None:
            raise ClusterError("services is forbidden", status=403)
        return self.service

    def list(self, _kind: str, **_selected: str) -> list[dict[str, Any]]:
        return []


def find(cluster: OneService, port: int = 9, service_type: str = "LoadBalancer") -> Way:
    objects = {"serving": {"port": port, "admin_port": 8082, "service_type": service_type}}
    wanted = Wanted("context", "team", "serve", "nuwrap-x", "x", {}, objects)
    return find_way(cast("Cluster", cluster), wanted, is_inside=False)


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    "ingress",
    [[{"ip": "127.0.0.1"}], [{"hostname": NO_NAME, "ip": "127.0.0.1"}], [{}, {"hostname": "localhost"}]],
    ids=["ip", "a name that is none yet", "name"],
)
def test_a_load_balancer_is_found_at_what_answers(port: int, ingress: list[dict[str, str]]) -> None:
    host = next(iter(ingress[-1].values())) if len(ingress) > 1 else "127.0.0.1"
    assert find(OneService(*ingress), port) == Way(f"http://{host}:{port}")


def test_what_a_load_balancer_waits_for_is_told() -> None:
    assert find(OneService()) == Way("", "its load balancer has no address yet")
    assert find(OneService({})).waits_for == "its load balancer has no address yet"
    nameless = find(OneService({"hostname": NO_NAME}))
    assert nameless.url == ""
    assert f"its load balancer's address {NO_NAME} does not answer here yet: " in nameless.waits_for


def test_who_may_not_ask_for_services_is_told_so() -> None:
    cluster = OneService()
    cluster.service = None
    assert find(cluster).waits_for == "its load balancer is not known: services is forbidden"


def test_nothing_else_is_waited_for() -> None:
    assert find(OneService(), service_type="NodePort") == NOT_LOOKED


def test_a_way_that_comes_late_is_looked_for_until_it_is_there() -> None:
    coming = [Way("", "this"), Way("", "that"), Way("http://there:1")]
    way = LateWay(lambda: coming.pop(0))
    way.look()
    assert way.found == Way("", "this")
    way.look()  # which does not look again by itself
    until(lambda: way.found == Way("http://there:1"))
    assert coming == []
