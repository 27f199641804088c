"""kaniko in its two places: never where it would unpack an image over a machine. It builds with `NUWRAP_KANIKO`."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kaniko_lab import REASON, executor_image, own_image
from lab import docker, engine_settings, registry_digest, wait_until
from orders import build, make_order, stoppable_argv
from registries import PASSWORD, encode, start_registry, write_docker_config

from nuwrap.engines import Order, kaniko
from nuwrap.engines.kaniko_docker import LABEL
from nuwrap.engines.kaniko_inside import find_executor, is_contained, why_not_here
from nuwrap.engines.kaniko_room import Room, has_loopback, list_files, list_hidden, read_credentials, registries
from nuwrap.errors import BuildError, UsageError
from nuwrap.plan.dockerfile import quote_value
from nuwrap.registry.images import read_image
from nuwrap.spec.build import BuildSettings, Built, RegistryAccess

Reference = Callable[[str], str]
LINES = ["# base", "FROM registry.example/base:1", "# code", "COPY code /opt/function"]


@pytest.fixture
def settings(image_name: str, registry: str) -> BuildSettings:
    return engine_settings("kaniko", image_name, registry)


def order(folder: Path, lines: list[str] = LINES, **more: object) -> Order:
    given = {"destinations": ["registry.example/x/y:1"], "environ": {"HOME": str(folder)}, "push": True, **more}
    return make_order(folder, lines, **given)  # type: ignore[arg-type]


def executor(folder: Path) -> dict[str, str]:
    """The environment of someone who has an executor; whoever starts it leaves a file."""
    program = folder / "executor"
    program.write_text(f"#!/bin/sh\ntouch {folder}/started\n")
    program.chmod(0o755)
    return {"NUWRAP_KANIKO": str(program), "PATH": "/nowhere"}


def test_an_executor_on_this_machine_is_never_started(tmp_path: Path) -> None:
    environ = executor(tmp_path)
    assert find_executor(environ) == str(tmp_path / "executor")
    found = kaniko.look(BuildSettings(), environ, push=True)
    assert not found.is_usable
    assert "kaniko unpacks the base image over `/`" in found.reason
    with pytest.raises(Exception, match="docker"):
        build("kaniko", order(tmp_path, environ=environ))
    assert not (tmp_path / "started").exists()


def test_a_container_whose_python_would_be_overwritten_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".dockerenv").touch()
    environ = executor(tmp_path)
    assert "would not outlive that; use the image nuwrap/kaniko" in why_not_here(environ, root=str(tmp_path))
    mixed = ["/kaniko/python", "/usr/lib/python3"]
    assert "/usr/lib/python3 would not outlive" in why_not_here(environ, root=str(tmp_path), homes=mixed)
    assert "/kaniko2" in why_not_here(environ, root=str(tmp_path), homes=["/kaniko2"])
    assert why_not_here(environ, root=str(tmp_path), homes=["/kaniko/python", "/kaniko"]) == ""
    del environ["NUWRAP_KANIKO"]
    assert "set NUWRAP_KANIKO" in why_not_here(environ, root=str(tmp_path), homes=["/kaniko"])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".dockerenv", ""),
        ("run/.containerenv", ""),
        ("var/run/secrets/kubernetes.io/serviceaccount/token", ""),
        ("proc/self/cgroup", "0::/kubepods/pod1\n"),
        ("run/systemd/container", "podman\n"),
        ("proc/mounts", "overlay / overlay rw 0 0\n"),
    ],
)
def test_a_container_is_known_by_the_signs_that_kaniko_takes(tmp_path: Path, path: str, text: str) -> None:
    assert not is_contained({}, root=str(tmp_path))
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert is_contained({}, root=str(tmp_path))


def test_a_machine_is_no_container(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/user.slice\n")
    (tmp_path / "proc/mounts").write_text("/dev/sda1 / ext4 rw 0 0\noverlay /mnt overlay rw 0 0\n")
    assert not is_contained({}, root=str(tmp_path))
    assert is_contained({"container": "lxc"}, root=str(tmp_path))


def test_flags_that_are_not_allowed_are_said_before_anything_begins(tmp_path: Path) -> None:
    wrong = BuildSettings(kaniko_flags=("--force",))
    found = kaniko.look(wrong, os.environ, push=True)
    assert not found.is_usable
    assert "--force is not to be set here" in found.reason
    with pytest.raises(UsageError, match="--force"):
        build("kaniko", order(tmp_path, settings=wrong))


def test_a_secret_in_the_dockerfile_is_refused_before_the_build(tmp_path: Path) -> None:
    lines = [*LINES, "ENV TOKEN=a-secret-value"]
    with pytest.raises(BuildError, match=r"would stand in the image.*secret 'TOKEN' in history") as refused:
        build("kaniko", order(tmp_path, lines, secrets={"TOKEN": "a-secret-value"}))
    assert refused.value.kind == "check"
    assert "a-secret-value" not in str(refused.value)
    with pytest.raises(BuildError, match="secret 'TOKEN' in environment variable INDEX"):
        build(
            "kaniko",
            order(tmp_path, build_args={"INDEX": "https://a-secret-value@x"}, secrets={"TOKEN": "a-secret-value"}),
        )


def test_all_registries_in_play_are_known(tmp_path: Path) -> None:
    lines = [
        "FROM --platform=linux/amd64 python:3.11 AS base",
        "FROM scratch",
        "COPY --from=127.0.0.1:5000/nuwrap/runtime@sha256:" + "a" * 64 + " /opt /opt",
    ]
    access = RegistryAccess(mirrors=("https://mirror.example/hub",), map={"docker.io": ("map.example",)})
    made = order(tmp_path, lines, settings=BuildSettings(access=access, cache_repo="cache.example/c"))
    assert registries(made) == {
        "registry.example": "x/y",
        "cache.example": "c",
        "docker.io": "library/python",
        "127.0.0.1:5000": "nuwrap/runtime",
        "mirror.example": "",
        "map.example": "",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("127.0.0.1:5000", True),
        ("127.1.2.3", True),
        ("localhost:5000", True),
        ("localhost.example", False),
        ("registry.example:5000", False),
        ("10.0.0.1", False),
    ],
)
def test_a_registry_of_the_machine_itself_needs_its_network(tmp_path: Path, name: str, expected: bool) -> None:
    assert has_loopback(order(tmp_path, destinations=[f"{name}/x:1"])) is expected


def test_the_container_gets_the_credentials_that_a_helper_has(tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-vault"
    helper.write_text('#!/bin/sh\nread host\necho \'{"Username": "me", "Secret": "from-the-vault"}\'\n')
    helper.chmod(0o755)
    folder = write_docker_config(tmp_path / "docker", {}, credHelpers={"registry.example": "vault"})
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    made = order(tmp_path, environ=environ, settings=BuildSettings(access=RegistryAccess(docker_config=folder)))
    credentials = read_credentials(made)
    files = {one.place: one for one in list_files(made, Room("/kaniko/nuwrap"), credentials)}
    config = files["/kaniko/nuwrap/docker/config.json"]
    assert json.loads(config.content) == {"auths": {"registry.example": {"auth": encode("me", "from-the-vault")}}}
    assert config.is_private
    assert "from-the-vault" not in repr(config)
    assert {"from-the-vault", encode("me", "from-the-vault")} <= set(list_hidden(made, credentials))


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    access = RegistryAccess(certificates={"registry.example": "/nowhere/ca.pem"})
    made = order(tmp_path, settings=BuildSettings(access=access))
    with pytest.raises(BuildError, match=r"certificate of registry\.example '/nowhere/ca\.pem' cannot be read"):
        list(list_files(made, Room("/kaniko/nuwrap"), {}))


def archive(path: Path, env: list[str]) -> None:
    """Write an image's archive without layers."""
    config = {"config": {"Env": env}, "history": [{"created_by": "RUN true"}]}
    with tarfile.open(path, "w") as target:
        for name, document in (("manifest.json", [{"Config": "sha256:1", "Layers": []}]), ("sha256:1", config)):
            content = json.dumps(document).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            target.addfile(info, io.BytesIO(content))


def test_a_secret_in_an_archive_is_found(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    made = order(tmp_path, push=False, tar_path=str(path), secrets={"TOKEN": "a-secret-value"})
    archive(path, ["PATH=/bin", "TOKEN=a-secret-value"])
    assert kaniko.scan(made, Built("x:1")) == ["secret 'TOKEN' in environment variable TOKEN"]
    archive(path, ["PATH=/bin"])
    assert kaniko.scan(made, Built("x:1")) == []
    path.write_bytes(b"no archive")
    with pytest.raises(BuildError, match="cannot be read back"):
        kaniko.scan(made, Built("x:1"))


def test_an_image_of_the_executor_that_cannot_be_pulled_is_said_with_the_setting(
    tmp_path: Path, engine_environ: dict[str, str]
) -> None:
    image = "127.0.0.1:9/nuwrap-test/nothing:1"
    with pytest.raises(BuildError, match=r"cannot be pulled.*set build\.kaniko_image") as failed:
        build("kaniko", order(tmp_path, environ=engine_environ, settings=BuildSettings(kaniko_image=image)))
    assert failed.value.kind == "pull"


def test_an_image_that_is_no_executor_is_said_so(
    tmp_path: Path, engine_environ: dict[str, str], python_image: Reference
) -> None:
    image = python_image("3.11")
    with pytest.raises(BuildError, match="kaniko's executor is none"):
        build("kaniko", order(tmp_path, environ=engine_environ, settings=BuildSettings(kaniko_image=image)))


def test_what_kaniko_leaves_out_of_the_image_is_told(
    settings: BuildSettings,
    registry: str,
    image_name: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    run = "RUN mkdir -p /opt/kaniko /srv/var/run /kaniko2; echo x > /kaniko/x"
    lines = [f"FROM {python_image('3.11')}", run, "RUN ls /kaniko2"]
    name = f"{registry}/{image_name}:1"
    made = make_order(tmp_path, lines, destinations=[name], environ=engine_environ, settings=settings)
    built, events = build("kaniko", made)
    told = [one.text for one in events if one.kind == "note" and "leaves out" in one.text]
    assert told == ["step 2 names /kaniko, which kaniko leaves out of the image"]
    assert docker("run", "--rm", built.image_id, "sh", "-c", "ls -d /opt/kaniko /kaniko*") == "/kaniko2\n/opt/kaniko\n"


def containers(name: str) -> str:
    """Return the containers, of whatever state, that build this image."""
    return docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"label={LABEL}={name}")


def test_an_image_that_is_not_pushed_is_in_docker_with_its_name(
    settings: BuildSettings,
    registry: str,
    image_name: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    name, lines = f"{registry}/{image_name}:1", [f"FROM {python_image('3.11')}", "COPY code /opt/function"]
    files = {"code/main.py": "made = 1\n"}
    made = make_order(tmp_path, lines, destinations=[name], environ=engine_environ, settings=settings, files=files)
    built, events = build("kaniko", made)
    assert (built.reference, built.digest) == (name, "")
    assert docker("image", "inspect", "--format", "{{.Id}}", name).strip() == built.image_id != ""
    assert docker("run", "--rm", name, "cat", "/opt/function/main.py") == "made = 1\n"
    assert registry_digest(name) == ""
    assert not [one for one in events if one.kind == "push"]
    assert containers(name) == ""


def test_no_container_is_left_of_a_build_that_failed_or_was_stopped(
    settings: BuildSettings,
    registry: str,
    image_name: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    name, lines = f"{registry}/{image_name}:1", [f"FROM {python_image('3.11')}", "RUN exit 3"]
    made = make_order(tmp_path, lines, destinations=[name], environ=engine_environ, settings=settings, push=True)
    with pytest.raises(BuildError, match="exit code 3"):
        build("kaniko", made)
    assert containers(name) == ""
    sleeping = make_order(
        tmp_path, [lines[0], "RUN sleep 600"], destinations=[name], environ=engine_environ, settings=settings, push=True
    )
    argv = stoppable_argv("kaniko", sleeping, tmp_path)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: containers(name) != "")
        process.terminate()
        said, _ = process.communicate(timeout=60)
    assert said == b"stopped\n"
    assert containers(name) == ""


def test_an_archive_and_a_layout_are_written_where_they_are_asked_for(
    settings: BuildSettings,
    registry: str,
    image_name: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    made = make_order(
        tmp_path,
        [f"FROM {python_image('3.11')}", "COPY code /opt/function", "ENV A=1"],
        destinations=[f"{registry}/{image_name}:1"],
        environ=engine_environ,
        settings=settings,
        tar_path=str(tmp_path / "image.tar"),
        oci_path=str(tmp_path / "layout"),
    )
    build("kaniko", made)
    with tarfile.open(tmp_path / "image.tar") as opened:
        assert "manifest.json" in opened.getnames()
    assert json.loads((tmp_path / "layout" / "index.json").read_text())["manifests"]
    assert docker("image", "inspect", f"{registry}/{image_name}:1") == ""


VALUES = {"quotes": '{"a": "b c"}', "signs": "$HOME \\\\ 'x'", "two.blanks": "é  ü"}


def test_what_is_copied_and_said_of_an_image_is_the_same_when_it_is_built_again(
    settings: BuildSettings,
    registry: str,
    image_name: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    name = f"{registry}/{image_name}:1"
    lines = [f"FROM {python_image('3.11')}", "COPY kept /kept", f"RUN echo {image_name} > /made", "COPY code /code"]
    lines += [f"{word} {key}={quote_value(value)}" for word in ("ENV", "LABEL") for key, value in VALUES.items()]

    def layers(code: str) -> list[str]:
        files = {"kept/a/b.txt": "kept", "code/main.py": code}
        made = make_order(
            tmp_path, lines, destinations=[name], environ=engine_environ, settings=settings, push=True, files=files
        )
        made = replace(made, plan=replace(made.plan, labels=VALUES))
        facts = read_image(build("kaniko", made)[0].pinned, settings.access, engine_environ, has_files=False)
        assert {key: facts.env.get(key) for key in VALUES} == VALUES
        assert {key: facts.labels.get(key) for key in VALUES} == VALUES
        return [one.digest for one in facts.layers]

    first, second = layers("a = 1\n"), layers("a = 2\n")
    assert len(first) == len(second)
    changed = [(one, other) for one, other in zip(first, second, strict=True) if one != other]
    assert len(changed) == 1


def tree(image: str, folder: Path) -> dict[str, tuple[object, ...]]:
    """Return all files of an image: kind, mode, owner, and where they point or what they hold."""
    container = docker("create", image, "none").strip()
    docker("export", "--output", str(folder / "tree.tar"), container)
    docker("rm", container)
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(folder / "tree.tar") as archive:
        for one in archive:
            reader = archive.extractfile(one) if one.isreg() or one.islnk() else None
            content = hashlib.sha256(reader.read()).hexdigest() if reader else ""
            kind = tarfile.REGTYPE if one.islnk() else one.type
            found[one.name] = (kind, one.mode, one.uid, one.gid, one.linkname if one.issym() else "", content)
    # What Docker gives each container.
    return {
        name: one for name, one in found.items() if not name.startswith(("dev", "etc/host", "etc/resolv", ".docker"))
    }


def test_kaniko_and_docker_make_the_same_files(
    settings: BuildSettings,
    image_name: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    lines = [
        f"FROM {python_image('3.11')}",
        "COPY code /a/b/c",
        "COPY --chown=8877:999 code /d/e/f",
        "RUN mkdir -p /w && chown 8877:999 /w && chmod 2775 /w",
        "RUN echo x > /w/x && chmod 4755 /w/x && ln /w/x /w/y && ln -s x /w/z",
        "RUN rm -rf /usr/share/doc; rm /etc/adduser.conf",
        "USER 8877:999",
        "RUN id > /w/id; pwd > /w/pwd; umask > /w/umask",
        "WORKDIR /deep/er",
        "COPY code /copied",
        'ENV A="1 2" B=$A',
        "USER 0:0",
        "RUN env | sort > /w/environ; pwd > /w/pwd2",
        "WORKDIR rel",
    ]
    made = []
    for engine in ("docker", "kaniko"):
        files = {"code/main.py": "x\n", "code/sub/y.txt": "y", "code/.hidden": ""}
        names = [f"{image_name}-{engine}:1"]
        one = make_order(tmp_path, lines, destinations=names, environ=engine_environ, settings=settings, files=files)
        made.append(tree(build(engine, one)[0].image_id, tmp_path))
    mine, theirs = made
    assert {"a/b/c/sub/y.txt", "w/x", "w/y", "w/z", "deep/er/rel"} <= set(theirs)
    different = [name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name)]
    assert {name: (mine.get(name), theirs.get(name)) for name in different} == {}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[RegistryAccess]:
    """How to reach a registry with a password and an authority of its own."""
    with start_registry(tmp_path / "guarded", password=True, tls=True) as running:
        access = RegistryAccess(certificates={running.address: running.ca}, docker_config=running.docker_config)
        yield access


def test_a_registry_with_password_and_its_own_authority_takes_the_image_and_gives_it(
    settings: BuildSettings,
    guarded: RegistryAccess,
    image_name: str,
    python_image: Reference,
    engine_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    [address] = guarded.certificates
    name = f"{address}/{image_name}:1"
    mine = BuildSettings(kaniko_image=settings.kaniko_image, retries=0, access=guarded)
    with (tmp_path / "log").open("wb") as log:
        lines = [f"FROM {python_image('3.11')}", "COPY code /opt/function"]
        made = make_order(
            tmp_path, lines, destinations=[name], environ=engine_environ, settings=mine, push=True, log=(log.fileno(),)
        )
        first, _ = build("kaniko", made)
        assert first.digest.startswith("sha256:")
        again = make_order(
            tmp_path, [f"FROM {first.pinned}", "ENV A=1"], destinations=[name], environ=engine_environ, settings=mine,
            push=True, secrets={"TOKEN": "a-secret-value"}, log=(log.fileno(),),
        )  # fmt: skip
        second, _ = build("kaniko", again)
    assert second.digest != first.digest
    assert kaniko.scan(again, second) == []
    written = (tmp_path / "log").read_bytes()
    assert PASSWORD.encode() not in written
    anyone = RegistryAccess(certificates=guarded.certificates, docker_config=str(tmp_path))
    denied = replace(again, settings=replace(mine, access=anyone))
    with pytest.raises(BuildError, match=f"docker login {address}") as refused:
        build("kaniko", denied)
    assert refused.value.kind == "auth"


INSIDE = """
import json, os, sys
from nuwrap.engines import Order, kaniko
from nuwrap.errors import BuildError
from nuwrap.plan.dockerfile import read_steps
from nuwrap.spec.build import BuildPlan, BuildSettings, RegistryAccess
given = json.loads(sys.argv[1])
os.makedirs("/tmp/context/code")
open("/tmp/context/code/main.py", "w").write("print(1)")
text = given["dockerfile"]
open("/tmp/Dockerfile", "w").write(text)
plan = BuildPlan(text, read_steps(text), (), {}, "x", "1", "sha256:0", {})
settings = BuildSettings(cache_repo=given["cache"], retries=0, access=RegistryAccess(insecure=(given["registry"],)))
environ, names = dict(os.environ), (given["name"],)
order = Order(plan, "/tmp/context", "/tmp/Dockerfile", names, settings, True, environ=environ, log=(2,))
told = []
try:
    built = kaniko.build(order, report=told.append)
    outcome = {"digest": built.digest}
except BuildError as exc:
    outcome = {"kind": exc.kind, "text": str(exc)}
import sqlite3, ssl  # what is imported late is still there, though another image lies over this one
lines = [open(f"/proc/{pid}/cmdline").read() for pid in os.listdir("/proc") if pid.isdigit()]
outcome["left"] = [line for line in lines if "sleep" in line and "kaniko/python" not in line]
outcome["cached"] = [one.number for one in told if one.cache]
outcome["rooms"] = [name for name in os.listdir("/kaniko") if name.startswith("nuwrap-")]
print(json.dumps(outcome))
"""


def inside(name: str, registry: str, lines: list[str], container: str) -> list[str]:
    """Return the command that builds in a throw-away container of our image."""
    given = {
        "dockerfile": "\n".join(lines) + "\n",
        "name": f"{registry}/{name}:1",
        "cache": f"{registry}/{name}-cache",
        "registry": registry,
    }
    program = [os.environ.get("NUWRAP_DOCKER", "docker"), "run", "--rm", "--name", container, "--network", "host"]
    return [*program, "--entrypoint", "/kaniko/python/bin/python3", own_image(), "-I", "-c", INSIDE, json.dumps(given)]


@pytest.fixture
def container(image_name: str, engine_environ: dict[str, str]) -> Iterator[str]:
    """The name of a throw-away container, gone afterwards."""
    del engine_environ
    if not executor_image():
        pytest.skip(REASON)
    yield image_name
    docker("rm", "--force", image_name)


def test_kaniko_builds_and_pushes_in_its_own_throw_away_container(
    container: str, registry: str, python_image: Reference
) -> None:
    lines = [f"FROM {python_image('3.11')}", f"RUN echo {container} > /made", "COPY code /opt/function", "USER 8877"]

    def run() -> dict[str, object]:
        done = subprocess.run(
            inside(container, registry, lines, container), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    first, second = run(), run()
    assert second["digest"] == registry_digest(f"{registry}/{container}:1") != ""
    assert (first["cached"], second["cached"]) == ([], [2, 3])
    assert first["left"] == first["rooms"] == []
    told = docker(
        "run", "--rm", f"{registry}/{container}:1", "sh", "-c", "id -u; cat /made; ls -d /kaniko /tmp/context"
    )
    assert told == ""  # `ls` finds neither
    told = docker("run", "--rm", f"{registry}/{container}:1", "sh", "-c", "id -u; cat /made /opt/function/main.py")
    assert told.split() == ["8877", container, "print(1)"]


def commands(container: str) -> list[str]:
    """Return the command lines of what runs in the container."""
    return [line.split(None, 1)[-1] for line in docker("top", container, "-o", "pid,args").splitlines()]


def test_a_stop_in_the_throw_away_container_ends_what_instructions_have_started(
    container: str, registry: str, python_image: Reference
) -> None:
    sleep = f"sleep 1{secrets.randbelow(10**9):09}"
    lines = [f"FROM {python_image('3.11')}", f"RUN {sleep} & {sleep}"]
    with subprocess.Popen(
        inside(container, registry, lines, container), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: commands(container).count(sleep) == 2, timeout_s=120)
            docker("kill", "--signal", signal.SIGTERM.name, container)
            said, _ = process.communicate(timeout=60)
        finally:
            docker("rm", "--force", container)
    found = json.loads(said)
    assert found["kind"] == "stopped"
    assert found["left"] == []


def test_what_this_process_runs_on_is_no_place_for_kaniko() -> None:
    assert not sys.prefix.startswith("/kaniko")
    assert why_not_here(os.environ)
