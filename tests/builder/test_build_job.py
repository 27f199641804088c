"""A build as a Job: its manifest, and what it never has in it."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_plans import BUILD, build_job, pod
from lab import wait_until
from orders import make_order

from nuwrap.builds.document import BuildDocument, write_document
from nuwrap.builds.in_cluster import Wanted, settle_in_cluster
from nuwrap.builds.lost import remove_lost
from nuwrap.engines.kaniko_answers import keep_answers, kept_answers
from nuwrap.engines.kaniko_argv import build_environment
from nuwrap.engines.kaniko_room import Room, RoomFile, pack
from nuwrap.errors import UsageError
from nuwrap.plan.kubernetes.build_job import SILENCE_S, BuildPlace, plan_build_job, plan_questions, unpacking
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


def test_secrets_of_the_namespace_are_files_of_the_executors_alone() -> None:
    spec = spec_of(plan_build_job(replace(BUILD, secrets={"A": "team", "B": "other"}), "/kaniko/nuwrap", [], {}))
    (volume,) = [one for one in spec["volumes"] if "projected" in one]
    mounts = {one["name"]: one["volumeMounts"] for one in (*spec["initContainers"], *spec["containers"])}
    assert [one["name"] for one in mounts["fill"]] == ["nuwrap-room"]
    assert [one["secret"]["name"] for one in volume["projected"]["sources"]] == ["team", "other"]
    assert {one["mountPath"]: one["subPath"] for one in mounts["main"] if one["name"] == volume["name"]} == {
        "/kaniko/nuwrap/secrets/A": "A", "/kaniko/nuwrap/secrets/B": "B",
    }  # fmt: skip


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


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """Starts the container's wait for `tmp_path/room`, so many tenths of a second long; `tmp_path/end` is its end."""
    command = spec_of(build_job())["initContainers"][0]["command"]
    text = command[2].replace("$$", "$").replace("/dev/termination-log", str(tmp_path / "end"))
    (tmp_path / "room").mkdir()
    with ExitStack() as started:

        def start(tenths: int) -> subprocess.Popen[bytes]:
            short = text.replace(f"left={SILENCE_S * 10}", f"left={tenths}")
            assert short != text
            argv = ["sh", "-c", short, "wait", str(tmp_path / "room")]
            process = started.enter_context(subprocess.Popen(argv))
            started.callback(process.kill)
            return process

        yield start


def test_a_builder_of_whom_nothing_comes_is_not_waited_for(
    waiting: Callable[[int], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    assert waiting(3).wait(30) == 1
    assert "its builder is gone" in (tmp_path / "end").read_text()


def test_a_context_may_take_its_time_and_ends_the_wait(
    waiting: Callable[[int], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    room, packed = tmp_path / "room", io.BytesIO()
    pack(packed, [RoomFile(str(room / "context"), b"it")])
    with subprocess.Popen(unpacking(str(room)), stdin=subprocess.PIPE) as sending:
        wait_until((room / "filling").exists)
        process = waiting(3)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        assert sending.stdin
        sending.stdin.write(packed.getvalue())
        sending.stdin.close()
        assert (sending.wait(30), process.wait(30)) == (0, 0)
    assert (room / "context").read_bytes() == b"it"


def test_a_context_that_breaks_off_is_none(waiting: Callable[[int], subprocess.Popen[bytes]], tmp_path: Path) -> None:
    packed = io.BytesIO()
    pack(packed, [RoomFile(str(tmp_path / "room" / "context"), b"it" * 5000)])
    half = packed.getvalue()[:2000]
    assert subprocess.run(unpacking(str(tmp_path / "room")), input=half, check=False).returncode
    assert waiting(3).wait(30) == 1


def lost(folder: Path, **settings: Any) -> str:
    """Say what becomes of what a build with these settings has left; its cluster cannot be reached."""
    plan = replace(make_order(folder, ["FROM scratch"], destinations=["r.example/x:1"], environ={}).plan, steps=())
    document = BuildDocument("p", "f", BUILD.run, "kaniko", "", plan, BuildSettings(**settings))
    write_document(str(folder), document)
    return remove_lost(str(folder), {"KUBECONFIG": str(folder / "none")})


def test_a_job_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    told = lost(tmp_path, cluster=BUILD.to_document())
    assert f"Job '{BUILD.name}' of namespace '{BUILD.namespace}' could not be removed" in told
    assert "there is no kubeconfig" in told


def test_no_cluster_is_asked_about_a_build_of_this_machine_or_one_that_has_told_its_end(tmp_path: Path) -> None:
    assert remove_lost(str(tmp_path), {}) == ""
    (tmp_path / "here").mkdir()
    assert lost(tmp_path / "here") == ""
    (tmp_path / "ended").mkdir()
    (tmp_path / "ended" / "result.json").write_text("{}")
    assert lost(tmp_path / "ended", cluster=BUILD.to_document()) == ""
