"""What a job returns becomes results and files; what cannot be returned says which output, which type and how."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import importlib.util
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from nuwrap_runtime.entities import Dataitem, Journal, Project
from nuwrap_runtime.errors import OutputsError
from nuwrap_runtime.worker.files import FileWriter
from nuwrap_runtime.worker.outputs import Collected, OutputWriter, check_writable
from nuwrap_runtime.worker.spec import WorkerSpec


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


class Level(enum.IntEnum):
    HIGH = 3


class Name(str, enum.Enum):
    A = "a"


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def collect(tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Collected]:
    """Collect a value with an outputs folder `out` and a source root `src`, and no other folder allowed."""
    (tmp_path / "src").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("NUWRAP_WORK", "")

    def run(value: Any, *names: Any) -> Collected:
        return OutputWriter(str(tmp_path / "out"), str(tmp_path / "src"), names, "p", warnings.append).collect(value)

    return run


@pytest.mark.parametrize(
    ("value", "names", "results"),
    [
        (None, [], {}),
        (7, [], {"output_0": 7}),
        (None, ["a"], {}),
        ((), [], {}),
        (("x", 2), ["a", "b"], {"a": "x", "b": 2}),
        ((None, 2), ["a", "b"], {"b": 2}),
        (("x", None, 3), [], {"output_0": "x", "output_2": 3}),
        ([1, 2], ["a", "b"], {"a": 1, "b": 2}),
        ([1, 2], [], {"output_0": [1, 2]}),
        ([1], ["a"], {"a": [1]}),
        ([1, 2, 3], ["a", "b"], {"a": [1, 2, 3]}),
        ((1, 2, 3), ["a", "b"], {"a": 1, "b": 2, "output_2": 3}),
        ((1, 2), ["a", "b", "c"], {"a": 1, "b": 2}),
        ({"a": [1, None]}, [], {"output_0": {"a": [1, None]}}),
        ([(1, 2)], [], {"output_0": [[1, 2]]}),
    ],
    ids=repr,
)
def test_items_and_their_names(collect: Any, value: Any, names: list[str], results: Any) -> None:
    assert collect(value, *names) == Collected(results, {})


@pytest.mark.parametrize(("value", "count"), [((1, 2, 3), 1), ((1,), 1), (None, 1), ((1, 2), 0)], ids=repr)
def test_another_count_than_named_is_one_warning(collect: Any, warnings: list[str], value: Any, count: int) -> None:
    collect(value, "a", "b")
    assert len(warnings) == count


def test_numbers_and_texts_are_plain(collect: Any) -> None:
    value = [
        float("nan"),
        float("inf"),
        -float("inf"),
        Level.HIGH,
        Name.A,
        True,
        {Level.HIGH: 1, None: 2, False: 3, 1.5: 4},
    ]
    (found,) = collect(value).results.values()
    assert found == ["NaN", "Infinity", "-Infinity", 3, "a", True, {"3": 1, "null": 2, "false": 3, "1.5": 4}]
    assert [type(one) for one in found[:6]] == [str, str, str, int, str, bool]


def test_dictionaries_of_all_kinds_are_json(collect: Any) -> None:
    value = collections.OrderedDict(a=collections.Counter("aa"), b=collections.defaultdict(list, c=[1]))
    assert collect(value).results == {"output_0": {"a": {"a": 2}, "b": {"c": [1]}}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, r"output 'a'.*set cannot.*sorted\(value\)"),
        (datetime.datetime(2026, 1, 1), r"isoformat\(\)"),
        (decimal.Decimal(1), r"decimal.Decimal cannot.*str\(value\)"),
        (object(), r"object cannot.*data frame.*kind': 'pickle'"),
        (1j, "complex cannot"),
        (enum.Enum("Plain", "X").X, r"value\.value"),
        ({"x": [0, {"y": {1}}]}, r"output 'a'\['x'\]\[1\]\['y'\]: set"),
        ({"x": b"raw"}, r"output 'a'\['x'\]: bytes cannot.*item of its own"),
        ([Path("f")], r"output 'a'\[0\]: .*item of its own"),
        ({"x": Dataitem("store://p/dataitem/table/t")}, "Dataitem cannot.*item of its own"),
        ({(1, 2): 3}, r"key \(1, 2\) is tuple; JSON takes"),
        ({1: "a", "1": "b"}, "two keys become '1'"),
        (2**20_000, r"int of 20001 bits.*hex\(value\)"),
        ((object(),), "object cannot"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_returned_says_how(collect: Any, value: Any, message: str) -> None:
    with pytest.raises(OutputsError, match=message):
        collect(value, "a")


def test_loops_and_depth_are_errors_of_the_output(collect: Any) -> None:
    loop: dict[str, Any] = {}
    loop["self"] = [loop]
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(OutputsError, match=r"output 'a'\['self'\]\[0\]: the value contains itself"):
        collect(loop, "a")
    with pytest.raises(OutputsError, match="nested too deeply; return at most 100 levels"):
        collect(deep, "a")


def test_a_hundred_levels_are_the_most(collect: Any) -> None:
    nested: Any = 1
    for _ in range(100):
        nested = [nested]
    assert collect(nested).results == {"output_0": nested}
    with pytest.raises(OutputsError, match="nested too deeply"):
        collect([nested])


def test_the_same_list_twice_is_no_loop(collect: Any) -> None:
    part = [1]
    assert collect({"a": part, "b": part}).results == {"output_0": {"a": [1], "b": [1]}}


def test_results_have_a_size(collect: Any) -> None:
    grown: Any = "x" * 1024
    for _ in range(40):  # 2**40 copies when written out
        grown = [grown, grown]
    for value in (grown, ("x" * 5_000_000, "y" * 5_000_000), "ä" * 5_000_000):
        with pytest.raises(OutputsError, match="more than 8 MiB"):
            collect(value)


def test_nothing_is_written_when_an_item_cannot_be_returned(collect: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputsError, match="output 'b'"):
        collect((b"data", {1}), "a", "b")
    assert os.listdir(tmp_path / "out") == []


def test_bytes_are_a_numbered_file_whatever_the_name(collect: Any, tmp_path: Path) -> None:
    found = collect((b"one", bytearray(b"two")), "../../evil", "b")
    assert found.outputs == {
        "../../evil": {"type": "artifact", "kind": "artifact", "path": "000.bin"},
        "b": {"type": "artifact", "kind": "artifact", "path": "001.bin"},
    }
    assert sorted(os.listdir(tmp_path / "out")) == ["000.bin", "001.bin"]
    assert (tmp_path / "out" / "001.bin").read_bytes() == b"two"


def test_a_file_that_is_there_keeps_its_number(collect: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000.bin").write_bytes(b"mine")
    assert collect(b"x").outputs["output_0"]["path"] == "001.bin"
    assert (tmp_path / "out" / "000.bin").read_bytes() == b"mine"


@pytest.mark.parametrize("folder", ["src", "out", "temporary"])
def test_a_path_in_an_allowed_folder_is_copied(collect: Any, tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "report.html").write_text("<p>")
    found = collect(tmp_path / folder / "report.html")
    assert found.outputs["output_0"]["path"] == "000.html"
    assert (tmp_path / "out" / "000.html").read_text() == "<p>"


def test_a_path_elsewhere_is_refused_through_links_too(collect: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x")
    (tmp_path / "src" / "link.txt").symlink_to(tmp_path / "secret.txt")
    for path in ("secret.txt", "src/link.txt", "src/../secret.txt"):
        with pytest.raises(OutputsError, match=r"output 'a'.*must lie in the source root"):
            collect(tmp_path / path, "a")
    assert os.listdir(tmp_path / "out") == []


def test_a_path_must_be_a_file(collect: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "src" / "pipe")
    (tmp_path / "src" / "folder").mkdir()
    for name, message in (("pipe", "no plain file"), ("folder", "is a folder.*make_archive"), ("none", "not exist")):
        with pytest.raises(OutputsError, match=message):
            collect(tmp_path / "src" / name)


def test_a_strange_suffix_is_not_kept(collect: Any, tmp_path: Path) -> None:
    (tmp_path / "src" / "a.x y\n").write_text("x")
    assert collect(tmp_path / "src" / "a.x y\n").outputs["output_0"]["path"] == "000.bin"


def test_kinds_say_what_an_output_is(collect: Any, tmp_path: Path) -> None:
    (tmp_path / "src" / "m.onnx").write_text("x")
    path = str(tmp_path / "src" / "m.onnx")
    found = collect(
        (path, b"x", Path(path)),
        {"name": "m", "kind": "model", "spec_kwargs": {"framework": "onnx"}},
        {"name": "a", "kind": "artifact"},
        {"name": "t", "kind": "table"},
    )
    assert found.results == {}
    assert found.outputs["m"] == {"type": "model", "kind": "model", "path": "000.onnx", "spec": {"framework": "onnx"}}
    assert (found.outputs["a"]["type"], found.outputs["t"]["type"]) == ("artifact", "dataitem")


def test_a_pickle_is_written_only_when_asked_for(collect: Any, tmp_path: Path) -> None:
    found = collect({1, 2}, {"name": "a", "kind": "pickle"})
    assert found.outputs == {"a": {"type": "artifact", "kind": "pickle", "path": "000.pickle"}}
    assert pickle.loads((tmp_path / "out" / "000.pickle").read_bytes()) == {1, 2}  # noqa: S301 - our own
    with pytest.raises(OutputsError, match="cannot be written as pickle"):
        collect(lambda: None, {"name": "a", "kind": "pickle"})
    assert sorted(os.listdir(tmp_path / "out")) == ["000.pickle"]


def test_a_writer_that_is_stopped_leaves_no_half_file(tmp_path: Path) -> None:
    def write(path: str) -> None:
        Path(path).write_text("half")
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        FileWriter(str(tmp_path), print)._place("bin", "a", write)
    assert os.listdir(tmp_path) == []


def test_an_object_of_a_file_kind_is_no_file(collect: Any) -> None:
    with pytest.raises(OutputsError, match="output 'm' of kind 'model': object cannot"):
        collect(object(), {"name": "m", "kind": "model"})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([{"name": "m", "kind": "sklearn"}], "kind 'sklearn'; a return value can be dataitem, table.*log_model"),
        (["a", {"name": "a"}], "named twice"),
        (["output_1"], "the name that item 1 gets"),
    ],
)
def test_impossible_names_fail_before_the_handler_runs(tmp_path: Path, names: Any, message: str) -> None:
    with pytest.raises(OutputsError, match=message):
        OutputWriter(str(tmp_path), str(tmp_path), names, "p", print)


def test_an_unwritable_folder_fails_before_the_handler_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputsError, match=r"cannot be written.*nothing was run"):
        check_writable(str(tmp_path / "file" / "out"))


def test_an_entity_is_its_key_and_its_file_when_it_was_logged(collect: Any, tmp_path: Path) -> None:
    given = Dataitem("store://p/dataitem/table/t:1", kind="table", path="/elsewhere/t.csv")
    project = Project(WorkerSpec(root="", handler="f"), Journal(str(tmp_path / "out")))
    logged = project.log_artifact("plot", source=b"x")
    found = collect((given, logged), "a", "b").outputs
    assert found["a"] == {"type": "dataitem", "kind": "table", "path": "", "key": given.key}
    assert found["b"] == {"type": "artifact", "kind": "artifact", "path": "log-000.bin", "key": logged.key}


@needs("pandas")
@needs("pyarrow")
def test_a_data_frame_is_parquet_and_a_series_a_frame_of_one_column(collect: Any, tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"x": [1, 2], "day": pd.to_datetime(["2026-01-01", None])}, index=[5, 7])
    found = collect((frame, frame.x.rename(None), "text"), "a", "b", "c")
    assert found.outputs["a"] == {"type": "dataitem", "kind": "table", "path": "000.parquet"}
    assert found.results == {"c": "text"}
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "000.parquet"), frame)
    assert list(pd.read_parquet(tmp_path / "out" / "001.parquet").columns) == ["b"]


@needs("pandas")
@needs("pyarrow")
def test_a_frame_that_parquet_cannot_hold_is_csv_with_a_warning(
    collect: Any, tmp_path: Path, warnings: list[str]
) -> None:
    import pandas as pd

    found = collect(pd.DataFrame({"x": [{1}, "text", 3.5]}), "a")
    assert found.outputs["a"]["path"] == "000.csv"
    assert "cannot be written as parquet" in warnings[0]
    assert os.listdir(tmp_path / "out") == ["000.csv"]


@needs("pandas")
def test_without_an_engine_a_frame_is_csv_with_a_warning(
    collect: Any, tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    assert collect(pd.DataFrame({"x": [1, 2]})).outputs["output_0"]["path"] == "000.csv"
    assert (tmp_path / "out" / "000.csv").read_text() == "x\n1\n2\n"
    assert "neither pyarrow nor fastparquet" in warnings[0]


@needs("polars")
def test_polars_frames_need_no_engine_of_pandas(collect: Any, tmp_path: Path) -> None:
    import polars as pl

    frame = pl.DataFrame({"x": [1, 2]})
    found = collect((frame, frame["x"], frame.lazy()), "a", "b", "c")
    assert [one["path"] for one in found.outputs.values()] == ["000.parquet", "001.parquet", "002.parquet"]
    assert pl.read_parquet(tmp_path / "out" / "002.parquet").equals(frame)


@needs("numpy")
def test_numpy_scalars_are_results_and_arrays_are_not(collect: Any) -> None:
    import numpy as np

    value = [
        np.int64(3),
        np.float64(0.5),
        np.float32("nan"),
        np.bool_(True),
        np.str_("x"),
        np.longdouble(2),
        {np.int8(1): 0},
    ]
    (found,) = collect(value).results.values()
    assert json.loads(json.dumps(found)) == [3, 0.5, "NaN", True, "x", 2.0, {"1": 0}]
    assert {type(one).__module__ for one in found} == {"builtins"}
    for wrong, message in (
        (np.arange(3), r"numpy.ndarray cannot.*tolist\(\), or a data frame"),
        (np.datetime64("2026-01-01"), r"str\(value\)"),
        (np.timedelta64(1, "s"), r"str\(value\)"),
        (np.complex128(1), "complex128 cannot"),
    ):
        with pytest.raises(OutputsError, match=message):
            collect(wrong)


@needs("matplotlib")
@pytest.mark.filterwarnings("default")
def test_a_figure_and_an_axes_are_png(collect: Any, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subfigures(1, 2)[0].subplots()
    found = collect((figure, axes), "a", "b").outputs
    assert found["b"] == {"type": "artifact", "kind": "artifact", "path": "001.png"}
    assert (tmp_path / "out" / "001.png").read_bytes().startswith(b"\x89PNG")
