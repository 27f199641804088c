"""`nuwrap doctor`: what is there, what is not, and what that means, on machines that lack one thing each."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import clean_environment, nuwrap_argv

from nuwrap.cli.programs import s3
from nuwrap.platforms.interpreters import SUPPORTED
from nuwrap.store import open_store
from nuwrap_runtime import __version__

HERE = "{}.{}".format(*sys.version_info)
SHELL = "#!/bin/sh\n"
Examine = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has this Python and no other program; its programs are those of `bin`."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "user").mkdir()
    return {
        "PATH": str(tmp_path / "bin"),
        "HOME": str(tmp_path / "user"),
        "NUWRAP_HOME": str(tmp_path / "home"),
        "NUWRAP_CACHE": str(tmp_path / "cache"),
        "NUWRAP_UV": "/nonexistent/uv",
    }


@pytest.fixture
def examine(machine: Mapping[str, str], tmp_path: Path) -> Examine:
    def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        hidden = ("AWS_", "S3_", "NUWRAP_SOURCE_", "UV_", "PYENV_", "XDG_")
        plain = {name: value for name, value in clean_environment({}).items() if not name.startswith(hidden)}
        return subprocess.run(
            nuwrap_argv(["doctor", *arguments]),
            cwd=tmp_path,
            env={**plain, **machine, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def program(tmp_path: Path, name: str, script: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(SHELL + script)
    path.chmod(0o755)


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {one["name"]: one for one in json.loads(done.stdout)["findings"]}


def test_each_lack_says_what_it_means_and_what_mends_it(examine: Examine, tmp_path: Path) -> None:
    program(tmp_path, "apt-get", "exit 0\n")
    done = examine("--json")
    assert (done.returncode, done.stderr, json.loads(done.stdout)["ok"]) == (0, "", True)
    found = findings(done)
    assert list(found) == [
        *(f"Python {version}" for version in SUPPORTED),
        *("uv", "git", "docker", "nuwrap's images", "kubectl", "S3", "history", "cache", "nuwrap's files"),
    ]
    assert found[f"Python {HERE}"]["found"].endswith(f"python{HERE}")
    assert (found["git"]["found"], found["git"]["mend"]) == ("", "sudo apt-get install git")
    assert "code from git+… addresses cannot be fetched" in found["git"]["lack"]
    assert "installed by pip" in found["uv"]["lack"]
    assert found["S3"]["lack"] == "of s3:// addresses, only public ones can be read"
    assert found["history"]["found"] == f"{tmp_path}/home, made by the first run"
    assert found["nuwrap's files"]["found"] == "set up by the first run"
    assert not (tmp_path / "home").exists()


def test_a_person_gets_a_table_and_commands_to_copy(examine: Examine, tmp_path: Path) -> None:
    done = examine()
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["what", "found"]
    assert "all that every run needs is there" in lines
    assert lines[lines.index("git: code from git+… addresses cannot be fetched") + 1] == "    install git"
    assert "missing" in next(line for line in lines if line.startswith("kubectl"))


def test_programs_say_their_versions(examine: Examine, tmp_path: Path) -> None:
    program(tmp_path, "git", "echo git version 2.50.1; echo more\n")
    program(tmp_path, "docker", 'test "$*" = "version --format {{.Server.Version}}" && echo 28.1\n')
    program(tmp_path, "kubectl", 'test "$*" = "config current-context" && echo kind\n')
    found = findings(examine("--json"))
    assert (found["git"]["found"], found["docker"]["found"]) == ("git version 2.50.1", "28.1")
    assert (found["kubectl"]["found"], found["kubectl"]["lack"]) == ("context kind", "")


def test_a_client_without_its_server_is_a_lack(examine: Examine, tmp_path: Path) -> None:
    program(tmp_path, "docker", "echo 'Cannot connect' >&2; exit 1\n")
    program(tmp_path, "kubectl", "exit 1\n")
    found = findings(examine("--json"))
    assert found["docker"]["found"] == "the client alone: Docker does not answer"
    assert "start" in found["docker"]["mend"]
    assert (found["kubectl"]["found"], found["kubectl"]["mend"]) == (
        "no cluster is chosen",
        "kubectl config use-context NAME",
    )


def test_a_missing_python_is_installed_by_the_uv_that_is_there(examine: Examine, tmp_path: Path) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    assert uv
    found = findings(examine("--json", NUWRAP_UV=uv))
    assert found["uv"]["found"].startswith("uv ")
    for version in SUPPORTED:
        one = found[f"Python {version}"]
        if not one["found"]:
            assert one["mend"] == f"{uv} python install {version}"
            assert f"PYTHON{version.replace('.', '_')} do not run here" in one["lack"]


@pytest.mark.parametrize("variable", ["NUWRAP_HOME", "NUWRAP_CACHE"])
def test_a_place_that_cannot_be_made_ends_with_10(examine: Examine, tmp_path: Path, variable: str) -> None:
    (tmp_path / "file").touch()
    done = examine(**{variable: str(tmp_path / "file" / "x")})
    name = {"NUWRAP_HOME": "history", "NUWRAP_CACHE": "cache"}[variable]
    assert done.returncode == 10
    assert f"no run can begin: {name}" in done.stdout
    assert f"    export {variable}=FOLDER" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_history_that_cannot_be_read_ends_with_10(examine: Examine, tmp_path: Path) -> None:
    open_store(str(tmp_path / "home")).close()
    assert findings(examine("--json"))["history"]["found"] == str(tmp_path / "home")
    (tmp_path / "home" / "store.db").write_bytes(b"x" * 5000)
    done = examine("--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (10, False)
    assert "store.db" in findings(done)["history"]["lack"]


class TestS3:
    KEYS: Mapping[str, str] = {"AWS_ACCESS_KEY_ID": "id-of-mine", "AWS_SECRET_ACCESS_KEY": "secret-word"}

    @pytest.mark.parametrize(
        ("environ", "found"),
        [
            (KEYS, "AWS_ACCESS_KEY_ID"),
            ({f"NUWRAP_SOURCE_{name}": value for name, value in KEYS.items()}, "NUWRAP_SOURCE_AWS_ACCESS_KEY_ID"),
            ({"AWS_PROFILE": "mine"}, "AWS_PROFILE"),
            ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/x"}, "AWS_WEB_IDENTITY_TOKEN_FILE"),
            ({"AWS_ACCESS_KEY_ID": "half"}, ""),
        ],
        ids=lambda one: "-".join(one) if isinstance(one, dict) else None,
    )
    def test_says_whose_account_it_is_and_no_value(self, environ: dict[str, str], found: str) -> None:
        told = s3(environ)
        assert (told.found, bool(told.lack)) == (found, not found)

    def test_credentials_may_lie_in_the_home(self, tmp_path: Path) -> None:
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "credentials").touch()
        assert s3({"HOME": str(tmp_path)}).found == str(tmp_path / ".aws" / "credentials")

    def test_an_endpoint_is_reached_or_said(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            endpoint = f"http://me:secret-word@127.0.0.1:{port}/path"
            assert s3({**self.KEYS, "AWS_ENDPOINT_URL": endpoint}).found == f"AWS_ACCESS_KEY_ID at 127.0.0.1:{port}"
        told = s3({**self.KEYS, "AWS_ENDPOINT_URL": endpoint})
        assert told.lack == f"s3:// addresses cannot be read at 127.0.0.1:{port}: Connection refused"
        assert told.mend == "see AWS_ENDPOINT_URL"

    @pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://host", "http://host:port", "http://"])
    def test_an_endpoint_that_is_none_is_said(self, endpoint: str) -> None:
        assert s3({"AWS_ENDPOINT_URL": endpoint}).lack.startswith("s3:// addresses cannot be read")


def test_the_images_of_this_version_are_told(examine: Examine, tmp_path: Path) -> None:
    told = f"printf '{__version__}-3.9\\n0.0.1-3.13\\n{__version__}-3.10\\n'"
    program(tmp_path, "docker", f'case "$*" in image*nuwrap/python) {told} ;; *) echo 28.1 ;; esac\n')
    assert findings(examine("--json"))["nuwrap's images"]["found"] == "Docker has those of Python 3.9, 3.10"
    program(tmp_path, "docker", 'case "$*" in image*) true ;; *) echo 28.1 ;; esac\n')
    assert "make build-images" in findings(examine("--json"))["nuwrap's images"]["mend"]
