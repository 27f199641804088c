"""Reading what a run has left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nuwrap.errors import ResultError
from nuwrap.store.results import read_result
from nuwrap_runtime.result import Failure, Result


def write(folder: Path, **document: Any) -> str:
    plain = {"api": "nuwrap/v1", "state": "COMPLETED", "exit_code": 0}
    (folder / "result.json").write_text(json.dumps({**plain, **document}))
    return str(folder)


def output(path: str) -> dict[str, Any]:
    return {"a": {"type": "dataitem", "kind": "table", "path": path}}


def refuse(folder: str) -> str:
    with pytest.raises(ResultError) as caught:
        read_result(folder)
    return str(caught.value)


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    failure = Failure("handler", "ValueError", "no", ({"file": "main.py", "line": 1},))
    result = Result("ERROR", 1, run="r", results={"x": 1}, failure=failure, requirements=["a==1"])
    (tmp_path / "result.json").write_text(json.dumps(result.to_document()))
    found = read_result(str(tmp_path))
    assert found.to_document() == json.loads(json.dumps(result.to_document()))
    assert found.failure
    assert found.failure.type == "ValueError"


def test_keys_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path, later=1, failure={"phase": "load", "type": "T", "message": "m", "later": 1})
    assert read_result(folder).failure == Failure("load", "T", "m")


def test_an_output_in_the_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/a.parquet").touch()
    assert read_result(write(tmp_path, outputs=output("outputs/a.parquet"))).outputs["a"]["kind"] == "table"


@pytest.mark.parametrize("path", ["/etc/hosts", "../x", "outputs/../../x", "", "a\0b"])
def test_an_output_that_names_another_place_is_refused(tmp_path: Path, path: str) -> None:
    assert "is not a relative path below the run's folder" in refuse(write(tmp_path, outputs=output(path)))


@pytest.mark.parametrize("target", ["/etc", ".."])
def test_an_output_that_a_link_leads_out_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "outputs").symlink_to(target)
    assert "leads out of the run's folder" in refuse(write(tmp_path, outputs=output("outputs/hosts")))


def test_an_entity_of_before_has_its_key_alone(tmp_path: Path) -> None:
    known = {"a": {"type": "dataitem", "kind": "table", "path": "", "key": "store://p/dataitem/table/raw:1"}}
    assert read_result(write(tmp_path, outputs=known)).outputs["a"]["path"] == ""


def test_an_output_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "'outputs/a' does not exist" in refuse(write(tmp_path, outputs=output("outputs/a")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not valid"),
        ('{"api": "nuwrap/v9", "state": "COMPLETED", "exit_code": 0}', "api: 'nuwrap/v9' is none of nuwrap/v1"),
        ('{"api": "nuwrap/v1", "state": "DONE", "exit_code": 999}', "state: 'DONE' is none of"),
    ],
    ids=["empty", "deep", "list", "version", "state"],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "result.json").write_text(text)
    assert said in refuse(str(tmp_path))


def test_a_missing_or_huge_result_is_refused(tmp_path: Path) -> None:
    assert "cannot read the result" in refuse(str(tmp_path))
    with (tmp_path / "result.json").open("wb") as stream:
        stream.truncate(64 * 1024 * 1024 + 1)
    assert "has more than" in refuse(str(tmp_path))
