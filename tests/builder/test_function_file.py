"""Function files: flat, as DigitalHub exports them, and hostile ones."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from nuwrap.errors import SpecError
from nuwrap.spec.document import dump_document, load_documents
from nuwrap.spec.function_file import FunctionFile, read_function

FLAT = {"name": "fn", "kind": "python", "handler": "f", "python_version": "PYTHON3_10", "code": "def f(): return 7"}
CODE = "def f():\n    return 'é'\n"


def write(folder: Path, *documents: Any) -> Path:
    path = folder / "function.yaml"
    path.write_text(yaml.safe_dump_all(documents, allow_unicode=True), encoding="utf-8")
    return path


def refuse(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        read_function(path)
    return str(caught.value)


def export(**source: Any) -> dict[str, Any]:
    """What `function.export()` writes today."""
    ident = "8f1b7a3e-6c52-4f0e-9b52-0d7c1c0a5d11"
    return {
        "project": "p",
        "name": "fn",
        "id": ident,
        "kind": "python",
        "key": f"store://p/function/python/fn:{ident}",
        "metadata": {
            "project": "p",
            "name": "fn",
            "created": "2026-01-01T00:00:00Z",
            "labels": ["x"],
            "embedded": True,
        },
        "spec": {
            "source": {"handler": "f", "lang": "python", **source},
            "image": None,
            "python_version": "PYTHON3_10",
            "requirements": ["numpy"],
        },
        "status": {"state": "CREATED"},
        "user": "me",
    }


def exported_file(folder: Path, handler: str = "f", code: str = CODE) -> FunctionFile:
    text = base64.b64encode(code.encode()).decode()
    return read_function(write(folder, export(source="src/fn.py", base64=text, handler=handler)))


def test_a_flat_file_is_read_by_file_and_by_folder(tmp_path: Path) -> None:
    path = write(tmp_path, FLAT)
    assert read_function(path) == read_function(tmp_path)
    assert read_function(path).function.code == FLAT["code"]
    assert read_function(path).folder == tmp_path


def test_an_export_is_read_without_a_warning(tmp_path: Path) -> None:
    file = read_function(write(tmp_path, export(source="git+https://h/o/r#v1", init_function="setup")))
    function = file.function
    assert (function.code_src, function.handler, function.init_function) == ("git+https://h/o/r#v1", "f", "setup")
    assert (function.project, function.labels, function.embedded, function.lang) == ("p", ("x",), True, "python")
    assert function.uuid == export()["id"]
    assert file.warnings == ()


def test_unknown_keys_of_an_export_are_one_warning(tmp_path: Path) -> None:
    document = {**export(source="git+https://h/o/r"), "extra": 1}
    document["spec"]["requirments"] = []
    document["spec"]["source"]["branch"] = "x"
    (warning,) = read_function(write(tmp_path, document)).warnings
    assert "extra" in warning
    assert "spec.requirments; did you mean 'requirements'?" in warning
    assert "spec.source.branch" in warning


def test_a_field_beside_an_exports_spec_is_refused(tmp_path: Path) -> None:
    text = refuse(write(tmp_path, {**export(source="git+https://h/o/r"), "requirements": ["x"]}))
    assert "requirements: stands beside spec; move it into spec" in text


def test_a_fault_in_an_export_is_named_by_its_place_there(tmp_path: Path) -> None:
    text = refuse(write(tmp_path, export(base64="@@@", handler="a:b:c")))
    assert "spec.source.handler: 'a:b:c'" in text
    assert "spec.source.base64: '@@@'" in text


def test_both_shapes_are_taken_together_but_not_against_each_other(tmp_path: Path) -> None:
    nested = {key: value for key, value in FLAT.items() if key not in ("code", "handler")}
    file = read_function(write(tmp_path, {**nested, "source": {"code": "x = 1", "handler": "x"}, "handler": "x"}))
    assert file.function.code == "x = 1"
    text = refuse(write(tmp_path, {**nested, "source": {"code": "x = 1", "handler": "x"}, "handler": "y"}))
    assert "source.handler: is given at handler too, with another value" in text


def test_an_exported_local_file_runs_as_that_file_where_it_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/fn.py").write_text(CODE, encoding="utf-8")
    file = exported_file(tmp_path, handler="src.fn:f")
    assert (file.function.code_src, file.function.base64, file.function.handler) == ("src/fn.py", "", "src.fn:f")
    assert file.warnings == ()


def test_an_exported_local_file_runs_from_the_export_where_it_is_missing(tmp_path: Path) -> None:
    file = exported_file(tmp_path, handler="src.fn:f")
    assert file.function.code_src == ""
    assert base64.b64decode(file.function.base64).decode() == CODE
    assert file.function.handler == "f"
    assert file.warnings == ()


def test_an_exported_local_file_that_has_changed_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/fn.py").write_text("def f(): return 'changed'", encoding="utf-8")
    file = exported_file(tmp_path)
    assert file.function.code_src == ""
    assert "'src/fn.py' differs from the code that 'function.yaml' holds" in file.warnings[0]


def test_an_unknown_key_of_a_flat_file_is_refused(tmp_path: Path) -> None:
    assert "handlr: unknown key; did you mean 'handler'?" in refuse(write(tmp_path, {**FLAT, "handlr": "f"}))


@pytest.mark.parametrize(
    ("code_src", "said"),
    [
        ("nope.py", "'nope.py' does not exist in"),
        ("../fn.py", "'..' is refused"),
        ("a/../../fn.py", "'..' is refused"),
        ("/etc/hosts", "is absolute"),
        ("~/fn.py", "is absolute"),
        ("data.txt", "is neither a .py file, a folder nor an archive"),
    ],
)
def test_a_local_source_is_checked_with_all_else(tmp_path: Path, code_src: str, said: str) -> None:
    (tmp_path / "data.txt").write_text("")
    fields = {key: value for key, value in FLAT.items() if key != "code"}
    text = refuse(write(tmp_path, {**fields, "code_src": code_src, "handler": ""}))
    assert said in text
    assert "handler: is empty" in text


def test_several_documents_need_exactly_one_function(tmp_path: Path) -> None:
    assert "holds 2 documents (kinds: python, python), 2 of them" in refuse(write(tmp_path, FLAT, FLAT))
    assert "0 of them of kind python" in refuse(write(tmp_path, {"kind": "a"}, {"kind": "b"}))
    file = read_function(write(tmp_path, {"kind": "dataitem"}, FLAT))
    assert file.function.name == "fn"
    assert "1 documents beside the function are ignored" in file.warnings[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds nothing"),
        ("- 1", "holds [1]"),
        ("name: a\nkind: python\nname: b\n", "line 3, column 1: the key 'name' is there twice"),
        ("a: [1", "is not valid YAML: line"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: 2024-99-99", "is not valid YAML"),
        ("a: \x00", "is not valid YAML"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: &a [*a]", "more than 100000 values"),
        (
            "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)),
            "more than",
        ),
        ("#" * (1024 * 1024 + 1), "has more than 1048576 bytes"),
    ],
    ids=["empty", "list", "twice", "broken", "object", "date", "nul", "deep", "circle", "bomb", "large"],
)
def test_a_hostile_file_is_refused_in_one_message(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "function.yaml"
    path.write_text(text)
    assert said in refuse(path)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refuse(tmp_path / "nope.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    assert "is not UTF-8 text" in refuse(tmp_path / "latin.yaml")


def test_merge_keys_are_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "function.yaml"
    path.write_text("x: &x {a: 1}\ny: {<<: *x, a: 2}\n")
    assert "x: unknown key" in refuse(path)


def test_a_key_cannot_command_the_terminal(tmp_path: Path) -> None:
    said = refuse(write(tmp_path, {**FLAT, "\x1b[2J\nnuwrap: all is well": 1}))
    assert "'\\x1b[2J\\nnuwrap: all is well': unknown key" in said
    said = refuse(write(tmp_path, {"kind": "\x1b[2J"}, {"kind": "x"}))
    assert "kinds: '\\x1b[2J', x" in said


@pytest.mark.parametrize("text", ["1" + ":1" * 300_000, "1" + ":1" * 300_000 + ".5", "!!int 1:1", "!!float 1:1.5"])
def test_numbers_to_the_base_of_60_are_none(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, FLAT)
    path.write_text(f"{path.read_text()}embedded: {text}\n")
    said = refuse(path)
    assert "is not true or false" in said or "is not valid YAML" in said


def test_numbers_are_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text("[0, -12, 1_000, 0x1F, 0o17, 0b101, 017, 1.5, -.5, 1e3, 2.5e-3, .inf, -.INF, 1:30]")
    (found,) = load_documents(path)
    infinite = float("inf")
    assert found == [0, -12, 1000, 31, 15, 5, "017", 1.5, -0.5, "1e3", 0.0025, infinite, -infinite, "1:30"]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "function.yaml")
    assert "is no regular file" in refuse(tmp_path)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    texts = [
        "def f():\n    return 'ä'\n",
        "007",
        "1:2:3",
        "yes",
        "0o7",
        "1e5",
        "",
        "a \nb",
        "\tx\n  y",
        "\n\n a",
        "a\ab",
    ]
    document = {"texts": [*texts, "2020-01-01", "null", "~", "<<"], "values": [1, 1.5, 1e20, None, True, {"a": []}]}
    (tmp_path / "x.yaml").write_text(dump_document(document), encoding="utf-8")
    assert load_documents(tmp_path / "x.yaml") == [document]
    assert dump_document({"code": "def f():\n    return 1\n"}) == "code: |\n  def f():\n      return 1\n"
