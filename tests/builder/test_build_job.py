"""A build as a Job: its manifest, and what it never has in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_plans import BUILD, build_job, pod
from orders import make_order

from nuwrap.builds.in_cluster import Wanted, settle_in_cluster
from nuwrap.engines.kaniko_answers import keep_answers, kept_answers
from nuwrap.engines.kaniko_argv import build_environment
from nuwrap.engines.kaniko_room import Room
from nuwrap.errors import UsageError
from nuwrap.plan.kubernetes.build_job import BuildPlace, plan_build_job, plan_questions
from nuwrap.spec.build import BuildSettings, RegistryAccess
from nuwrap.spec.document import load_documents
from nuwrap.spec.function import make_function
from nuwrap.spec.run_values import make_run_values
from nuwrap.store.config import read_config

GOLDEN = Path(__file__).parent / "golden" / "kubernetes"


def spec_of(job: dict[str, Any]) -> dict[str, Any]:
    return dict(job["spec"]["template"]["spec"])


def test_a_build_has_the_job_of_its_golden_file() -> None:
    assert [build_job()] == load_documents(GOLDEN / "build.yaml")


def test_what_was_a_document_on_the_way_makes_the_same_job() -> None:
    again = BuildPlace.from_document(BUILD.to_document())
    assert plan_build_job(again, "/kaniko/nuwrap", [], {}) == plan_build_job(BUILD, "/kaniko/nuwrap", [], {})


def test_neither_arguments_nor_variables_are_what_kubernetes_would_make_of_them() -> None:
    job = plan_build_job(BUILD, "/kaniko/nuwrap", ["--label=a=$(HOME)$$"], {"ARG": "$(PATH)"})
    (main,) = spec_of(job)["containers"]
    assert main["args"] == ["--label=a=$$(HOME)$$$$"]
    assert {"name": "ARG", "value": "$$(PATH)"} in main["env"]


def test_instructions_get_no_token_of_the_cluster() -> None:
    assert spec_of(build_job())["automountServiceAccountToken"] is False


def test_the_log_ins_of_a_secret_are_the_executors_alone() -> None:
    spec = spec_of(plan_build_job(replace(BUILD, push_secret="team"), "/kaniko/nuwrap", [], {}))  # noqa: S106
    (volume,) = [one for one in spec["volumes"] if "secret" in one]
    mounts = {one["name"]: one["volumeMounts"] for one in (*spec["initContainers"], *spec["containers"])}
    assert volume["secret"] == {
        "secretName": "team", "items": [{"key": ".dockerconfigjson", "path": "config.json"}],
    }  # fmt: skip
    assert [one["name"] for one in mounts["fill"]] == ["nuwrap-room"]
    assert {"name": volume["name"], "mountPath": "/kaniko/nuwrap/docker", "readOnly": True} in mounts["main"]


def test_a_profile_says_where_the_executor_stands_and_what_it_gets() -> None:
    profile = {"pod": {"hostNetwork": True}, "resources": {"limits": {"memory": "4Gi"}}}
    spec = spec_of(plan_build_job(replace(BUILD, pod=pod(more={"profile": profile})), "/kaniko/nuwrap", [], {}))
    assert spec["hostNetwork"] is True
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "4Gi"}


def test_a_pod_that_only_asks_is_none_of_the_builds_own() -> None:
    asking = plan_questions(BUILD, "ask", {"main": "--help", "version": "version"})
    (job,) = [build_job()]
    assert asking["metadata"]["labels"]["nuwrap.dev/action"] == "ask"
    assert job["spec"]["template"]["metadata"]["labels"]["nuwrap.dev/action"] == "build"
    assert {one["name"]: one["args"] for one in asking["spec"]["containers"]} == {
        "main": ["--help"], "version": ["version"],
    }  # fmt: skip


def test_no_log_in_of_this_machine_is_a_variable_of_the_pod(tmp_path: Path) -> None:
    environ = {
        "AWS_SECRET_ACCESS_KEY": "hidden", "CI_JOB_TOKEN": "hidden", "HTTPS_PROXY": "http://ada:hidden@proxy",
        "FF_KANIKO_NEW": "1", "SOURCE_DATE_EPOCH": "7",
    }  # fmt: skip
    order = make_order(
        tmp_path, ["FROM scratch"], destinations=["r.example/x:1"], environ=environ,
        settings=BuildSettings(cluster=BUILD.to_document()),
    )  # fmt: skip
    found = build_environment(order, Room("/kaniko/nuwrap"))
    assert "hidden" not in str(found)
    assert (found["FF_KANIKO_NEW"], found["SOURCE_DATE_EPOCH"]) == ("1", "7")


def test_the_key_of_a_registry_is_not_sent_unasked(tmp_path: Path) -> None:
    access = RegistryAccess(client_certificates={"r.example": ("cert.pem", "key.pem")})
    code = {"code": "def f(): pass", "handler": "f", "python_version": "PYTHON3_11"}
    function = make_function({"name": "f", "kind": "python", "project": "p", **code})
    values = make_run_values("build", {}, origin="the build")
    settings = read_config(str(tmp_path)).values
    wanted = Wanted(function, values, settings, "run", 1, {}, {}, lambda _text: None)
    with pytest.raises(UsageError, match=r"the key for r\.example is not sent.*kubernetes\.send_secrets"):
        settle_in_cluster(BuildSettings(access=access), wanted)


def test_answers_of_an_executor_are_kept_by_image(tmp_path: Path) -> None:
    pinned, folder = "r.example/kaniko@sha256:" + "1" * 64, str(tmp_path / "cache")
    assert kept_answers(folder, pinned) == {}
    keep_answers(folder, pinned, {"version": "1"})
    assert kept_answers(folder, pinned) == {"version": "1"}
    assert kept_answers(folder, "r.example/kaniko:other") == {}


def test_answers_of_a_tag_are_asked_for_again_after_a_day(tmp_path: Path) -> None:
    import os
    import time

    for image in ("r.example/kaniko:1", "r.example/kaniko@sha256:" + "1" * 64):
        keep_answers(str(tmp_path), image, {"version": "1"})
    yesterday = time.time() - 25 * 3600
    for path in (tmp_path / "kaniko").iterdir():
        os.utime(path, (yesterday, yesterday))
    assert kept_answers(str(tmp_path), "r.example/kaniko:1") == {}
    assert kept_answers(str(tmp_path), "r.example/kaniko@sha256:" + "1" * 64) == {"version": "1"}


def test_damaged_answers_are_none(tmp_path: Path) -> None:
    keep_answers(str(tmp_path), "x", {"version": "1"})
    (path,) = (tmp_path / "kaniko").iterdir()
    for text in ("{", "[]", '{"version": 1}'):
        path.write_text(text)
        assert kept_answers(str(tmp_path), "x") == {}
