"""`name=VALUE` arguments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nuwrap.errors import UsageError
from nuwrap.spec.inputs import Found, locate, parse_parameters


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5), ("3", 3), ("true", True), ("null", None), ("[1, 2]", [1, 2]), ('{"a": 1}', {"a": 1}),
        ('"1.10"', "1.10"), ("007", "007"), ("v1", "v1"), ("", ""), ("a=b", "a=b"), ("NaN", "NaN"),
        ("-Infinity", "-Infinity"), ("1e999", "1e999"), ("True", "True"), ("é", "é"),
    ],
)  # fmt: skip
def test_a_parameter_is_json_where_it_reads_as_json(text: str, value: Any) -> None:
    (found,) = parse_parameters([f"x={text}"], flag="-p").values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (["x"], "-p 'x' has not the form name=VALUE"),
        (["1x=2"], "has not the form name=VALUE"),
        (["=2"], "has not the form name=VALUE"),
        (["x=1", "x=1"], "-p 'x' is given twice"),
        (["x=\udcff"], "-p 'x': the value is not UTF-8 text"),
        ([r'x="\ud800"'], "-p 'x': the value is not UTF-8 text"),
        (["x=" + "[" * 200_000], "-p 'x': the value is nested too deeply"),
    ],
    ids=["no value", "no name", "empty name", "twice", "bytes", "surrogate", "deep"],
)
def test_what_is_no_parameter_is_refused(items: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_parameters(items, flag="-p")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".json", ".jsonl", ".xlsx", ".feather", ".CSV"])
def test_a_data_file_is_a_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    path.touch()
    assert locate("di", path.name, str(tmp_path)) == Found("dataitem", "table", str(path))


@pytest.mark.parametrize("name", ["model.bin", "noending", "folder.csv/"])
def test_any_other_file_or_folder_is_an_artifact(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    assert locate("x", name, str(tmp_path)) == Found("artifact", "artifact", str(tmp_path / name))


@pytest.mark.parametrize(
    ("address", "kind"),
    [("s3://b/k.parquet", "table"), ("https://h/d.csv?sig=1.x", "table"), ("http://h/x", "artifact")],
)
def test_an_address_is_believed_without_being_asked(tmp_path: Path, address: str, kind: str) -> None:
    found = locate("di", address, str(tmp_path))
    assert (found.kind, found.path) == (kind, address)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abc", "input 'di': 'abc' is no entity and nothing of that name is in"),
        ("", "input 'di': '' is no entity"),
        ("ftp://h/x", "allowed: a key (store://project/dataitem|artifact|model/kind/name:id), or a path"),
    ],
)
def test_other_text_is_refused_naming_argument_and_forms(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        locate("di", text, str(tmp_path))
