"""The real DigitalHub client and nuwrap read each other's exports; function files written for it run unchanged."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from digitalhub_core import Core, find_python
from sdk_functions import VERSION

CODE = "def f(a=1):\n    return 7 + a  # é\n"

IMPORT_PROJECT = """
import json
import digitalhub as dh

project = dh.import_project("project-p.yaml")
found = [dh.get_function(one["key"]) for one in project.spec.functions]
found += [dh.get_dataitem(one["key"]) for one in project.spec.dataitems]
found += [dh.get_artifact(one["key"]) for one in project.spec.artifacts]
found += [dh.get_model(one["key"]) for one in project.spec.models]
print(json.dumps([project.to_dict(), *(one.to_dict() for one in found)]))
"""
IMPORT_ALONE = """
import json
import digitalhub as dh

dh.get_or_create_project("p")
function = dh.import_function("function-fn.yaml")
assert dh.load_function("function-fn.yaml").id == function.id
print(json.dumps([function.to_dict(), dh.import_run("run.yaml").to_dict(), dh.import_dataitem("data.yaml").to_dict()]))
"""
TOO_OLD = """
import digitalhub as dh

dh.get_or_create_project("p")
try:
    dh.import_function("function-fn.yaml")
except ValueError as exc:
    print(repr("PYTHON3_10" in str(exc) and "PYTHON3_9" in str(exc)).lower())
"""
EXPORT = f"""
import json
import digitalhub as dh
from pathlib import Path

project = dh.get_or_create_project("p", description="theirs", labels=["x"])
Path("src").mkdir()
Path("src/fn.py").write_text({CODE!r})
local = project.new_function(
    name="local", kind="python", code_src="src/fn.py", handler="f", python_version={VERSION!r},
    requirements=["pandas>1,<3"], description="about", labels=["l"], base_image="python:3.11-slim", image="r:5000/i:1",
)
inline = project.new_function(
    name="inline", kind="python", code={CODE!r}, handler="f", python_version={VERSION!r}, embedded=True, lang="python"
)
remote = dh.new_function(
    project="p", name="remote", kind="python", code_src="git+https://h/o/r#v1", handler="m:f", init_function="init",
    python_version={VERSION!r},
)
rows = project.new_dataitem("rows", "table", path="s3://b/k.parquet", description="far")
project.new_artifact("blob", "artifact", path="s3://b/a.bin", embedded=True)
project.new_model("m", "sklearn", path="s3://b/m/", framework="sklearn")
remote.add_relationship("consumes", rows.key)
remote.save(update=True)
documents = {{one.name: one.to_dict() for one in (local, inline, remote, rows)}}
print(json.dumps([local.export(), project.export(), documents]))
"""


@pytest.fixture
def core() -> Iterator[Core]:
    find_python()
    with Core() as server:
        yield server


def source(document: dict[str, Any]) -> dict[str, Any]:
    """The source of DigitalHub's document, its code as text."""
    found = dict(document["spec"]["source"])
    if "base64" in found:
        found["base64"] = base64.b64decode(found["base64"]).decode()
    return found


def new_functions(project: Any) -> None:
    Path("src").mkdir()
    Path("src/fn.py").write_text(CODE, encoding="utf-8")
    project.new_function(
        "local",
        "python",
        code_src="src/fn.py",
        handler="f",
        python_version=VERSION,
        requirements=["pandas>1,<3", "numpy"],
        description="about",
        labels=["daily", "007"],
        base_image="python:3.11-slim",
        image="registry:5000/i:1",
        init_function="setup",
        lang="python",
    )
    project.new_function("inline", "python", code=CODE, handler="f", python_version=VERSION, embedded=True)
    project.new_function("git", "python", code_src="git+https://h/o/r#v1", handler="m:f", python_version=VERSION)


def test_digitalhub_imports_a_project_that_nuwrap_exports(dh: Any, core: Core) -> None:
    ours = dh.get_or_create_project("p", description="mine", labels=["a"])
    new_functions(ours)
    ours.new_dataitem("rows", path="s3://bucket/k.parquet", labels=["x"])
    ours.new_artifact("blob", path="s3://bucket/a.bin")
    ours.new_model("m", "sklearn", path="s3://bucket/m/")
    ours.export()
    project, *found = core.run(IMPORT_PROJECT, Path.cwd())
    theirs = {one["name"]: one for one in found}
    assert (project["metadata"]["description"], project["metadata"]["labels"]) == ("mine", ["a"])
    assert set(theirs) == {"local", "inline", "git", "rows", "blob", "m"}
    assert source(theirs["local"]) == {
        "source": "src/fn.py",
        "base64": CODE,
        "handler": "f",
        "init_function": "setup",
        "lang": "python",
    }
    assert source(theirs["inline"]) == {"base64": CODE, "handler": "f", "lang": "python"}
    assert source(theirs["git"]) == {"source": "git+https://h/o/r#v1", "handler": "m:f", "lang": "python"}
    spec = {name: value for name, value in theirs["local"]["spec"].items() if name != "source"}
    assert spec == {
        "python_version": VERSION,
        "requirements": ["pandas>1,<3", "numpy"],
        "base_image": "python:3.11-slim",
        "image": "registry:5000/i:1",
    }
    assert theirs["local"]["metadata"]["labels"] == ["daily", "007"]
    assert theirs["local"]["metadata"]["description"] == "about"
    for one in (*ours.list_functions(), *ours.list_dataitems(), *ours.list_artifacts(), *ours.list_models()):
        assert (theirs[one.name]["id"], theirs[one.name]["key"]) == (one.id, one.key)
    assert theirs["rows"]["spec"]["path"] == "s3://bucket/k.parquet"


def test_digitalhub_imports_a_function_a_run_and_data_alone(dh: Any, core: Core) -> None:
    function = dh.new_function("p", "fn", "python", code=CODE, handler="f", python_version=VERSION)
    run = function.run("job", parameters={"a": 3}, local_execution=True)
    table = dh.new_dataitem("p", "rows", path="s3://bucket/k.parquet")
    for one, name in ((function, None), (run, "run.yaml"), (table, "data.yaml")):
        one.export(name)
    their_function, their_run, their_table = core.run(IMPORT_ALONE, Path.cwd())
    assert (their_function["key"], source(their_function)["base64"]) == (function.key, CODE)
    assert (their_run["id"], their_run["kind"]) == (run.id, "python+job:run")
    assert their_run["spec"]["parameters"] == {"a": 3}
    assert their_run["spec"]["function"] == f"python://p/fn:{function.id}"
    assert their_table["key"] == table.key


def test_digitalhub_does_not_know_python_3_9_any_more(dh: Any, core: Core) -> None:
    dh.new_function("p", "fn", "python", code=CODE, handler="f", python_version="PYTHON3_9").export()
    assert core.run(TOO_OLD, Path.cwd()) is True


def test_nuwrap_imports_what_digitalhub_exports_and_runs_it(
    dh: Any, core: Core, capsys: pytest.CaptureFixture[str]
) -> None:
    local_file, project_file, theirs = core.run(EXPORT, Path.cwd())
    function = dh.import_function(local_file)
    project = dh.import_project(project_file)
    assert capsys.readouterr().err == "nuwrap: project 'p' is new\n"
    assert (project.metadata.description, project.metadata.labels) == ("theirs", ["x"])
    assert (function.id, function.code_src, function.handler) == (theirs["local"]["id"], "src/fn.py", "f")
    assert (function.requirements, function.labels) == (["pandas>1,<3"], ["l"])
    assert (function.image, function.base_image, function.description) == ("r:5000/i:1", "python:3.11-slim", "about")
    remote = project.get_function("remote")
    assert (remote.code_src, remote.init_function, remote.python_version) == ("git+https://h/o/r#v1", "init", VERSION)
    assert project.get_function("inline").embedded is True
    for name in ("rows", "blob", "m"):
        get = {"rows": project.get_dataitem, "blob": project.get_artifact, "m": project.get_model}[name]
        assert get(name).path.startswith("s3://b/")
    assert project.get_dataitem("rows").key == theirs["rows"]["key"]
    inline = project.get_function("inline").run("job", parameters={"a": 2}, local_execution=True)
    assert inline.results() == {"output_0": 9}
    function.requirements = []
    assert function.save().run("job", local_execution=True).results() == {"output_0": 8}


def test_what_digitalhub_knows_alone_comes_back_to_it(dh: Any, core: Core) -> None:
    _, project_file, theirs = core.run(EXPORT, Path.cwd())
    dh.import_project(project_file)
    dh.get_project("p").export()
    with Core() as other:
        project, *found = other.run(IMPORT_PROJECT, Path.cwd())
    back = {one["name"]: one for one in found}
    for name in ("local", "inline", "remote", "rows"):
        for place in ("project", "name", "kind", "id", "key", "spec"):
            assert back[name][place] == theirs[name][place], name
    assert back["remote"]["metadata"]["relationships"] == [{"type": "consumes", "dest": theirs["rows"]["key"]}]
    assert project["metadata"]["description"] == "theirs"


def test_a_function_file_written_for_digitalhub_runs_unchanged(dh: Any) -> None:
    Path("functions.py").write_text(
        "from digitalhub_runtime_python import handler\n\n\n"
        "def init(context, factor):\n    context.factor = factor\n\n\n"
        "@handler(outputs=['clean', 'rows', {'name': 'note', 'kind': 'artifact'}])\n"
        "def job(project, run, context, di, threshold=0.5):\n"
        "    df = di.as_df()\n"
        "    kept = df[df.score * context.factor > threshold]\n"
        "    return kept, len(kept), project.name.encode()\n"
    )
    Path("function.yaml").write_text(
        yaml.safe_dump(
            {
                "project": "p",
                "name": "clean",
                "kind": "python",
                "code_src": "functions.py",
                "handler": "job",
                "init_function": "init",
                "python_version": VERSION,
            }
        )
    )
    Path("scores.csv").write_text("score\n0.1\n0.4\n0.9\n")
    project = dh.get_or_create_project("p")
    scores = project.new_dataitem("scores", path="scores.csv")
    done = dh.import_function("function.yaml").run(
        "job",
        inputs={"di": scores.key},
        parameters={"threshold": 0.7},
        init_parameters={"factor": 2},
        local_execution=True,
        python=sys.executable,
    )
    assert done.state == "COMPLETED", done.logs()
    assert done.results() == {"rows": 2}
    assert done.output("clean").as_df().to_dict("list") == {"score": [0.4, 0.9]}
    assert Path(done.output("note").as_file()).read_bytes() == b"p"
    assert done.output("note", as_key=True).startswith("store://p/artifact/artifact/note:")
