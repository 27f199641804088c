"""`nuwrap-host install`: requirements into the interpreter on PATH, the step of an image's build. Real uv and pip."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from http_server import HttpServer, for_login, status
from made_packages import make_links, sdist, wheel

from nuwrap_runtime.host import compiling
from nuwrap_runtime.host.uv import find_uv

UV, NO_UV = find_uv(os.environ), "/nonexistent/uv"
PIP = list((Path(os.__file__).parent / "ensurepip" / "_bundled").glob("pip-*.whl"))
COMMITTER = ("-c", "user.name=x", "-c", "user.email=x@x")
needs_uv = pytest.mark.skipif(not UV, reason="SKIPPED: no uv here; set NUWRAP_UV")
needs_pip = pytest.mark.skipif(not PIP, reason="SKIPPED: this Python has no ensurepip (Debian: python3-venv)")
by_each_installer = pytest.mark.parametrize(
    "uv", [pytest.param(UV, id="uv", marks=needs_uv), pytest.param(NO_UV, id="pip", marks=needs_pip)]
)


@dataclass(frozen=True)
class Done:
    """How the command ended, and what it left in the folder of records."""

    code: int
    told: Mapping[str, Any]
    stderr: str
    records: Path

    @property
    def lock(self) -> str:
        """The lock's text, "" without one."""
        path = self.records / "requirements.lock"
        return path.read_text(encoding="utf-8") if path.exists() else ""


class Base:
    """A virtual environment in the place of a base image: its `python3` is on PATH."""

    def __init__(self, tree: str, folder: Path) -> None:
        self.entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
        self.folder, self.links = folder, folder / "links"
        self.links.mkdir()
        make_links(self.links)
        venv = [sys.executable, "-m", "venv", "--without-pip", str(folder / "base")]
        subprocess.run(venv, check=True, capture_output=True)
        self.python = folder / "base" / "bin" / "python3"
        (self.site,) = (folder / "base").glob("lib/*/site-packages")
        for name in ("home", "tmp"):
            (folder / name).mkdir()

    def put(self, *wheels: Path) -> None:
        """Have these wheels in the base, as they are."""
        for one in wheels:
            with zipfile.ZipFile(one) as archive:
                archive.extractall(self.site)

    def have(self, *names: str) -> None:
        """Have these of the made packages in the base."""
        self.put(*(self.links / f"{name}-py3-none-any.whl" for name in names))

    def install(
        self,
        *lines: str,
        uv: str = UV,
        constraints: str = "",
        more: tuple[str, ...] = (),
        is_offline: bool = True,
        **variables: str,
    ) -> Done:
        """Run the command; the packages are in a folder of links and nowhere else, unless it is not offline."""
        records = self.folder / "records"
        records.mkdir(exist_ok=True)
        (records / "requirements.txt").write_text("".join(line + "\n" for line in lines))
        argv = ["--requirements", str(records / "requirements.txt"), "--lock", str(records / "requirements.lock")]
        if constraints:
            (self.folder / "constraints.txt").write_text(constraints)
            argv += ["--constraints", str(self.folder / "constraints.txt")]
        environ = {
            "PATH": f"{self.python.parent}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "NUWRAP_UV": uv,
            "NUWRAP_SECRETS": str(self.folder / "secrets"),
            **variables,
        }
        offers = ("--find-links", str(self.links), "--no-index") if is_offline else ()
        command = [sys.executable, "-I", "-S", self.entry, "install", *argv, *offers, *more]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        told = json.loads(done.stdout) if done.stdout else {}
        return Done(done.returncode, told, done.stderr, records)

    def told(self, code: str) -> str:
        """Return what the base's interpreter prints."""
        return subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def base(tree: str, tmp_path: Path) -> Base:
    made = Base(tree, tmp_path.resolve())
    made.put(*PIP)
    return made


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@by_each_installer
def test_what_the_base_has_is_kept_and_what_is_new_is_locked(base: Base, uv: str) -> None:
    base.have("leaf-1.0")
    done = base.install("twig", uv=uv)
    assert done.code == 0, done.stderr
    assert base.told("import leaf, twig; print(leaf.VERSION, twig.VERSION)") == "1.0 0.9"
    assert done.lock.splitlines()[1:] == [
        "# leaf==1.0  (there before)",
        "twig==0.9 \\",
        f"    --hash=sha256:{digest(base.links / 'twig-0.9-py3-none-any.whl')}",
    ]
    assert (done.told["installed"], done.told["all"]) == (["twig==0.9"], ["leaf==1.0", "twig==0.9"])
    assert done.told["python"] == str(base.python)


@by_each_installer
def test_the_lock_installs_the_same_again_by_its_hashes(base: Base, uv: str, tmp_path: Path) -> None:
    lock = base.install("twig", uv=uv).records / "requirements.lock"
    argv = [base.python, "-m", "pip", "install", "--no-index", "--find-links", str(base.links), "--require-hashes"]
    argv += ["--no-deps", "--target", str(tmp_path / "again"), "-r", str(lock)]
    subprocess.run(argv, check=True, capture_output=True)
    assert {path.name for path in (tmp_path / "again").glob("*.py")} == {"leaf.py", "twig.py"}


@by_each_installer
def test_the_users_pin_wins_and_what_it_breaks_is_told(base: Base, uv: str) -> None:
    base.put(wheel(base.folder, "bush", "3.0", "Requires-Dist: leaf<2"))
    base.have("leaf-1.0")
    done = base.install("leaf==2.0", uv=uv)
    assert base.told("import leaf; print(leaf.VERSION)") == "2.0"
    assert "warning: leaf 2.0 takes the place of the interpreter's 1.0; its bush 3.0 needs leaf<2" in done.stderr


@by_each_installer
def test_a_constraint_wins_over_the_base(base: Base, uv: str) -> None:
    base.have("leaf-2.0")
    done = base.install("twig", uv=uv, constraints="# ours\nleaf<2\n")
    assert done.code == 0, done.stderr
    assert done.told["installed"] == ["leaf==1.0", "twig==0.9"]


@by_each_installer
def test_what_does_not_resolve_is_told_in_the_resolvers_words(base: Base, uv: str) -> None:
    base.have("leaf-1.0")
    done = base.install("twig==1.0", uv=uv)
    assert (done.code, done.lock) == (4, "")
    assert "leaf>=2" in done.stderr
    assert "among them leaf==1.0: name one in requirements to change it" in done.stderr
    assert "isolated" not in done.stderr
    assert base.told("import importlib.util as u; print(u.find_spec('twig'))") == "None"


@by_each_installer
def test_an_extra_brings_what_it_needs(base: Base, uv: str) -> None:
    base.have("tree-1.0", "leaf-1.0")
    done = base.install("tree[more]", "leaf", "never; python_version < '3'", uv=uv)
    assert done.told["installed"] == ["leaf==2.0"]


@by_each_installer
def test_an_address_is_installed_though_the_base_has_that_version(base: Base, uv: str) -> None:
    base.have("leaf-1.0")
    path = base.links / "leaf-1.0-py3-none-any.whl"
    done = base.install(f"leaf @ {path.as_uri()}", uv=uv)
    assert done.lock.splitlines()[1:] == [f"leaf @ {path.as_uri()} \\", f"    --hash=sha256:{digest(path)}"]


@by_each_installer
def test_files_are_compiled_for_whatever_a_layer_makes_of_their_times(base: Base, uv: str) -> None:
    base.install("leaf", uv=uv)
    (compiled,) = (base.site / "__pycache__").glob("leaf.*.pyc")
    assert compiled.read_bytes()[4] == 0b01  # by hash, and not checked: PEP 552


@by_each_installer
def test_no_download_and_no_folder_of_ours_is_left(base: Base, uv: str) -> None:
    base.install("leaf", uv=uv)
    assert [*(base.folder / "home").iterdir(), *(base.folder / "tmp").iterdir()] == []


def test_with_all_there_no_installer_is_started(base: Base) -> None:
    base.have("leaf-2.0", "twig-1.0")
    program = base.folder / "uv"
    program.write_text(f"#!/bin/sh\ntouch {base.folder}/started\nexit 1\n")
    program.chmod(0o700)
    done = base.install("twig", uv=str(program))
    assert (done.code, done.told["installed"], done.told["all"]) == (0, [], ["leaf==2.0", "twig==1.0"])
    assert not (base.folder / "started").exists()
    assert [line for line in done.lock.splitlines() if not line.startswith("#")] == []


def test_an_installer_that_does_not_do_it_is_found_out(base: Base) -> None:
    base.have("leaf-1.0")
    program = base.folder / "uv"
    program.write_text("#!/bin/sh\necho ' + leaf==2.0' >&2\necho 'leaf==2.0 --hash=sha256:00'\n")
    program.chmod(0o700)
    done = base.install("leaf==2.0", uv=str(program))
    assert done.code == 4
    assert "requirement 'leaf==2.0' is not met by what was installed: found leaf==1.0" in done.stderr


@pytest.mark.parametrize(
    ("pip", "reason"),
    [("", r"there is no uv, and python '.*/python3' has no pip"), ("21.3", "pip 21.3 tells no hashes, .* pip 22.2")],
    ids=["none", "too old"],
)
def test_without_an_installer_there_is_a_reason(tree: str, tmp_path: Path, pip: str, reason: str) -> None:
    base = Base(tree, tmp_path.resolve())
    if pip:
        base.put(wheel(base.folder, "pip", pip))
    done = base.install("leaf", uv=NO_UV)
    assert done.code == 10
    assert re.search(reason, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        ("-r other.txt", 4, "requirements[0]: '-r other.txt' is an option"),
        ("leaf @ https://me:pw@host/leaf.whl", 4, "holds a password"),
        ("leaf\u2028twig", 4, "line break"),
    ],
)
def test_what_is_no_requirement_is_refused_before_anything(base: Base, line: str, code: int, reason: str) -> None:
    done = base.install(line, uv=NO_UV)
    assert done.code == code
    assert reason in done.stderr


def test_a_lock_that_cannot_be_written_is_told(base: Base) -> None:
    base.have("leaf-1.0")
    done = base.install("leaf", more=("--lock", str(base.python / "requirements.lock")))
    assert done.code == 10
    assert "the lock cannot be written to '" in done.stderr


def test_a_file_that_is_not_there_is_told(base: Base) -> None:
    done = base.install("leaf", more=("--constraints", "none.txt"))
    assert done.code == 2
    assert "cannot read the requirements 'none.txt'" in done.stderr


def test_a_broken_file_and_tests_are_left_as_they_are(tmp_path: Path) -> None:
    for name, text in (("good.py", "x = 1\n"), ("bad.py", "print 'two'\n"), ("tests/one.py", "x = 1\n")):
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    argv = [sys.executable, "-I", compiling.__file__, str(tmp_path / "package")]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "1\n"
    assert [path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")] == ["good"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "0\n"


@by_each_installer
def test_a_commit_is_locked_as_what_it_is(base: Base, uv: str) -> None:
    repository = base.folder / "repository"
    sdist(base.folder, "source")
    subprocess.run(["tar", "-xzf", "source-1.0.tar.gz"], cwd=base.folder, check=True)
    (base.folder / "source-1.0").rename(repository)
    for arguments in (["init", "-q"], ["add", "."], [*COMMITTER, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *arguments], cwd=repository, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True)
    address = f"git+file://localhost{repository}"  # pip before 24 takes one without a host for a path
    done = base.install(f"source @ {address}", uv=uv)
    (line,) = done.lock.splitlines()[1:]
    assert line.replace("//localhost/", "///") == f"source @ git+{repository.as_uri()}@{commit.stdout.strip()}"
    assert base.told("import source; print(source.VERSION)") == "1.0"


def test_a_constraint_that_an_installer_passes_over_is_found_out(base: Base) -> None:
    program = base.folder / "uv"
    put = f"{base.python} -m zipfile -e {base.links}/leaf-2.0-py3-none-any.whl {base.site}"
    program.write_text(f"#!/bin/sh\necho ' + leaf==2.0' >&2\necho 'leaf==2.0 --hash=sha256:00'\n{put}\n")
    program.chmod(0o700)
    done = base.install("leaf", uv=str(program), constraints="leaf<2\n")
    assert done.code == 4
    assert "constraint 'leaf<2' is not met by what was installed: found 2.0" in done.stderr


INDEX_SETTINGS = [
    pytest.param(UV, "UV_DEFAULT_INDEX", marks=needs_uv, id="uv"),
    pytest.param(UV, "PIP_INDEX_URL", marks=needs_uv, id="uv by pip's setting"),
    pytest.param(NO_UV, "PIP_INDEX_URL", marks=needs_pip, id="pip"),
]


@pytest.mark.parametrize(("uv", "name"), INDEX_SETTINGS)
def test_an_index_that_is_a_secret_of_the_build_is_asked_and_not_told(
    base: Base, web: HttpServer, uv: str, name: str
) -> None:
    web.on("/simple/leaf/", for_login("me:s3cret-word", status(200, "no files", Content_Type="text/html")))
    (base.folder / "secrets").mkdir()
    (base.folder / "secrets" / name).write_text(web.url.replace("://", "://me:s3cret-word@") + "/simple\n")
    done = base.install("leaf", uv=uv, is_offline=False)
    assert (done.code, done.lock) == (4, "")
    assert "s3cret-word" not in done.stderr
    assert {one.path for one in web.seen if one.login == "me:s3cret-word"} == {"/simple/leaf/"}
