"""Dataitems, artifacts, models and secrets from a script: kept, found, read, removed; and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

from nuwrap.errors import NotFound, PlatformError, StoreError, UsageError
from nuwrap_runtime.errors import InputsError, OutputsError

sys.path.append(str(Path(__file__).parent.parent / "wrapper"))
from s3_server import S3Server


@pytest.fixture
def project(dh: Any) -> Any:
    return dh.get_or_create_project("p")


def test_a_table_is_kept_as_parquet_and_read_again(project: Any) -> None:
    frame = pandas.DataFrame({"item": ["bread", "cheese"], "price": [3, 8]})
    kept = project.log_dataitem("prices", data=frame)
    assert Path(kept.as_file()) == Path.cwd() / ".nuwrap" / "data" / kept.id / "prices.parquet"
    assert kept.key == f"store://p/dataitem/table/prices:{kept.id}"
    pandas.testing.assert_frame_equal(project.get_dataitem("prices").as_df(), frame)


def test_a_table_without_a_parquet_library_is_csv_with_a_notice(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    kept = project.log_dataitem("prices", data=pandas.DataFrame({"a": [1]}))
    assert Path(kept.as_file()).name == "prices.csv"
    assert "'prices' is written as CSV, since neither pyarrow nor fastparquet is installed" in capsys.readouterr().err
    assert project.get_dataitem("prices").as_df().to_dict("list") == {"a": [1]}


def test_a_logged_file_is_a_copy_that_later_changes_do_not_reach(project: Any) -> None:
    Path("raw.csv").write_text("a\n1\n")
    kept = project.log_dataitem("raw", source="raw.csv")
    Path("raw.csv").write_text("a\n2\n")
    assert kept.as_df().to_dict("list") == {"a": [1]}


def test_a_new_dataitem_is_what_lies_there(project: Any) -> None:
    Path("raw.csv").write_text("a\n1\n")
    item = project.new_dataitem("raw", path="raw.csv", labels=["daily"], description="rows", source="shop")
    Path("raw.csv").write_text("a\n2\n")
    assert item.as_df().to_dict("list") == {"a": [2]}
    assert item.spec.to_dict() == {"path": str(Path("raw.csv").absolute()), "source": "shop"}
    assert (item.metadata.labels, item.metadata.description) == (["daily"], "rows")
    assert [one.key for one in project.list_dataitems(label="daily")] == [item.key]
    assert project.list_dataitems(label="weekly") == []


def test_bytes_and_folders_become_an_artifact_and_a_model(project: Any, tmp_path: Path) -> None:
    Path("weights").mkdir()
    Path("weights", "a.bin").write_bytes(b"1")
    model = project.log_model("m", kind="sklearn", source="weights", framework="sklearn")
    assert (Path(model.as_file()) / "a.bin").read_bytes() == b"1"
    assert model.spec.framework == "sklearn"
    blob = project.log_artifact("blob", data=b"abc")
    assert Path(blob.download(str(tmp_path / "out") + "/")).read_bytes() == b"abc"
    with pytest.raises(InputsError, match=r"exists; download .* with overwrite=True"):
        blob.download(tmp_path / "out")


def test_a_name_means_the_latest_version(project: Any, dh: Any) -> None:
    first, second = (project.log_artifact("blob", data=data) for data in (b"1", b"2"))
    assert project.get_artifact("blob").id == second.id
    assert project.get_artifact("blob", entity_id=first.id).key == first.key
    assert dh.get_artifact("store://p/artifact/artifact/blob").id == second.id
    assert [one.id for one in project.get_artifact_versions("blob")] == [second.id, first.id]
    assert [one.id for one in project.list_artifacts()] == [second.id]


def test_of_several_versions_none_is_deleted_by_chance(project: Any) -> None:
    first, second = (project.log_artifact("blob", data=data) for data in (b"1", b"2"))
    with pytest.raises(UsageError, match="'blob' has 2 versions: give entity_id=ID for one of them, or delete_all_v"):
        project.delete_artifact("blob")
    project.delete_artifact(second.key)
    assert project.get_artifact("blob").id == first.id
    project.log_artifact("blob", data=b"3")
    project.delete_artifact("blob", delete_all_versions=True)
    assert project.list_artifacts() == []
    assert Path(first.path).exists(), "files stay"


def test_another_types_key_says_which_call_has_it(project: Any) -> None:
    key = project.log_artifact("blob", data=b"1").key
    with pytest.raises(UsageError, match="is of type artifact; use get_artifact"):
        project.get_dataitem(key)


def test_what_is_not_there_names_what_is_alike(project: Any, dh: Any) -> None:
    project.log_artifact("prices", data=b"1")
    with pytest.raises(NotFound, match="project 'p' has no artifact 'price'; did you mean 'prices'"):
        project.get_artifact("price")
    with pytest.raises(NotFound, match="there is no project 'pp'; did you mean 'p'"):
        dh.get_artifact("prices", project="pp")
    with pytest.raises(UsageError, match="project: is missing"):
        dh.get_artifact("prices")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": [1]}, "list cannot be logged; give source=PATH"),
        ({"data": "raw.csv"}, "data is a str; a path is source=PATH"),
        ({"source": "nope.csv"}, "source 'nope.csv' is not there"),
        ({}, "none is given; allowed: source=PATH of a file or folder, or data=VALUE"),
        ({"data": b"", "source": "x"}, "both are given"),
        ({"data": b"", "kind": "a b"}, "kind: 'a b' is no kind"),
        ({"data": b"", "uuid": "1"}, "uuid: '1' is none; allowed: a UUID of version 4"),
        ({"data": b"", "labels": "daily"}, "labels: 'daily' is no list of texts"),
        ({"data": b"", "spec": object}, "this type|allowed: values that JSON has"),
        ({"data": b"", "path": "/tmp/x"}, "path: '/tmp/x' is no address that can be written"),
    ],
)
def test_what_cannot_be_logged_leaves_nothing(project: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, OutputsError), match=message):
        project.log_dataitem("x", **given)
    assert project.list_dataitems() == []
    assert list(Path(".nuwrap").glob("data/*")) == []


@pytest.mark.parametrize("path", ["nope", "ftp://host/x", "", None, 3])
def test_a_new_entity_is_of_a_path_or_an_address(project: Any, path: Any) -> None:
    with pytest.raises(UsageError, match=r"path: .* allowed: a path that exists, or an address \(s3://"):
        project.new_artifact("x", path=path)


def test_an_address_that_cannot_be_read_says_so_when_it_is_read(project: Any) -> None:
    item = project.new_dataitem("far", path="http://127.0.0.1:9/x.csv")
    with pytest.raises(PlatformError, match=r"http://127\.0\.0\.1:9/x\.csv"):
        item.as_df()


def test_a_secret_is_read_by_asking_and_never_shown(project: Any, dh: Any) -> None:
    secret = project.new_secret("API_KEY", "correct horse")
    assert "correct" not in f"{secret!r} {vars(secret)}"
    assert dh.get_secret("API_KEY", project="p").read_secret_value() == "correct horse"
    secret.set_secret_value("battery")
    assert project.get_secret("API_KEY").read_secret_value() == "battery"
    assert [one.name for one in project.list_secrets()] == ["API_KEY"]
    project.delete_secret("API_KEY")
    with pytest.raises(NotFound, match="project 'p' has no secret 'API_KEY'"):
        secret.read_secret_value()
    with pytest.raises(UsageError, match="secret_value of 'API_KEY' is missing"):
        project.new_secret("API_KEY")


def test_a_project_with_secrets_goes_by_cascade_alone(project: Any, dh: Any) -> None:
    project.new_secret("API_KEY", "x")
    with pytest.raises(StoreError, match="has secrets \\(API_KEY\\); delete it with cascade=True"):
        dh.delete_project("p")
    dh.delete_project("p", cascade=True)
    assert dh.get_or_create_project("p").list_secrets() == []


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with S3Server() as server:
        for name, value in server.environ().items():
            monkeypatch.setenv(name, value)
        server.make("bucket", {"raw/prices.csv": b"a\n1\n"})
        yield server


def test_data_in_a_store_is_fetched_once_and_stored_where_asked(project: Any, s3: S3Server, tmp_path: Path) -> None:
    far = project.new_dataitem("far", path="s3://bucket/raw/prices.csv")
    assert far.as_df().to_dict("list") == {"a": [1]}
    asked = len(s3.seen)
    assert Path(far.as_file()).name == "prices.csv"
    assert len(s3.seen) == asked
    assert Path(far.download(tmp_path / "copy.csv")).read_text() == "a\n1\n"
    blob = project.log_artifact("blob", data=b"abc", path="s3://bucket/kept/")
    assert blob.path == "s3://bucket/kept/blob.bin"
    assert s3.content("bucket", "kept/blob.bin") == b"abc"
    assert list(Path(".nuwrap/data").iterdir()) == []
    with pytest.raises(PlatformError, match=r"s3://bucket/nope\.csv"):
        project.new_dataitem("lost", path="s3://bucket/nope.csv").as_df()
