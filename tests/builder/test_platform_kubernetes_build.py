"""Builds in a real cluster: what a person sees, and what is left there."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cluster_accounts import Login
from cluster_runs import Kube
from kaniko_lab import REASON, executor_image
from lab import docker, registry_digest, remove_tags, wait_until

from nuwrap.cluster.client import Cluster, connect
from nuwrap.errors import NotFound, NuwrapError, UsageError
from nuwrap.plan.kubernetes.build_job import BuildPlace, plan_build_job
from nuwrap.plan.kubernetes.request import Pod
from nuwrap.platforms.kubernetes_found import find_runs
from nuwrap.runs import alive
from nuwrap.spec.images import python_image
from nuwrap.store.secrets import Secrets
from nuwrap_runtime import __version__

LEVEL = "privileged"  # as the registry of the tests is at the node's own loopback address


@pytest.fixture(scope="session")
def build_namespace(cluster: Cluster) -> Iterator[str]:
    name = f"nuwrap-test-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": LEVEL}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    cluster.delete("Namespace", name)


@pytest.fixture(scope="session")
def pushed_kaniko(pushed_images: str) -> Iterator[str]:
    """The executor's image in the registry."""
    image = executor_image()
    if not image:
        pytest.skip(REASON)
    name = f"{pushed_images}/kaniko:1"
    docker("tag", image, name)
    docker("push", "--quiet", name)
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture
def building(kube: Kube, build_namespace: str, pushed_images: str, tmp_path: Path) -> Iterator[Kube]:
    """A person whose builds go to the cluster, on the node's own network."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "host.yaml").write_text("pod: {hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet}\n")
    registry, name = pushed_images.partition("/")[0], f"nuwrap-test-{secrets.token_hex(6)}"
    for key, value in {
        "kubernetes.build_namespace": build_namespace,
        "kubernetes.profiles": str(tmp_path / "profiles"),
        "build.registry": f"{registry}/{name}",
        "build.kaniko_image": f"{pushed_images}/kaniko:1",
    }.items():
        kube.set(key, value)
    yield kube
    remove_tags(registry, f"{name}/p-fn")


def left_in(cluster: Cluster, namespace: str, run: str) -> list[str]:
    labels = {"nuwrap.dev/run": run}
    return [
        one["metadata"]["name"]
        for kind in ("Job", "Pod")
        for one in cluster.list(kind, labels=labels, namespace=namespace)
    ]


def when_instructed(run: Any, act: Callable[[], object]) -> None:
    """Act once the build is at its instruction."""
    log, deadline = Path(run.folder) / "log.txt", time.monotonic() + 200
    while time.monotonic() < deadline:
        with suppress(OSError):
            if "RUN echo here" in log.read_text():
                break
        time.sleep(0.2)
    act()


def test_an_image_is_built_in_the_cluster_and_runs_there(
    building: Kube, pushed_kaniko: str, cluster: Cluster, build_namespace: str
) -> None:
    function = building.function("add")
    build = function.run("build", profile="host", instructions=["echo made > /made"]).wait(300, log_info=False)
    assert build.state == "COMPLETED", build.logs()
    results = build.results()
    assert results["digest"] == registry_digest(results["tag"])
    assert results["names"] == [f"{results['tag']}@{results['digest']}"]
    assert f"a Job of namespace '{build_namespace}'" in results["place"]
    assert left_in(cluster, build_namespace, build.id) == []
    run = building.job("add", function=function, parameters={"x": 3})
    assert run.result("output_0") == 5
    assert "from the image" in run.logs()


def test_an_instruction_that_fails_is_named_with_its_last_words(
    building: Kube, pushed_kaniko: str, cluster: Cluster, build_namespace: str
) -> None:
    build = building.function("add").run("build", profile="host", instructions=["echo why >&2; exit 7"])
    build.wait(300, log_info=False)
    assert build.state == "ERROR"
    assert "instruction 1" in build.status.message
    assert "exit code 7" in build.status.message
    assert "why" in build.status.message
    assert left_in(cluster, build_namespace, build.id) == []


def test_a_build_that_is_stopped_leaves_nothing(
    building: Kube, pushed_kaniko: str, cluster: Cluster, build_namespace: str
) -> None:
    build = building.function("add").run("build", profile="host", instructions=["echo here; sleep 300"])
    when_instructed(build, build.stop)
    assert build.refresh().state == "STOPPED"
    assert left_in(cluster, build_namespace, build.id) == []


def test_a_pod_that_somebody_removes_ends_the_build(
    building: Kube, pushed_kaniko: str, cluster: Cluster, build_namespace: str
) -> None:
    build = building.function("add").run("build", profile="host", instructions=["echo here; sleep 300"])

    def remove() -> None:
        for pod in cluster.list("Pod", labels={"nuwrap.dev/run": build.id}, namespace=build_namespace):
            cluster.delete("Pod", pod["metadata"]["name"], namespace=build_namespace, grace_s=0)

    when_instructed(build, remove)
    build.wait(120, log_info=False)
    assert build.state == "ERROR"
    assert left_in(cluster, build_namespace, build.id) == []


def test_what_a_killed_builder_has_left_goes_with_the_next_look(
    building: Kube, pushed_kaniko: str, cluster: Cluster, build_namespace: str
) -> None:
    build = building.function("add").run("build", profile="host", instructions=["echo here; sleep 300"])

    def kill_all() -> None:
        for role in ("supervisor", "host"):
            alive.kill(building.home, build.id, role, signal.SIGKILL)

    when_instructed(build, kill_all)
    wait_until(lambda: not alive.is_held(building.home, build.id))
    assert build.refresh().state == "ERROR"
    assert "were killed" in build.status.message
    assert f"of namespace '{build_namespace}' was removed" in build.status.message
    wait_until(lambda: left_in(cluster, build_namespace, build.id) == [])


def test_a_namespace_that_is_restricted_is_told_before_anything_is_fetched(
    building: Kube, pushed_kaniko: str, namespace: str
) -> None:
    building.set("kubernetes.build_namespace", namespace)
    function = building.function("add", code_src="git+https://nowhere.invalid/x")
    with pytest.raises(NuwrapError, match=r"violates PodSecurity.*kubernetes\.build_namespace"):
        function.run("build")


def test_secrets_of_this_machine_are_not_sent_unasked(building: Kube) -> None:
    Secrets(building.home).set("p", "TOKEN", "the-value")
    with pytest.raises(NotFound, match=r"'TOKEN'.*this machine has it: .*kubernetes\.send_secrets"):
        building.function("add").run("build", secrets=["TOKEN"])


def test_a_secret_of_the_namespace_needs_no_value_here(
    building: Kube, pushed_kaniko: str, cluster: Cluster, build_namespace: str
) -> None:
    labels = {"nuwrap.dev/kind": "secrets", "nuwrap.dev/project": "p"}
    about = {"name": "team", "labels": labels, "namespace": build_namespace}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": {"THEIRS": "the-value"}})
    read = 'test "$(cat /run/secrets/THEIRS)" = the-value'
    build = building.function("add").run("build", profile="host", secrets=["THEIRS"], instructions=[read])
    build.wait(300, log_info=False)
    is_lacking = "cannot mount secrets" in build.status.message  # an executor of another make
    assert is_lacking or build.state == "COMPLETED", build.logs()
    assert left_in(cluster, build_namespace, build.id) == []


def test_the_executor_finds_a_secret_of_the_namespace_as_a_file(
    cluster: Cluster, build_namespace: str, pushed_images: str
) -> None:
    about = {"name": "one", "namespace": build_namespace}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": {"TOKEN": "the-value"}})
    image = python_image(pushed_images, __version__, "3.11")
    place = BuildPlace(
        context="", namespace=build_namespace, project="p", function="f", run=secrets.token_hex(4),
        pod=Pod(image=image, fetch_image=image), secrets={"TOKEN": "one"},
    )  # fmt: skip
    job = plan_build_job(place, "/kaniko/nuwrap", ["/kaniko/nuwrap/secrets/TOKEN"], {})
    spec = job["spec"]["template"]["spec"]
    del spec["initContainers"]
    spec["containers"][0]["command"] = ["cat"]
    cluster.create(job)
    find = {"labels": {"nuwrap.dev/run": place.run}, "namespace": build_namespace}
    wait_until(lambda: [one["status"]["phase"] for one in cluster.list("Pod", **find)] == ["Succeeded"])
    (pod,) = cluster.list("Pod", **find)
    with cluster.log(pod["metadata"]["name"], container="main", namespace=build_namespace) as pieces:
        assert b"".join(pieces) == b"the-value"
    cluster.delete("Job", place.name, namespace=build_namespace)


@pytest.mark.parametrize("asked", [{"tar_path": "x.tar"}, {"oci_path": "x"}, {"engine": "docker"}])
def test_what_a_cluster_cannot_give_is_refused(building: Kube, asked: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="platform local"):
        building.function("add").run("build", **asked)


def test_an_executor_that_that_no_registry_has_is_told_at_once(building: Kube, pushed_images: str) -> None:
    building.set("build.kaniko_image", f"{pushed_images}/kaniko:none")
    with pytest.raises(NuwrapError, match="kaniko:none"):
        building.function("add").run("build")


def test_a_build_is_no_run_for_a_colleague_to_take_over(
    building: Kube,
    pushed_kaniko: str,
    build_namespace: str,
) -> None:
    build = building.function("add").run("build", profile="host", instructions=["echo here; sleep 300"])
    elsewhere = connect(os.environ, namespace=build_namespace)
    found: list[tuple[int, int]] = []

    def look() -> None:
        jobs = elsewhere.list("Job", labels={"nuwrap.dev/run": build.id})
        found.append((len(jobs), len(find_runs(elsewhere, "", frozenset()))))

    when_instructed(build, look)
    build.stop()
    assert found == [(1, 0)]


def test_a_builders_role_is_enough_for_a_build(
    building: Kube,
    pushed_kaniko: str,
    build_namespace: str,
    login: Login,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NUWRAP_CACHE", f"{building.home}-cache")  # so that the executor is asked what it can do
    monkeypatch.setenv("KUBECONFIG", str(login("nuwrap-build", where=build_namespace)))
    build = building.function("add").run("build", profile="host", rebuild=True).wait(300, log_info=False)
    assert build.state == "COMPLETED", build.logs()
