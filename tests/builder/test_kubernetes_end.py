"""How a run in a cluster ended: by its host's own result, which is whole wherever it can be had."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import pytest

from nuwrap.cluster.client import Cluster
from nuwrap.cluster.reasons import Ended
from nuwrap.command import Stops
from nuwrap.platforms import Screen
from nuwrap.platforms.kubernetes_end import write_end
from nuwrap.platforms.kubernetes_follow import Following, Outcome
from nuwrap.platforms.kubernetes_wanted import Wanted
from nuwrap_runtime.result_lines import result_lines

LAUNCH = {"api": "nuwrap/v1", "handler": "f", "code": "def f(): pass", "run": "one"}
SHORT = {"api": "nuwrap/v1", "state": "COMPLETED", "exit_code": 0, "run": "one", "truncated": ["results"]}
WHOLE = {"api": "nuwrap/v1", "state": "COMPLETED", "exit_code": 0, "run": "one", "results": {"output_0": 7}}


def results(folder: Path, short: dict[str, Any], left: bytes | None, lines: dict[str, Any] | None = None) -> Any:
    """Return the results that are kept of a run with this termination message, log, and file beside its outputs."""

    def fetch_left(name: str) -> str:
        assert name == "result.json"
        if left is None:
            return ""
        (folder / "left").write_bytes(left)
        return str(folder / "left")

    wanted = Wanted("", "n", "job", "job", "one", LAUNCH)
    screen = Screen(fetch_left=fetch_left)
    following = Following(cast("Cluster", None), wanted, screen, cast("Stops", None), str(folder), -1)
    said = [line.encode() for line in result_lines(lines)] if lines else []
    ended = Ended("main", 0, "Completed", json.dumps(short))
    assert write_end(following, Outcome(ended, result=said)) == 0
    assert os.listdir(folder) == ["result.json"]
    return json.loads((folder / "result.json").read_text()).get("results")


def test_a_result_that_was_cut_is_the_one_of_the_log(tmp_path: Path) -> None:
    assert results(tmp_path, SHORT, None, WHOLE) == {"output_0": 7}


def test_a_result_that_no_log_has_is_the_one_beside_the_outputs(tmp_path: Path) -> None:
    assert results(tmp_path, SHORT, json.dumps(WHOLE).encode()) == {"output_0": 7}


@pytest.mark.parametrize("left", [None, b"", b"{", b"[]", b"[" * 100_000, json.dumps({**WHOLE, "state": 1}).encode()])
def test_a_result_that_cannot_be_had_is_told_as_far_as_it_is_known(tmp_path: Path, left: bytes | None) -> None:
    assert results(tmp_path, SHORT, left) is None


def test_a_result_that_is_whole_is_not_fetched(tmp_path: Path) -> None:
    assert results(tmp_path, WHOLE, b"not asked for") == {"output_0": 7}
