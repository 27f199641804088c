"""The one table of fields: whole, as the specification has it, and what each platform does with each field."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from nuwrap.errors import SpecError
from nuwrap.sdk import arguments
from nuwrap.spec.fields import _REASONS, FIELDS, PLATFORMS, json_schema, platform_notes
from nuwrap.spec.function import Function, make_function
from nuwrap.spec.run_values import RunValues, make_run_values
from nuwrap_runtime.schema import faults

DOCS = Path(__file__).parent.parent.parent / "docs"
GOOD = {"name": "fn", "kind": "python", "handler": "f", "python_version": "PYTHON3_10", "code": "def f(): return 7"}

# The specification's tables.
FUNCTION = (
    "project name kind uuid description labels embedded code_src code base64 handler init_function python_version lang"
    " image base_image requirements"
)
TASK = (
    "action node_selector volumes resources affinity tolerations envs secrets profile replicas service_type"
    " instructions"
)
RUN = "local_execution inputs parameters init_parameters"
# Issue 7's own, `host` of issue 8, those of images (issue 9), `triggers` of issue 10.
OURS = (
    "platform workers concurrency timeout_s grace_s max_inflight service_name run_as_user run_as_group fs_group"
    " priority_class object_labels object_annotations port admin_port address access_log max_body_bytes output_path"
    " python refresh host engine push rebuild refresh_code destinations tar_path oci_path triggers retry_evictions"
)


def names(*entities: str) -> set[str]:
    return {field.name for field in FIELDS if field.entity in entities}


def notes(platform: str, action: str = "serve", image: str = "", **fields: Any) -> list[str]:
    function = make_function({**GOOD, "image": image})
    return platform_notes(function, make_run_values(action, fields), platform)


def test_the_table_has_the_fields_of_specification_and_issue_and_no_other() -> None:
    assert names("function") == set(FUNCTION.split()) == set(Function.model_fields)
    assert names("task", "run") == {*TASK.split(), *RUN.split(), *OURS.split()} == set(RunValues.model_fields)
    assert names("task") >= set(TASK.split())
    assert names("run") >= set(RUN.split())
    assert len({(field.entity, field.name) for field in FIELDS}) == len(FIELDS)


def test_the_sdks_keywords_are_the_tables() -> None:
    assert set(arguments.FunctionFields.__annotations__) == names("function") - {"project", "name", "kind"}
    assert set(arguments.RunFields.__annotations__) == names("task", "run") - {"action"}


def test_the_fields_of_an_action_are_the_specifications() -> None:
    actions = {field.name: field.actions for field in FIELDS if field.entity != "function"}
    assert actions["replicas"] == actions["service_type"] == ("serve",)
    assert actions["instructions"] == ("build",)
    shared = set(TASK.split()) - {"replicas", "service_type", "instructions"}
    assert {actions[name] for name in shared} == {("job", "serve", "build")}


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: f"{field.entity}.{field.name}")
def test_every_field_says_what_it_is_and_what_is_allowed(field: Any) -> None:
    assert field.meaning
    assert field.allowed
    assert set(field.platforms) == set(PLATFORMS)


def test_a_model_inside_a_field_says_the_same_of_each_key() -> None:
    def models(model: type[BaseModel]) -> list[Any]:
        return [model, *(one for kind in model.__subclasses__() for one in models(kind))]

    shapes = [one for one in models(BaseModel) if one.__module__.startswith("nuwrap.spec")]
    assert len(shapes) > 20
    for shape in shapes:
        if "requests" not in shape.model_fields:
            assert all(info.description for info in shape.model_fields.values()), shape


# What platforms do.


def test_what_this_machine_does_not_use_is_one_warning() -> None:
    (text,) = notes(
        "local",
        image="h/i:1",
        replicas=2,
        service_type="NodePort",
        volumes=[{"volume_type": "empty_dir", "name": "x", "mount_path": "/x"}],
        resources={"cpu": 1, "gpu": 1},
        object_labels={"a": "b"},
        workers=3,
        envs=[{"name": "A", "value": "b"}],
    )
    assert text == (
        "recorded, but not used: volumes, resources.cpu, replicas, service_type, object_labels, image; 'local' runs"
        " processes of this machine, as you"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"replicas": 1},
        {"resources": {"gpu": 1}},
        {"volumes": [], "object_labels": {}},
        {"envs": [{"name": "A", "value": "b"}], "secrets": ["T"], "workers": 2, "address": "127.0.0.1", "timeout_s": 3},
    ],
    ids=str,
)
def test_what_this_machine_honours_is_no_warning(fields: dict[str, Any]) -> None:
    assert notes("local", **fields) == []


def test_a_cluster_takes_what_this_machine_only_records() -> None:
    assert notes("kubernetes", image="h/i:1", replicas=2, node_selector=[{"key": "a", "value": "b"}]) == []
    assert notes("nuclio", max_inflight=3)[0].startswith("recorded, but not used: max_inflight; 'nuclio'")


def test_what_nuclios_processor_does_not_use_on_this_machine_is_a_warning_of_its_own() -> None:
    given = {"access_log": True, "max_inflight": 3, "concurrency": 4, "admin_port": 0, "address": "127.0.0.1"}
    assert notes("local", host="nuwrap", **given) == []
    (text,) = notes("local", host="nuclio", **given)
    assert text == (
        "recorded, but not used: concurrency, max_inflight, access_log; 'nuclio' listens by its own processor"
    )
    assert len(notes("local", host="nuclio", replicas=2, access_log=True)) == 2


def test_what_a_platform_cannot_honour_is_refused_before_the_run() -> None:
    with pytest.raises(SpecError, match="address: platform 'kubernetes' cannot honour it; leave it out"):
        notes("kubernetes", address="127.0.0.1", replicas=2)


def test_a_container_of_this_machine_uses_all_but_what_is_a_clusters_and_the_disks_size() -> None:
    given = {
        "address": "127.0.0.1",
        "volumes": [{"volume_type": "empty_dir", "name": "x", "mount_path": "/x"}],
        "resources": {"cpu": 1, "mem": "1Gi", "gpu": 1, "disk": "1Gi"},
        "run_as_user": 1000,
        "fs_group": 1000,
        "replicas": 2,
    }
    (text,) = notes("docker", image="h/i:1", **given)
    assert text == (
        "recorded, but not used: resources.disk, replicas, fs_group; 'docker' runs containers of this machine"
    )


def test_every_platform_that_records_says_why() -> None:
    recording = {name for field in FIELDS for name, how in field.platforms.items() if how == "recorded"}
    assert recording == set(_REASONS)


# What is published.


def test_the_published_page_and_schemas_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "write_fields.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_schema_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(SpecError, match=r"no schema 'lunch'; allowed: function, run, launch, result; did you mean"):
        json_schema("lunch")


@pytest.mark.parametrize("name", ["function", "run", "launch", "result"])
def test_a_schema_is_a_valid_one(name: str) -> None:
    Draft202012Validator.check_schema(json_schema(name))


@pytest.mark.parametrize(
    ("document", "is_valid"),
    [
        ({"action": "job"}, True),
        ({"action": "job", "resources": {"cpu": 2, "mem": {"requests": "1Gi"}}}, True),
        ({"action": "job", "volumes": [{"volumeType": "empty_dir", "name": "x", "mountPath": "/x"}]}, True),
        ({"action": "job", "affinity": {"podAffinity": {}}, "inputs": {"x": "p.csv"}, "secrets": ["T"]}, True),
        ({"action": "jobb"}, False),
        ({"action": "serve", "replicas": 0}, False),
        ({"action": "serve", "port": 70000}, False),
        ({"action": "job", "paramters": {}}, False),
        ({"action": "job", "envs": [{"name": "1A", "value": ""}]}, False),
    ],
    ids=str,
)
def test_an_editor_says_what_we_say(document: dict[str, Any], is_valid: bool) -> None:
    assert Draft202012Validator(json_schema("run")).is_valid(document) is is_valid


def test_a_functions_schema_knows_its_sources() -> None:
    validator = Draft202012Validator(json_schema("function"))
    assert validator.is_valid(GOOD)
    assert not validator.is_valid({**GOOD, "code_src": "x.py"})
    assert not validator.is_valid({**GOOD, "python_version": "3.10"})
    assert faults({"api": "nuwrap/v1", "handler": "f", "code": "x"}, json_schema("launch")) == []
