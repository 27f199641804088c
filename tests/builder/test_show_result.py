"""What the table at a run's end shows."""

from __future__ import annotations

import pytest

from nuwrap.cli.show import choose_frames


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
