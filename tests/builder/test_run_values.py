"""The values of a run: what is taken, in which spellings, and what every refusal says."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nuwrap.errors import SpecError
from nuwrap.plan.kubernetes.labels import exact_names, run_labels
from nuwrap.spec.quantities import quantity
from nuwrap.spec.run_values import RunValues, make_run_values

CLAIM = {"volume_type": "persistent_volume_claim", "name": "data", "mount_path": "/data"}
SCRATCH = {"volume_type": "empty_dir", "name": "scratch", "mount_path": "/scratch"}
ZONE = {"key": "zone", "operator": "In", "values": ["a"]}
KEY = "store://p/dataitem/table/raw:1"


class Entity:
    """What the SDK's entities are to a run: something with a key."""

    key = KEY


def refuse(action: Any = "job", /, **fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        make_run_values(action, fields)
    return str(caught.value)


def again(values: RunValues) -> RunValues:
    """What the history gives back."""
    return make_run_values(values.action, json.loads(json.dumps(values.given())))


def test_the_examples_of_the_specification_are_taken() -> None:
    assert make_run_values("job", {"inputs": {"dataitem": KEY}}).inputs == {"dataitem": KEY}
    assert make_run_values("build", {"instructions": ["apt-get install -y git"]}).instructions == (
        "apt-get install -y git",
    )
    served = make_run_values("serve", {"replicas": 2, "service_type": "NodePort"})
    assert (served.replicas, served.service_type) == (2, "NodePort")


def test_values_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_run_values("job", {}).timeout_s = 3


def test_none_is_not_given() -> None:
    values = make_run_values("job", {"inputs": None, "parameters": None, "replicas": None, "envs": None})
    assert (values.inputs, values.parameters, values.envs, values.given()) == ({}, {}, (), {})


def test_what_was_given_comes_back_from_the_history() -> None:
    values = make_run_values(
        "serve",
        {
            "resources": {"cpu": 2, "mem": "1.5Gi", "gpu": {"limits": 1}},
            "volumes": [{**SCRATCH, "mount_path": "/scratch/", "spec": {"sizeLimit": "1Gi"}}],
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}],
            "affinity": {"podAntiAffinity": {}},
            "envs": [{"name": "A", "value": "x y"}],
            "secrets": ["TOKEN", "TOKEN"],
            "parameters": {"x": (1, None)},
            "object_labels": {"team": "a"},
            "timeout_s": 2,
        },
    )
    assert values.given() == {
        "resources": {"cpu": "2", "mem": "1.5Gi", "gpu": {"limits": "1"}},
        "volumes": [{**SCRATCH, "spec": {"size_limit": "1Gi"}}],
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "toleration_seconds": 3}],
        "affinity": {"pod_anti_affinity": {}},
        "envs": [{"name": "A", "value": "x y"}],
        "secrets": ["TOKEN"],
        "parameters": {"x": [1, None]},
        "object_labels": {"team": "a"},
        "timeout_s": 2.0,
    }
    assert again(values).given() == values.given()


# Unknown, misplaced, missing.


def test_an_unknown_field_is_answered_with_the_nearest_one() -> None:
    said = refuse(paramters={}, foo=1, **{"\x1b[2J": 1})
    assert "paramters: unknown field; did you mean 'parameters'?" in said
    assert "foo: unknown field\n" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("action", "field", "value", "owner"),
    [
        ("job", "replicas", 2, "serve"),
        ("build", "service_type", "NodePort", "serve"),
        ("serve", "instructions", ["ls"], "build"),
        ("build", "inputs", {}, "job and serve"),
        ("serve", "output_path", "/o", "job"),
    ],
)
def test_a_field_of_another_action_is_told_where_it_belongs(action: str, field: str, value: Any, owner: str) -> None:
    assert f"{field}: belongs to action {owner}; this is {action}" in refuse(action, **{field: value})


@pytest.mark.parametrize("field", ["image", "handler", "requirements", "code_src"])
def test_a_field_of_the_function_is_told_where_it_belongs(field: str) -> None:
    assert f"{field}: belongs to the function; give it to new_function" in refuse(**{field: "x"})


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("jobb", "action: 'jobb' is none of these; did you mean 'job'?; allowed: job, serve, build"),
        (None, "action: is missing; allowed: job, serve, build"),
        (3, "action: 3 is none of these"),
    ],
)
def test_a_wrong_action_is_refused_and_the_fields_are_still_looked_at(action: Any, said: str) -> None:
    text = refuse(action, replicas=0, foo=1)
    assert said in text
    assert "replicas: 0 is less than 1" in text
    assert "foo: unknown field" in text


def test_all_faults_are_one_error() -> None:
    text = refuse(
        "serve",
        foo=1,
        replicas=-1,
        service_type="Foo",
        envs=[{"name": "1A", "value": 3}],
        volumes=[{**SCRATCH, "mount_path": "rel"}],
        instructions=["ls"],
        inputs={"x": KEY},
        parameters={"x": 1},
    )
    assert text.splitlines()[0] == "function.run is not valid:"
    assert sorted(line.split(": ")[0].strip() for line in text.splitlines()[1:]) == [
        "envs[0].name", "envs[0].value", "foo", "inputs.x", "instructions", "replicas", "service_type",
        "volumes[0].mount_path",
    ]  # fmt: skip


def test_the_origin_is_the_callers_to_name() -> None:
    with pytest.raises(SpecError, match=r"^nuwrap run is not valid:"):
        make_run_values("job", {"foo": 1}, origin="nuwrap run")


# Services.


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("replicas", 0, "0 is less than 1; allowed: a whole number, 1 or more"),
        ("replicas", -1, "-1 is less than 1"),
        ("replicas", True, "True is not a whole number"),
        ("replicas", 1.5, "1.5 is not a whole number"),
        ("service_type", "Foo", "'Foo' is none of these; allowed: ClusterIP, NodePort, LoadBalancer"),
        ("service_type", "ExternalName", "'ExternalName' is none of these"),
        ("service_type", "nodeport", "did you mean 'NodePort'?"),
        ("service_name", "A b", "'A b' has not the right form; allowed: lower-case letters"),
        ("port", 65536, "65536 is more than 65535; allowed: a whole number, 0 to 65535"),
        ("workers", "2", "'2' is not a whole number; allowed: a whole number, 1 to 256"),
        ("workers", 257, "257 is more than 256"),
        ("max_inflight", 0, "0 is less than 1"),
        ("timeout_s", 0, "0 is not more than 0; allowed: seconds, more than 0"),
        ("timeout_s", float("nan"), "nan is not a number that JSON has"),
        ("grace_s", -1, "-1 is less than 0"),
        ("address", "a\nb", "has not the right form; allowed: one line of plain text"),
        ("address", "", "address: is empty"),
        ("access_log", "yes", "'yes' is not true or false"),
        ("profile", "", "profile: is empty"),
    ],
)
def test_a_wrong_value_of_a_service_is_named_with_what_is_allowed(field: str, value: Any, said: str) -> None:
    assert said in refuse("serve", **{field: value})


def test_one_port_for_both_is_refused_but_any_free_one_is_not() -> None:
    assert "admin_port: 9000 is port too" in refuse("serve", port=9000, admin_port=9000)
    assert make_run_values("serve", {"port": 0, "admin_port": 0}).port == 0


def test_labels_and_annotations_of_our_own_are_nobody_elses_to_give() -> None:
    for key in run_labels("p", "f", "r", "job", 1, "ada"):
        said = refuse(object_labels={key: "x"})
        assert f"object_labels.{key}: {key!r} is " in said
        assert "cannot be taken for a name" in said
    for key in exact_names("é", "é"):
        assert f"{key!r} is nuwrap's own" in refuse(object_annotations={key: "x"})


@pytest.mark.parametrize(("field", "value"), [("run_as_user", 0), ("run_as_group", -5), ("fs_group", 2**31)])
def test_nobody_runs_as_root(field: str, value: int) -> None:
    assert f"{field}: {value} is" in refuse(**{field: value})


# Resources.


def test_flat_and_nested_resources_are_the_same() -> None:
    flat = make_run_values("job", {"resources": {"cpu": "500m", "mem": "1.5Gi", "gpu": 1, "disk": "10G"}}).resources
    nested = make_run_values(
        "job", {"resources": {name: {"requests": value} for name, value in flat.model_dump().items()}}
    ).resources
    assert flat == nested
    assert (flat.cpu.requests, flat.mem.requests, flat.gpu.requests) == ("500m", "1.5Gi", "1")
    both = make_run_values("job", {"resources": {"cpu": {"requests": "1", "limits": 2}}}).resources
    assert (both.cpu.requests, both.cpu.limits) == ("1", "2")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("2", 2), ("0.5", "0.5"), (".5", "0.5"), ("5.", 5), ("500m", "0.5"), ("1.5Gi", 1610612736),
        ("10G", 10**10), ("1e3", 1000), ("1E3", 1000), ("1E", 10**18), ("1k", 1000), ("1Ki", 1024), ("100n", "1e-7"),
        ("9E", 9 * 10**18), ("12e-1", "1.2"),
    ],
)  # fmt: skip
def test_a_quantity_is_read_as_kubernetes_does(text: str, number: Any) -> None:
    assert quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    ["", "abc", "a1b", "-1", "+1", "1 ", " 1", "10GB", "1K", "1ki", "1..2", ".", "1e", "1i", "0x1", "\u0661", "1\n"],
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no quantity|is empty"):
        quantity(text)


@pytest.mark.parametrize("text", ["8E", "8Ei", "1e999", "9223372036854775808"])
def test_a_quantity_ends_where_kubernetes_stops_counting(text: str) -> None:
    if text == "8E":
        assert quantity(text) == 8 * 10**18
    else:
        with pytest.raises(ValueError, match="more than Kubernetes can count"):
            quantity(text)


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"cpu": "a1b"}, "resources.cpu: 'a1b' is no quantity; allowed: cores, as 2, 0.5 or '500m'"),
        ({"mem": "-1"}, "resources.mem: '-1' is no quantity"),
        ({"cpu": -1}, "resources.cpu: '-1' is no quantity"),
        ({"foo": "1"}, "resources.foo: unknown key; allowed: cpu, mem, gpu, disk"),
        ({"memory": "1Gi"}, "resources.memory: unknown key; did you mean 'mem'?"),
        ({"mem": "10GB"}, "did you mean '10Gi'?"),
        ({"mem": "512m"}, "resources.mem: '512m' is 0.512 bytes; did you mean '512Mi'?"),
        ({"gpu": 0.5}, "resources.gpu: '0.5' is a part of a GPU"),
        ({"gpu": {"requests": 1, "limits": 2}}, "resources.gpu: requests '1' and limits '2' differ"),
        ({"mem": {"requests": "2Gi", "limits": "1Gi"}}, "requests '2Gi' are more than limits '1Gi'"),
        ({"cpu": {"requests": "1x"}}, "resources.cpu.requests: '1x' is no quantity"),
        ({"cpu": {"request": "1"}}, "resources.cpu.request: unknown key; did you mean 'requests'?"),
        ({"cpu": ""}, "resources.cpu: is empty"),
        ({"cpu": True}, "resources.cpu: True is not a mapping"),
        ({"cpu": float("nan")}, "resources.cpu: 'nan' is no quantity"),
        ("2", "resources: '2' is not a mapping; allowed: {cpu, mem, gpu, disk}"),
    ],
    ids=str,
)
def test_a_wrong_amount_is_refused_with_its_path(resources: Any, said: str) -> None:
    assert said in refuse(resources=resources)


@pytest.mark.parametrize(
    ("resources", "gpus"), [(None, 0), ({"cpu": 1}, 0), ({"gpu": 2}, 2), ({"gpu": {"limits": "1"}}, 1)]
)
def test_the_gpus_of_a_replica_are_counted(resources: Any, gpus: int) -> None:
    assert make_run_values("serve", {"resources": resources}).gpu == gpus


# Where pods stand.


def test_a_node_selector_has_each_key_once() -> None:
    (found,) = make_run_values("job", {"node_selector": [{"key": "disktype", "value": "ssd"}]}).node_selector
    assert (found.key, found.value) == ("disktype", "ssd")
    said = refuse(node_selector=[{"key": "a", "value": "b"}, {"key": "a", "value": "c"}])
    assert "node_selector[1].key: 'a' is that of node_selector[0] too; give each once" in said
    assert "node_selector: {'a': 'b'} is not a list; allowed: a list of {key, value}" in refuse(
        node_selector={"a": "b"}
    )
    assert "node_selector[0].value: is missing" in refuse(node_selector=[{"key": "example.com/a"}])
    assert "node_selector[0].key: 'é' has not the right form" in refuse(node_selector=[{"key": "é", "value": ""}])


@pytest.mark.parametrize(
    ("toleration", "said"),
    [
        ({"key": "gpu", "operator": "Exists", "value": "x"}, "operator Exists has no value"),
        ({"operator": "Equal"}, "has no key; only operator Exists goes without one"),
        ({"key": "a", "operator": "exist"}, "operator: 'exist' is none of these; did you mean 'Exists'?"),
        ({"key": "a", "effect": "NoRun"}, "effect: 'NoRun' is none of these"),
        ({"key": "a", "toleration_seconds": 3}, "toleration_seconds goes with effect NoExecute alone"),
        ({"key": "a", "tolerationSecond": 3}, "unknown key; did you mean 'toleration_seconds'?"),
    ],
)
def test_a_wrong_toleration_is_refused(toleration: dict[str, Any], said: str) -> None:
    text = refuse(tolerations=[{"operator": "Exists"}, toleration])
    assert text.splitlines()[1].startswith("  tolerations[1]")
    assert said in text


def test_affinity_is_taken_in_either_spelling_and_given_in_kubernetes_own() -> None:
    snake = {
        "node_affinity": {
            "required_during_scheduling_ignored_during_execution": {
                "node_selector_terms": [{"match_expressions": [ZONE]}]
            },
            "preferred_during_scheduling_ignored_during_execution": [
                {"weight": 1, "preference": {"match_expressions": [ZONE]}}  # one term: DigitalHub's client refuses it
            ],
        },
        "pod_anti_affinity": {
            "preferred_during_scheduling_ignored_during_execution": [
                {
                    "weight": 100,
                    "pod_affinity_term": {"topology_key": "zone", "label_selector": {"match_labels": {"my_key": "v"}}},
                }
            ]
        },
    }
    camel = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [ZONE]}]},
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [ZONE]}}
            ],
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"my_key": "v"}}},
                }
            ]
        },
    }
    for given in (snake, camel):
        affinity = make_run_values("job", {"affinity": given}).affinity
        assert affinity is not None
        assert affinity.to_kubernetes() == camel


def test_what_affinity_lacks_is_named_with_its_place() -> None:
    required = "required_during_scheduling_ignored_during_execution"
    said = refuse(
        affinity={"node_affinity": {required: {"node_selector_terms": []}}, "pod_affinity": {required: [{}]}, "pod": {}}
    )
    assert f"affinity.node_affinity.{required}.node_selector_terms: is empty" in said
    assert f"affinity.pod_affinity.{required}[0].topology_key: is missing; allowed: a label's key" in said
    assert "affinity.pod: unknown key" in said


# Volumes.


def test_every_type_of_volume_is_taken() -> None:
    values = make_run_values(
        "job",
        {
            "volumes": [
                {**CLAIM, "spec": {"size": "10Gi", "storageClass": "fast"}},
                {**SCRATCH, "spec": {"sizeLimit": "1Gi", "medium": "Memory"}},
                {"volume_type": "ephemeral", "name": "tmp", "mount_path": "/t", "spec": {"storage_class": "slow"}},
                {"volume_type": "shared_volume", "name": "team", "mount_path": "/shared/t", "spec": {"claimName": "x"}},
                {"volume_type": "image", "name": "m", "mount_path": "/m", "spec": {"image": "h/m:1", "subPath": "a"}},
                {"volumeType": "empty_dir", "name": "shm", "mountPath": "/dev/shm"},
            ]
        },
    )
    specs = [one.spec.model_dump(exclude_none=True) for one in values.volumes]
    assert specs == [
        {"size": "10Gi", "storage_class": "fast"},
        {"size_limit": "1Gi", "medium": "Memory"},
        {"storage_class": "slow"},
        {"claim_name": "x"},
        {"image": "h/m:1", "sub_path": "a"},
        {},
    ]
    assert again(values) == values


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mount_path": "/shared"}, "'/shared' is reserved"),
        ({"mount_path": "/shared/"}, "'/shared/' is reserved"),
        ({"mount_path": "//shared"}, "'//shared' is reserved"),
        ({"mount_path": "/init-config-map/x"}, "is reserved, it would hide '/init-config-map'"),
        ({"mount_path": "/opt"}, "is reserved, it would hide '/opt/"),
        ({"mount_path": "/"}, "is reserved"),
        ({"mount_path": "/etc/passwd"}, "is reserved"),
        ({"mount_path": "data"}, "'data' is no absolute path; allowed: an absolute path"),
        ({"mount_path": "/a/../b"}, "is no absolute path"),
        ({"mount_path": "/a:b"}, "is no absolute path"),
        ({"mount_path": ""}, "mount_path: is empty"),
        ({"mount_path": ...}, "mount_path: is missing"),
        ({"name": "Data_1"}, "'Data_1' has not the right form; allowed: lower-case letters"),
        ({"name": "shared-dir"}, "'shared-dir' is reserved"),
        ({"name": "d" * 30}, "has 30 characters; allowed: 23 at most"),
        ({"volume_type": "secret"}, "'secret' is refused: a run mounts none of them"),
        ({"volume_type": "config_map"}, "'config_map' is refused"),
        ({"volume_type": "emptydir"}, "did you mean 'empty_dir'?"),
        (
            {"volume_type": "empty_dir", "spec": {"size": "1Gi"}},
            "size does not go with empty_dir; allowed: medium, size",
        ),
        ({"spec": {"claim_name": "x"}}, "claim_name does not go with persistent_volume_claim"),
        ({"spec": {"size": "0"}}, "spec.size: '0' is no size"),
        ({"spec": {"size": "10gb"}}, "did you mean '10Gi'?"),
        ({"spec": {"sise": "1Gi"}}, "spec.sise: unknown key; did you mean 'size'?"),
        ({"spec": {"storage_class": "a", "storageClass": "b"}}, "storage_class and storageClass are both given"),
        ({"volume_type": "image"}, "spec.image is missing"),
        ({"mount_pth": "/x"}, "unknown key; did you mean 'mount_path'?"),
    ],
    ids=str,
)
def test_a_wrong_volume_is_refused_with_its_place(changes: dict[str, Any], said: str) -> None:
    volume = {name: value for name, value in {**CLAIM, **changes}.items() if value is not ...}
    text = refuse(volumes=[SCRATCH, volume])
    assert text.splitlines()[1].startswith("  volumes[1]")
    assert said in text


def test_volumes_have_names_and_places_of_their_own() -> None:
    said = refuse(volumes=[CLAIM, {**SCRATCH, "name": "data"}, {**SCRATCH, "mount_path": "/data/"}])
    assert "volumes[1].name: 'data' is that of volumes[0] too" in said
    assert "volumes[2].mount_path: '/data/' is that of volumes[0] too" in said


def test_a_long_name_is_refused_for_claims_alone() -> None:
    assert make_run_values("job", {"volumes": [{**SCRATCH, "name": "s" * 63}, {**CLAIM, "name": "d" * 23}]}).volumes


# Environment and secrets.


@pytest.mark.parametrize("name", ["PROJECT_NAME", "RUN_ID", "NUWRAP_LAUNCH", "NUWRAP_"])
def test_names_of_our_own_are_reserved(name: str) -> None:
    assert f"envs[0].name: '{name}' is reserved" in refuse(envs=[{"name": name, "value": "x"}])


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"name": "1A", "value": ""}, "envs[0].name: '1A' has not the right form"),
        ({"name": "A-B", "value": ""}, "envs[0].name: 'A-B' has not"),
        ({"name": "", "value": ""}, "envs[0].name: is empty"),
        ({"name": "A\n", "value": ""}, "has not the right form"),
        ({"name": "A"}, "envs[0].value: is missing"),
        ({"name": "A", "value": 3}, "envs[0].value: 3 is not a string; allowed: text; write a number in quotes"),
        ({"name": "A", "value": "a\0b"}, "is not text that an environment can hold"),
        ({"name": "A", "valu": "x"}, "unknown key; did you mean 'value'?"),
    ],
)
def test_a_wrong_variable_is_refused(env: dict[str, Any], said: str) -> None:
    assert said in refuse(envs=[env])


def test_a_variable_is_given_once_and_is_no_secret() -> None:
    said = refuse(envs=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], secrets=["A"])
    assert "envs[1].name: 'A' is that of envs[0] too" in said
    assert "envs[0].name: 'A' is in secrets too" in said


def test_a_variable_stays_in_an_image_when_it_is_asked_to() -> None:
    env = {"name": "MODE", "value": "prod", "persist": True}
    assert make_run_values("build", {"envs": [env]}).envs[0].persist
    assert "envs[0].persist: belongs to action build; this is serve" in refuse("serve", envs=[env])


def test_a_secrets_value_is_never_shown() -> None:
    for secrets in ({"TOKEN": "hunter2!"}, ["hunter2!"], ["hunter2!\n", 3]):
        said = refuse(secrets=secrets)
        assert "allowed: a list of names, never of values" in said
        assert "hunter2" not in said
    assert "hunter2" not in refuse(envs={"TOKEN": "hunter2!"})


# What the function gets.


def test_inputs_are_keys_paths_addresses_and_entities(tmp_path: Path) -> None:
    inputs = {"a": KEY, "b": "store://p/model/sklearn/m", "c": tmp_path, "d": "s3://b/x.csv", "é": Entity()}
    values = make_run_values("job", {"inputs": inputs})
    assert values.inputs["c"] == str(tmp_path)
    assert values.given()["inputs"] == {**inputs, "c": str(tmp_path), "é": KEY}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "inputs.di: 3 is neither a key, a path, an address nor an entity; allowed: store://project/"),
        ("", "inputs.di: '' is neither"),
        ("store://p/x", "inputs.di: 'store://p/x' has not the form of a key; allowed: store://project/"),
        ("store://p/run/job/x:1", "has not the form of a key"),
        ("ftp://h/x", "inputs.di: 'ftp://h/x' has a scheme that inputs have not; allowed: "),
        ("ftp://me:hunter2@h/x", "'ftp://***@h/x' has a scheme"),
    ],
)
def test_another_input_is_refused_with_its_argument_and_the_forms(value: Any, said: str) -> None:
    assert said in refuse(inputs={"di": value})


@pytest.mark.parametrize("field", ["inputs", "parameters", "init_parameters"])
def test_an_argument_has_a_python_name(field: str) -> None:
    said = refuse(**{field: {"class-x": KEY, "1": KEY, 2: KEY}})
    assert f"{field}.class-x: 'class-x' has not the right form for a name; allowed: a Python name" in said
    assert f"{field}.2: 2 is not a string for a name" in said


def test_a_name_is_an_input_or_a_parameter() -> None:
    assert "inputs.x: is in parameters too; one name has one value" in refuse(inputs={"x": KEY}, parameters={"x": 1})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "parameters.x: nan is not a number that JSON has"),
        ({1, 2}, "parameters.x: {1, 2} is a set; allowed: values that JSON has"),
        ([1, {"z": b""}], "parameters.x: at [1].z: b'' is a bytes"),
        ("\ud800", "half a character"),
    ],
)
def test_a_parameter_is_a_json_value(value: Any, said: str) -> None:
    assert said in refuse(parameters={"x": value})


@pytest.mark.parametrize(
    ("instruction", "said"),
    [
        ("ls\nUSER root", "has a line break; give each command its own entry"),
        ("ls\u2028USER root", "has a line break"),
        ("ls \\", "ends with a backslash"),
        ("  ", "is empty"),
        (3, "3 is not a string"),
    ],
)
def test_an_instruction_is_one_line(instruction: Any, said: str) -> None:
    text = refuse("build", instructions=["apt-get update", instruction])
    assert text.splitlines()[1].startswith("  instructions[1]: ")
    assert said in text


def test_this_machine_and_another_platform_are_a_contradiction() -> None:
    assert "platform: 'docker' and local_execution are both given" in refuse(local_execution=True, platform="docker")
    assert make_run_values("job", {"local_execution": True, "platform": "local"}).platform == "local"


def test_paths_are_taken_as_objects_too(tmp_path: Path) -> None:
    assert make_run_values("job", {"output_path": tmp_path, "python": tmp_path}).output_path == str(tmp_path)
