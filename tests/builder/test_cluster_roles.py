"""The Roles that administrators copy: one text in all places, enough for what they are for, and taken by a cluster."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_accounts import EXAMPLE, Login, example, kubectl
from cluster_runs import Kube
from command_line import Nuwrap

from nuwrap.cluster.kinds import find_kind
from nuwrap.cluster.rights import MEANINGS, RIGHTS
from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes.profiles import check_profile

PAGE = Path(__file__).parent.parent.parent / "docs" / "kubernetes.md"
Rules = dict[tuple[str, str], set[str]]


def rules(role: dict[str, Any]) -> Rules:
    return {(one["apiGroups"][0], name): set(one["verbs"]) for one in role["rules"] for name in one["resources"]}


def roles(text: str) -> dict[str, Rules]:
    found = [one for one in yaml.safe_load_all(text) if isinstance(one, dict) and one.get("kind") == "Role"]
    return {one["metadata"]["name"].removeprefix("nuwrap-"): rules(one) for one in found}


def test_the_page_the_example_and_the_doctor_name_the_same_rights() -> None:
    asked = {
        action: {(find_kind(one.kind).group, one.resource): set(one.verbs) for one in rights}
        for action, rights in RIGHTS.items()
    }
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert roles((EXAMPLE / "roles.yaml").read_text()) == asked
    assert roles("---\n".join(one for one in blocks if "kind: Role\n" in one)) == asked
    assert list(MEANINGS) == list(RIGHTS)


def test_every_binding_is_of_a_role_and_an_account_that_there_are() -> None:
    names = {one["metadata"]["name"] for one in example("roles.yaml")}
    accounts = {one["metadata"]["name"] for one in example("accounts.yaml")}
    for one in example("bindings.yaml"):
        assert one["roleRef"]["name"] in names
        assert {subject["name"] for subject in one["subjects"]} <= accounts


@pytest.mark.parametrize("path", sorted((EXAMPLE / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_profiles_may_be_used(path: Path) -> None:
    check_profile(path.stem, yaml.safe_load(path.read_text()))
    assert f"profiles/{path.name}" in (EXAMPLE / "kustomization.yaml").read_text()


def test_a_cluster_takes_the_example(namespace: str, tmp_path: Path) -> None:
    overlay = {"namespace": namespace, "resources": [os.path.relpath(EXAMPLE, tmp_path.resolve())]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    taken = kubectl("apply", "-k", str(tmp_path), "--dry-run=server", "-o", "name").split()
    assert f"namespace/{namespace}" in taken
    assert "configmap/nuwrap-profiles" in taken
    assert sum(one.startswith("role.") for one in taken) == len(RIGHTS)


def test_a_jobs_role_is_enough_for_a_job(kube: Kube, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(login("nuwrap-job")))
    function = kube.function("lines")
    run = function.run("job", parameters={"n": 600})
    run.stop()
    assert run.wait(120, log_info=False).state == "STOPPED"
    run = kube.job("add", parameters={"x": 3}, volumes=[{"volume_type": "ephemeral", "name": "s", "mount_path": "/s"}])
    assert (run.state, run.result("output_0")) == ("COMPLETED", 5), run.logs()
    with pytest.raises(PlatformError, match="may not create deployments"):
        kube.function("greet").run("serve")


def test_a_services_role_is_enough_for_a_service(kube: Kube, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(login("nuwrap-serve")))
    run = kube.function("greet").run("serve").wait()
    assert run.invoke(json={"name": "you"}).json() == {"hello": "you"}
    run.stop()
    assert run.refresh().state == "STOPPED"


def test_what_a_colleague_has_begun_is_seen_with_a_role_for_it(kube: Kube, login: Login, run_nuwrap: Nuwrap) -> None:
    run = kube.function("lines").run("job", parameters={"n": 600})
    home = {"NUWRAP_HOME": f"{kube.home}-of-ada"}
    settings = Path(home["NUWRAP_HOME"], "config.json")
    settings.parent.mkdir()
    settings.write_text(Path(kube.home, "config.json").read_text())
    seen = run_nuwrap("ps", "--platform", "kubernetes", KUBECONFIG=str(login("nuwrap-colleagues")), **home)
    assert run.id[:8] in seen.stdout, seen.stderr
    refused = run_nuwrap("ps", "--platform", "kubernetes", KUBECONFIG=str(login()), **home)
    assert "may not list jobs" in refused.stderr
    run.stop()
