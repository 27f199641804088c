"""What an administrator's profile makes of a pod."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from cluster_plans import PROFILE, manifests, objects, pod

from nuwrap.errors import PlatformError
from nuwrap.plan.kubernetes import plan_run
from nuwrap.plan.kubernetes.profiles import apply_profile, check_profile
from nuwrap.plan.kubernetes.request import SecretItem, Serving

NODE = {"match_expressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
AFFINITY = {"node_affinity": {"required_during_scheduling_ignored_during_execution": {"node_selector_terms": [NODE]}}}


def spec_with(profile: dict[str, Any], **fields: Any) -> dict[str, Any]:
    (job,) = [one for one in plan_run(objects(pod(more={"profile": profile}, **fields))) if one["kind"] == "Job"]
    return dict(job["spec"]["template"]["spec"])


def resources(profile: dict[str, Any], **asked: Any) -> dict[str, Any]:
    spec = spec_with({"resources": profile}, resources=asked)
    return dict(spec["containers"][0]["resources"])


def test_a_profile_is_over_the_users_values_and_stays_as_it_was() -> None:
    before = copy.deepcopy(PROFILE)
    (job,) = [one for one in manifests("profile") if one["kind"] == "Job"]
    spec = job["spec"]["template"]["spec"]
    assert before == PROFILE
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert [one["key"] for one in spec["tolerations"]] == ["spot", "gpu"]
    names = [one["name"] for one in spec["volumes"]]
    assert names.count("nuwrap-tmp") == 1
    assert {"name": "nuwrap-tmp", "emptyDir": {"medium": "Memory"}} in spec["volumes"]
    assert spec["containers"][0]["resources"]["limits"] == {"cpu": "4"}
    assert job["metadata"]["labels"]["cost-centre"] == "research"


def test_what_is_made_with_a_profile_shares_nothing_with_it() -> None:
    profile = {"pod": {"volumes": [{"name": "more", "emptyDir": {}}], "affinity": {"podAffinity": {}}}}
    before = copy.deepcopy(profile)
    made = apply_profile({"spec": {"containers": [], "volumes": []}}, profile)
    made["spec"]["volumes"][0]["emptyDir"]["medium"] = "Memory"
    made["spec"]["affinity"]["podAffinity"]["x"] = 1
    assert profile == before


def test_an_affinity_replaces_the_users_where_there_is_one() -> None:
    ours = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    assert spec_with({"pod": {"affinity": ours}}, affinity=AFFINITY)["affinity"] == ours
    assert list(spec_with({"pod": {"nodeSelector": {"a": "b"}}}, affinity=AFFINITY)["affinity"]) == ["nodeAffinity"]


def test_a_volume_and_a_variable_have_one_source() -> None:
    claim = {"name": "nuwrap-cache", "persistentVolumeClaim": {"claimName": "shared"}}
    address = {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    profile = {"pod": {"volumes": [claim], "containers": [{"name": "main", "env": [address]}]}}
    spec = spec_with(profile, envs=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
    assert [one for one in spec["volumes"] if one["name"] == "nuwrap-cache"] == [claim]
    env = spec["containers"][0]["env"]
    assert [one for one in env if one["name"] in ("A", "B")] == [address, {"name": "B", "value": "2"}]


def test_a_volume_may_be_mounted_twice() -> None:
    mounts = [{"name": "more", "mountPath": "/a"}, {"name": "more", "mountPath": "/b"}]
    more = {"volumes": [{"name": "more", "emptyDir": {}}], "containers": [{"name": "main", "volumeMounts": mounts}]}
    found = spec_with({"pod": more})["containers"][0]["volumeMounts"]
    assert found[-2:] == mounts
    assert "/work" in [one["mountPath"] for one in found]


def test_a_further_container_stands_beside_the_functions() -> None:
    more = {"name": "proxy", "image": "registry.example/proxy:1"}
    assert [one["name"] for one in spec_with({"pod": {"containers": [more]}})["containers"]] == ["main", "proxy"]


@pytest.mark.parametrize(
    ("profile", "asked", "memory"),
    [
        ({"requests": {"memory": "8Gi"}}, "2Gi", ("8Gi", "8Gi")),
        ({"limits": {"memory": "2Gi"}}, "8Gi", ("2Gi", "2Gi")),
        ({"limits": {"memory": "8Gi"}}, "2Gi", ("2Gi", "8Gi")),
        ({"requests": {"memory": "1Gi"}, "limits": {"memory": "4Gi"}}, "2Gi", ("1Gi", "4Gi")),
    ],
)
def test_what_the_user_asks_for_follows_the_profile_where_both_cannot_be(
    profile: dict[str, Any], asked: str, memory: tuple[str, str]
) -> None:
    made = resources(profile, mem=asked)
    assert (made["requests"]["memory"], made["limits"]["memory"]) == memory


def test_devices_are_as_many_as_the_profile_says() -> None:
    made = resources({"limits": {"nvidia.com/gpu": 2}}, gpu=1)
    assert (made["requests"]["nvidia.com/gpu"], made["limits"]["nvidia.com/gpu"]) == (2, 2)


def test_an_amount_that_is_none_is_left_for_the_server_to_name() -> None:
    assert resources({"limits": {"memory": "lots"}}, mem="1Gi")["limits"] == {"memory": "lots"}


def test_a_service_with_a_profiles_devices_ends_the_old_pod_first() -> None:
    profile = {"resources": {"limits": {"amd.com/gpu": "1"}}}
    made = plan_run(objects(pod("serve", more={"profile": profile}), action="serve", serving=Serving()))
    (deployment,) = [one for one in made if one["kind"] == "Deployment"]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


@pytest.mark.parametrize("profile", [{"pods": {}}, {"pod": []}])
def test_a_profile_of_other_parts_is_refused(profile: dict[str, Any]) -> None:
    with pytest.raises(PlatformError, match="allowed: annotations, labels, pod, resources"):
        check_profile("p", profile)


@pytest.mark.parametrize("part", ["labels", "annotations"])
def test_a_profile_names_nothing_that_is_ours(part: str) -> None:
    with pytest.raises(PlatformError, match=r"'nuwrap\.dev/run' is nuwrap's own"):
        check_profile("p", {part: {"nuwrap.dev/run": "x"}})


TOKEN = {"name": "token", "mountPath": "/var/run/secrets/vault"}


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({}, "/run/secrets"),
        ({"automountServiceAccountToken": True}, "/etc/nuwrap/secrets"),
        ({"containers": [{"name": "main", "volumeMounts": [TOKEN]}]}, "/etc/nuwrap/secrets"),
        ({"containers": [{"name": "main", "volumeMounts": [{**TOKEN, "mountPath": "/run/secretsy"}]}]}, "/run/secrets"),
    ],
    ids=["nothing", "the cluster's token", "one of its own", "another place"],
)
def test_secrets_make_room_for_what_a_profile_mounts_below_them(given: dict[str, Any], folder: str) -> None:
    planned = plan_run(objects(pod(more={"profile": {"pod": given}, "secrets": [SecretItem("TOKEN", "s", "TOKEN")]})))
    (job,) = [one for one in planned if one["kind"] == "Job"]
    main = job["spec"]["template"]["spec"]["containers"][0]
    assert {one["mountPath"] for one in main["volumeMounts"] if one["name"] == "nuwrap-secrets"} == {folder}
    assert {"name": "NUWRAP_SECRETS", "value": folder} in main["env"]
