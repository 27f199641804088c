"""Docker's engine, with the real one: what the client is given, what comes out, and what it says when it cannot."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from lab import (
    docker,
    engine_environ,
    image_name,
    python_image,
    registry,
    registry_digest,
    wait_until,
)
from orders import build, make_order, stoppable_argv

from nuwrap.docker import find_docker
from nuwrap.engines import docker as engine
from nuwrap.engines.docker_archive import write_layout
from nuwrap.engines.docker_images import read_local
from nuwrap.errors import BuildError
from nuwrap.spec.build import BuildSettings, Event, RegistryAccess

__all__ = ["engine_environ", "image_name", "python_image", "registry"]

SCRATCH = ["# base", "FROM scratch", "# code", "COPY code /opt/function"]
Reference = Callable[[str], str]


@pytest.fixture
def watched(engine_environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of a client that writes down each argument list, and the mode of each secret's file."""
    real = shutil.which(engine_environ.get("NUWRAP_DOCKER", "docker"))
    path = tmp_path / "docker"
    path.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/argv
for one in "$@"; do case $one in *,src=*) stat -c '%a %n' "${{one#*,src=}}" >> {tmp_path}/secrets;; esac; done
exec {real} "$@"
"""
    )
    path.chmod(0o755)
    return {**engine_environ, "NUWRAP_DOCKER": str(path)}


@pytest.fixture
def locked_registry(tmp_path: Path) -> Iterator[str]:
    """`host:port` of a registry that wants `tester` and `nuwrap-test-password`."""
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("there is no docker-registry on PATH")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    accounts = tmp_path / "accounts"
    accounts.write_text("tester:$2b$05$abcdefghijklmnopqrstuub3oD2DkNkhxLvuL56J.IEzTbpeDt7Sq\n")
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": host},
        "auth": {"htpasswd": {"realm": "test", "path": str(accounts)}},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(config))
    with subprocess.Popen(
        [program, "serve", str(tmp_path / "registry.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: _listens(host))
        yield host
        process.terminate()


def _listens(host: str) -> bool:
    name, _, port = host.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((name, int(port))) == 0


def engine_memory(environ: dict[str, str]) -> str:
    return environ.get("XDG_RUNTIME_DIR") or "/dev/shm/"


def notes(events: list[Event]) -> list[str]:
    return [one.text for one in events if one.kind == "note"]


def test_values_of_arguments_and_secrets_stand_in_no_argument_list(
    watched: dict[str, str], image_name: str, python_image: Reference, tmp_path: Path
) -> None:
    lines = [
        f"FROM {python_image('3.11')}",
        "ARG STAGE",
        'RUN --mount=type=secret,id=TOKEN echo "$STAGE $(cat /run/secrets/TOKEN | wc -c)" > /told',
    ]
    order = make_order(
        tmp_path,
        lines,
        destinations=[f"{image_name}:1"],
        environ=watched,
        build_args={"STAGE": "the stage's value"},
        secrets={"TOKEN": "the secret's value"},
    )
    build("docker", order)
    argv = (tmp_path / "argv").read_text()
    assert "--build-arg STAGE" in argv
    assert "'s value" not in argv
    mode, file = (tmp_path / "secrets").read_text().split()
    assert mode == "600"
    assert file.startswith((engine_memory(watched), "/dev/shm/"))
    assert not os.path.exists(os.path.dirname(file))
    assert docker("run", "--rm", f"{image_name}:1", "cat", "/told") == "the stage's value 18\n"


def test_a_name_that_the_client_reads_is_no_build_argument(engine_environ: dict[str, str], tmp_path: Path) -> None:
    args = {"DOCKER_HOST": "tcp://evil.example:1"}
    order = make_order(tmp_path, SCRATCH, destinations=["x:1"], environ=engine_environ, build_args=args)
    with pytest.raises(BuildError, match=r"'DOCKER_HOST' cannot be given to a build by Docker.*persist: true"):
        build("docker", order)


def test_a_secret_without_a_value_is_an_error(engine_environ: dict[str, str], tmp_path: Path) -> None:
    order = make_order(tmp_path, SCRATCH, destinations=["x:1"], environ=engine_environ)
    with pytest.raises(BuildError, match="secret 'TOKEN' is mounted by the plan, but has no value"):
        build("docker", replace(order, plan=replace(order.plan, secrets=("TOKEN",))))


def test_what_is_not_pushed_is_in_dockers_store_under_each_name(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path
) -> None:
    names = [f"{image_name}:1", f"{image_name}:2", f"team/{image_name}:latest"]
    built, events = build("docker", make_order(tmp_path, SCRATCH, destinations=names, environ=engine_environ))
    assert (built.reference, built.digest, built.pushed_bytes) == (names[0], "", None)
    assert {docker("image", "inspect", "--format", "{{.Id}}", name).strip() for name in names} == {built.image_id}
    assert [(one.kind, one.number, one.total) for one in events] == [("step", 2, 2), ("done", 2, 2)]


def test_a_cache_that_has_lost_a_layer_is_left_aside_once(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path
) -> None:
    stub = tmp_path / "docker"
    stub.write_text(
        f"""#!/bin/sh
echo "$*" >> {tmp_path}/asked
case "$*" in
*--no-cache*) ;;
build*) echo 'ERROR: layer does not exist' >&2; exit 1;;
esac
exec {find_docker(engine_environ)} "$@"
"""
    )
    stub.chmod(0o755)
    environ = {**engine_environ, "NUWRAP_DOCKER": str(stub)}
    built, events = build("docker", make_order(tmp_path, SCRATCH, destinations=[image_name], environ=environ))
    assert docker("image", "inspect", "--format", "{{.Id}}", image_name).strip() == built.image_id
    assert [one.text for one in events if one.kind == "note"] == [
        "Docker's cache has lost a layer that it says to have: once more, without the cache"
    ]
    asked = [line for line in (tmp_path / "asked").read_text().splitlines() if line.startswith("build")]
    assert ["--no-cache" in line for line in asked] == [False, True]


def test_an_image_that_only_docker_has_is_a_base(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path
) -> None:
    for tag in ("base", "runtime"):
        files = {"code/a.py": tag}
        build(
            "docker",
            make_order(tmp_path, SCRATCH, destinations=[f"{image_name}:{tag}"], environ=engine_environ, files=files),
        )
    lines = [f"FROM {image_name}:base", f"COPY --from={image_name}:runtime /opt/function /again", "COPY code /more"]
    _, events = build("docker", make_order(tmp_path, lines, destinations=[f"{image_name}:1"], environ=engine_environ))
    assert sorted(one.number for one in events if one.kind == "done") == [1, 2, 3]


def test_a_build_without_the_cache_runs_each_step_again(
    engine_environ: dict[str, str], image_name: str, python_image: Reference, tmp_path: Path
) -> None:
    lines = [f"FROM {python_image('3.11')}", f"RUN echo {image_name}"]
    order = make_order(tmp_path, lines, destinations=[f"{image_name}:1"], environ=engine_environ)
    cached = []
    for has_cache in (True, True, False):
        _, events = build("docker", replace(order, has_cache=has_cache))
        cached += [one.cache for one in events if one.kind == "done" and one.number == 2]
    assert cached == [False, True, False]


def test_a_setting_that_docker_takes_no_notice_of_is_told(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path
) -> None:
    access = RegistryAccess(mirrors=("mirror.example",), certificates={"host": "/ca.pem"})
    settings = BuildSettings(cache_repo="host/cache", kaniko_flags=("--x",), access=access)
    order = make_order(tmp_path, SCRATCH, destinations=[f"{image_name}:1"], environ=engine_environ, settings=settings)
    assert [text.split(" ")[0] for text in notes(build("docker", order)[1])] == [
        "cache_repo",
        "mirrors",
        "certificates",
        "kaniko_flags",
    ]


def test_an_image_is_written_to_files_too(engine_environ: dict[str, str], image_name: str, tmp_path: Path) -> None:
    order = make_order(
        tmp_path,
        [*SCRATCH, 'LABEL a="b"', 'CMD ["x"]'],
        destinations=[f"{image_name}:1"],
        environ=engine_environ,
        tar_path=str(tmp_path / "image.tar"),
        oci_path=str(tmp_path / "layout"),
    )
    built, _ = build("docker", order)
    docker("image", "rm", "--force", built.reference)
    assert f"{image_name}:1" in docker("load", "--input", order.tar_path)
    index = json.loads((tmp_path / "layout/index.json").read_text())
    manifest = json.loads(_blob(tmp_path / "layout", index["manifests"][0]))
    config = json.loads(_blob(tmp_path / "layout", manifest["config"]))
    assert index["manifests"][0]["annotations"] == {"org.opencontainers.image.ref.name": f"{image_name}:1"}
    assert config["config"]["Labels"] == {"a": "b"}
    layers = [_blob(tmp_path / "layout", one) for one in manifest["layers"]]
    assert [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers] == config["rootfs"]["diff_ids"]
    (tmp_path / "layer").write_bytes(layers[-1])
    with tarfile.open(tmp_path / "layer") as layer:
        assert "opt/function/main.py" in layer.getnames()


def _blob(layout: Path, about: dict[str, str]) -> bytes:
    content = (layout / "blobs/sha256" / about["digest"].partition(":")[2]).read_bytes()
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == about["digest"]
    assert len(content) == about["size"]
    return content


def test_a_layout_alone_leaves_nothing_beside_it(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    order = make_order(
        tmp_path,
        SCRATCH,
        destinations=[f"{image_name}:1"],
        environ=engine_environ,
        oci_path=str(tmp_path / "out/layout"),
    )
    build("docker", order)
    assert os.listdir(tmp_path / "out") == ["layout"]
    assert sorted(os.listdir(tmp_path / "out/layout")) == ["blobs", "index.json", "oci-layout"]


def test_a_file_that_cannot_be_written_is_named(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path
) -> None:
    order = make_order(tmp_path, SCRATCH, destinations=[f"{image_name}:1"], environ=engine_environ)
    with pytest.raises(BuildError, match="no such"):
        build("docker", replace(order, tar_path=str(tmp_path / "no such/image.tar")))
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match=r"cannot be written to .*file/layout"):
        build("docker", replace(order, oci_path=str(tmp_path / "file/layout")))


def test_only_what_the_registry_has_not_is_counted_as_pushed(
    engine_environ: dict[str, str], registry: str, image_name: str, python_image: Reference, tmp_path: Path
) -> None:
    lines = [
        f"FROM {python_image('3.11')}",
        f"RUN head -c 300000 /dev/urandom > /{image_name}",
        "COPY code /opt/function",
    ]
    where = f"{registry}/{image_name}:1"

    def push(code: str) -> tuple[str, int | None]:
        order = make_order(
            tmp_path, lines, destinations=[where], environ=engine_environ, push=True, files={"code/a.py": code}
        )
        built, _ = build("docker", order)
        assert built.digest == registry_digest(where)
        return built.digest, built.pushed_bytes

    first, first_bytes = push(f"a = '{image_name}'\n")
    second, second_bytes = push(f"b = '{image_name}'\n")
    assert first_bytes is not None
    assert first_bytes > 300_000
    assert second != first
    assert second_bytes == _layer_bytes(registry, image_name, second)[-1] < 1000
    assert push(f"b = '{image_name}'\n") == (second, 0)


def _layer_bytes(registry: str, name: str, digest: str) -> list[int]:
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    asked = urllib.request.Request(f"http://{registry}/v2/{name}/manifests/{digest}", headers={"Accept": kind})
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 - http, as written above
        return [one["size"] for one in json.load(answer)["layers"]]


def test_a_registry_that_wants_an_account_is_told_with_the_login(
    engine_environ: dict[str, str], locked_registry: str, image_name: str, tmp_path: Path
) -> None:
    where = f"{locked_registry}/{image_name}:1"
    nobody, somebody = tmp_path / "nobody", tmp_path / "somebody"
    code = base64.b64encode(b"tester:nuwrap-test-password").decode()
    for folder, auths in ((nobody, {}), (somebody, {locked_registry: {"auth": code}})):
        folder.mkdir()
        with suppress(KeyError, FileNotFoundError):  # a client's plugins lie there too
            shutil.copytree(os.path.join(engine_environ["DOCKER_CONFIG"], "cli-plugins"), folder / "cli-plugins")
        (folder / "config.json").write_text(json.dumps({"auths": auths}))

    def order_as(folder: Path) -> None:
        settings = BuildSettings(retries=5, access=RegistryAccess(docker_config=str(folder)))
        order = make_order(
            tmp_path, SCRATCH, destinations=[where], environ=engine_environ, settings=settings, push=True
        )
        assert build("docker", order)[0].digest.startswith("sha256:")

    with pytest.raises(BuildError, match=rf"docker login {locked_registry}`, with an account that may push") as failed:
        order_as(nobody)
    assert failed.value.kind == "auth"
    order_as(somebody)


def test_a_registry_that_does_not_answer_is_asked_again(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nuwrap.engines.docker_push.FIRST_WAIT_SECONDS", 0.01)
    where = f"127.0.0.1:1/{image_name}:1"
    order = make_order(
        tmp_path,
        SCRATCH,
        destinations=[where],
        environ=engine_environ,
        settings=BuildSettings(retries=2),
        push=True,
    )
    events: list[Event] = []
    with pytest.raises(BuildError, match="could not be pushed") as failed:
        engine.build(order, report=events.append)
    assert failed.value.kind == "push"
    assert len(notes(events)) == 2
    assert "connection refused" in notes(events)[0]


PUTS = {
    "plain": "{value}",
    "base64": "{coded}",
    "quoted": "https://user:{quoted}@host.example/",
}


@pytest.mark.parametrize("form", sorted(PUTS))
def test_an_image_that_tells_a_secret_is_not_pushed(
    engine_environ: dict[str, str], registry: str, image_name: str, tmp_path: Path, form: str
) -> None:
    value = "a/secret+value"
    coded = base64.b64encode(f"user:{value}".encode()).decode()
    text = PUTS[form].format(value=value, coded=coded, quoted="a%2Fsecret%2Bvalue")
    where = f"{registry}/{image_name}:1"
    order = make_order(
        tmp_path,
        [*SCRATCH, f'ENV SEEN="{text}"'],
        destinations=[where],
        environ=engine_environ,
        secrets={"TOKEN": value},
    )
    built, _ = build("docker", order)
    found = engine.scan(order, built)
    assert found == ["secret 'TOKEN' in environment variable SEEN", f"secret 'TOKEN' in {found[1][18:]}"]
    assert found[1].endswith("(ENV)")
    with pytest.raises(BuildError, match=r"which was not pushed:\n  secret 'TOKEN' in environment") as failed:
        build("docker", replace(order, push=True))
    assert failed.value.kind == "check"
    assert value not in str(failed.value)
    assert registry_digest(where) == ""


def test_an_image_that_is_gone_cannot_be_checked(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path
) -> None:
    order = make_order(
        tmp_path,
        SCRATCH,
        destinations=[f"{image_name}:1"],
        environ=engine_environ,
        secrets={"T": "some value"},
    )
    built, _ = build("docker", order)
    docker("image", "rm", "--force", built.reference)
    with pytest.raises(BuildError, match="is not in Docker's store any more"):
        engine.scan(order, built)


# A client that does nothing, but leaves an image's id.
IDLE = """[ "$1" = build ] && while [ $# -gt 1 ]; do [ "$1" = --iidfile ] && echo sha256:0 > $2; shift; done
exit 0
"""


@pytest.mark.parametrize("stage", ["build", "push"])
def test_a_stop_and_the_end_of_the_time_end_each_command(
    engine_environ: dict[str, str], tmp_path: Path, stage: str
) -> None:
    """By a client that never ends: what a daemon does with its own part is the contract's test."""
    client = tmp_path / "docker"
    client.write_text(
        f"""#!/bin/sh
[ "$1" = {stage} ] && {{ touch {tmp_path}/begun; exec sleep 600; }}
{IDLE}"""
    )
    client.chmod(0o755)
    environ = {**engine_environ, "NUWRAP_DOCKER": str(client)}
    order = make_order(tmp_path, SCRATCH, destinations=["127.0.0.1:1/x:1"], environ=environ, push=True)
    with subprocess.Popen(
        stoppable_argv("docker", order, tmp_path), env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        wait_until((tmp_path / "begun").exists)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[0] == b"stopped\n"
    with pytest.raises(BuildError, match="ended after 1 seconds") as failed:
        build("docker", replace(order, timeout_s=1))
    assert failed.value.kind == "timeout"


def scripted(folder: Path, script: str) -> str:
    """Return a client that answers by a script, and leaves an image's id."""
    path = folder / "docker"
    path.write_text(f"#!/bin/sh\n{script}\n{IDLE}")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [('[{"RepoDigests": ["host/other@sha256:1", "host/name@sha256:2"]}]', "sha256:2"), ("[{}]", "")],
)
def test_a_push_that_tells_no_digest_is_read_from_what_docker_keeps(
    engine_environ: dict[str, str], tmp_path: Path, answer: str, expected: str
) -> None:
    client = scripted(tmp_path, f"[ \"$1 $2\" = 'image inspect' ] && echo '{answer}'")
    environ = {**engine_environ, "NUWRAP_DOCKER": client}
    order = make_order(tmp_path, SCRATCH, destinations=["host/name:1"], environ=environ, push=True)
    if expected:
        assert build("docker", order)[0].digest == expected
    else:
        with pytest.raises(BuildError, match="Docker does not tell by which digest it has pushed host/name:1"):
            build("docker", order)


@pytest.mark.parametrize("manifest", ["", "{}", "not JSON", '{"layers": [{"digest": "sha256:f00", "size": 1}]}'])
def test_bytes_that_nobody_tells_are_not_known(engine_environ: dict[str, str], tmp_path: Path, manifest: str) -> None:
    digest = f"sha256:{'0' * 64}"
    script = f"""case "$1 $2" in
push*) echo "0123456789ab: Pushed"; echo "1: digest: {digest} size: 1";;
"manifest inspect") echo '{manifest}';;
"image inspect") echo '[{{"RootFS": {{"Layers": []}}}}]';;
esac"""
    environ = {**engine_environ, "NUWRAP_DOCKER": scripted(tmp_path, script)}
    order = make_order(tmp_path, SCRATCH, destinations=["host/name:1"], environ=environ, push=True)
    built, _ = build("docker", order)
    assert (built.digest, built.pushed_bytes) == (digest, None)


def test_a_stop_ends_the_wait_between_two_pushes(engine_environ: dict[str, str], tmp_path: Path) -> None:
    script = '[ "$1" = push ] && { echo "no answer: i/o timeout"; exit 1; }'
    environ = {**engine_environ, "NUWRAP_DOCKER": scripted(tmp_path, script)}
    settings = BuildSettings(retries=20)
    order = make_order(tmp_path, SCRATCH, destinations=["host/x:1"], environ=environ, push=True, settings=settings)
    with subprocess.Popen(
        stoppable_argv("docker", order, tmp_path), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr
        while b"tried again in 4 s" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=3)[0] == b"stopped\n"


def test_an_archive_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_text("no archive")
    with pytest.raises(BuildError, match="docker save has not written what can be read"):
        write_layout(str(tmp_path / "no.tar"), str(tmp_path / "layout"), name="x:1")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(BuildError, match="docker save has not written what can be read"):
        write_layout(str(tmp_path / "empty.tar"), str(tmp_path / "layout"), name="x:1")


def test_plugins_that_another_folder_of_settings_hides_are_told(engine_environ: dict[str, str], tmp_path: Path) -> None:
    client = tmp_path / "docker"
    told = '{"Client":{"Version":"28.2.2","ApiVersion":"1.41"},"Server":{"Version":"28.2.2"}}'
    client.write_text(f"#!/bin/sh\n[ $1 = version ] && echo '{told}' || [ -z \"$DOCKER_CONFIG\" ]\n")
    client.chmod(0o755)
    environ = {"PATH": engine_environ["PATH"], "NUWRAP_DOCKER": str(client)}
    settings = BuildSettings(access=RegistryAccess(docker_config="/etc/team"))
    found = engine.look(settings, environ, push=False)
    assert not found.is_usable
    assert found.reason.endswith("what is missing in '/etc/team' is in ~/.docker/cli-plugins: link that folder there")
    assert engine.look(BuildSettings(), environ, push=False).is_usable


def test_a_builder_of_ones_own_keeps_its_cache_in_the_registry(engine_environ: dict[str, str], tmp_path: Path) -> None:
    client = tmp_path / "docker"
    client.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/argv
[ "$*" = "buildx inspect team" ] && echo "Driver:        docker-container"
{IDLE}"""
    )
    client.chmod(0o755)
    environ = {**engine_environ, "NUWRAP_DOCKER": str(client), "BUILDX_BUILDER": "team"}
    settings = BuildSettings(cache_repo="host/cache")
    order = make_order(tmp_path, SCRATCH, destinations=["host/team/name:1"], environ=environ, settings=settings)
    assert notes(build("docker", order)[1]) == [
        "a builder of driver docker-container builds: it does not see images that only Docker has"
    ]
    argv = (tmp_path / "argv").read_text()
    assert "--load --cache-from type=registry,ref=host/cache:name --cache-to type=registry,ref=host/cache:name," in argv


def test_a_builder_that_is_not_known_is_named(engine_environ: dict[str, str], tmp_path: Path) -> None:
    environ = {**engine_environ, "BUILDX_BUILDER": "nuwrap-test-nobody"}
    with pytest.raises(BuildError, match=r"BUILDX_BUILDER='nuwrap-test-nobody' is no builder"):
        build("docker", make_order(tmp_path, SCRATCH, destinations=["x:1"], environ=environ))


def test_what_docker_alone_has_of_a_python_image_is_told(
    engine_environ: dict[str, str], image_name: str, python_image: Reference
) -> None:
    docker("pull", "--quiet", python_image("3.11"))
    docker("tag", python_image("3.11"), f"{image_name}:1")
    facts = read_local(engine_environ, f"{image_name}:1")
    assert facts
    assert (facts.python, facts.libc, facts.looked, facts.is_local) == ("3.11", "glibc", True, True)
    assert facts.pinned == facts.digest == docker("image", "inspect", "--format", "{{.Id}}", facts.reference).strip()
    assert facts.architecture == "amd64"
    assert facts.command == ("python3",)
    assert facts.env["PATH"].startswith("/usr/local/bin:")
    assert len(facts.history) == len(facts.layers)
    assert sum(one.bytes for one in facts.layers) > 10_000_000


def test_what_came_from_a_registry_is_pinned_by_its_digest(
    engine_environ: dict[str, str], python_image: Reference
) -> None:
    docker("pull", "--quiet", python_image("3.11"))
    facts = read_local(engine_environ, python_image("3.11"), has_files=False, has_history=False)
    assert facts
    assert facts.digest == registry_digest(python_image("3.11"))
    assert facts.pinned == f"{python_image('3.11').rpartition(':')[0]}@{facts.digest}"
    assert not facts.is_local


TREES = {
    "nothing": ({"a": "x"}, "", ("", "", True)),
    "musl": ({"lib/ld-musl-x86_64.so.1": "x"}, "", ("", "musl", True)),
    "glibc": ({"lib64/ld-linux-x86-64.so.2": "x"}, "", ("", "glibc", True)),
    "links": (
        {"usr/bin/python3": "->/opt/a", "opt/a": "->py/bin/python3.12", "opt/py/bin/python3.12": "x"},
        "",
        "3.12",
    ),
    "library": ({"venv/bin/python3": "x", "venv/lib/python3.9/os.py": "x"}, "/venv/bin:/bin", "3.9"),
    "first": ({"a/python3": "->python3.10", "a/python3.10": "x", "b/python3": "->python3.11"}, "/a:/b", "3.10"),
    "script": ({"usr/bin/python3": "#!/bin/sh"}, "", ("", "", False)),
    "dangling": (
        {"usr/local/bin/python3": "->python3.13", "bin/python3": "->python3.9", "bin/python3.9": ""},
        "",
        "3.9",
    ),
    "circle": ({"usr/bin/python3": "->python3.13", "usr/bin/python3.13": "->python3"}, "", ("", "", True)),
    "program": ({"usr/bin/python3.8": "x /lib/ld-musl-x86_64.so.1\0", "usr/bin/python3": "->python3.8"}, "", "3.8"),
}


@pytest.mark.parametrize("tree", sorted(TREES))
def test_python_and_libc_are_read_from_an_image_that_cannot_run(
    engine_environ: dict[str, str], image_name: str, tmp_path: Path, tree: str
) -> None:
    files, path, expected = TREES[tree]
    with tarfile.open(tmp_path / "tree.tar", "w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            if text.startswith("->"):
                member.type, member.linkname = tarfile.SYMTYPE, text[2:]
                tar.addfile(member)
            else:
                (tmp_path / "file").write_text(text)
                tar.add(tmp_path / "file", name)
    change = ["--change", f"ENV PATH={path}"] if path else []
    docker("import", *change, str(tmp_path / "tree.tar"), f"{image_name}:1")
    facts = read_local(engine_environ, f"{image_name}:1")
    assert facts
    if isinstance(expected, str):
        assert (facts.python, facts.looked) == (expected, True)
        assert facts.libc == ("musl" if tree == "program" else "")
    else:
        assert (facts.python, facts.libc, facts.looked) == expected
    assert docker("ps", "--all", "--quiet", "--filter", f"ancestor={image_name}:1") == ""


def test_an_image_that_docker_has_not_is_none(engine_environ: dict[str, str]) -> None:
    assert read_local(engine_environ, "nuwrap-test-nobody-has-this:1") is None
    assert read_local({"PATH": "/nowhere"}, "python:3.11-slim") is None
