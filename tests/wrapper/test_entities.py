"""What a function is given and what it logs: keys, files, tables, secrets, the journal."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import nuwrap_runtime
from nuwrap_runtime import launch
from nuwrap_runtime.entities import Dataitem, Journal, Key, Model, Project, Run, parse_key
from nuwrap_runtime.errors import InputsError, OutputsError
from nuwrap_runtime.worker.spec import WorkerSpec

needs_pandas = pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")
RAW = "store://p/dataitem/table/raw:1"


def project(folder: str = "", **spec: Any) -> Project:
    return Project(WorkerSpec(root="", handler="f", project="p", **spec), Journal(folder))


def test_the_package_offers_its_names_lazily() -> None:
    code = (
        "import nuwrap_runtime as n; before = 'nuwrap_runtime.entities' in sys.modules; n.Dataitem; n.handler;"
        "print(before, [m for m in ('pandas', 'pathlib', 'uuid', 'tempfile', 'shutil') if m in sys.modules])"
    )
    path = [one for one in sys.path if one]
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {path!r}; {code}"], stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.strip() == b"False []"
    assert {"handler", "Run"} <= set(dir(nuwrap_runtime))
    with pytest.raises(AttributeError, match="it offers Artifact, Dataitem"):
        getattr(nuwrap_runtime, "Workflow")  # noqa: B009 - the access is what is tested


def test_digitalhubs_import_line_gives_our_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.path.join(os.path.dirname(nuwrap_runtime.__file__), "compat")
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module("digitalhub_runtime_python")
    monkeypatch.delitem(sys.modules, "digitalhub_runtime_python")
    assert module.handler is nuwrap_runtime.handler
    assert module.__all__ == ["handler"]


def test_the_toolkits_import_line_gives_our_handler_and_says_what_it_lacks() -> None:
    path = os.path.join(os.path.dirname(nuwrap_runtime.__file__), "compat", "nuwrap", "__init__.py")
    spec = importlib.util.spec_from_file_location("nuwrap_of_a_function", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.handler is nuwrap_runtime.handler
    with pytest.raises(AttributeError, match="nuwrap has no 'get_project' within a function: only handler"):
        module.get_project("p")


def test_a_key_has_parts_and_the_id_may_be_missing() -> None:
    assert parse_key(RAW) == Key("p", "dataitem", "table", "raw", "1")
    assert parse_key("store://p/model/sklearn/m") == Key("p", "model", "sklearn", "m")
    assert str(parse_key(RAW)) == RAW


@pytest.mark.parametrize(
    "key",
    ["abc", "store://p/table/raw", "store://p/run/python/x", "store://p/dataitem/table/a:b:c", RAW + "\n", "", None, 3],
)
def test_what_is_no_key_says_the_form(key: Any) -> None:
    with pytest.raises(InputsError, match="no store key; its form is store://project/dataitem"):
        parse_key(key)
    assert not isinstance(key, str) or key.endswith("\n") or not re.search(launch.STORE_KEY, key)


def test_an_entity_tells_what_the_key_and_the_entry_say() -> None:
    entry = {"kind": "table", "path": "/x.csv", "spec": {"rows": 3}, "metadata": {"labels": ["a"]}}
    found = project(entities={RAW: entry}).entity(RAW)
    assert (type(found), found.project, found.type, found.kind) == (Dataitem, "p", "dataitem", "table")
    assert (found.name, found.id, found.path) == ("raw", "1", "/x.csv")
    assert (found.spec.path, found.spec.rows, found.metadata.labels) == ("/x.csv", 3, ["a"])
    assert repr(found) == f"<Dataitem {RAW}>"
    with pytest.raises(AttributeError, match="no field 'nope'; there is: path, rows"):
        getattr(found.spec, "nope")  # noqa: B009 - the access is what is tested


def test_an_entity_is_found_by_key_by_key_without_id_and_by_name() -> None:
    entities = {
        RAW: {"kind": "table", "path": "/1"},
        "store://p/model/onnx/raw:7": {"kind": "onnx", "path": "/7"},
    }
    given = project(entities=entities)
    for asked in (RAW, "store://p/dataitem/table/raw", "raw"):
        assert given.get_dataitem(asked).path == "/1"
    assert isinstance(given.get_model("raw"), Model)


def test_an_entity_of_another_type_names_the_method() -> None:
    with pytest.raises(InputsError, match=r"use project\.get_dataitem"):
        project(entities={RAW: {"kind": "table", "path": "/1"}}).get_model(RAW)


def test_an_entity_that_the_run_was_not_given_is_an_error_that_says_so() -> None:
    given = project(entities={RAW: {"kind": "table", "path": "/1"}})
    for asked in ("store://p/dataitem/table/other:1", "other"):
        with pytest.raises(InputsError, match=f"'{asked}' was not given to this run; .*init_parameters: {RAW}"):
            given.get_dataitem(asked)


def test_a_name_of_several_entities_is_ambiguous() -> None:
    entities = {f"store://p/dataitem/table/raw:{number}": {"kind": "table", "path": "/"} for number in (1, 2)}
    for asked in ("raw", "store://p/dataitem/table/raw"):
        with pytest.raises(InputsError, match="may be any of store://p/dataitem/table/raw:1, store"):
            project(entities=entities).get_dataitem(asked)


def test_a_file_is_local_or_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x")
    assert Dataitem(RAW, path=f"file://{tmp_path}/t.csv").as_file() == str(tmp_path / "t.csv")
    with pytest.raises(InputsError, match=r"'s3://b/t.csv' and was not fetched"):
        Dataitem(RAW, path="s3://b/t.csv").as_file()
    with pytest.raises(InputsError, match="is not there"):
        Dataitem(RAW, path=str(tmp_path / "no")).as_file()


def test_a_download_is_a_copy_that_replaces_nothing_unasked(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x")
    item = Dataitem(RAW, path=str(tmp_path / "t.csv"))
    assert item.download() == item.as_file()
    assert item.download(str(tmp_path / "new" / "copy.csv")) == str(tmp_path / "new" / "copy.csv")
    with pytest.raises(InputsError, match="exists"):
        item.download(str(tmp_path / "new" / "copy.csv"))
    assert item.download(str(tmp_path / "new"), overwrite=True) == str(tmp_path / "new" / "t.csv")


@needs_pandas
@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("t.csv", "a,b\n1,2\n", {}),
        ("t.TSV", "a\tb\n1\t2\n", {}),
        ("t.json", '[{"a": 1, "b": 2}]', {}),
        ("t.jsonl", '{"a": 1, "b": 2}\n', {}),
        ("table", "a;b\n1;2\n", {"file_format": "csv", "sep": ";"}),
        ("t.csv", "a,b\n1,2\n", {"engine": "pandas"}),
    ],
)
def test_a_table_is_read_by_its_suffix(tmp_path: Path, name: str, text: str, options: Any) -> None:
    (tmp_path / name).write_text(text)
    frame = Dataitem(RAW, path=str(tmp_path / name)).as_df(**options)
    assert frame.to_dict("records") == [{"a": 1, "b": 2}]


@needs_pandas
@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_binary_tables_are_read(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": [1]})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_feather(tmp_path / "t.feather")
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    for name in ("t.parquet", "t.feather", "t.csv.gz"):
        assert Dataitem(RAW, path=str(tmp_path / name)).as_df().equals(frame)


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "t.xyz").write_text("x")
    with pytest.raises(InputsError, match="format 'xyz'; as_df reads csv, tsv, parquet"):
        Dataitem(RAW, path=str(tmp_path / "t.xyz")).as_df()


def test_a_missing_pandas_names_the_requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputsError, match="as_df needs pandas, add it to the requirements"):
        Dataitem(RAW, path=str(tmp_path / "t.csv")).as_df()


def test_a_secret_is_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "TOKEN").write_bytes(b"from file\r\n")
    monkeypatch.setenv("TOKEN", "from variable")
    monkeypatch.setenv("OTHER", "from variable")
    given = project(secrets=str(tmp_path))
    secret = given.get_secret("TOKEN")
    assert (secret, secret.read_secret_value()) == ("from file\r\n", "from file\r\n")
    assert given.get_secret("OTHER") == "from variable"
    assert repr([secret]) == "['***']"


@pytest.mark.parametrize("name", ["../TOKEN", ".", "..", "", "/etc/passwd", "a\n", "NOPE", None])
def test_a_secret_that_is_not_there_or_leaves_the_folder_is_an_error(tmp_path: Path, name: Any) -> None:
    (tmp_path / "TOKEN").write_text("x")
    (tmp_path / "secrets").mkdir()
    with pytest.raises(InputsError, match=r"is no name of a secret|is not there: no file"):
        project(secrets=str(tmp_path / "secrets")).get_secret(name)


def test_what_a_project_does_not_offer_says_what_it_does() -> None:
    with pytest.raises(AttributeError, match="no 'run_workflow'; it has name, get_dataitem"):
        getattr(project(), "run_workflow")  # noqa: B009 - the access is what is tested


def test_a_logged_file_is_copied_and_in_the_journal(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("weights")
    model = project(str(tmp_path / "out")).log_model(
        "m", kind="onnx", source=str(tmp_path / "m.onnx"), framework="onnx"
    )
    assert re.fullmatch(r"store://p/model/onnx/m:[0-9a-f-]{36}", model.key)
    assert Path(model.as_file()).read_text() == "weights"
    assert Journal(str(tmp_path / "out")).read().outputs == {
        "m": {"type": "model", "kind": "onnx", "path": "log-000.onnx", "key": model.key, "spec": {"framework": "onnx"}}
    }


def test_a_logged_folder_is_a_zip_archive(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_text("x")
    model = project(str(tmp_path / "out")).log_model("m", source=tmp_path / "model")
    with zipfile.ZipFile(model.path) as archive:
        assert archive.namelist() == ["weights.bin"]
    assert sorted(os.listdir(tmp_path / "out")) == ["journal.jsonl", "log-000.zip"]


@needs_pandas
def test_a_logged_frame_can_be_read_back(tmp_path: Path) -> None:
    import pandas as pd

    item = project(str(tmp_path / "out")).log_dataitem("t", data=pd.DataFrame({"a": [1]}))
    assert item.kind == "table"
    assert item.as_df().to_dict("records") == [{"a": 1}]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "../x", "source": b"x"}, "name '../x' is not possible"),
        ({"name": "x", "kind": "a/b", "source": b"x"}, "kind 'a/b' is not possible"),
        ({"name": "x", "source": "s3://b/k"}, "no file or folder of this machine"),
        ({"name": "x"}, "NoneType cannot be logged; give source="),
        ({"name": "x", "data": [1]}, "list cannot be logged"),
    ],
)
def test_what_cannot_be_logged_says_why(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(OutputsError, match=message):
        project(str(tmp_path)).log_artifact(**values)
    assert Journal(str(tmp_path)).entries() == []


def test_a_service_keeps_no_outputs_and_no_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputsError, match="a service has no outputs"):
        project().log_artifact("x", source=b"x")
    Run(WorkerSpec(root="", handler="f"), Journal("")).log_metric("a", 1)
    assert os.listdir(tmp_path) == []
    assert Journal("").entries() == []


def test_metrics_are_lists_of_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(WorkerSpec(root="", handler="f", run="R", project="p"), Journal(str(tmp_path)))
    run.log_metric("loss", 0.5)
    run.log_metrics({"loss": 0.25, "epoch": [1, 2]})
    run.log_metric("loss", float("nan"))
    run.log_metric("best", 1)
    run.log_metric("best", 2, overwrite=True)
    assert Journal(str(tmp_path)).read().metrics == {"loss": [0.5, 0.25], "epoch": [1, 2], "best": [2]}
    assert "metric 'loss': 1 values that are not finite" in capsys.readouterr().err
    assert (run.id, run.project, repr(run)) == ("R", "p", "<Run R of p/function>")


@pytest.mark.parametrize("value", ["1", True, None, [1, "x"]])
def test_a_metric_that_is_no_number_is_an_error(tmp_path: Path, value: Any) -> None:
    with pytest.raises(OutputsError, match=r"metric 'a': .* give an int or a float"):
        Run(WorkerSpec(root="", handler="f"), Journal(str(tmp_path))).log_metric("a", value)


@pytest.mark.parametrize(
    "line",
    [
        '{"output": {"a": 1}}',
        '{"output": "o", "path": "../x"}',
        '{"output": "o", "path": "/etc/passwd"}',
        '{"output": "o", "path": ".."}',
        '{"output": "o", "path": 5}',
        '{"output": "o", "spec": []}',
        '{"output": "o", "spec": {"a": ' + "[" * 500 + "]" * 500 + "}}",
        '{"metric": "m"}',
        '{"metric": "m", "values": 5}',
        '{"metric": "m", "values": ["1", true]}',
        '{"metric": "m", "values": [NaN]}',
        '{"metric": 5, "values": []}',
        "[" * 100_000,
        "[]",
        "{}",
    ],
)
def test_what_is_no_entry_is_left_out_and_counted(tmp_path: Path, line: str) -> None:
    good = '{"metric": "a", "values": [1, 2.5]}\n'
    good += '{"output": "o", "type": "artifact", "path": "o.txt", "spec": {"b": [1]}}\n'
    (tmp_path / "journal.jsonl").write_text(line + "\n" + good)
    logged = Journal(str(tmp_path)).read()
    assert (logged.metrics, logged.bad) == ({"a": [1, 2.5]}, 1)
    assert logged.outputs == {"o": {"type": "artifact", "path": "o.txt", "spec": {"b": [1]}}}


def test_a_journal_that_is_a_pipe_or_a_link_is_neither_waited_for_nor_followed(tmp_path: Path) -> None:
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "journal.jsonl")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "journal.jsonl").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text('{"metric": "a", "values": [1]}\n')
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match=r"no plain file|symbolic links"):
            Journal(str(tmp_path / name)).read()
        with pytest.raises(OSError, match=r"journal\.jsonl"):
            Journal(str(tmp_path / name)).append({"metric": "a", "values": [1]})


def test_a_journal_cut_short_keeps_its_whole_lines(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.append({"metric": "a", "values": [1]})
    with (tmp_path / "journal.jsonl").open("ab") as stream:
        stream.write(b'not json\n{"metric": "a", "val')
    assert journal.entries() == [{"metric": "a", "values": [1]}]
