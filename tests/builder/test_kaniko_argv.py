"""kaniko's command line and environment from an order: pure, and without any value that is nobody's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from orders import make_order

from nuwrap.engines import Order
from nuwrap.engines.kaniko_argv import Executor, build_arguments, build_environment, read_help
from nuwrap.engines.kaniko_flags import FLAGS, REFUSED
from nuwrap.engines.kaniko_room import Room, without_labels
from nuwrap.errors import BuildError, UsageError
from nuwrap.spec.build import BuildSettings, RegistryAccess

LOGS = Path(__file__).parent / "kaniko_logs"
ROOM = Room("/kaniko/nuwrap")
LINES = ["# base", "FROM registry.example/python:3.11", "# code", "COPY code /opt/function"]


def executor(name: str = "fork", version: str = "Kaniko version :  v1.28.3\n") -> Executor:
    return read_help((LOGS / f"help-{name}.txt").read_text(), version)


def order(folder: Path, *, environ: Mapping[str, str] | None = None, **more: Any) -> Order:
    more = {"destinations": ["registry.example/team/clean:1"], "push": True, **more}
    return make_order(folder, LINES, environ=environ or {}, **more)


def arguments(folder: Path, *, name: str = "fork", archive: bool = False, **more: Any) -> list[str]:
    return list(build_arguments(order(folder, **more), ROOM, executor(name), archive=archive).argv)


def test_a_plain_push_has_the_checks_and_retries_and_no_risk(tmp_path: Path) -> None:
    assert arguments(tmp_path, settings=BuildSettings()) == [
        "--log-format=json",
        "--context=dir:///kaniko/nuwrap/context",
        "--dockerfile=/kaniko/nuwrap/Dockerfile",
        "--destination=registry.example/team/clean:1",
        "--digest-file=/kaniko/nuwrap/digest",
        "--image-name-tag-with-digest-file=/kaniko/nuwrap/names",
        "--image-download-retry=3",
        "--image-fs-extract-retry=3",
        "--push-retry=3",
    ]


def test_values_of_build_arguments_and_secrets_are_in_no_argument(tmp_path: Path) -> None:
    made = order(tmp_path, build_args={"INDEX": "one value"}, secrets={"TOKEN": "another"})
    argv = build_arguments(made, ROOM, executor()).argv
    assert {"--build-arg=INDEX", "--secret=id=TOKEN,src=/kaniko/nuwrap/secrets/TOKEN"} <= set(argv)
    assert "one value" not in " ".join(argv)
    assert "another" not in " ".join(argv)
    environment = build_environment(made, ROOM)
    assert environment["INDEX"] == "one value"
    assert "another" not in environment.values()


def test_without_a_push_nothing_goes_to_a_registry(tmp_path: Path) -> None:
    argv = arguments(tmp_path, push=False, archive=True, settings=BuildSettings(cache_repo="registry.example/cache"))
    assert {"--no-push=true", "--no-push-cache=true", "--cache=true", "--tar-path=/kaniko/nuwrap/image.tar"} <= set(
        argv
    )


def test_what_is_copied_is_kept_too_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    settings = BuildSettings(cache_repo="registry.example/cache")
    assert "--cache-copy-layers=true" in arguments(tmp_path, settings=settings)
    other = replace(settings, kaniko_flags=("--cache-copy-layers=false",))
    assert arguments(tmp_path, settings=other)[-1] == "--cache-copy-layers=false"  # of two the last counts


def test_labels_are_in_the_command_line_and_in_no_line_that_kaniko_would_carry_out_twice(tmp_path: Path) -> None:
    made = order(tmp_path)
    labels = {"one": '{"a": "b"}', "two.x": "é = $HOME"}
    made = replace(made, plan=replace(made.plan, labels=labels))
    argv = build_arguments(made, ROOM, executor()).argv
    assert [one for one in argv if one.startswith("--label")] == ['--label=one={"a": "b"}', "--label=two.x=é = $HOME"]
    dockerfile = b'FROM x\nLABEL one="{\\"a\\": \\"b\\"}"\nRUN echo LABEL one=\nLABEL two.x="y"\nLABEL three="z"\n'
    assert without_labels(dockerfile, labels) == b'FROM x\nRUN echo LABEL one=\nLABEL three="z"\n'
    assert without_labels(dockerfile, {}) == dockerfile


def test_a_build_without_the_cache_names_no_cache(tmp_path: Path) -> None:
    settings = BuildSettings(cache_repo="registry.example/cache")
    assert "--cache-repo=registry.example/cache" in arguments(tmp_path, settings=settings)
    assert not [one for one in arguments(tmp_path, settings=settings, has_cache=False) if "cache" in one]


def test_all_destinations_and_outputs_are_asked_for(tmp_path: Path) -> None:
    argv = arguments(
        tmp_path, destinations=["a.example/x:1", "b.example/x:2"], oci_path="/out", tar_path="/out.tar", archive=True
    )
    assert [one for one in argv if one.startswith("--destination")] == [
        "--destination=a.example/x:1",
        "--destination=b.example/x:2",
    ]
    assert {"--tar-path=/kaniko/nuwrap/image.tar", "--oci-layout-path=/kaniko/nuwrap/layout"} <= set(argv)


def test_registries_are_reached_as_the_settings_say(tmp_path: Path) -> None:
    access = RegistryAccess(
        insecure=("plain.example:5000",),
        certificates={"own.example": "/home/me/own.pem"},
        client_certificates={"docker.io": ("/home/me/c.pem", "/home/me/k.pem")},
        mirrors=("mirror.example", "http://near.example:5000/hub/"),
        map={"docker.io": ("one.example", "https://two.example/hub")},
    )
    argv = arguments(tmp_path, settings=BuildSettings(access=access, retries=0))
    assert argv[6:] == [
        "--insecure-registry=plain.example:5000",
        "--skip-tls-verify-registry=plain.example:5000",
        "--insecure-registry=near.example:5000",
        "--skip-tls-verify-registry=near.example:5000",
        "--registry-mirror=mirror.example",
        "--registry-mirror=near.example:5000/hub",
        "--registry-map=index.docker.io=one.example",
        "--registry-map=index.docker.io=two.example/hub",
        "--registry-certificate=own.example=/kaniko/nuwrap/certificates/0-authority.pem",
        f"--registry-client-cert=index.docker.io={ROOM.certificate(0, 'client')},{ROOM.certificate(0, 'key')}",
    ]


def test_flags_of_the_user_are_taken_in_their_order(tmp_path: Path) -> None:
    flags = ("--snapshot-mode=redo", "--annotation=a=b c", "--single-snapshot", "--cache-ttl=1h30m")
    argv = arguments(tmp_path, settings=BuildSettings(kaniko_flags=flags))
    assert argv[-4:] == [
        "--snapshot-mode=redo",
        "--annotation=a=b c",
        "--single-snapshot=true",
        "--cache-ttl=1h30m",
    ]


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--force", "lets kaniko unpack an image over a machine that is no container"),
        ("--force=true", "--force is not to be set here"),
        ("--no-push", "by the build itself"),
        ("--registry-mirror=x", "set registries.mirrors"),
        ("--snapshot-mod=redo", "did you mean 'snapshot-mode'"),
        ("--snapshot-mode=fast", "'fast' is not a value of --snapshot-mode; allowed: full, redo, time"),
        ("--cache-ttl=6", "allowed: a duration as 6h"),
        ("--cache-ttl=6h\n", "is not a value of --cache-ttl"),
        ("--reproducible=maybe", "allowed: true, false"),
        ("snapshot-mode=redo", "a flag begins with --, its value after ="),
        ("-f", "a flag begins with --"),
        ("--compression=zstd", "needs --image-format=oci"),
    ],
)
def test_a_flag_that_cannot_be_taken_is_named_with_what_to_do(tmp_path: Path, flag: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        arguments(tmp_path, settings=BuildSettings(kaniko_flags=("--single-snapshot", flag)))
    assert said in str(refused.value)
    assert "build.kaniko_flags" in str(refused.value)
    assert "single-snapshot:" not in str(refused.value)


def test_all_faults_of_the_flags_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        arguments(tmp_path, settings=BuildSettings(kaniko_flags=("--force", "--nonsense")))
    assert len(str(refused.value).splitlines()) == 3


def test_each_flag_of_the_executor_is_the_users_or_has_a_reason_why_not() -> None:
    others = {"help", "force-build-metadata", "skip-unused-stages", "customPlatform", "snapshotMode", "tarPath"}
    assert not set(FLAGS) & set(REFUSED)
    assert executor().flags - others <= {*FLAGS, *REFUSED}
    assert set(FLAGS) <= executor().flags


@pytest.mark.parametrize("flag", ["--snapshot-mode=time", "--use-new-run"])
def test_a_flag_that_may_miss_files_is_warned_of(tmp_path: Path, flag: str) -> None:
    made = build_arguments(order(tmp_path, settings=BuildSettings(kaniko_flags=(flag,))), ROOM, executor())
    assert ["may leave changed files out" in note for note in made.notes] == [True]


@pytest.mark.parametrize("name", ["google", "chainguard"])
def test_an_older_executor_goes_without_what_does_not_matter(tmp_path: Path, name: str) -> None:
    settings = BuildSettings(kaniko_flags=("--materialize",))
    made = build_arguments(order(tmp_path, settings=settings), ROOM, executor(name, "Kaniko version :  unset"))
    assert "--materialize=true" not in made.argv
    assert made.notes == ("kaniko's executor has no --materialize; it is left out",)


@pytest.mark.parametrize("name", ["google", "chainguard"])
def test_an_older_executor_is_refused_for_what_the_image_depends_on(tmp_path: Path, name: str) -> None:
    old = executor(name, "Kaniko version :  v1.24.0")
    with pytest.raises(BuildError, match=r"executor 1\.24\.0 cannot mount secrets.*set build\.kaniko_image to ghcr"):
        build_arguments(order(tmp_path, secrets={"TOKEN": "x" * 9}), ROOM, old)
    wanted = BuildSettings(kaniko_flags=("--image-format=oci",))
    with pytest.raises(BuildError, match=r"has no --image-format, which build\.kaniko_flags asks for"):
        build_arguments(order(tmp_path, settings=wanted), ROOM, old)


def test_another_program_is_no_executor() -> None:
    with pytest.raises(BuildError, match=r"is none: its --help begins with 'Usage: ls"):
        read_help("Usage: ls [OPTION]... [FILE]...\n  -a, --all\n", "ls 9.1")


@pytest.mark.parametrize(
    "name", ["PATH", "DOCKER_HOST", "DOCKER_CONFIG", "KANIKO_NO_PUSH", "FF_KANIKO_X", "LD_PRELOAD"]
)
def test_a_build_argument_cannot_lead_the_executor_astray(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildError, match=f"'{name}'.*name it differently"):
        arguments(tmp_path, build_args={name: "x"})


def test_a_build_argument_that_kaniko_obeys_too_is_told_of(tmp_path: Path) -> None:
    made = build_arguments(order(tmp_path, build_args={"https_proxy": "http://p"}), ROOM, executor())
    assert made.notes == ("https_proxy of the build's envs counts for kaniko's own requests too",)


def test_of_the_users_environment_the_executor_gets_what_is_its_business(tmp_path: Path) -> None:
    environ = {
        "HOME": "/home/me",
        "HTTPS_PROXY": "http://proxy",
        "AWS_PROFILE": "team",
        "FF_KANIKO_RUN_HONOR_GROUP": "false",
        "KANIKO_NO_PUSH": "true",
        "DOCKER_AUTH_CONFIG": "{}",
        "MY_TOKEN": "x",
    }
    found = build_environment(order(tmp_path, environ=environ), ROOM)
    assert {name: found.get(name) for name in environ} == {
        "HOME": None,
        "HTTPS_PROXY": "http://proxy",
        "AWS_PROFILE": "team",
        "FF_KANIKO_RUN_HONOR_GROUP": "false",
        "KANIKO_NO_PUSH": None,
        "DOCKER_AUTH_CONFIG": None,
        "MY_TOKEN": None,
    }
    assert found["DOCKER_CONFIG"] == "/kaniko/nuwrap/docker"
    assert found["FF_KANIKO_COPY_AS_ROOT"] == "true"


def test_the_same_order_makes_the_same_command_line(tmp_path: Path) -> None:
    made = order(tmp_path, settings=BuildSettings(cache_repo="r.example/c"), build_args={"B": "1", "A": "2"})
    again = replace(made, plan=replace(made.plan, build_args={"B": "3", "A": "4"}))
    assert build_arguments(made, ROOM, executor()) == build_arguments(again, ROOM, executor())
