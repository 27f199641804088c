"""`name=VALUE` arguments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nuwrap.errors import UsageError
from nuwrap.spec.inputs import Inputs, parse_parameters, resolve_inputs
from nuwrap_runtime.launch import STORE_KEY


def resolve(folder: Path, *items: str, known: Any = None) -> Inputs:
    return resolve_inputs(items, flag="-i", project="p", known=known or {}, folder=str(folder))


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
def test_a_data_file_becomes_a_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    path.touch()
    inputs = resolve(tmp_path, f"di={path.name}")
    key = inputs.keys["di"]
    assert inputs.entities == {key: {"kind": "table", "path": str(path)}}
    assert key.startswith("store://p/dataitem/table/di:")
    assert re.search(STORE_KEY, key)


@pytest.mark.parametrize("name", ["model.bin", "noending", "folder.csv/"])
def test_any_other_file_or_folder_becomes_an_artifact(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    ((key, entity),) = resolve(tmp_path, f"x={name}").entities.items()
    assert entity == {"kind": "artifact", "path": str(tmp_path / name)}
    assert key.startswith("store://p/artifact/artifact/x:")


@pytest.mark.parametrize(
    ("address", "kind"),
    [("s3://b/k.parquet", "table"), ("https://h/d.csv?sig=1.x", "table"), ("http://h/x", "artifact")],
)
def test_an_address_becomes_an_entity_without_being_asked(tmp_path: Path, address: str, kind: str) -> None:
    assert list(resolve(tmp_path, f"x={address}").entities.values()) == [{"kind": kind, "path": address}]


def test_two_inputs_of_one_file_have_keys_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert len(resolve(tmp_path, "a=a.csv", "b=a.csv").entities) == 2


def test_a_known_key_is_taken_as_it_is(tmp_path: Path) -> None:
    entity = {"kind": "table", "path": "/data"}
    known = {"store://p/dataitem/table/n:1": entity}
    assert resolve(tmp_path, "di=store://p/dataitem/table/n:1", known=known).entities == known


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abc", "input 'di': 'abc' is no entity and nothing of that name is in"),
        ("", "input 'di': '' is no entity"),
        ("ftp://h/x", "allowed: a key (store://project/dataitem|artifact|model/kind/name:id), or a path"),
        ("store://p/dataitem/table/n:1", "there is no entity 'store://p/dataitem/table/n:1'; none is known"),
        ("store://p/run/x", "has not the form store://project/"),
    ],
)
def test_other_text_is_refused_naming_argument_and_forms(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        resolve(tmp_path, f"di={text}")
