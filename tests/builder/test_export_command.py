"""`nuwrap export` and `nuwrap import`: what is written is read again, in another history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from command_line import Nuwrap
from kept import add_ended, open_history, run_id
from store_records import entity, function

from nuwrap.spec.document import load_documents
from nuwrap.store import Store
from nuwrap_runtime import __version__

ID = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Store]:
    with open_history(tmp_path) as store:
        spec = {"handler": "f", "python_version": "PYTHON3_11", "code": "def f():\n    return 7\n"}
        store.add_function(function(ID, spec=spec))
        store.add_entity(entity("1", path="s3://bucket/raw.csv"))
        add_ended(store, 1)
        yield store


@pytest.fixture
def type_(run_nuwrap: Nuwrap, tmp_path: Path, history: Store) -> Nuwrap:
    return partial(run_nuwrap, NUWRAP_HOME=str(tmp_path / "home"))


def test_what_is_named_is_written_and_its_path_printed(type_: Nuwrap, tmp_path: Path) -> None:
    for arguments, name in (
        (("f",), "function-f.yaml"),
        (("00000001",), f"run-{run_id(1)}.yaml"),
        (("store://p/dataitem/table/raw",), "dataitem-raw.yaml"),
        (("--project", "p"), "project-p.yaml"),
        (("f", "--project", "p", "-o", "mine.yaml"), "mine.yaml"),
    ):
        done = type_("export", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / name}\n", "")
        assert (tmp_path / name).read_text().count("\n") > 5
    assert json.loads(type_("export", "f", "--json").stdout) == {"path": str(tmp_path / "function-f.yaml")}


def test_what_was_exported_is_imported_elsewhere(type_: Nuwrap, run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    type_("export", "f")
    type_("export", "--project", "p")
    other = partial(run_nuwrap, NUWRAP_HOME=str(tmp_path / "other"))
    done = other("import", "function-f.yaml", "project-p.yaml")
    assert (done.returncode, done.stdout) == (0, f"function p/f, version {ID}\nproject p\n")
    assert done.stderr == "nuwrap: project 'p' is new\n"
    (found,) = json.loads(other("ls", "functions", "--json").stdout)
    assert (found["id"], found["spec"]["code"]) == (ID, "def f():\n    return 7\n")
    (made,) = json.loads(other("import", "--json", "project-p.yaml").stdout)
    assert (made["key"], made["name"]) == ("store://p", "p")
    assert len(json.loads(other("ls", "dataitems", "--json").stdout)) == 1


def test_a_folder_with_a_function_file_is_imported(type_: Nuwrap, tmp_path: Path) -> None:
    (tmp_path / "fn").mkdir()
    text = "name: g\nkind: python\nproject: p\npython_version: PYTHON3_11\nhandler: g\ncode: 'def g(): return 1'\n"
    (tmp_path / "fn" / "function.yaml").write_text(text)
    assert type_("import", "fn").stdout.startswith("function p/g, version ")


def test_nothing_that_is_named_is_not_exported(type_: Nuwrap, tmp_path: Path) -> None:
    done = type_("export")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing to export is named" in done.stderr
    assert "there is no project 'zz'" in type_("export", "--project", "zz").stderr
    assert "did you mean 'f'?" in type_("export", "ff").stderr
    (tmp_path / "mine.txt").write_text("not an export")
    done = type_("export", "f", "-o", "mine.txt")
    assert (done.returncode, "is there already" in done.stderr) == (2, True)


@pytest.mark.parametrize("what", ["00000001", "store://p/dataitem/table/raw"], ids=["run", "dataitem"])
def test_runs_and_data_are_not_imported(type_: Nuwrap, what: str) -> None:
    path = type_("export", what).stdout.strip()
    done = type_("import", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "allowed: a function or a project" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("- 1\n", ""),
        ("kind: [project]\n", ""),
        ("key: {a: b}\n", ""),
        ("kind: project\n", "name"),
        ("\t", ""),
    ],
    ids=repr,
)
def test_a_file_that_is_neither_is_one_message(type_: Nuwrap, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    done = type_("import", "x.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "x.yaml" in done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert type_("import", "nowhere.yaml").returncode == 2


def test_a_function_is_written_as_nuclio_takes_it(type_: Nuwrap, tmp_path: Path) -> None:
    done = type_("export", "f", "--nuclio")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'nuclio-f.yaml'}\n", "")
    (document,) = load_documents(tmp_path / "nuclio-f.yaml")
    assert document["kind"] == "NuclioFunction"
    assert document["spec"]["image"] == f"nuwrap/nuclio:{__version__}-3.11"


@pytest.mark.parametrize("what", ["00000001", "store://p/dataitem/table/raw"])
def test_what_is_no_function_is_refused_for_nuclio(type_: Nuwrap, what: str) -> None:
    done = type_("export", what, "--nuclio")
    assert (done.returncode, done.stderr) == (2, "nuwrap: --nuclio writes functions; name one\n")
