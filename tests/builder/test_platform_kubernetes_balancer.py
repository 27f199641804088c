"""Services with a load balancer in a real cluster. The tests are the cloud's controller: they give the Service its
address, and the node's own rules lead that to the pods.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster_accounts import kubectl
from cluster_runs import Kube
from waiting import until

from nuwrap.cluster.client import Cluster

NAMELESS = "balancer.nuwrap.invalid"  # RFC 2606: no resolver knows it


def service_of(cluster: Cluster, namespace: str, run: Any) -> dict[str, Any]:
    (service,) = until(lambda: cluster.list("Service", labels={"nuwrap.dev/run": run.id}, namespace=namespace))
    return service


def give(namespace: str, service: dict[str, Any], *ingress: dict[str, str]) -> None:
    """Tell where the service's load balancer is."""
    change = json.dumps({"status": {"loadBalancer": {"ingress": ingress}}})
    about = ("service", service["metadata"]["name"], "--subresource=status", "--type=merge", "-p", change)
    kubectl("-n", namespace, "patch", *about)


def own_ip(service: dict[str, Any]) -> str:
    """An address that is nobody's (RFC 5737), and no other service's of this cluster."""
    return f"203.0.113.{service['spec']['clusterIP'].rpartition('.')[2]}"


def leads_here(host: str) -> bool:
    """Tell whether the node that the test runs on leads the address to a pod."""
    with suppress(OSError), socket.create_connection((host, 8080), 2):
        return True
    return False


def told(run: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run.folder) / "service.json").read_text())
    return found


def test_a_service_is_found_at_its_load_balancer(kube: Kube, cluster: Cluster, namespace: str) -> None:
    run = kube.function("greet").run("serve", service_type="LoadBalancer", workers=1)
    service = service_of(cluster, namespace, run)
    assert service["spec"]["type"] == "LoadBalancer"
    host = own_ip(service)
    give(namespace, service, {"ip": host})
    run.wait(300)
    if leads_here(host):
        until(lambda: run.url == f"http://{host}:8080")
        assert told(run)["address"] == run.url
        assert run.status.message == ""
    else:
        assert f"address {host} does not answer here yet" in run.status.message
    assert run.invoke(json={"name": "you"}).json() == {"hello": "you"}
    run.stop()


def test_a_load_balancers_address_that_comes_late_takes_the_place_of_the_connection(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    run = kube.function("greet").run("serve", service_type="LoadBalancer", workers=1).wait(300)
    connection = run.url
    assert connection.startswith("http://127.0.0.1:")
    until(lambda: run.status.message == "its load balancer has no address yet")
    assert told(run)["more"]["waits_for"] == run.status.message
    assert run.invoke(json={"name": "one"}).json() == {"hello": "one"}

    service = service_of(cluster, namespace, run)
    give(namespace, service, {"hostname": NAMELESS})
    until(lambda: f"address {NAMELESS} does not answer here yet" in run.status.message)
    assert run.url == connection
    assert run.invoke(json={"name": "two"}).json() == {"hello": "two"}

    host = own_ip(service)
    give(namespace, service, {"hostname": NAMELESS, "ip": host})
    until(lambda: leads_here(host) or host in run.status.message)
    if leads_here(host):
        until(lambda: run.url == f"http://{host}:8080")
        assert told(run)["address"] == run.url
        assert "waits_for" not in told(run)["more"]
        assert "waits_for" not in run.status.service
        assert run.status.message == ""
        until(lambda: f"serving fn at {run.url}\n" in run.logs())
    assert run.invoke(json={"name": "three"}).json() == {"hello": "three"}
    said = [line for line in run.logs().splitlines() if "nuwrap" in line and "serving fn" in line]
    assert len(said) > 1
    assert all(one != next_one for one, next_one in zip(said, said[1:], strict=False))
    run.stop()
    assert (run.state, run.status.exit_code) == ("STOPPED", 0)


def test_why_there_is_no_load_balancer_is_told_as_the_cluster_says_it(
    kube: Kube, cluster: Cluster, namespace: str
) -> None:
    run = kube.function("greet").run("serve", service_type="LoadBalancer", workers=1)
    service = service_of(cluster, namespace, run)["metadata"]
    about = {"kind": "Service", "name": service["name"], "namespace": namespace, "uid": service["uid"]}
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{service['name']}.1", "namespace": namespace},
            "involvedObject": about,
            "reason": "SyncLoadBalancerFailed",
            "message": "Error syncing load balancer: quota exceeded",
            "type": "Warning",
        }
    )
    run.wait(300)
    until(lambda: "no address yet: Error syncing load balancer: quota exceeded" in run.status.message)
    run.stop()
