"""`nuwrap-host plan` and `doctor`: what a start would find, told by who changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest
from git_server import commit, fetch_to, git, make_repository
from http_server import File, HttpServer

from nuwrap_runtime.host import environments
from nuwrap_runtime.host.environments import Environment, Place
from nuwrap_runtime.host.interpreter import probe
from nuwrap_runtime.host.plan import show_launch, tell_plan
from nuwrap_runtime.host.requirements import request_key
from nuwrap_runtime.host.workspace import remove_tree
from nuwrap_runtime.launch import Launch, Network

PLAIN = Launch(handler="f", python=sys.executable)
Plan = Callable[..., Any]


@pytest.fixture
def own_cache(tmp_path: Path) -> Path:
    """Where a cache would be; it is not made."""
    return tmp_path.resolve() / "cache"


@pytest.fixture
def plan(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> Plan:
    """Plan the launch and return the document; `ends` is what a start would end with."""

    def call(ends: int = 0, environ: Any = None, **keys: Any) -> Any:
        environ = {"PATH": os.environ["PATH"], "NUWRAP_CACHE": str(own_cache), **(environ or {})}
        assert tell_plan(replace(PLAIN, **keys), environ) == ends
        return json.loads(capsys.readouterr().out)

    return call


def test_inline_code_is_written_anew(plan: Plan, own_cache: Path) -> None:
    told = plan(code="def f(): return 7")
    assert told["source"] == {"address": "code", "how": "written", "kept": []}
    assert told["environment"] == {"python": sys.executable, "from": "interpreter", "installed": []}
    assert (told["cache"], told["inputs"]) == (str(own_cache), {})
    assert not own_cache.exists()


def test_a_path_is_copied_with_each_start(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "fn.py").touch()
    assert plan(code_src=str(tmp_path / "fn.py"))["source"]["how"] == "copied"
    assert "does not exist" in plan(3, code_src=str(tmp_path / "nope.py"))["source"]["error"]


def test_commits_of_a_repository_are_kept(plan: Plan, own_cache: Path, tmp_path: Path) -> None:
    repo = make_repository(tmp_path.resolve() / "srv" / "repo")
    (repo / "sub").mkdir()
    location, sources = f"git+file://{repo}", own_cache / "sources"
    first = fetch_to(tmp_path / "a", location, cache=str(sources)).revision
    second = commit(repo, {"sub/new.py": ""})
    fetch_to(tmp_path / "b", location, cache=str(sources))
    os.utime(sources / _entry_of(sources, first) / "facts.json", (1, 1))

    def kept(location: str, **keys: Any) -> Any:
        told = plan(code_src=location, **keys)["source"]
        assert told["how"] == "fetched"
        return told["kept"]

    assert kept(location) == kept(f"{location}#main") == [second, first]
    assert kept(f"{location}#{first}") == [first]
    assert kept(f"{location}#{'0' * 40}") == []
    assert kept(f"{location}?subdir=sub") == kept(location, keep_git=True) == []
    assert git(repo, "rev-parse", "main") == second


def _entry_of(sources: Path, revision: str) -> str:
    (found,) = (path.parent.name for path in sources.glob("*/facts.json") if revision in path.read_text())
    return found


def test_a_cache_that_keeps_nothing_has_nothing(plan: Plan, own_cache: Path, tmp_path: Path) -> None:
    repo = make_repository(tmp_path.resolve() / "srv" / "repo")
    fetch_to(tmp_path / "a", f"git+file://{repo}", cache=str(own_cache / "sources"))
    assert plan(code_src=f"git+file://{repo}", environ={"NUWRAP_CACHE_BYTES": "0"})["source"]["kept"] == []


def test_requirements_that_nobody_has_are_to_be_installed(plan: Plan, own_cache: Path) -> None:
    told = plan(code="x", requirements=("packaging", "no-such-package>2"))["environment"]
    assert told == {"python": sys.executable, "from": "new", "installed": [], "lacks": ["no-such-package"]}
    assert not own_cache.exists()


def test_requirements_that_the_interpreter_has_need_no_environment(plan: Plan, own_cache: Path) -> None:
    told = plan(code="x", requirements=("packaging",))["environment"]
    assert (told["python"], told["from"], told["installed"][0][:11]) == (sys.executable, "interpreter", "packaging==")
    assert plan(code="x", requirements=("packaging",), isolated=True)["environment"]["from"] == "new"
    assert not own_cache.exists()


def test_an_environment_from_before_is_used_again_unless_it_is_to_be_resolved_anew(plan: Plan, own_cache: Path) -> None:
    lines, environ = ("no-such-package>2",), {"PATH": os.environ["PATH"]}
    key = request_key(replace(PLAIN, requirements=lines), probe(sys.executable, "", environ), environ)
    place = Place(str(own_cache / "envs"), key)
    folder = Path(place.folder) / "made"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    environments.finish(str(folder), {"requirements": ["no-such-package==3"], "base": sys.executable})
    made = Environment(str(folder / "bin" / "python"), ("no-such-package==3",), installed=True, key=key)
    environments.save_answer(place, made)
    told = plan(code="x", requirements=lines)["environment"]
    assert told == {"python": made.python, "from": "kept", "installed": ["no-such-package==3"]}
    assert plan(code="x", requirements=lines, refresh=True)["environment"]["from"] == "new"
    assert plan(code="x", requirements=("no-such-package>3",))["environment"]["from"] == "new"
    remove_tree(str(own_cache))


def test_each_input_says_where_it_lies(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    keys = {name: f"store://p/dataitem/table/{name}:1" for name in ("here", "there")}
    paths = {"here": str(tmp_path / "a.csv"), "there": "https://me:secret-word@host/a.csv"}
    entities = {key: {"kind": "table", "path": paths[name]} for name, key in keys.items()}
    told = plan(code="x", inputs=keys, entities=entities)
    assert told["inputs"] == {
        "here": {"path": paths["here"], "is_fetched": False},
        "there": {"path": "https://***@host/a.csv", "is_fetched": True},
    }
    assert "secret-word" not in json.dumps(told)


def test_all_that_is_wrong_is_told_at_once_and_the_first_decides_the_code(plan: Plan, tmp_path: Path) -> None:
    key = "store://p/dataitem/table/a:1"
    gone = {key: {"kind": "table", "path": str(tmp_path / "gone.csv")}}
    told = plan(7, code_src="ftp://host/x", requirements=("-e .",), inputs={"a": key}, entities=gone)
    assert "gone.csv' does not exist" in told["inputs"]["error"]
    assert (told["environment"]["exit_code"], told["source"]["exit_code"]) == (4, 3)
    assert "'ftp' is not known" in told["source"]["error"]
    assert "is not an interpreter" in plan(10, code="x", python="/nowhere/python")["environment"]["error"]


def test_the_document_is_shown_without_logins() -> None:
    network = Network(index=("https://u:secret-word@index/simple",), proxies={"https": "http://u:secret-word@proxy"})
    launch = replace(
        PLAIN, code_src="https://u:secret-word@host/x.py", requirements=("a @ https://u:secret-word@host/a.whl",)
    )
    shown = json.dumps(show_launch(replace(launch, network=network)))
    assert "secret-word" not in shown
    assert shown.count("***@") == 4


def start(*argv: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Start the host as a person does, on this interpreter."""
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ}
    command = [sys.executable, "-m", "nuwrap_runtime.host", *argv]
    return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, check=False)


def test_a_plan_makes_neither_a_cache_nor_the_hosts_own_packages(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    done = start("plan", "--code", "x", "--handler", "f", cwd=tmp_path / "here", NUWRAP_CACHE=str(tmp_path / "cache"))
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["is_set_up"]) == (0, "", False)
    assert "run" not in told["launch"]
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


def test_a_plan_is_made_on_the_hosts_own_packages_when_they_are_there(tree: str, cache: str, tmp_path: Path) -> None:
    assert tree.startswith(cache)
    done = start("plan", "--code", "x", "--handler", "f", "--run", "R1", cwd=tmp_path, NUWRAP_CACHE=cache)
    told = json.loads(done.stdout)
    assert (done.returncode, told["is_set_up"], told["launch"]["run"]) == (0, True, "R1")


def test_the_doctor_tells_the_cache_and_who_installs(tmp_path: Path) -> None:
    done = start("doctor", cwd=tmp_path, NUWRAP_CACHE=str(tmp_path / "cache"), NUWRAP_UV="/nonexistent/uv")
    told = json.loads(done.stdout)
    assert (told["cache"], told["cache_error"]) == (str(tmp_path / "cache"), "")
    assert (told["tree"], told["uv"]) == ("", "")
    assert done.returncode == (0 if told["has_pip"] else 10)


def test_the_doctor_says_why_there_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = start("doctor", cwd=tmp_path, NUWRAP_CACHE=str(tmp_path / "file" / "cache"))
    assert (done.returncode, done.stderr) == (10, "")
    assert "cannot make the cache folder" in json.loads(done.stdout)["cache_error"]


def test_what_a_server_has_sent_is_kept_by_address(
    plan: Plan, own_cache: Path, web: HttpServer, tmp_path: Path
) -> None:
    address = web.on("/fn.py", File(b"def f(): return 7\n", etag='"1"'))
    assert plan(code_src=address)["source"] == {"address": address, "how": "fetched", "kept": []}
    revision = fetch_to(tmp_path / "a", address, cache=str(own_cache / "sources")).revision
    assert plan(code_src=address)["source"]["kept"] == [revision]
    assert plan(code_src=f"{address}?other")["source"]["kept"] == []
    assert plan(code_src=address, sha256="0" * 64)["source"]["kept"] == []
    asked = len(web.seen)
    assert (
        "sha256 is given twice" in plan(3, code_src=f"{address}#sha256={'1' * 64}", sha256="0" * 64)["source"]["error"]
    )
    assert len(web.seen) == asked
