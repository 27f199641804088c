"""The parts of platform `docker` that need no daemon: what goes in, what comes back, which variables count."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nuwrap.errors import PlatformError
from nuwrap.platforms import docker_boot
from nuwrap.platforms.docker_back import bring_back
from nuwrap.platforms.docker_engine import Engine
from nuwrap.platforms.docker_environment import hide_own, own_variables, settle_certificates
from nuwrap.platforms.docker_given import Given, write_given
from nuwrap.platforms.docker_images import user_of
from nuwrap.platforms.docker_plan import plan_inside
from nuwrap.platforms.docker_wanted import Gift, read_wanted
from nuwrap.platforms.passing import passed_on, warn_of_variables, without_fetching
from nuwrap_runtime.errors import OutputsError, SourceError
from nuwrap_runtime.launch import Launch, Limits

LIMITS = Limits()

# What goes in.


def archive_of(given: Given, tmp_path: Path, *, may_start: bool = True) -> bytes:
    path = tmp_path / "archive"
    write_given(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), given, lambda: may_start)
    return path.read_bytes()


def boot(archive: bytes, host: str = "/bin/cat", *arguments: str) -> subprocess.CompletedProcess[str]:
    """Let what a container begins with take the archive and become a program."""
    text = Path(str(docker_boot.__file__)).read_text()
    argv = [sys.executable, "-I", "-S", "-c", text, host, *arguments]
    done = subprocess.run(argv, input=archive, capture_output=True, env={"KEPT": "1", "DROPPED": "1"}, check=False)
    return subprocess.CompletedProcess(argv, done.returncode, done.stdout.decode(), done.stderr.decode())


def start(folder: Path, **environ: str) -> dict[str, Any]:
    return {"environ": environ, "without": ["DROPPED"], "folder": str(folder)}


def test_what_is_given_is_there_when_the_host_begins(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/run.sh").write_text("echo")
    (tmp_path / "code/run.sh").chmod(0o700)
    (tmp_path / "code/link").symlink_to("run.sh")
    at = str(tmp_path / "there")[1:]
    given = Given(
        gifts=(
            Gift(str(tmp_path / "code"), f"{at}/code", is_code=True),
            Gift(str(tmp_path / "code/run.sh"), f"{at}/in/put"),
        ),
        texts={f"{at}/launch.json": "{}"},
        start=start(tmp_path / "there", A="x=y\nz"),
    )
    done = boot(archive_of(given, tmp_path), "/usr/bin/env")
    assert done.returncode == 0, done.stderr
    assert "A=x=y\nz" in done.stdout
    assert "KEPT=1" in done.stdout
    assert "DROPPED" not in done.stdout
    there = tmp_path / "there"
    modes = [(there / name).stat().st_mode & 0o777 for name in ("code/run.sh", "in/put", "launch.json")]
    assert modes == [0o744, 0o444, 0o600]
    assert os.readlink(there / "code/link") == "run.sh"


def test_the_host_begins_with_an_empty_standard_input(tmp_path: Path) -> None:
    done = boot(archive_of(Given(start=start(tmp_path)), tmp_path), "/bin/cat")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("cut", [0, 100, 600, None], ids=["at once", "in a head", "in a file", "before the last word"])
def test_a_start_that_is_called_off_begins_nothing(tmp_path: Path, cut: int | None) -> None:
    given = Given(texts={f"{str(tmp_path)[1:]}/x": "text" * 1000}, start=start(tmp_path))
    archive = archive_of(given, tmp_path, may_start=cut is not None)
    done = boot(archive[:cut], "/bin/echo", "begun")
    assert (done.returncode, done.stdout) == (143, "")


def test_a_host_that_is_not_in_the_image_says_so(tmp_path: Path) -> None:
    done = boot(archive_of(Given(start=start(tmp_path)), tmp_path), "/nowhere/nuwrap-host")
    assert done.returncode == 10
    assert "nuwrap  error: /nowhere/nuwrap-host cannot be started in this image" in done.stderr


def test_what_is_neither_file_nor_folder_is_no_code(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    os.mkfifo(tmp_path / "code/pipe")
    with pytest.raises(SourceError, match="is neither a file, a folder nor a link"):
        archive_of(Given(gifts=(Gift(str(tmp_path / "code"), "x", is_code=True),)), tmp_path)


def test_a_repository_of_this_machine_goes_in_whole(tmp_path: Path) -> None:
    (tmp_path / "my repo").mkdir()
    source = f"git+file://{tmp_path}/my%20repo?subdir=a#v1"
    inside = plan_inside(Launch(handler="f", code_src=source), "/", is_baked=False)
    assert inside.launch.code_src == "git+file:///work/given/git/my%20repo?subdir=a#v1"
    assert inside.gifts == [Gift(str(tmp_path / "my repo"), "work/given/git/my repo")]
    assert inside.paths == {inside.launch.code_src: source}
    assert inside.has_remote
    with pytest.raises(SourceError, match="there is no folder '/nowhere'"):
        plan_inside(Launch(handler="f", code_src="git+file:///nowhere"), "/", is_baked=False)


def test_a_document_of_another_version_says_so(tmp_path: Path) -> None:
    (tmp_path / "docker.json").write_text('{"gifts": [], "ports": [], "later": 1}')
    with pytest.raises(PlatformError, match="which says what the container is"):
        read_wanted(str(tmp_path))


# What comes back.


def docker_that_copies(folder: Path, archive: bytes) -> Engine:
    """A docker client whose every answer is this archive."""
    (folder / "archive.tar").write_bytes(archive)
    stub = folder / "docker"
    stub.write_text(f"#!/bin/sh\nexec cat {folder}/archive.tar\n")
    stub.chmod(0o755)
    return Engine({"PATH": "/usr/bin:/bin", "NUWRAP_DOCKER": str(stub)})


def members(*names: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def back(tmp_path: Path, archive: bytes, limits: Limits = LIMITS) -> Path:
    (tmp_path / "run").mkdir(exist_ok=True)
    bring_back(docker_that_copies(tmp_path, archive), "c", str(tmp_path / "run"), "r1", limits=limits)
    return tmp_path / "run"


def test_result_and_outputs_come_back_and_nothing_else(tmp_path: Path) -> None:
    found = back(tmp_path, members("run/result.json", "run/outputs/a", "run/outputs/b/c", "run/other", "run/.run"))
    names = sorted(str(path.relative_to(found)) for path in found.rglob("*") if path.is_file())
    assert names == [".run", "outputs/a", "outputs/b/c", "result.json"]
    assert (found / ".run").read_text() == "r1"


def test_an_earlier_attempts_result_does_not_speak_for_this_one(tmp_path: Path) -> None:
    back(tmp_path, members("run/result.json", "run/outputs/a"))
    engine = docker_that_copies(tmp_path, members("run/outputs/b"))
    assert not bring_back(engine, "c", str(tmp_path / "run"), "r1", limits=LIMITS)
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == [".run", "b", "outputs"]


@pytest.mark.parametrize("name", ["run/outputs/../../x", "/run/outputs/x", "run/outputs//x", "run/outputs/./x"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputsError, match="a name that is refused"):
        back(tmp_path, members(name))
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file_does_not_come_back(tmp_path: Path, kind: bytes) -> None:
    found = back(tmp_path, members("run/outputs/x", kind=kind))
    assert [path.name for path in found.iterdir()] == [".run"]


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputsError, match="cannot be kept"):
        back(tmp_path, members("run/outputs", "run/outputs/x"))


@pytest.mark.parametrize("limits", [Limits(files=2), Limits(input_bytes=2)], ids=["files", "bytes"])
def test_more_than_the_limits_allow_does_not_come_back(tmp_path: Path, limits: Limits) -> None:
    with pytest.raises(OutputsError, match="the most that is brought back"):
        back(tmp_path, members("run/outputs/a", "run/outputs/b", "run/outputs/c"), limits)
    assert list((tmp_path / "run").iterdir()) == []


def test_outputs_that_are_cut_off_are_no_outputs(tmp_path: Path) -> None:
    with pytest.raises(OutputsError, match="cut off"):
        back(tmp_path, members("run/outputs/a", "run/outputs/b", content=b"x" * 4000)[:2000])


# Which variables count.


def test_only_what_says_how_things_are_reached_is_passed_on() -> None:
    passed = {
        "PIP_INDEX_URL": "https://index.example/simple",
        "UV_INDEX_CORP_PASSWORD": "x",
        "https_proxy": "http://proxy.example:3128",
        "NO_PROXY": "localhost",
        "GIT_TOKEN": "t",
        "NUWRAP_SOURCE_AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "r",
        "NUWRAP_LIMITS": "{}",
    }
    stays = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "PIP_CACHE_DIR": "/c",
        "PIP_FIND_LINKS": "/wheels",
        "UV_CACHE_DIR": "/c",
        "AWS_PROFILE": "p",
        "AWS_SHARED_CREDENTIALS_FILE": "/f",
        "GIT_CONFIG_GLOBAL": "/f",
        "HTTP_PROXY": "http://127.0.0.1:3128",
        "NUWRAP_HANDLER": "h",
    }
    assert passed_on({**passed, **stays}) == passed


def test_a_key_in_a_file_is_passed_on_as_its_text(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("PRIVATE KEY")
    assert passed_on({"GIT_SSH_KEY": str(tmp_path / "key")}) == {"GIT_SSH_KEY": "PRIVATE KEY"}


def test_files_of_authorities_go_in_once_and_are_named_by_their_new_place(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("ca")
    path = str(tmp_path / "ca.pem")
    found = settle_certificates({"SSL_CERT_FILE": path, "PIP_CERT": path, "CURL_CA_BUNDLE": "/nowhere"})
    assert [gift.path for gift in found.gifts] == [path]
    assert found.environ == dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT"), f"/{found.gifts[0].at}")


@pytest.mark.parametrize(
    ("keeps", "left"), [(False, {"AWS_REGION"}), (True, {"AWS_REGION", "NUWRAP_SOURCE_AWS_REGION"})]
)
def test_credentials_for_code_stay_with_who_fetches(keeps: bool, left: set[str]) -> None:
    names = ("GIT_TOKEN", "NUWRAP_SOURCE_GIT_TOKEN", "NUWRAP_SOURCE_AWS_REGION", "AWS_REGION")
    assert set(without_fetching(dict.fromkeys(names, "x"), keeps_store=keeps)) == left


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"PIP_INDEX_URL": "http://localhost:8080/simple"}, "PIP_INDEX_URL: names this machine by its loopback"),
        ({"http_proxy": "http://me:pw@127.0.0.1:1"}, "http_proxy: names this machine by its loopback"),
        ({"AWS_PROFILE": "p"}, "AWS_PROFILE means nothing in a container"),
        ({"NUWRAP_HANDLER": "h"}, "NUWRAP_HANDLER of the environment are not used"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_a_variable_that_is_of_no_use_there_is_a_warning(environ: Mapping[str, str], told: str) -> None:
    said: list[str] = []
    warn_of_variables(environ, {"NUWRAP_HANDLER"}, said.append)
    (text,) = said
    assert text.startswith(told)
    assert "pw" not in text


def test_the_runs_own_variables_are_hidden_from_who_starts_the_container() -> None:
    hidden = hide_own({"PATH": "/bin", "NUWRAP_CONTAINER_OLD": "left"}, {"PATH": "/opt", "A": "b"})
    assert hidden["PATH"] == "/bin"
    assert own_variables(hidden) == {"PATH": "/opt", "A": "b"}


@pytest.mark.parametrize(
    ("own", "user", "group", "expected"),
    [
        ("", "", "", "8877:999"),
        ("root:root", "", "", "8877:999"),
        ("0", "", "5", "8877:5"),
        ("app", "", "", "app"),
        ("1:2", "", "3", "1:3"),
        ("1:2", "7", "", "7:999"),
        ("app", "7", "8", "7:8"),
    ],
)
def test_a_container_is_never_roots_by_itself(own: str, user: str, group: str, expected: str) -> None:
    assert user_of(json.loads(json.dumps({"Config": {"User": own}})), user, group) == expected
