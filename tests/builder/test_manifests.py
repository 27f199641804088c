"""From one run to the objects of a cluster."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_plans import IMAGE, LAUNCH, PLANS, RUN, manifests, objects, pod
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwrap.cluster.client import Cluster
from nuwrap.plan.kubernetes import hide_secrets, own, plan_run
from nuwrap.plan.kubernetes.labels import label_value, object_name, service_name
from nuwrap.plan.kubernetes.request import RunObjects, Serving
from nuwrap.spec.document import load_documents

GOLDEN = Path(__file__).parent / "golden" / "kubernetes"
# What means something to YAML, to JSON, to a template or to Kubernetes; the rest is any character at all.
PIECES = st.sampled_from(
    ["\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029", "\ufeff", "\ufffe", "\U0001f600", '"', "'",
     "\\", ": ", "#", "{{ x }}", "{% if %}", "---\n", "\n  key: value\n", "&a", "*a", "!!int 1", "$", "$$", "$(", ")",
     "$(NUWRAP_WORK)"]
)  # fmt: skip
CHARACTERS = st.text(st.characters(exclude_categories=("Cs",)), max_size=3)
TEXT = st.lists(st.one_of(PIECES, CHARACTERS), max_size=8).map("".join)


def only(made: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [one for one in made if one["kind"] == kind]
    return found


def main_of(made: list[dict[str, Any]], kind: str = "Job") -> dict[str, Any]:
    (found,) = only(made, kind)["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("name", PLANS)
def test_a_run_has_the_objects_of_its_golden_file(name: str) -> None:
    assert manifests(name) == load_documents(GOLDEN / f"{name}.yaml")


@pytest.mark.parametrize("name", PLANS)
def test_a_cluster_takes_each_object_and_its_pod_is_restricted(name: str, cluster: Cluster, namespace: str) -> None:
    for one in manifests(name):
        moved = {**one, "metadata": {**one["metadata"], "namespace": namespace}}
        cluster.create(moved, dry_run=True)
        if one["kind"] in ("Job", "Deployment"):
            template = copy.deepcopy(one["spec"]["template"])
            template["spec"].pop("priorityClassName", None)  # the class, and the account, are made by nobody here
            template["spec"].pop("serviceAccountName", None)
            about = {**template["metadata"], "name": "looked-at", "namespace": namespace}
            cluster.create(
                {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": template["spec"]}, dry_run=True
            )


def test_what_was_a_document_on_the_way_makes_the_same_objects() -> None:
    for one in PLANS.values():
        assert plan_run(RunObjects.from_document(one.to_document(), one.given)) == plan_run(one)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


@settings(deadline=None)
@given(text=TEXT, name=st.sampled_from(["annotation", "service_account", "selector", "image", "claim", "pull"]))
def test_no_text_is_more_than_the_value_that_it_is(text: str, name: str) -> None:
    def plan(value: str) -> list[dict[str, Any]]:
        plain = replace(pod(), envs={"A": "b"}, service_account="s", node_selector=[{"key": "k", "value": "v"}])
        changed: dict[str, Any] = {
            "annotation": {"pod": plain, "annotations": {"note": value}},
            "service_account": {"pod": replace(plain, service_account=value)},
            "selector": {"pod": replace(plain, node_selector=[{"key": "k", "value": value}])},
            "image": {"pod": replace(plain, image=value)},
            "claim": {"pod": replace(plain, cache_claim=value)},
            "pull": {"pod": replace(plain, pull_secrets=[value])},
        }[name]
        return plan_run(objects(**changed))

    marked = "UNLIKELY-7f3a"
    expected = [text if one == marked else one for one in strings(plan(marked))]
    if text or name not in ("service_account", "claim"):  # none is left out
        assert list(strings(plan(text))) == expected


@settings(deadline=None)
@given(TEXT, TEXT)
def test_labels_in_an_affinity_and_a_tolerations_key_stay_as_they_are_spelt(key: str, value: str) -> None:
    selector = {"match_labels": {"app_name": value, key: "x_y"}}
    term = {"topology_key": "a_b", "label_selector": selector, "namespace_selector": selector}
    affinity = {"pod_affinity": {"required_during_scheduling_ignored_during_execution": [term]}}
    toleration = {"key": f"{key}_k", "operator": "Exists", "effect": "NoExecute", "toleration_seconds": 0}
    made = plan_run(objects(replace(pod(), affinity=affinity, tolerations=[toleration])))
    spec = only(made, "Job")["spec"]["template"]["spec"]
    same = {"matchLabels": selector["match_labels"]}
    (found,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert found == {"topologyKey": "a_b", "labelSelector": same, "namespaceSelector": same}
    assert spec["tolerations"] == [
        {"key": f"{key}_k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}
    ]


def expanded(value: str, variables: dict[str, str]) -> str:
    """What a kubelet makes of a variable's value: $$ is $, $(NAME) the variable of that name where there is one."""

    def one(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, value, flags=re.DOTALL)


@settings(deadline=None)
@given(TEXT)
def test_a_variable_has_the_value_that_was_given_once_a_kubelet_has_read_it(text: str) -> None:
    env = main_of(plan_run(objects(replace(pod(), envs={"A": text, "B": "b"}))))["env"]
    found = {one["name"]: expanded(one["value"], {"NUWRAP_WORK": "/work"}) for one in env}
    assert (found["A"], found["B"], found["NUWRAP_WORK"]) == (text, "b", "/work")


@settings(deadline=None)
@given(TEXT)
def test_code_and_names_of_any_text_reach_the_pod_as_they_are(text: str) -> None:
    made = plan_run(objects(pod(), project=text, launch={**LAUNCH, "code": text}))
    assert json.loads(base64.b64decode(only(made, "Secret")["data"]["launch.json"]))["code"] == text
    about = only(made, "Job")["metadata"]
    assert text in (about["annotations"].get("nuwrap.dev/exact-project"), about["labels"].get("nuwrap.dev/project"), "")


@settings(deadline=None)
@given(TEXT)
def test_a_name_of_any_text_is_a_label_and_a_dns_label(text: str) -> None:
    value, name = label_value(text), object_name(text)
    assert len(value) <= 63
    assert len(name) <= 63
    assert not value or (value[0].isalnum() and value[-1].isalnum() and value.isascii())
    assert not name or (name == name.lower() and name[0].isalnum() and name[-1].isalnum() and name.isascii())


def test_names_that_look_alike_once_they_are_safe_stay_two() -> None:
    assert label_value("a/b") != label_value("a b")
    assert object_name("My_Fn") != object_name("my-fn")
    assert object_name("x" * 70) != object_name("x" * 71)


def test_memory_that_is_asked_for_is_the_limit_and_a_processor_has_none() -> None:
    made = main_of(plan_run(objects(pod(resources={"cpu": "500m", "mem": "1.5Gi", "gpu": 1}))))
    assert made["resources"]["requests"] == {"cpu": "500m", "memory": "1.5Gi", "nvidia.com/gpu": "1"}
    assert made["resources"]["limits"] == {"memory": "1.5Gi", "nvidia.com/gpu": "1"}
    nested = main_of(plan_run(objects(pod(resources={"cpu": {"requests": "1", "limits": "2"}}))))
    assert (nested["resources"]["requests"]["cpu"], nested["resources"]["limits"]["cpu"]) == ("1", "2")


def test_source_credentials_are_the_fetching_containers_alone() -> None:
    spec = only(manifests("foreign"), "Job")["spec"]["template"]["spec"]
    secrets = {
        one["name"]: [source["secretRef"]["name"] for source in one["envFrom"]]
        for one in [*spec["initContainers"], *spec["containers"]]
    }
    assert secrets == {"runtime": [], "fetch": [f"nuwrap-{RUN}-source", "store"], "main": ["store"]}


def test_an_own_image_that_needs_no_credentials_has_no_init_container() -> None:
    spec = only(manifests("job"), "Job")["spec"]["template"]["spec"]
    assert "initContainers" not in spec
    assert spec["containers"][0]["image"] == IMAGE


def test_a_users_label_never_replaces_ours_nor_is_taken_for_one() -> None:
    given = {"nuwrap.dev/run": "other", "nuwrap.dev/user": "ada", "nuwrap.dev/kind": "secrets", "team": "blue"}
    for one in plan_run(objects(pod(), labels=given)):
        labels = one["metadata"]["labels"]
        assert (labels["nuwrap.dev/run"], labels["team"]) == (RUN, "blue")
        assert not {"nuwrap.dev/user", "nuwrap.dev/kind"} & set(labels)


def test_a_folder_of_an_image_is_mounted_alone() -> None:
    spec = {"image": "registry.example/models:1", "sub_path": "small"}
    image = {"volume_type": "image", "name": "models", "mount_path": "/models", "spec": spec}
    made = main_of(plan_run(objects(pod(volumes=[image]))))
    assert {"name": "models", "mountPath": "/models", "subPath": "small"} in made["volumeMounts"]


def test_only_what_the_cluster_took_away_is_made_anew_and_as_often_as_is_asked() -> None:
    assert "podFailurePolicy" not in only(manifests("job"), "Job")["spec"]
    spec = only(manifests("evictions"), "Job")["spec"]
    assert spec["backoffLimit"] == 2
    own, taken, failed = spec["podFailurePolicy"]["rules"]
    assert (own["action"], own["onExitCodes"]["operator"]) == ("FailJob", "In")  # first: be the pod taken or not
    assert not {0, 137, 143} & set(own["onExitCodes"]["values"])  # of what the cluster ends
    assert (taken["action"], taken["onPodConditions"][0]["type"]) == ("Count", "DisruptionTarget")
    assert failed == {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}}  # of any container


def test_a_claim_that_is_read_and_written_is_one_volume_and_inputs_cannot_be_changed() -> None:
    spec = only(manifests("claims"), "Job")["spec"]["template"]["spec"]
    claims = {one["name"]: one["persistentVolumeClaim"]["claimName"] for one in spec["volumes"] if "claim" in str(one)}
    assert sorted(claims.values()) == ["data", "team"]

    def places(container: dict[str, Any]) -> dict[str, tuple[str, bool]]:
        mounts = [one for one in container["volumeMounts"] if one["name"] in claims]
        return {one["mountPath"]: (claims[one["name"]], one.get("readOnly", False)) for one in mounts}

    read = {"/run/nuwrap-claims/read/data": ("data", True), "/run/nuwrap-claims/read/team": ("team", True)}
    fetch = next(one for one in spec["initContainers"] if one["name"] == "fetch")
    assert places(fetch) == read
    assert places(spec["containers"][0]) == {**read, "/run/nuwrap-claims/write/team": ("team", False)}


def test_a_service_with_gpus_ends_the_old_pod_first() -> None:
    rolling = {
        name: only(manifests(name), "Deployment")["spec"]["strategy"]["rollingUpdate"]
        for name in ("service", "gpu-service")
    }
    assert rolling["service"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert rolling["gpu-service"] == {"maxUnavailable": 1, "maxSurge": 0}


def test_a_service_is_found_under_its_stable_name_too() -> None:
    services = [one for one in manifests("service") if one["kind"] == "Service"]
    assert [one["metadata"]["name"] for one in services] == [f"nuwrap-{RUN}", "fn-live"]
    assert {one["spec"]["type"] for one in services} == {"NodePort"}


@settings(deadline=None)
@given(TEXT)
def test_a_services_name_begins_with_a_letter(text: str) -> None:
    name = service_name(f"{text}-live")
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name)
    assert service_name("2023-model") != service_name("s-2023-model")


def test_secrets_are_shown_by_their_size() -> None:
    (secret,) = [one for one in plan_run(objects(pod(), launch={**LAUNCH, "parameters": {"p": "hidden"}}))
                 if one["kind"] == "Secret"]  # fmt: skip
    assert b"hidden" in base64.b64decode(secret["data"]["launch.json"])
    shown = hide_secrets(secret)
    assert shown["data"]["given-0"] == "(2 bytes)"
    assert "hidden" not in str(shown)


def test_what_belongs_to_a_run_says_so() -> None:
    (secret,) = [one for one in manifests("job") if one["kind"] == "Secret"]
    owned = own(secret, "nuwrap-x", "Job", "uid")
    assert owned["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "nuwrap-x", "uid": "uid"}
    ]
    assert "ownerReferences" not in secret["metadata"]


def test_a_start_has_as_long_as_is_asked_for() -> None:
    made = main_of(plan_run(objects(pod("serve"), action="serve", serving=Serving(start_s=60))), "Deployment")
    probe = made["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 60
