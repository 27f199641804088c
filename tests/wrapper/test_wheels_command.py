"""`nuwrap-host wheels`: what goes into a build's context, so that the engine gets no login of an index. Real uv."""

from __future__ import annotations

import base64
import hashlib
import json
import netrc
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import pytest
from http_server import Asked, HttpServer, Request
from made_packages import make_links, sdist

from nuwrap_runtime.host.uv import find_uv
from nuwrap_runtime.host.wheels import find_logins, login_for, read_lock

UV = find_uv(os.environ)
needs_uv = pytest.mark.skipif(not UV, reason="SKIPPED: no uv beside this interpreter or on PATH; set NUWRAP_UV")


@dataclass(frozen=True)
class Done:
    """How the command ended: `files` are the folder's, digest by name."""

    code: int
    told: Any
    stderr: str
    files: dict[str, str]
    lock: str


Get = Callable[..., Done]


@pytest.fixture
def links(tmp_path: Path) -> Path:
    folder = tmp_path / "links"
    folder.mkdir()
    make_links(folder)
    return folder


@pytest.fixture
def get(tree: str, tmp_path: Path) -> Get:
    """Run the command for these lines; further arguments are variables."""

    def run(
        *lines: str, more: tuple[str, ...] = ("--python", "3.9", "--platform", "linux/arm64"), **environ: str
    ) -> Done:
        (tmp_path / "requirements.txt").write_text("".join(line + "\n" for line in lines))
        entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
        argv = [sys.executable, "-I", "-S", entry, "wheels", "--requirements", str(tmp_path / "requirements.txt")]
        argv += ["--into", str(tmp_path / "wheels"), "--lock", str(tmp_path / "wheels.lock"), *more]
        given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NUWRAP_UV": UV or "/nonexistent", **environ}
        done = subprocess.run(argv, env=given, capture_output=True, text=True, check=False)
        found = sorted((tmp_path / "wheels").glob("*")) if done.returncode == 0 else []
        lock = (tmp_path / "wheels.lock").read_text() if found else ""
        told = json.loads(done.stdout) if done.stdout else None
        return Done(done.returncode, told, done.stderr, {path.name: digest(path) for path in found}, lock)

    return run


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(web: HttpServer, links: Path) -> str:
    """An index of the packages that wants a login, `me` and `p@ss word"`; returns its address without one."""

    def answer(request: Request) -> None:
        path = request.path.rstrip("/")
        wanted = "Basic " + base64.b64encode(b'me:p@ss-w0rd"x').decode()
        if request.headers.get("authorization") != wanted:
            request.reply(401, headers={"WWW-Authenticate": "Basic"})
        elif path.startswith("/simple/"):
            names = [one.name for one in links.iterdir() if one.name.startswith(path.rpartition("/")[2] + "-")]
            more = 'data-core-metadata="true"'  # PEP 714: read alone, so that no part of a wheel is asked for
            rows = [f'<a href="/files/{name}#sha256={digest(links / name)}" {more}>{name}</a>' for name in names]
            request.reply(200, "".join(rows).encode(), {"Content-Type": "text/html"})
        elif path.endswith(".metadata"):
            with zipfile.ZipFile(links / path.rpartition("/")[2][: -len(".metadata")]) as archive:
                (inside,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
                request.reply(200, archive.read(inside))
        else:
            request.reply(200, (links / path.rpartition("/")[2]).read_bytes())

    for name in ("leaf", "twig", "tree"):
        web.on(f"/simple/{name}/", answer)
    for one in links.iterdir():
        web.on(f"/files/{one.name}", answer)
        web.on(f"/files/{one.name}.metadata", answer)
    return f"{web.url}/simple"


def with_login(address: str) -> str:
    return address.replace("://", "://me:p%40ss-w0rd%22x@")


@needs_uv
def test_wheels_are_those_of_the_images_python_and_not_of_this_one(get: Get, links: Path) -> None:
    done = get(
        "leaf; python_version < '3.10'", "twig; python_version >= '3.10'", UV_FIND_LINKS=str(links), UV_OFFLINE="1"
    )
    assert done.code == 0, done.stderr
    name = "leaf-2.0-py3-none-any.whl"
    assert done.files == {name: digest(links / name)}
    assert done.lock == f"leaf==2.0 \\\n    --hash=sha256:{digest(links / name)}\n"
    assert done.told["wheels"] == [{"name": "leaf", "version": "2.0", "file": name, "sha256": digest(links / name)}]


@needs_uv
@pytest.mark.parametrize("how", ["in the address", "by a name"])
def test_an_index_gets_its_login_and_nobody_is_told_it(get: Get, index: str, web: HttpServer, how: str) -> None:
    named = {"UV_INDEX": f"own={index}", "UV_INDEX_OWN_USERNAME": "me", "UV_INDEX_OWN_PASSWORD": 'p@ss-w0rd"x'}
    environ = {"UV_DEFAULT_INDEX": with_login(index)} if how == "in the address" else named
    done = get("twig", **environ)
    assert done.code == 0, done.stderr
    assert list(done.files) == ["leaf-2.0-py3-none-any.whl", "twig-1.0-py3-none-any.whl"]
    asked: list[Asked] = [one for one in web.seen if one.path.startswith("/files/")]
    assert any(one.login == 'me:p@ss-w0rd"x' for one in asked)
    assert "w0rd" not in done.stderr + json.dumps(done.told) + done.lock


@needs_uv
def test_a_login_that_is_refused_is_told_without_it(get: Get, index: str) -> None:
    done = get("twig", UV_DEFAULT_INDEX=index.replace("://", "://me:wr0ng-one@"))
    assert done.code == 4
    assert "wr0ng" not in done.stderr
    assert "the requirements 'twig' have no wheels for Python 3.9 (linux/arm64)" in done.stderr


@needs_uv
def test_a_package_without_a_wheel_is_told(get: Get, links: Path) -> None:
    sdist(links, "source")
    done = get("source", UV_FIND_LINKS=str(links), UV_OFFLINE="1")
    assert done.code == 4
    assert "source" in done.stderr
    assert "no usable wheels" in done.stderr


@needs_uv
def test_a_constraint_holds(get: Get, links: Path, tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("leaf<2\n")
    more = ("--python", "3.12", "--platform", "linux/amd64", "--constraints", str(tmp_path / "constraints.txt"))
    done = get("twig", more=more, UV_FIND_LINKS=str(links), UV_OFFLINE="1")
    assert list(done.files) == ["leaf-1.0-py3-none-any.whl", "twig-0.9-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--python", "3", "--platform", "linux/amd64"), "--python '3' is no version of Python; allowed: as 3.11"),
        (("--python", "3.11", "--platform", "win"), "--platform 'win' is not known; allowed: linux/amd64, linux/arm64"),
    ],
)
def test_another_python_or_platform_is_refused(get: Get, more: tuple[str, ...], reason: str) -> None:
    done = get("leaf", more=more)
    assert done.code == 2
    assert reason in done.stderr


def test_without_uv_there_is_a_reason(get: Get) -> None:
    done = get("leaf", NUWRAP_UV="/nonexistent")
    assert done.code == 10
    assert "there is no uv, which resolves for another Python and platform" in done.stderr


@pytest.mark.parametrize("password", ["plain", 'quo"te', "back\\slash", "ha#sh", "-", "p@ss:word"])
def test_netrc_reads_what_was_written_for_it(tmp_path: Path, password: str) -> None:
    environ = {"UV_INDEX": "own=https://host/simple", "UV_INDEX_OWN_USERNAME": "me", "UV_INDEX_OWN_PASSWORD": password}
    ((address, line),) = find_logins(environ)
    (tmp_path / "netrc").write_text(line + "\n")
    found = netrc.netrc(str(tmp_path / "netrc")).authenticators("host")
    assert found
    assert (address, found[0], found[2]) == ("https://host/simple", "me", password)


def test_of_two_logins_for_a_server_the_nearer_one_counts() -> None:
    logins = [("https://h/a/simple", "A"), ("https://h/b/simple", "B"), ("http://h/b", "C"), ("https://other/", "D")]
    assert login_for("https://h/b/files/x.whl", logins) == "B"
    assert login_for("https://files/x.whl", logins) == ""


def test_what_is_no_file_of_a_lock_has_no_place(tmp_path: Path) -> None:
    text = 'lock-version = "1.0"\n\n[[packages]]\nname = "leaf"\nvcs = { type = "git", url = "https://h/r" }\n\n'
    text += '[[packages]]\nname = "twig"\nversion = "1.0"\n'
    text += f'archive = {{ path = "a b/t.whl", hashes = {{ sha256 = "{"0" * 64}" }} }}\n'
    leaf, twig = read_lock(text, str(tmp_path))
    assert (leaf.name, leaf.place) == ("leaf", "")
    assert (twig.version, twig.file, twig.place) == ("1.0", "t.whl", (tmp_path / "a b" / "t.whl").as_uri())
