"""Exports and imports of functions, runs, projects and stored data: what is written is read again."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk_functions import VERSION, completed, make

from nuwrap.errors import NotFound, PlatformError, SpecError, UsageError
from nuwrap.spec.document import FILE_BYTES, dump_document, load_documents
from nuwrap.spec.export import function_document
from nuwrap.spec.function import make_function
from nuwrap.spec.function_file import take_function

CODE = "def f():\n    return 7\n"
ID = "8f1b7a3e-6c52-4f0e-9b52-0d7c1c0a5d11"
ALL_FIELDS: dict[str, Any] = {
    "uuid": ID,
    "description": "seven, 'quoted': é",
    "labels": ["daily", "007", "yes"],
    "embedded": True,
    "code": CODE,
    "handler": "f",
    "init_function": "setup",
    "python_version": VERSION,
    "lang": "python",
    "image": "registry:5000/team/fn:1",
    "base_image": "python:3.11-slim",
    "requirements": ["pandas>1,<3", "requests[socks]"],
}


def load(path: str | Path) -> Any:
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def change(path: str | Path, old: str, new: str) -> None:
    text = Path(path).read_text(encoding="utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new), encoding="utf-8")


def fields(function: Any) -> dict[str, Any]:
    return {name: getattr(function, name) for name in ("project", "name", "kind", *ALL_FIELDS, "code_src", "base64")}


def refuse(call: Any, *arguments: Any, error: type[Exception] = SpecError) -> str:
    with pytest.raises(error) as caught:
        call(*arguments)
    return str(caught.value)


# Functions


def test_all_fields_of_a_function_come_back_with_its_id(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    function = dh.new_function("p", "fn", "python", **ALL_FIELDS)
    path = function.export()
    assert path == str(Path.cwd() / "function-fn.yaml")
    dh.delete_project("p", cascade=True)
    again = dh.import_function(path)
    assert fields(again) == fields(function)
    assert again.id == ID
    assert capsys.readouterr().err == "nuwrap: project 'p' is new\n" * 2
    assert [one.id for one in dh.list_functions("p")] == [ID]


def test_the_document_is_nested_as_digitalhub_has_it(dh: Any) -> None:
    document = load(dh.new_function("p", "fn", "python", **ALL_FIELDS).export())
    assert document["key"] == f"store://p/function/python/fn:{ID}"
    assert document["spec"]["source"] == {"code": CODE, "handler": "f", "init_function": "setup", "lang": "python"}
    assert document["metadata"]["labels"] == ["daily", "007", "yes"]
    assert (document["id"], document["status"]) == (ID, {"state": "CREATED"})


def test_base64_stays_base64(dh: Any) -> None:
    text = base64.b64encode(CODE.encode()).decode()
    path = make(dh, base64=text).export()
    dh.delete_project("p", cascade=True)
    assert (dh.import_function(path).base64, dh.get_function("fn", "p").code) == (text, "")


def test_a_local_file_is_that_file_again_beside_its_export(dh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("src").mkdir()
    Path("src/fn.py").write_text(CODE)
    path = make(dh, code_src="src/fn.py", handler="src.fn:f").export()
    assert base64.b64decode(load(path)["spec"]["source"]["base64"]).decode() == CODE
    dh.delete_project("p", cascade=True)
    function = dh.import_function("function-fn.yaml")
    assert (function.code_src, function.base64, function.handler) == ("src/fn.py", "", "src.fn:f")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert function.run("job", local_execution=True).results() == {"output_0": 7}


def test_a_local_file_travels_in_its_export(dh: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Path("fn.py").write_text(CODE)
    (tmp_path / "away").mkdir()
    path = make(dh, code_src="fn.py", handler="fn:f").export(tmp_path / "away")
    assert path == str(tmp_path / "away" / "function-fn.yaml")
    assert "its code 'fn.py' lies in" in capsys.readouterr().err
    assert dh.import_function(path).code_src == "fn.py"  # the version is there, and is the same
    dh.delete_project("p", cascade=True)
    function = dh.import_function(path)
    assert (function.code_src, function.handler) == ("", "f")
    assert function.run("job", local_execution=True).results() == {"output_0": 7}


def test_a_folder_of_code_is_found_beside_its_export_alone(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("src").mkdir()
    Path("src/fn.py").write_text(CODE)
    Path("away").mkdir()
    function = make(dh, code_src="src", handler="fn:f")
    away = function.export("away/")
    assert "it can be imported from a file that lies where the code does" in capsys.readouterr().err
    here = function.export("here.yaml")
    assert capsys.readouterr().err == ""
    dh.delete_project("p", cascade=True)
    assert "'src' does not exist in" in refuse(dh.import_function, away)
    assert dh.import_function(here).run("job", local_execution=True).results() == {"output_0": 7}


def test_a_version_that_is_there_is_that_version(dh: Any) -> None:
    function = make(dh, CODE)
    path = function.export()
    function.update(description="newer")
    said = refuse(dh.import_function, path)
    assert f"'fn': id '{function.id}' is in the history with another description" in said
    change(path, f"id: {function.id}\n", "")
    assert dh.import_function(path).id != function.id
    function.update(description="")
    assert len(function.versions()) == 2


def test_an_import_twice_is_one_version(dh: Any) -> None:
    Path("fn.py").write_text(CODE)
    path = make(dh, code_src="fn.py").export()
    first = dh.import_function(path)
    assert dh.import_function(path).id == first.id
    assert len(first.versions()) == 1


def test_an_id_of_another_function_is_refused(dh: Any) -> None:
    path = make(dh, CODE).export()
    change(path, "project: p\n", "project: q\n")
    assert "is function 'fn' of project 'p'; remove the id from the file" in refuse(dh.import_function, path)
    with pytest.raises(NotFound):
        dh.get_project("q")


def test_the_code_of_a_copied_project_is_looked_for_in_the_copy(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("fn.py").write_text(CODE)
    path = make(dh, code_src="fn.py").export()
    Path("copy").mkdir()
    for name in ("fn.py", os.path.basename(path)):
        Path("copy", name).write_bytes(Path(name).read_bytes())
    function = dh.import_function("copy/function-fn.yaml")
    assert f"its code is looked for in {str(Path.cwd() / 'copy')!r} from now on" in capsys.readouterr().err
    Path("fn.py").unlink()
    assert function.run("job", local_execution=True).results() == {"output_0": 7}


def test_a_flat_file_is_imported_into_a_project_made_for_it(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("flat.yaml").write_text(
        f"name: fn\nkind: python\nproject: made\nhandler: f\npython_version: {VERSION}\ncode: |\n  def f(): return 7\n"
    )
    first = dh.import_function("flat.yaml")
    assert capsys.readouterr().err == "nuwrap: project 'made' is new\n"
    assert dh.import_function("flat.yaml").id == first.id
    change("flat.yaml", "handler", "handlr")
    assert "handlr: unknown key; did you mean 'handler'?" in refuse(dh.import_function, "flat.yaml")


def test_unknown_keys_of_an_export_are_kept_and_written_back(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(dh, CODE).export()
    dh.delete_project("p", cascade=True)
    document = load(path)
    document["user"] = "me"
    document["metadata"]["relationships"] = [{"type": "run_of", "dest": "store://p/x"}]
    document["spec"] |= {"guard": {"since": "2026-01-01"}, "source": {**document["spec"]["source"], "branch": 1}}
    Path(path).write_text(yaml.safe_dump(document))
    change(path, "'2026-01-01'", "2026-01-01")
    function = dh.import_function(path)
    assert "that nuwrap does not know change nothing here: spec.guard, spec.source.branch" in capsys.readouterr().err
    Path(path).unlink()
    written = load(function.export())
    for place in ("metadata", "spec", "user"):
        drop = {"created": 0, "updated": 0}
        wanted, got = ({**one, **drop} if isinstance(one, dict) else one for one in (document[place], written[place]))
        assert got == wanted
    assert function.run("job", local_execution=True).results() == {"output_0": 7}


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("git+https://hunter2@host/o/r.git#v1", "git+https://host/o/r.git#v1"),
        ("git+ssh://git@host/o/r.git", "git+ssh://git@host/o/r.git"),
    ],
)
def test_no_credentials_of_an_address_are_exported(dh: Any, address: str, written: str) -> None:
    path = make(dh, code_src=address).export()
    assert load(path)["spec"]["source"]["source"] == written
    assert "hunter2" not in Path(path).read_text()
    assert dh.import_function(path).id == dh.get_function("fn", "p").id


TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        "a\x85b\n",
        "a\u2028b",
        "\ufeffx",
        "x\n\n",
        "  x\n y",
        "\tx\n",
        "- a\n",
        "# x\ny\n",
        "a: b\n",
        "a\r\nb",
        "1:30",
        "~",
    ]
)


@settings(max_examples=200, deadline=None)
@given(TEXT, st.lists(TEXT, max_size=3), TEXT.filter(str.strip), TEXT)
def test_any_text_survives(
    tmp_path_factory: pytest.TempPathFactory, description: str, labels: list[str], code: str, lang: str
) -> None:
    given_fields = {**ALL_FIELDS, "description": description, "labels": labels, "code": code, "lang": lang}
    function = make_function({"project": "p", "name": "fn", "kind": "python", **given_fields})
    path = tmp_path_factory.getbasetemp() / "any-text.yaml"
    path.write_bytes(dump_document(function_document(function.model_dump())).encode())
    assert take_function(load_documents(path)[0], path, origin="x").function == function


# Files


def test_an_export_replaces_an_earlier_one_and_nothing_else(dh: Any) -> None:
    function = make(dh, CODE)
    path = function.export()
    Path(path).chmod(0o600)
    function.update(description="newer")
    assert (function.export(), load(path)["metadata"]["description"]) == (path, "newer")
    assert Path(path).stat().st_mode & 0o777 == 0o600
    other = make(dh, CODE, name="other")
    said = refuse(other.export, path, error=UsageError)
    assert "is there already, and it is no export of store://p/function/python/other; name another file" in said
    Path("function.yaml").write_text("name: other\nkind: python\n# by hand\n")
    refuse(other.export, "function.yaml", error=UsageError)
    assert Path("function.yaml").read_text().endswith("# by hand\n")
    assert sorted(os.listdir()) == ["function-fn.yaml", "function.yaml"]


def test_an_export_goes_through_a_link_and_into_an_empty_file(dh: Any) -> None:
    Path("real.yaml").touch()
    Path("link.yaml").symlink_to("real.yaml")
    path = make(dh, CODE).export("link.yaml")
    assert (path, Path("link.yaml").is_symlink()) == (str(Path.cwd() / "link.yaml"), True)
    assert load("real.yaml")["name"] == "fn"


def test_a_file_that_cannot_be_written_is_said(dh: Any) -> None:
    function = make(dh, CODE)
    said = refuse(function.export, "nowhere/fn.yaml", error=PlatformError)
    assert re.search(r"cannot write '/.*/nowhere/fn.yaml': No such file or directory; make its folder", said)
    os.mkfifo("pipe")
    refuse(function.export, "pipe", error=UsageError)
    assert "filename: 7 is no path" in refuse(function.export, 7, error=UsageError)


def test_a_full_disk_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    code = (
        "import resource\nfrom nuwrap.sdk.document_files import write_documents\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_documents({'a.yaml': {'key': 'store://p'}, 'b.yaml': {'key': 'store://p', 'x': 'x' * 2000}})"
    )
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("key: store://p\nold: 1\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "PlatformError: cannot write 'b.yaml': File too large" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["a.yaml", "b.yaml"]
    assert [(tmp_path / name).read_text() for name in ("a.yaml", "b.yaml")] == ["key: store://p\nold: 1\n"] * 2


def test_what_could_not_be_read_again_is_not_written(dh: Any) -> None:
    function = make(dh, CODE + "#" * FILE_BYTES)
    assert "bytes; a file that can be read again has 1048576 at most" in refuse(function.export, error=UsageError)
    assert os.listdir() == []


def test_a_project_is_written_with_all_its_files_or_with_none(dh: Any) -> None:
    make(dh, CODE, name="a")
    make(dh, CODE, name="b")
    Path("function-b.yaml").write_text("mine")
    refuse(dh.get_project("p").export, error=UsageError)
    assert os.listdir() == ["function-b.yaml"]
    Path("function-b.yaml").unlink()
    Path("function-b.yaml").mkdir()
    refuse(dh.get_project("p").export, error=UsageError)
    assert os.listdir() == ["function-b.yaml"]


# Projects and what is stored


def filled(dh: Any) -> Any:
    """A project of three functions and data of each type."""
    project = dh.get_or_create_project("p", description="mine", labels=["a"])
    Path("src").mkdir()
    Path("src/fn.py").write_text(CODE)
    project.new_function("local", "python", code_src="src/fn.py", handler="f", python_version=VERSION)
    project.new_function("inside", "python", **ALL_FIELDS)
    project.new_function("git", "python", code_src="git+https://h/o/r#v1", handler="m:f", python_version=VERSION)
    Path("rows.csv").write_text("n\n1\n")
    project.new_dataitem("rows", path="rows.csv", labels=["x"], schema={"fields": [{"name": "n"}]})
    project.new_dataitem("far", path="s3://bucket/k.parquet", description="far away")
    project.log_artifact("blob", data=b"abc")
    project.new_model("m", "sklearn", path="https://host/m.zip")
    return project


def content(project: Any) -> tuple[Any, ...]:
    functions = [(one.name, fields(one)) for one in project.list_functions()]
    entities = [
        (one.key, one.path, dict(one.spec), {k: v for k, v in one.metadata.items() if k != "updated"})
        for one in (*project.list_dataitems(), *project.list_artifacts(), *project.list_models())
    ]
    return project.metadata.description, project.metadata.labels, functions, entities


def test_a_project_comes_back_with_all_that_was_in_it(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    project = filled(dh)
    before = content(project)
    path = project.export()
    assert path == str(Path.cwd() / "project-p.yaml")
    dh.delete_project("p", cascade=True)
    capsys.readouterr()
    again = dh.import_project(path)
    assert content(again) == before
    assert capsys.readouterr().err == ""
    assert again.get_dataitem("rows").as_file() == str(Path.cwd() / "rows.csv")
    assert again.run("local", "job", local_execution=True).results() == {"output_0": 7}


def test_an_embedded_function_stands_in_the_project_and_others_beside_it(dh: Any) -> None:
    found = load(filled(dh).export())["spec"]["functions"]
    assert [one["name"] for one in found] == ["git", "inside", "local"]
    assert found[1]["spec"]["source"]["code"] == CODE
    for one in (found[0], found[2]):
        assert "spec" not in one
        assert "status" not in one
        assert load(one["metadata"]["ref"])["id"] == one["id"]
    assert sorted(one for one in os.listdir() if one.endswith(".yaml")) == [
        "function-git.yaml",
        "function-local.yaml",
        "project-p.yaml",
    ]


def test_a_project_is_completed_by_an_import_and_nothing_of_it_changes(dh: Any) -> None:
    project = filled(dh)
    before = content(project)
    path = project.export()
    project.delete_function("git")
    project.delete_dataitem("far")
    project.update(description="newer")
    assert dh.load_project(filename=path).metadata.description == "newer"
    project.update(description="mine")
    assert [sorted(map(str, one)) for one in content(project)] == [sorted(map(str, one)) for one in before]
    dh.import_project(path)
    assert len(project.get_function_versions("local")) == 1


def test_all_faults_of_a_project_are_said_at_once_and_nothing_is_kept(dh: Any) -> None:
    path = filled(dh).export()
    dh.delete_project("p", cascade=True)
    change("function-git.yaml", "handler: m:f", "handler: a:b:c")
    document = load(path)
    document["spec"]["functions"][1]["spec"]["source"]["handler"] = ""
    document["spec"]["functions"][2]["metadata"]["ref"] = "gone.yaml"
    document["spec"]["dataitems"] += [{"name": "x", "kind": "a b", "spec": {"path": "s3://b/k"}}, 7]
    document["spec"]["models"][0] |= {"project": "q", "spec": {}}
    document["labels"] = ["beside"]
    Path(path).write_text(yaml.safe_dump(document))
    said = refuse(dh.import_project, path)
    for wanted in (
        "labels: stands beside metadata; move it into metadata",
        "spec.source.handler: 'a:b:c' has not the right form",
        "spec.functions[1].spec.source.handler: is empty",
        "spec.functions[2]: metadata.ref: 'gone.yaml' is not there; allowed: a file beside 'project-p.yaml'",
        "spec.dataitems[2].key: 'store://p/dataitem/a b/x' is none",
        "spec.dataitems[3]: 7 is not a mapping",
        "spec.models[0].spec.path: is missing",
    ):
        assert wanted in said
    assert dh.list_projects() == []


def test_what_differs_from_the_history_is_refused_before_anything_is_kept(dh: Any) -> None:
    path = filled(dh).export()
    dh.get_function("inside", "p").update(handler="g")
    dh.delete_function("git", "p")
    change(path, "s3://bucket/k.parquet", "s3://bucket/other")
    said = refuse(dh.import_project, path)
    assert f"'inside': id '{ID}' is in the history with another handler" in said
    assert "dataitem 'far': id" in said
    assert "is in the history with another path" in said
    with pytest.raises(NotFound):
        dh.get_function("git", "p")


def test_a_project_by_hand_needs_no_ids(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.csv").write_text("n\n1\n")
    Path("one.yaml").write_text(
        f"name: one\nkind: python\nhandler: f\npython_version: {VERSION}\ncode: 'def f(): return 1'"
    )
    Path("p.yaml").write_text(
        "kind: project\nname: p\nspec:\n  functions:\n"
        "  - {name: one, kind: python, metadata: {ref: one.yaml}}\n"
        f"  - {{name: two, kind: python, handler: f, python_version: {VERSION}, code: 'def f(): return 2'}}\n"
        "  - {name: sql, kind: dbt, metadata: {ref: sql.yaml}}\n"
        "  - {name: lost, kind: python}\n"
        "  dataitems:\n"
        "  - {name: rows, kind: table, spec: {path: rows.csv}}\n"
        "  - {name: base, kind: table, spec: {path: 'sql://db/t'}}\n"
        "  workflows: [{name: w}]\n"
    )
    for _ in range(2):
        project = dh.import_project("p.yaml")
    results = [project.run(name, "job", local_execution=True).results() for name in ("one", "two")]
    assert results == [{"output_0": 1}, {"output_0": 2}]
    assert project.get_dataitem("rows").path == str(Path.cwd() / "rows.csv")
    assert len(project.get_dataitem_versions("rows")) == 1
    err = capsys.readouterr().err
    for wanted in (
        "warning: keys of 'p.yaml' that nuwrap has nothing for are left out: spec.workflows",
        "warning: spec.functions[2]: sql is of kind 'dbt', nuwrap runs python: it is left out",
        "warning: spec.functions[3]: lost has neither a spec nor a metadata.ref: it is left out",
        "warning: spec.dataitems[1]: base: nuwrap cannot read sql://…",
    ):
        assert wanted in err


def test_what_is_no_path_is_refused(dh: Any) -> None:
    for call in (dh.import_function, dh.import_project):
        assert "file: '' is no path; allowed: a YAML file" in refuse(call, "", error=UsageError)
        assert "cannot read" in refuse(call, "gone.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "kind: python\nname: fn\n",
            "has 0 documents of kind project (kinds: python); one file is one project; import_f",
        ),
        ("kind: project\nname: a/b\n", "name: 'a/b' is no name; allowed: letters"),
        ("kind: project\n", "name: is missing"),
        ("kind: project\nname: p\nspec: []\nmetadata: x\n", "metadata: 'x' is not a mapping"),
        ("kind: project\nname: p\nspec: {functions: x}\n", "spec.functions: 'x' is not a list"),
        ("kind: project\nname: p\nmetadata: {labels: x}\n", "metadata.labels: 'x' is not a list of texts"),
        ("kind: project\nname: p\ndataitems: []\n", "dataitems: stands beside spec; move it into spec"),
        (
            "kind: project\nname: p\nspec: {models: [{name: m, kind: k, spec: {path: s3://b, x: .nan}}]}\n",
            "spec.x: nan",
        ),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_project_is_refused(dh: Any, text: str, said: str) -> None:
    Path("p.yaml").write_text(text)
    assert said in refuse(dh.import_project, "p.yaml")
    assert dh.list_projects() == []


def test_data_is_exported_as_one_document(dh: Any) -> None:
    project = filled(dh)
    table = project.get_dataitem("rows")
    path = table.export()
    assert path == str(Path.cwd() / "dataitem-rows.yaml")
    document = load(path)
    assert (document["key"], document["kind"]) == (table.key, "table")
    assert document["spec"] == {"path": str(Path.cwd() / "rows.csv"), "schema": {"fields": [{"name": "n"}]}}
    assert document["metadata"]["labels"] == ["x"]
    assert os.path.basename(project.get_model("m").export()) == "model-m.yaml"


# Runs


def test_a_run_is_exported_with_what_it_was_given_and_has_left(dh: Any) -> None:
    code = "def f(n, run):\n    run.log_metric('rows', n)\n    return n + 1\n"
    run = completed(dh, code, parameters={"n": 1})
    path = run.export()
    assert path == str(Path.cwd() / f"run-{run.id}.yaml")
    document = load(path)
    assert (document["kind"], document["key"]) == ("python+job:run", run.key)
    assert document["spec"]["function"] == f"python://p/fn:{run.function.id}"
    assert document["spec"]["task"].startswith("python+job://p/")
    assert (document["spec"]["parameters"], document["spec"]["local_execution"]) == ({"n": 1}, True)
    status = document["status"]
    assert (status["state"], status["exit_code"]) == ("COMPLETED", 0)
    assert (status["results"], status["metrics"]) == ({"output_0": 2}, {"rows": [1]})
    assert run.export() == path


def test_large_results_stay_where_they_are(dh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = completed(dh, "def f():\n    return 'x' * 2_000_000\n")
    assert "results" not in load(run.export())["status"]
    assert "its results, of 2000016 bytes, are not exported; they are in" in capsys.readouterr().err


def test_no_export_has_a_secret(dh: Any) -> None:
    project = dh.get_or_create_project("p")
    project.new_secret("TOKEN", "correct-horse-battery")
    code = "import os\ndef f(project):\n    print(os.environ['TOKEN'])\n    return project.get_secret('TOKEN')[::1]\n"
    run = completed(dh, code, secrets=["TOKEN"])
    for path in (run.export(), run.function.export(), project.export()):
        assert "correct-horse-battery" not in Path(path).read_text()
    assert load(f"run-{run.id}.yaml")["spec"]["secrets"] == ["TOKEN"]
