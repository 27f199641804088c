"""`nuwrap plan`: what a run would do, told by who touches nothing. A real host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Nuwrap, write_function

from nuwrap_runtime.host.tree import ensure_tree
from nuwrap_runtime.launch import parse_launch

CODE = "def f(n=1, table=None): return n"
HERE = "{}.{}".format(*sys.version_info)
Shown = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that has the host's own packages."""
    folder = tmp_path_factory.mktemp("cache")
    ensure_tree({**os.environ, "NUWRAP_CACHE": str(folder)})
    return folder


@pytest.fixture
def plan(run_nuwrap: Nuwrap, tmp_path: Path) -> Shown:
    """Plan the function of the test's folder, in an empty home; see that the folder and the home stay as they are."""

    def call(*arguments: str, cache: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        before = sorted(tmp_path.rglob("*"))
        homes = {"NUWRAP_HOME": str(tmp_path / "home"), "NUWRAP_CACHE": str(cache or tmp_path / "cache")}
        done = run_nuwrap("plan", ".", *arguments, **homes, **more)
        assert sorted(tmp_path.rglob("*")) == before
        return done

    return call


def rows_of(text: str) -> dict[str, str]:
    table = text.partition("launch document:")[0]
    return {line.split("  ")[0]: line.partition("  ")[2].strip() for line in table.splitlines()[2:]}


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_first_run_is_told_whole(plan: Shown, tmp_path: Path) -> None:
    (tmp_path / "fn.py").write_text(CODE)
    (tmp_path / "data.csv").write_text("a\n1\n")
    write_function(tmp_path, code_src="fn.py", image="mine:1")
    done = plan("-p", "n=2", "-i", "table=data.csv", "-i", "more=s3://bucket/x", "--python", sys.executable)
    assert (done.returncode, done.stderr) == (0, "")
    rows = rows_of(done.stdout)
    assert (rows["function"], rows["action"]) == ("fn of project p", "job on platform local")
    assert rows["python"] == f"{HERE}, {sys.executable}"
    assert (rows["code"], rows["requirements"]) == ("fn.py, copied anew", "none")
    assert f"input          table: {tmp_path}/data.csv, read where it lies" in done.stdout
    assert "input          more: s3://bucket/x, fetched first" in done.stdout
    assert (rows["parameter"], rows["outputs"]) == ("n = 2", ".nuwrap/runs/<id>/")
    assert rows["nuwrap"] == "its own files are set up first, in the cache"
    assert rows["cache"] == str(tmp_path / "cache")
    assert "recorded, but not used: image" in rows["note"]
    launch = parse_launch(json.loads(done.stdout.partition("launch document:\n")[2]))
    assert (launch.handler, launch.python, launch.parameters, launch.run) == ("f", sys.executable, {"n": 2}, "")


def test_json_is_one_document(plan: Shown, tmp_path: Path, set_up: Path) -> None:
    write_function(tmp_path, code=CODE, requirements=["packaging"])
    told = document(plan("--json", "--action", "serve", "--python", sys.executable, cache=set_up))
    assert (told["function"], told["project"], told["action"], told["platform"]) == ("fn", "p", "serve", "local")
    assert (told["folder"], told["cache"]) == (str(tmp_path), str(set_up))
    assert told["python"] == {"path": sys.executable, "version": HERE}
    assert told["source"] == {"address": "code", "how": "written", "kept": []}
    assert (told["environment"]["from"], told["inputs"], told["notes"], told["problems"]) == ("interpreter", {}, [], [])
    assert (told["launch"]["mode"], told["launch"]["code"]) == ("serve", CODE)


def test_a_service_says_where_it_would_listen(plan: Shown, tmp_path: Path) -> None:
    write_function(tmp_path, code=CODE)
    rows = rows_of(plan("--action", "serve").stdout)
    assert rows["listens"] == "http://127.0.0.1:8080, and on port 8082 for /ready, /metrics and /docs"


def test_requirements_say_where_they_come_from(plan: Shown, tmp_path: Path) -> None:
    def requirements(*lines: str, **more: str) -> str:
        write_function(tmp_path, code=CODE, requirements=list(lines))
        done = plan("--python", sys.executable, **more)
        assert done.returncode == 0, done.stderr
        return rows_of(done.stdout)["requirements"]

    assert requirements("packaging") == "packaging: all in the interpreter"
    assert requirements("packaging", "no-such-package") == (
        "packaging, no-such-package: installed into a new environment, kept for later runs; the interpreter lacks "
        "no-such-package"
    )
    assert requirements("packaging", NUWRAP_ISOLATED="true").endswith("; isolated from the interpreter's own packages")


def git(folder: Path, *arguments: str) -> None:
    names = ["-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def test_what_a_run_has_left_is_what_the_next_would_use(
    plan: Shown, run_nuwrap: Nuwrap, tmp_path: Path, set_up: Path
) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    git(repo, "init", "-q")
    (repo / "main.py").write_text(CODE)
    git(repo, "add", "main.py")
    git(repo, "commit", "-q", "-m", "first")
    write_function(tmp_path, code_src=f"git+file://{repo}")
    rows = rows_of(plan(cache=set_up).stdout)
    assert rows["code"] == f"git+file://{repo}, fetched; nothing of it is in the cache"
    assert "nuwrap" not in rows
    homes = {"NUWRAP_HOME": str(tmp_path / "home"), "NUWRAP_CACHE": str(set_up)}
    ran = json.loads(run_nuwrap("run", ".", "--json", **homes).stdout)
    commit = ran["source"]["revision"]
    rows = rows_of(plan(cache=set_up).stdout)
    assert rows["code"] == (f"git+file://{repo}, from the cache if its server still has what is kept: {commit[:19]}")


def test_a_key_of_the_history_is_resolved(plan: Shown, dh: Any, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a\n1\n")
    item = dh.get_or_create_project("p").new_dataitem("raw", kind="table", path=str(tmp_path / "table.csv"))
    write_function(tmp_path, code=CODE)
    told = document(plan("-i", f"table={item.key.rpartition(':')[0]}", "--json"))
    assert told["inputs"] == {"table": {"path": str(tmp_path / "table.csv"), "is_fetched": False}}
    assert told["launch"]["inputs"] == {"table": item.key}


def test_without_a_history_no_key_is_known(plan: Shown, tmp_path: Path) -> None:
    write_function(tmp_path, code=CODE)
    done = plan("-i", "table=store://p/dataitem/table/raw")
    assert (done.returncode, done.stdout) == (2, "")
    assert "input 'table': there is no dataitem" in done.stderr


def test_all_that_would_end_the_run_is_said_below_the_plan(plan: Shown, tmp_path: Path) -> None:
    write_function(tmp_path, code_src="ftp://host/x.py?token=secret-word", requirements=["no-such-package"])
    done = plan("--python", "nowhere/python")
    assert done.returncode == 10
    assert "secret-word" not in done.stdout + done.stderr
    rows = rows_of(done.stdout)
    assert rows["python"] == f"no Python {HERE}, see below"
    assert (rows["code"], rows["requirements"]) == (
        "cannot be had, see below",
        "no-such-package: cannot be told, see below",
    )
    first, second = done.stderr.splitlines()
    assert first == "nuwrap: --python 'nowhere/python' is no Python interpreter that runs here; name its path"
    assert second.startswith("nuwrap: code_src 'ftp://host/x.py?token=***': scheme 'ftp' is not known")
    told = json.loads(plan("--json").stdout)
    assert (told["source"], told["problems"][0]["exit_code"]) == (None, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "x"], "-p 'x' has not the form name=VALUE"),
        (["-i", "table=nope.csv"], "input 'table': 'nope.csv' is no entity"),
        (["-i", "n=function.yaml", "-p", "n=1"], "n: is in parameters too"),
        (["--action", "bulid"], "'bulid' is not one of 'job', 'serve', 'build'"),
        (["--instruction", "true"], "--instruction goes with --action build"),
    ],
)
def test_a_wrong_argument_is_one_message(plan: Shown, tmp_path: Path, arguments: list[str], said: str) -> None:
    write_function(tmp_path, code=CODE)
    done = plan(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_machine_sets_for_all_runs_is_in_the_document(plan: Shown, tmp_path: Path) -> None:
    write_function(tmp_path, code=CODE)
    told = document(plan("--json", NUWRAP_LIMITS='{"seconds": 5}', NUWRAP_HANDLER="g"))
    assert (told["launch"]["limits"]["seconds"], told["launch"]["handler"]) == (5, "f")
    done = plan(NUWRAP_LIMITS="five")
    assert (done.returncode, done.stdout) == (2, "")
    assert "limits: 'five' is not JSON" in done.stderr
