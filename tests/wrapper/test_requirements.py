"""Requirements: checked, found, or installed. Real uv and pip, packages made here; one test asks the real index."""

from __future__ import annotations

import functools
import json
import os
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest
from made_packages import make_links, sdist, wheel

from nuwrap_runtime.errors import PlatformError, RequirementsError
from nuwrap_runtime.host.environments import Environment, locked, open_place
from nuwrap_runtime.host.index import hide
from nuwrap_runtime.host.interpreter import Distribution, Interpreter, write_json
from nuwrap_runtime.host.requirements import (
    check_requirements,
    ensure_environment,
    find_clashes,
    request_key,
    unsatisfied,
)
from nuwrap_runtime.host.uv import find_uv
from nuwrap_runtime.host.workspace import remove_tree
from nuwrap_runtime.launch import Launch, Limits, Network

UV = find_uv(os.environ)
NO_UV = "/nonexistent/uv"
needs_uv = pytest.mark.skipif(not UV, reason="SKIPPED: no uv beside this interpreter or on PATH; set NUWRAP_UV")
PIP = list((Path(os.__file__).parent / "ensurepip" / "_bundled").glob("pip-*.whl"))
needs_pip = pytest.mark.skipif(not PIP, reason="SKIPPED: this Python has no ensurepip (Debian: python3-venv)")
BOTH = [pytest.param(UV, marks=needs_uv, id="uv"), pytest.param(NO_UV, marks=needs_pip, id="pip")]
by_each_installer = pytest.mark.parametrize("uv", BOTH)


@pytest.fixture(scope="session")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages in the place of an index: leaf 1 and 2; twig 0.9 takes any leaf, twig 1 needs leaf 2."""
    folder = tmp_path_factory.mktemp("links")
    make_links(folder)
    return folder


@pytest.fixture
def environ(tmp_path: Path, links: Path) -> dict[str, str]:
    """An environment of a user whose own settings of uv and pip name no index, only the folder of packages."""
    settings = tmp_path / "home" / ".config"
    for name, text in (("uv/uv.toml", "no-index = true\n"), ("pip/pip.conf", "[global]\nno-index = 1\n")):
        (settings / name).parent.mkdir(parents=True)
        (settings / name).write_text(text)
    home = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "NUWRAP_UV": UV or NO_UV}
    return {**home, "UV_FIND_LINKS": str(links), "PIP_FIND_LINKS": str(links)}


@pytest.fixture
def base(tmp_path: Path, links: Path) -> Callable[..., str]:
    """Make a virtual environment with pip and the given packages, as a user's interpreter."""

    def make(*packages: str) -> str:
        folder = tmp_path / "base"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, capture_output=True)
        (site,) = folder.glob("lib/*/site-packages")
        for path in (*PIP, *(links / f"{one}-py3-none-any.whl" for one in packages)):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(site)
        return str(folder / "bin" / "python")

    return make


Ensure = Callable[..., Environment]


@pytest.fixture
def ensure(tmp_path: Path, environ: dict[str, str]) -> Ensure:
    """Ensure an environment for `python` and requirements; `said` of the result's function has what was told."""
    said: list[str] = []

    def call(python: str, *lines: str, uv: str = "", **more: Any) -> Environment:
        given = {**environ, **({"NUWRAP_UV": uv} if uv else {})}
        launch = Launch(handler="f", python=python, requirements=lines, **more)
        return ensure_environment(launch, given, str(tmp_path / "cache"), say=said.append)

    call.said = said  # type: ignore[attr-defined]
    return call


def told(python: str, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_without_requirements_nothing_is_started_or_imported(tmp_path: Path) -> None:
    program = tmp_path / "python3"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o700)
    code = "import sys; from nuwrap_runtime.launch import Launch; from nuwrap_runtime.host import requirements as r; "
    code += "e = r.ensure_environment(Launch('f'), {'PATH': sys.argv[1]}, '', say=print); "
    code += "print(e.python, e.installed, [m for m in sys.modules if m.startswith('packaging')])"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout == f"{program} False []\n"
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-r other.txt", "is an option"),
        ("--index-url https://me:pw@host/", r"'--index-url https://\*\*\*@host/' is an option; .* use network.index"),
        ("-i https://host/", "use network.index"),
        ("leaf\ntwig", "line break"),
        ("leaf\x00", "control character"),
        ("leaf\u2028twig", "line break"),
        ("  ", "is empty"),
        ("leaf twig", "no PEP 508 requirement"),
        ("leaf=1", "no PEP 508 requirement"),
        ("leaf>=1 --hash=sha256:00", "no PEP 508 requirement"),
        ("./leaf", "is a path; write 'name @ file:///absolute/path'"),
        ("leaf-1.0-py3-none-any.whl", "is a path"),
        ("leaf @ ../leaf", "names no address"),
        ("leaf @ https://${TOKEN}@host/leaf.whl", "variables are not read here"),
        ("leaf @ https://host/leaf\\", "backslash"),
        ("leaf @ git+https://me:pw@host/r.git", r"'leaf @ git\+https://\*\*\*@host/r.git' holds a password"),
        ("leaf @ git+https://01234567890123456789@host/r.git", r"https://\*\*\*@host/r.git' holds a password"),
    ],
)
def test_what_is_no_requirement_is_refused_with_the_reason(line: str, reason: str) -> None:
    with pytest.raises(RequirementsError, match=reason):
        check_requirements([line])


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RequirementsError) as caught:
        check_requirements(["leaf", "-e .", "a b"])
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "requirements[1]",
        "requirements[2]",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at //me:p@w@host/x", "at //***@host/x"),
        ("me:p@w@host, me:p/w@host/x", "***@host, ***@host/x"),
        ("x @ git+https://host:80/r.git@main", "x @ git+https://host:80/r.git@main"),
        ("git+ssh://git@h/r@v: not found", "git+ssh://***@h/r@v: not found"),
    ],
)
def test_a_login_is_hidden_wherever_it_stands(text: str, shown: str) -> None:
    assert hide(text) == shown


def test_valid_requirements_keep_their_order() -> None:
    lines = ["Twig[more]>=1,<3; python_version>'3'", "leaf", "x @ git+https://host/r.git@main", "y @ git+ssh://git@h/r"]
    assert [one.name for one in check_requirements(lines)] == ["Twig", "leaf", "x", "y"]


@pytest.mark.parametrize(
    ("installed", "line", "lacking"),
    [
        ({"leaf": "2.0"}, "Leaf>=1", []),
        ({"leaf": "2.0"}, "leaf<2", ["leaf"]),
        ({}, "leaf", ["leaf"]),
        ({}, "leaf; python_version < '3'", []),
        ({"leaf": "2.0rc1"}, "leaf", []),
        ({"leaf": "not-a-version"}, "leaf>=1", ["leaf"]),
        ({"leaf": "2.0"}, "leaf @ https://host/leaf.whl", ["leaf"]),
        ({"tree": "1.0", "leaf": "1.0"}, "tree", []),
        ({"tree": "1.0", "leaf": "1.0"}, "tree[more]", ["leaf"]),
        ({"tree": "1.0", "leaf": "2.0"}, "tree[more]", []),
        ({"ring": "1.0"}, "ring", []),
        ({"ring": "1.0"}, "ring[all]", ["leaf"]),
        ({"old": "1.0"}, "old", []),
    ],
)
def test_satisfied_means_all_that_is_needed(installed: dict[str, str], line: str, lacking: list[str]) -> None:
    requires = {
        "tree": ("leaf>=2; extra == 'more'",),
        "ring": ("ring[more]; extra == 'all'", "ring[all]; extra == 'more'", "leaf; extra == 'more'"),
        "old": ("no (such) ! requirement",),
    }
    there = {name: Distribution(version, requires.get(name, ())) for name, version in installed.items()}
    python = _interpreter(there)
    assert unsatisfied(check_requirements([line]), python) == lacking


def _interpreter(distributions: dict[str, Distribution]) -> Interpreter:
    from packaging.markers import default_environment

    markers = {name: str(value) for name, value in default_environment().items()}
    return Interpreter("p", "", "3.11", "cpython", "", "", "", markers=markers, distributions=distributions)


def test_a_pin_that_breaks_a_package_of_the_base_is_told() -> None:
    before = _interpreter({"leaf": Distribution("1.0"), "bush": Distribution("3.0", ("leaf<2",))})
    now = replace(before, distributions={**before.distributions, "leaf": Distribution("2.0")})
    assert list(find_clashes(before, now)) == [
        "leaf 2.0 takes the place of the interpreter's 1.0; its bush 3.0 needs leaf<2"
    ]
    assert list(find_clashes(before, before)) == []


def test_a_satisfied_interpreter_gets_nothing_installed(
    base: Callable[..., str], ensure: Ensure, tmp_path: Path
) -> None:
    python = base("leaf-2.0", "twig-1.0")
    made = ensure(python, "twig")
    assert (made.python, made.installed, made.requirements) == (python, False, ("leaf==2.0", "twig==1.0"))
    assert ensure(python, "twig") == made
    assert [path for path in (tmp_path / "cache" / "envs").iterdir() if path.is_dir()] == []


@by_each_installer
def test_what_the_base_has_is_kept(base: Callable[..., str], ensure: Ensure, uv: str) -> None:
    made = ensure(base("leaf-1.0"), "twig", uv=uv)
    assert made.installed
    assert made.requirements == ("leaf==1.0", "twig==0.9")
    assert told(made.python, "import leaf, twig; print(leaf.VERSION, twig.VERSION)") == "1.0 0.9"


@by_each_installer
def test_the_users_pin_wins_over_the_base(base: Callable[..., str], ensure: Ensure, uv: str) -> None:
    python = base("leaf-1.0")
    made = ensure(python, "leaf==2.0", "twig", uv=uv)
    assert made.requirements == ("leaf==2.0", "twig==1.0")
    assert told(made.python, "import leaf; print(leaf.VERSION)") == "2.0"
    assert told(python, "import leaf; print(leaf.VERSION)") == "1.0"


@by_each_installer
def test_a_conflict_with_the_base_is_named(base: Callable[..., str], ensure: Ensure, tmp_path: Path, uv: str) -> None:
    with pytest.raises(RequirementsError, match=r"among them leaf==1\.0: name one .* `isolated: true`"):
        ensure(base("leaf-1.0"), "twig==1.0", uv=uv)
    (folder,) = [path for path in (tmp_path / "cache" / "envs").iterdir() if path.is_dir()]
    assert list(folder.iterdir()) == []


@by_each_installer
def test_isolated_leaves_the_base_out(base: Callable[..., str], ensure: Ensure, uv: str) -> None:
    made = ensure(base("leaf-1.0", "tree-1.0"), "twig==1.0", uv=uv, isolated=True)
    assert made.requirements == ("leaf==2.0", "twig==1.0")
    find = "import importlib.util as u; print(u.find_spec('tree'), u.find_spec('leaf') is not None)"
    assert told(made.python, find) == "None True"


@by_each_installer
def test_an_address_is_installed_though_the_base_has_that_version(
    base: Callable[..., str], ensure: Ensure, links: Path, uv: str
) -> None:
    address = (links / "leaf-1.0-py3-none-any.whl").as_uri()
    made = ensure(base("leaf-1.0"), f"leaf @ {address}", uv=uv)
    assert made.requirements == (f"leaf @ {address}",)
    assert told(made.python, "import leaf, sys; print(leaf.__file__.startswith(sys.prefix))") == "True"


@needs_uv
def test_an_extra_brings_what_it_needs(base: Callable[..., str], ensure: Ensure) -> None:
    assert ensure(base("tree-1.0"), "tree[more]").requirements == ("leaf==2.0", "tree==1.0")


@needs_uv
def test_a_requirement_for_elsewhere_is_not_installed(base: Callable[..., str], ensure: Ensure) -> None:
    assert ensure(base(), "leaf==1.0", "nothing==9; sys_platform == 'plan9'").requirements == ("leaf==1.0",)


@needs_uv
def test_the_environment_is_compiled_and_read_only(base: Callable[..., str], ensure: Ensure) -> None:
    python = base()
    before = os.stat(python).st_mode
    folder = Path(ensure(python, "leaf==1.0").python).parent.parent
    paths = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    assert [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o222] == []
    assert [path.name for path in paths if path.name.startswith("leaf.cpython")]
    assert os.stat(python).st_mode == before


def test_all_that_decides_what_is_installed_is_in_the_key() -> None:
    launch, python = Launch("f", requirements=("leaf",)), _interpreter({"leaf": Distribution("1.0")})
    other = replace(python, distributions={"leaf": Distribution("2.0")})
    keys = [
        request_key(launch, python, {}),
        request_key(launch, other, {}),
        request_key(launch, replace(python, abi="cpython-313t"), {}),
        request_key(launch, replace(python, libc="musl"), {}),
        request_key(launch, python, {"UV_DEFAULT_INDEX": "https://a"}),
        request_key(replace(launch, network=Network(index=("https://a",))), python, {}),
        request_key(replace(launch, requirements=("leaf>0",)), python, {}),
        request_key(replace(launch, isolated=True), python, {}),
    ]
    assert len(set(keys)) == len(keys)
    assert request_key(replace(launch, run="x", refresh=True), python, {"HOME": "/x"}) == keys[0]
    assert request_key(replace(launch, isolated=True), other, {}) == keys[-1]


@needs_uv
def test_the_lock_says_what_is_installed_and_a_second_start_installs_nothing(
    base: Callable[..., str], ensure: Any
) -> None:
    python = base()
    first = ensure(python, "twig")
    said = list(ensure.said)
    assert said == ["resolving 1 requirement", "installing twig 1.0 and 1 more"]
    assert ensure(python, "twig") == first
    assert ensure.said == said


@pytest.fixture
def own_links(tmp_path: Path, links: Path, environ: dict[str, str]) -> Path:
    """A folder of packages that a test may change, in the place of `links`."""
    folder = tmp_path / "links"
    folder.mkdir()
    for name in ("leaf-1.0", "twig-0.9"):
        path = f"{name}-py3-none-any.whl"
        (folder / path).write_bytes((links / path).read_bytes())
    environ.update({"UV_FIND_LINKS": str(folder), "PIP_FIND_LINKS": str(folder)})
    return folder


@needs_uv
def test_refresh_keeps_an_environment_that_comes_out_the_same(
    own_links: Path, base: Callable[..., str], ensure: Ensure
) -> None:
    python = base()
    first = ensure(python, "leaf")
    assert ensure(python, "leaf", refresh=True) == first
    assert [path.name for path in Path(first.python).parents[2].iterdir()] == [Path(first.python).parents[1].name]


@needs_uv
def test_refresh_takes_what_is_new_and_leaves_the_old_in_its_place(
    own_links: Path, base: Callable[..., str], ensure: Ensure
) -> None:
    python = base()
    first = ensure(python, "leaf")
    wheel(own_links, "leaf", "3.0")
    assert ensure(python, "leaf") == first
    second = ensure(python, "leaf", refresh=True)
    assert (first.requirements, second.requirements) == (("leaf==1.0",), ("leaf==3.0",))
    assert told(first.python, "import leaf; print(leaf.VERSION)") == "1.0"
    assert ensure(python, "leaf") == second


@needs_uv
def test_an_environment_that_is_gone_is_made_anew(base: Callable[..., str], ensure: Ensure, tmp_path: Path) -> None:
    python = base()
    first = ensure(python, "leaf")
    remove_tree(str(Path(first.python).parents[1]))
    assert ensure(python, "leaf").requirements == first.requirements


@by_each_installer
def test_the_tools_of_the_base_are_no_constraint(
    base: Callable[..., str], ensure: Ensure, own_links: Path, uv: str
) -> None:
    wheel(own_links, "setuptools", "99.0")
    wheel(own_links, "saw", "1.0", "Requires-Dist: setuptools>=99")
    assert ensure(base("setuptools-1.0"), "saw", uv=uv).requirements == ("saw==1.0", "setuptools==99.0")


def test_a_cache_that_cannot_be_written_is_told(base: Callable[..., str], ensure: Ensure, tmp_path: Path) -> None:
    (tmp_path / "cache" / "envs").mkdir(parents=True, mode=0o700)
    key = ensure(base("leaf-1.0"), "leaf").key
    answer = tmp_path / "cache" / "envs" / f"{key}.json"
    answer.unlink()
    answer.mkdir()
    with pytest.raises(PlatformError, match=r"cannot keep the requirements in the cache .*; set NUWRAP_CACHE"):
        ensure(str(tmp_path / "base" / "bin" / "python"), "leaf")


@by_each_installer
def test_a_build_sees_no_credentials(
    base: Callable[..., str], ensure: Ensure, own_links: Path, environ: dict[str, str], tmp_path: Path, uv: str
) -> None:
    seen = tmp_path / "seen.json"
    sdist(own_links, "spy", "import json", f"json.dump(dict(os.environ), open({str(seen)!r}, 'w'))")
    hidden = ("GIT_TOKEN", "GIT_PASSWORD", "NUWRAP_SOURCE_GIT_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_DATABASE")
    environ.update(dict.fromkeys(hidden, "s3cret-value"))
    environ.update({"PIP_TARGET": "/x", "PIP_USER": "1", "PIP_REQUIRE_VIRTUALENV": "x", "HTTPS_PROXY": "http://p:1"})
    ensure(base(), "spy", uv=uv)
    found = json.loads(seen.read_text())
    assert "s3cret-value" not in seen.read_text()
    assert not {*hidden, "PIP_TARGET", "PIP_USER", "NUWRAP_UV"} & set(found)
    assert found["HTTPS_PROXY"] == "http://p:1"
    assert found["HOME"] != environ["HOME"]


@by_each_installer
def test_a_build_that_fails_says_why(base: Callable[..., str], ensure: Ensure, own_links: Path, uv: str) -> None:
    sdist(own_links, "broken", "sys.exit('the compiler is missing')")
    with pytest.raises(RequirementsError, match="the compiler is missing"):
        ensure(base(), "broken", uv=uv)


@pytest.fixture
def stub(tmp_path: Path, environ: dict[str, str]) -> Callable[[str], Path]:
    """Put a shell script in uv's place; its arguments are written to the returned file."""

    def make(body: str) -> Path:
        program, log = tmp_path / "uv", tmp_path / "argv.txt"
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {log}\n{body}\n')
        program.chmod(0o700)
        environ["NUWRAP_UV"] = str(program)
        return log

    return make


def test_credentials_of_an_index_are_in_no_argument_and_no_message(
    base: Callable[..., str], ensure: Ensure, stub: Callable[[str], Path]
) -> None:
    log = stub('echo "cannot reach $UV_DEFAULT_INDEX, $UV_INDEX: password p%40ssw0rd, p@ssw0rd" >&2; exit 1')
    network = Network(index=("https://me:p%40ssw0rd@one/simple", "https://t0ken-t0ken@two/simple"))
    with pytest.raises(RequirementsError) as caught:
        ensure(base(), "leaf @ https://t0k3n-t0k3n@host/leaf.whl", network=network)
    text = str(caught.value) + log.read_text()
    assert "cannot reach https://***@two/simple, https://***@one/simple: password ***, ***" in text
    assert [one for one in ("ssw0rd", "t0ken-t0ken", "t0k3n-t0k3n") if one in text] == []


def test_requirements_are_no_arguments(base: Callable[..., str], ensure: Ensure, stub: Callable[[str], Path]) -> None:
    log = stub("exit 1")
    with pytest.raises(RequirementsError):
        ensure(base(), "leaf>=1,<7")
    assert "leaf" not in log.read_text()


def test_an_install_that_takes_too_long_is_ended(
    base: Callable[..., str], ensure: Ensure, stub: Callable[[str], Path]
) -> None:
    stub("exec sleep 60")
    with pytest.raises(RequirementsError, match=r"not installed within 1\.5 s .*[\s\S]*limits\.seconds"):
        ensure(base(), "leaf", limits=Limits(seconds=1.5))


def test_an_index_out_of_reach_is_told(base: Callable[..., str], ensure: Ensure, stub: Callable[[str], Path]) -> None:
    stub("echo 'error: Failed to fetch: dns error' >&2; exit 2")
    with pytest.raises(RequirementsError, match=r"cannot be reached from here: see network\.index"):
        ensure(base(), "leaf")


def test_an_installer_that_does_not_do_it_is_found_out(
    base: Callable[..., str], ensure: Ensure, stub: Callable[[str], Path]
) -> None:
    stub("exit 0")
    with pytest.raises(RequirementsError, match="'leaf>=1' is not met by what was installed: found nothing"):
        ensure(base(), "leaf>=1")


def test_an_interpreter_that_cannot_make_environments_is_told(
    base: Callable[..., str], ensure: Ensure, tmp_path: Path
) -> None:
    python = base()
    (site,) = (tmp_path / "base").glob("lib/*/site-packages")
    (site / "no_venv.pth").write_text("import sys; sys.modules['venv'] = None\n")
    with pytest.raises(PlatformError, match="cannot make a virtual environment"):
        ensure(python, "leaf")


CHILD = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
from nuwrap_runtime.host import environments, packages, requirements
from nuwrap_runtime.launch import Launch
def kill(*args, **more):
    os.kill(os.getpid(), 9)
where, _, name = sys.argv[5].partition(".")
if name:
    setattr({"packages": packages, "environments": environments}[where], name, kill)
launch = Launch("f", python=sys.argv[2], requirements=(sys.argv[3],))
made = requirements.ensure_environment(launch, os.environ, sys.argv[4], say=lambda line: print(line, flush=True))
print(json.dumps(made.python), flush=True)
"""


def start(python: str, line: str, cache: Path, environ: dict[str, str], die_at: str = "") -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", CHILD, json.dumps(sys.path), python, line, str(cache), die_at]
    return subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@needs_uv
def test_two_starts_at_once_install_once(
    base: Callable[..., str], environ: dict[str, str], own_links: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    sdist(own_links, "slow", f"import time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)")
    python = base()
    first = start(python, "slow", tmp_path / "cache", environ)
    assert first.stdout.readline() == "resolving 1 requirement\n"
    second = start(python, "slow", tmp_path / "cache", environ)
    assert second.stdout.readline() == "waiting for another start that installs the same requirements\n"
    go.touch()
    one, two = (process.communicate(timeout=60)[0].splitlines() for process in (first, second))
    assert two == [one[-1]]
    assert len(list(Path(json.loads(one[-1])).parents[2].iterdir())) == 1


def test_a_start_that_never_ends_is_not_waited_for_without_end(tmp_path: Path) -> None:
    place = open_place(str(tmp_path), "k")
    said: list[str] = []
    message = r"after 0\.1 s \(limits\.seconds\); .* holds '.*/k\.lock'"
    first = locked(place, said.append, seconds=0)
    with first, pytest.raises(PlatformError, match=message), locked(place, said.append, seconds=0.1):
        pass
    assert said == ["waiting for another start that installs the same requirements"]
    with locked(place, said.append, seconds=0):
        assert len(said) == 1


def test_a_document_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(str(tmp_path / "a.json"), {"a": 1, "b": object()})
    (tmp_path / "b.json").mkdir()
    with pytest.raises(OSError, match=r"b\.json"):
        write_json(str(tmp_path / "b.json"), {})
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


@needs_uv
@pytest.mark.parametrize(
    "moment",
    [
        "environments.make_environment",
        "uv 1",
        "uv 2",
        "environments.finish",
        "environments._make_read_only",
        "environments.save_answer",
    ],
)
def test_a_start_killed_at_any_moment_leaves_a_cache_that_works(
    base: Callable[..., str], environ: dict[str, str], ensure: Ensure, tmp_path: Path, moment: str
) -> None:
    python, calls = base(), tmp_path / "calls"
    program = tmp_path / "uv"
    program.write_text(
        f'#!/bin/sh\necho >> {calls}\n{UV} "$@"\n[ $(wc -l < {calls}) != {moment[3:]} ] || kill -9 $PPID\n'
    )
    program.chmod(0o700)
    dying = start(python, "twig", tmp_path / "cache", {**environ, "NUWRAP_UV": str(program)}, moment)
    dying.communicate(timeout=60)
    assert dying.returncode == -9
    made = ensure(python, "twig")
    assert made.requirements == ("leaf==2.0", "twig==1.0")
    assert told(made.python, "import leaf, twig; print(twig.VERSION)") == "1.0"


def test_the_users_own_settings_of_uv_and_pip_are_found(tmp_path: Path) -> None:
    from nuwrap_runtime.host.index import installer_environment

    for name in (".config/uv/uv.toml", ".config/pip/pip.conf", ".netrc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    made = installer_environment({"HOME": str(tmp_path)}, Network(), "/w", "/c")
    assert made["UV_CONFIG_FILE"] == str(tmp_path / ".config/uv/uv.toml")
    assert made["PIP_CONFIG_FILE"] == str(tmp_path / ".config/pip/pip.conf")
    assert made["NETRC"] == str(tmp_path / ".netrc")


def test_network_settings_take_the_place_of_the_environments() -> None:
    from nuwrap_runtime.host.index import installer_environment

    network = Network(index=("https://a", "https://b"), ca="/ca.pem", proxies={"https": "http://p"})
    given = {"UV_INDEX_URL": "https://x", "PIP_INDEX_URL": "https://x", "PIP_NO_INDEX": "1", "https_proxy": "http://x"}
    made = installer_environment({"HOME": "/", **given}, network, "/w", "/c")
    assert (made["UV_INDEX"], made["UV_DEFAULT_INDEX"]) == ("https://a", "https://b")
    assert (made["PIP_INDEX_URL"], made["PIP_EXTRA_INDEX_URL"]) == ("https://a", "https://b")
    assert {made[name] for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")} == {"/ca.pem"}
    assert made["https_proxy"] == made["HTTPS_PROXY"] == "http://p"
    assert not {"UV_INDEX_URL", "PIP_NO_INDEX"} & set(made)
    assert made["UV_CACHE_DIR"] == "/c/uv"


def test_nuwrap_uv_decides_alone(tmp_path: Path) -> None:
    program = tmp_path / "uv"
    program.touch(mode=0o700)
    assert find_uv({"NUWRAP_UV": str(program), "PATH": ""}) == str(program)
    assert find_uv({"NUWRAP_UV": NO_UV, "PATH": str(tmp_path)}) == ""


def test_uv_beside_the_interpreter_goes_before_path(tmp_path: Path) -> None:
    on_path = tmp_path / "uv"
    on_path.touch(mode=0o700)
    beside = Path(sys.executable).with_name("uv")
    assert find_uv({"PATH": str(tmp_path)}) == str(beside if beside.exists() else on_path)


@functools.lru_cache(maxsize=1)
def index_fault() -> str:
    """Say why no package index can be reached from here, "" when one can."""
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":none:", "-d", os.devnull, "six"]
    argv = [UV, "pip", "compile", "--quiet", "--no-header", "-"] if UV else argv
    done = subprocess.run(argv, check=False, input="six", capture_output=True, text=True, timeout=60)
    return done.stderr[-300:] if done.returncode else ""


@by_each_installer
def test_a_package_of_the_real_index_is_installed(base: Callable[..., str], tmp_path: Path, uv: str) -> None:
    if index_fault():
        pytest.skip(f"SKIPPED: no package index can be reached: {index_fault()}")
    launch = Launch("f", python=base(), requirements=("six==1.16.0",))
    made = ensure_environment(launch, {**os.environ, "NUWRAP_UV": uv}, str(tmp_path / "cache"), say=print)
    assert made.requirements == ("six==1.16.0",)
    assert told(made.python, "import six; print(six.__version__)") == "1.16.0"
