"""`nuwrap doctor --platform kubernetes`: what a namespace has, what it lacks, and what its user may not see."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_accounts import Login, kubectl
from command_line import Nuwrap
from test_cluster_client import Api, api, kubeconfig, status  # noqa: F401 - a fixture

from nuwrap.cluster.client import Cluster
from nuwrap.cluster.rights import RIGHTS
from nuwrap.store.config import write_config

ALL = [f"nuwrap-{action}" for action in RIGHTS]
VERSION = (200, {"gitVersion": "v1.33.1"})


def examine(run: Nuwrap, home: Path, **more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = run("doctor", "--platform", "kubernetes", "--json", NUWRAP_HOME=str(home), **more)
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] == (done.returncode == 0)
    return done.returncode, {one["name"]: one for one in document["findings"]}


@pytest.fixture
def team(namespace: str, tmp_path: Path) -> Path:
    """The home of somebody whose runs go to the tests' namespace."""
    home = tmp_path / "home"
    home.mkdir()
    write_config(str(home), "kubernetes.namespace", namespace)
    return home


def test_who_has_all_roles_lacks_nothing(run_nuwrap: Nuwrap, team: Path, namespace: str, login: Login) -> None:
    code, found = examine(run_nuwrap, team, KUBECONFIG=str(login(*ALL)))
    assert code == 0
    for action in RIGHTS:
        assert (found[f"rights: {action}"]["found"].partition(" ")[0], found[f"rights: {action}"]["lack"]) == (
            "all",
            "",
        )
    assert found["namespace"]["found"] == namespace
    assert "kaniko is root" in found["pod security"]["lack"]
    assert found["storage class"]["found"].startswith("not known: user 'system:serviceaccount:")
    assert "s3://" in found["artifacts_store"]["mend"]


@pytest.mark.parametrize(
    ("labels", "found", "lack"),
    [({"nuwrap.dev/project": "default"}, "pvc://kept/team", ""), (None, "", "has no claim 'kept'")],
)
def test_a_claim_that_is_the_store_is_looked_for(
    cluster: Cluster,
    namespace: str,
    team: Path,
    run_nuwrap: Nuwrap,
    labels: dict[str, str] | None,
    found: str,
    lack: str,
) -> None:
    write_config(str(team), "artifacts_store", "pvc://kept/team")
    if labels:
        about = {"name": "kept", "namespace": namespace, "labels": labels}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        cluster.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": about, "spec": spec})
    try:
        _, told = examine(run_nuwrap, team)
    finally:
        cluster.delete("PersistentVolumeClaim", "kept", namespace=namespace)
    assert told["artifacts_store"]["found"].startswith(found)
    assert lack in told["artifacts_store"]["lack"]


def test_who_has_no_rights_is_told_each_and_ends_with_10(run_nuwrap: Nuwrap, team: Path, login: Login) -> None:
    code, found = examine(run_nuwrap, team, KUBECONFIG=str(login()))
    assert code == 10
    assert "may not create, get, list, patch, delete jobs; create, list, watch pods" in found["rights: job"]["lack"]
    assert "--role=nuwrap-serve" in found["rights: serve"]["mend"]
    for name in ("namespace", "pod security", "storage class", "quota", "limits"):
        assert found[name]["found"].startswith("not known: user 'system:serviceaccount:"), name


def test_a_jobs_role_alone_lets_runs_begin(run_nuwrap: Nuwrap, team: Path, login: Login) -> None:
    code, found = examine(run_nuwrap, team, KUBECONFIG=str(login("nuwrap-job")))
    assert (code, found["rights: job"]["lack"]) == (0, "")
    assert "get, create pods/portforward" in found["rights: serve"]["lack"]
    assert "get, create pods/exec" in found["rights: build"]["lack"]


def test_a_quota_that_is_used_up_or_asks_for_limits_is_told(
    run_nuwrap: Nuwrap, team: Path, cluster: Any, namespace: str
) -> None:
    def apply(kind: str, spec: dict[str, Any]) -> None:
        document = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "q"}, "spec": spec}
        kubectl("-n", namespace, "apply", "-f", "-", given=yaml.safe_dump(document))

    try:
        apply("ResourceQuota", {"hard": {"limits.cpu": "4", "configmaps": "9"}})
        kubectl("-n", namespace, "wait", "--for=jsonpath={.status.used.configmaps}", "resourcequota/q", "--timeout=60s")
        quota = examine(run_nuwrap, team)[1]["quota"]
        assert "q: configmaps 1 of 9, limits.cpu 0 of 4" in quota["found"]
        assert quota["lack"] == "a pod that does not name limits.cpu is refused"
        apply("LimitRange", {"limits": [{"type": "Container", "default": {"cpu": "500m"}}]})
        found = examine(run_nuwrap, team)[1]
        assert found["quota"]["lack"] == ""
        assert "default cpu 500m" in found["limits"]["found"]
        apply("ResourceQuota", {"hard": {"limits.cpu": "4", "configmaps": "1"}})
        kubectl("-n", namespace, "wait", "--for=jsonpath={.status.hard.configmaps}=1", "resourcequota/q")
        assert "used up: configmaps 1 of 1" in examine(run_nuwrap, team)[1]["quota"]["lack"]
    finally:
        kubectl("-n", namespace, "delete", "--ignore-not-found", "resourcequota/q", "limitrange/q")


def test_a_quota_of_other_pods_than_a_runs_is_told_and_no_lack(
    run_nuwrap: Nuwrap, team: Path, cluster: Any, namespace: str
) -> None:
    without_class = {"scopeName": "PriorityClass", "operator": "DoesNotExist"}
    scopes = {
        "best": {"scopes": ["BestEffort"]},
        "high": {"scopeSelector": {"matchExpressions": [{**without_class, "operator": "In", "values": ["high"]}]}},
        "none": {"scopes": ["NotTerminating"], "scopeSelector": {"matchExpressions": [without_class]}},
    }

    def quota(name: str) -> dict[str, Any]:
        spec = {"hard": {"pods": "0"}, **scopes[name]}
        document = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec}
        kubectl("-n", namespace, "apply", "-f", "-", given=yaml.safe_dump(document))
        kubectl("-n", namespace, "wait", "--for=jsonpath={.status.used.pods}=0", f"resourcequota/{name}")
        return examine(run_nuwrap, team)[1]["quota"]

    try:
        found = quota("best")
        assert (found["found"], found["lack"]) == ("best (of pods that are BestEffort): pods 0 of 0", "")
        found = quota("high")
        assert ("high (of pods that are PriorityClass In high)" in found["found"], found["lack"]) == (True, "")
        assert "used up: pods 0 of 0;" in quota("none")["lack"]
    finally:
        kubectl("-n", namespace, "delete", "--ignore-not-found", *(f"resourcequota/{name}" for name in scopes))


def test_a_registrys_secret_is_looked_at_and_its_value_not_told(run_nuwrap: Nuwrap, team: Path, namespace: str) -> None:
    login = ("--docker-server=r.example", "--docker-username=u", "--docker-password=hidden-word")
    kubectl("-n", namespace, "create", "secret", "docker-registry", "reg", *login)
    kubectl("-n", namespace, "create", "secret", "generic", "other", "--from-literal=a=hidden-word")
    write_config(str(team), "kubernetes.pull_secrets", "reg,other,gone")
    code, found = examine(run_nuwrap, team)
    assert (code, found["pull secret reg"]["found"]) == (0, "kubernetes.io/dockerconfigjson")
    assert (found["pull secret other"]["found"], bool(found["pull secret other"]["lack"])) == ("Opaque", True)
    assert "not there" in found["pull secret gone"]["lack"]
    assert "hidden-word" not in json.dumps(found)
    kubectl("-n", namespace, "delete", "secret", "reg", "other")


def test_a_namespace_a_class_and_profiles_that_are_not_there_are_told(run_nuwrap: Nuwrap, team: Path) -> None:
    write_config(str(team), "kubernetes.namespace", "of-{project}")
    write_config(str(team), "kubernetes.storage_class", "fast")
    write_config(str(team), "kubernetes.profiles", "configmap:none")
    code, found = examine(run_nuwrap, team)
    assert code == 10
    assert found["namespace"]["mend"] == "kubectl create namespace of-default"
    assert "no class 'fast'" in found["storage class"]["lack"]
    assert "no ConfigMap 'none'" in found["profiles"]["lack"]


def test_profiles_of_a_folder_are_named(run_nuwrap: Nuwrap, team: Path, tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "gpu.yaml").write_text("labels: {}\n")
    write_config(str(team), "kubernetes.profiles", str(tmp_path / "profiles"))
    assert examine(run_nuwrap, team)[1]["profiles"]["found"] == f"gpu, in {tmp_path / 'profiles'}"


class TestBadDays:
    def test_no_kubeconfig(self, run_nuwrap: Nuwrap, tmp_path: Path) -> None:
        code, found = examine(run_nuwrap, tmp_path, KUBECONFIG="/nonexistent/config")
        assert (code, list(found)) == (10, ["cluster"])
        assert "there is no kubeconfig" in found["cluster"]["lack"]

    @pytest.mark.parametrize(
        ("answers", "told"),
        [
            ([status(401, "Unauthorized", "Unauthorized")], "log in again"),
            ([VERSION, (200, {"metadata": 7})], "does not answer as an API server"),
            ([VERSION, (200, b"<html>")], "does not answer as an API server"),
            ([(200, {"gitVersion": "1"})], "does not answer as an API server"),
        ],
        ids=["expired", "nonsense", "a page", "no version"],
    )
    def test_a_server_that_gives_no_answer_is_told(
        self,
        run_nuwrap: Nuwrap,
        api: Api,  # noqa: F811
        tmp_path: Path,
        answers: list[Any],
        told: str,
    ) -> None:
        api.answers = answers
        code, found = examine(run_nuwrap, tmp_path, **kubeconfig(tmp_path, api.url))
        assert code == 10
        assert told in found["answers"]["lack"]

    def test_a_cluster_that_is_too_old(self, run_nuwrap: Nuwrap, api: Api, tmp_path: Path) -> None:  # noqa: F811
        refused = status(403, "Forbidden", 'User "ada" cannot list resource "x" in API group ""')
        api.answers = [(200, {"gitVersion": "v1.27.16-gke.1"}), refused]
        code, found = examine(run_nuwrap, tmp_path, **kubeconfig(tmp_path, api.url))
        assert code == 10
        assert found["cluster"]["lack"] == "nuwrap needs Kubernetes 1.30 or newer"


def test_a_person_gets_a_table_and_commands_to_copy(run_nuwrap: Nuwrap, team: Path) -> None:
    done = run_nuwrap("doctor", "--platform", "kubernetes", NUWRAP_HOME=str(team), KUBECONFIG=os.environ["KUBECONFIG"])
    assert done.returncode == 0, done.stderr
    assert "all that every run needs is there" in done.stdout
    assert "\n    nuwrap config set artifacts_store" in done.stdout
