"""What the table at a run's end shows."""

from __future__ import annotations

import pytest

from nuwrap.cli.show import choose_frames, show_result
from nuwrap_runtime.result import COMPLETED, Result


def frame(file: str) -> dict[str, str]:
    return {"file": file}


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (["main.py", "/lib/pandas/a.py", "/lib/pandas/b.py", "/lib/pandas/c.py"], ["main.py", "/lib/pandas/c.py"]),
        (["a.py", "b.py", "c.py", "d.py"], ["b.py", "c.py", "d.py"]),
        (["/lib/x.py"], ["/lib/x.py"]),
        ([], []),
    ],
    ids=["raised in a package", "all his own", "none his own", "none"],
)
def test_frames_are_the_users_and_the_one_that_raised(files: list[str], shown: list[str]) -> None:
    assert [one["file"] for one in choose_frames([frame(file) for file in files])] == shown


def test_an_output_that_a_store_has_is_shown_by_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {"a": {"type": "artifact", "kind": "artifact", "path": "outputs/000.txt"}}
    result = Result(COMPLETED, 0, project="p", function="fn", run="r", outputs=outputs)
    show_result(result, "nowhere", addresses={"a": "pvc://team/p/r/outputs/000.txt"})
    assert "pvc://team/p/r/outputs/000.txt" in capsys.readouterr().out
