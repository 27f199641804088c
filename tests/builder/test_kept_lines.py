"""A log that the cluster has turned over: what is missing is known, and comes from where the host keeps it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from nuwrap.cluster.client import Cluster
from nuwrap.platforms.kubernetes_earlier import Earlier
from nuwrap.platforms.kubernetes_log import LogReader, Paper
from nuwrap.platforms.run_folder import LAUNCH, LOG, LOST_LINES, open_log
from nuwrap.runs import whole_log
from nuwrap.store import RunRecord

sys.path.append(str(Path(__file__).parent.parent / "wrapper"))
from s3_server import S3Server

BEGINS = "nuwrap-log: begins"


class Kubelet:
    """A container's log in pieces; each request gets the next of these texts, then the last one again."""

    is_logged_out = False
    _second = 0

    def __init__(self, *texts: list[str]) -> None:
        self._texts = [self._stamp(text) for text in texts]

    @contextmanager
    def log(self, _pod: str, **_: Any) -> Iterator[Iterator[bytes]]:
        text = self._texts.pop(0) if len(self._texts) > 1 else self._texts[0]
        yield iter([text] if text else [])

    def _stamp(self, lines: list[str]) -> bytes:
        stamped = []
        for line in lines:
            self._second += 1
            stamped.append(f"2026-01-01T00:{self._second // 60:02}:{self._second % 60:02}Z {line}\n")
        return "".join(stamped).encode()


def numbered(*span: int) -> list[str]:
    return [f"line {number}" for number in range(*span)]


def ends(lines: list[str]) -> str:
    return f"nuwrap-log: {len(lines)} lines, {sum(len(line) + 1 for line in lines)} bytes"


def read(folder: Path, *texts: list[str], kept: list[str] | None = None, begin: str = "") -> list[str]:
    """Read a log of these texts and return what the run's log has then."""
    with open_log(str(folder)) as log:
        os.write(log, begin.encode())
        paper = Paper((log,), (log,), str(folder), log)

        def find() -> str:
            if kept is None:
                return ""
            (folder / "kept").write_text("".join(f"{line}\n" for line in kept))
            return str(folder / "kept")

        cluster = cast("Cluster", Kubelet(*texts))
        reader = LogReader(cluster, "pod", "main", paper, runs_once=True, earlier=Earlier(find))
        reader.start()
        assert reader.finish(10, lambda: False)
        reader.miss_end()
    return (folder / LOG).read_text().splitlines()


def lost(folder: Path) -> dict[str, int] | None:
    path = folder / LOST_LINES
    found: dict[str, int] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def test_a_log_that_came_whole_lacks_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, [BEGINS, *numbered(5), ends(numbered(5)), "nuwrap  total"]) == [*numbered(5), "nuwrap  total"]
    assert lost(tmp_path) is None


def test_lines_that_are_missing_are_counted_and_where_they_belong_is_noted(tmp_path: Path) -> None:
    log = read(
        tmp_path, [BEGINS, *numbered(2), *numbered(1500, 1502), ends(numbered(1502)), "nuwrap  total"], begin="first\n"
    )
    said = "nuwrap  1,498 of 1,502 lines were gone from the cluster before they could be read"
    assert log == ["first", *numbered(2), *numbered(1500, 1502), said, "nuwrap  total"]
    end = len(f"first\nline 0\nline 1\nline 1500\nline 1501\n{said}\n")
    assert lost(tmp_path) == {"begin": len("first\n"), "end": end, "bytes": len("".join(numbered(1502))) + 1502}


def test_a_log_with_as_many_lines_is_not_whole_where_they_are_other_ones(tmp_path: Path) -> None:
    log = read(tmp_path, [BEGINS, *numbered(2), "ne 8", ends(numbered(3)), "nuwrap  total"])
    said = "nuwrap  parts of lines were gone from the cluster before they could be read"
    assert log == [*numbered(2), "ne 8", said, "nuwrap  total"]
    assert lost(tmp_path) == {"begin": 0, "end": len(f"line 0\nline 1\nne 8\n{said}\n"), "bytes": 3 * 7}


def test_a_log_that_was_turned_over_at_its_end_may_lack_lines_unless_it_has_the_result(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    log = read(tmp_path, ["one"], [])
    assert (log[0], log[1].partition(":")[0], len(log)) == ("one", "nuwrap  lines may be missing here", 2)
    assert read(tmp_path / "result", ["one", "nuwrap-result: 1/1 x y"], []) == ["one"]


def test_a_log_without_its_end_lacks_lines(tmp_path: Path) -> None:
    log = read(tmp_path, [BEGINS, *numbered(2)])
    assert log == [*numbered(2), "nuwrap  lines of it were gone from the cluster before they could be read"]
    assert lost(tmp_path) is not None


def test_a_log_that_nobody_keeps_lacks_nothing_that_could_be_had(tmp_path: Path) -> None:
    assert read(tmp_path, numbered(2)) == numbered(2)
    assert lost(tmp_path) is None


@pytest.mark.parametrize("first", [3, 7, 9])
def test_who_comes_late_is_told_what_the_cluster_has_no_more(tmp_path: Path, first: int) -> None:
    log = read(tmp_path, [*numbered(first, 20), ends(numbered(20))], kept=numbered(10))
    assert log == numbered(20)
    assert lost(tmp_path) is None
    assert not (tmp_path / "kept").exists()


def test_who_comes_late_is_told_of_lines_that_nobody_has_yet(tmp_path: Path) -> None:
    log = read(tmp_path, [*numbered(12, 20), ends(numbered(20))], kept=numbered(10), begin="first\n")
    gap = "nuwrap  lines are missing here: the cluster has them no more, and they are not kept yet"
    said = "nuwrap  2 of 20 lines were gone from the cluster before they could be read"
    assert log == ["first", *numbered(10), gap, *numbered(12, 20), said]
    found = lost(tmp_path)
    assert found is not None
    assert found["begin"] == len("first\n")


def test_lines_that_are_all_the_same_are_joined_by_those_around_them(tmp_path: Path) -> None:
    whole = ["a", *["same"] * 5, "b", *["same"] * 5, "c"]
    assert read(tmp_path, [*whole[6:], ends(whole)], kept=whole[:9]) == whole


def test_a_log_that_begins_in_the_cluster_is_not_fetched(tmp_path: Path) -> None:
    assert read(tmp_path, [BEGINS, "one", ends(["one"])], kept=["another"]) == ["one"]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    """A store with the kept log of run `one`."""
    with S3Server() as server:
        parts = {"000002.log": b"three\n", "000001.log": b"one\ntwo\n", "mine.txt": b"no part", "a/000003.log": b"no"}
        server.make("bucket", {f"runs/one/log/{name}": content for name, content in parts.items()})
        for name, value in {**server.environ(), "NUWRAP_HOME": str(tmp_path / "home")}.items():
            monkeypatch.setenv(name, value)
        yield server


class Ended:
    """A run that has ended, whose log lacks lines after `begin`, and whose outputs are at the address."""

    def __init__(self, folder: Path, log: str, begin: int, address: str, *, size: int = 14) -> None:
        self.folder, self.said = folder / "run", list[str]()
        self.folder.mkdir()
        (self.folder / LAUNCH).write_text(json.dumps({"output_path": address}))
        (self.folder / LOG).write_text(log)
        (self.folder / LOST_LINES).write_text(json.dumps({"begin": begin, "end": begin + 4, "bytes": size}))

    @property
    def record(self) -> RunRecord:
        return RunRecord("1" * 32, "p", "f", "2" * 32, "3", "job", "kubernetes", {}, str(self.folder))

    def complete(self) -> str:
        whole_log.complete(self.record, self.said.append)
        return Path(whole_log.log_path(str(self.folder))).read_text()


@pytest.mark.usefixtures("s3")
def test_a_log_is_made_whole_from_its_parts(tmp_path: Path) -> None:
    run = Ended(tmp_path, "waits\none\ngap\nafter\n", 6, "s3://bucket/runs/one")
    assert run.complete() == "waits\none\ntwo\nthree\ngap\nafter\n"
    assert run.said == ["all of the log was fetched from s3://bucket/runs/one/log/; `nuwrap logs 11111111` has it"]
    assert sorted(os.listdir(run.folder)) == [LAUNCH, LOG, "whole-log.txt"]
    assert (run.folder / "whole-log.txt").stat().st_mode & 0o777 == 0o600
    assert run.complete() == "waits\none\ntwo\nthree\ngap\nafter\n"


@pytest.mark.usefixtures("s3")
def test_what_is_kept_until_now_is_fetched_where_there_is_some(tmp_path: Path) -> None:
    run = Ended(tmp_path, "", 0, "s3://bucket/runs/one/")
    assert Path(whole_log.fetch_left(run.record, "log/")).read_text() == "one\ntwo\nthree\n"
    (run.folder / LAUNCH).write_text(json.dumps({"output_path": "s3://bucket/runs/two"}))
    assert whole_log.fetch_left(run.record, "log/") == ""


@pytest.mark.parametrize(
    ("address", "size"), [("pvc://claim/runs/one", 14), ("s3://bucket/runs/one", whole_log.MOST_BYTES + 1)]
)
def test_where_a_log_is_that_is_not_fetched_is_told(tmp_path: Path, address: str, size: int) -> None:
    run = Ended(tmp_path, "one\n", 0, address, size=size)
    assert (run.complete(), run.said) == ("one\n", [f"all of the log is in {address}/log/"])


def test_a_log_of_unknown_size_is_left_where_it_is_when_it_is_too_large(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_log, "MOST_BYTES", 13)
    run = Ended(tmp_path, "one\n", 0, "s3://bucket/runs/one", size=0)
    assert (run.complete(), whole_log.fetch_left(run.record, "log/")) == ("one\n", "")
    assert "cannot be fetched" in run.said[0]
    assert not [request.key for request in s3.seen if "/" in request.key]


@pytest.mark.usefixtures("s3")
def test_a_log_that_cannot_be_fetched_stays_as_it_is(tmp_path: Path) -> None:
    run = Ended(tmp_path, "one\n", 0, "s3://bucket/runs/two")
    assert run.complete() == "one\n"
    assert "cannot be fetched" in run.said[0]
    assert sorted(os.listdir(run.folder)) == [LAUNCH, LOG, LOST_LINES]
