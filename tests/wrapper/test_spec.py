"""The worker spec: one JSON file from a host to its worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nuwrap_runtime.worker.spec import API, WorkerSpec, read_spec


def test_a_spec_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    spec = WorkerSpec(
        root="/code/\udcff", handler="m:f", parameters={"ü": [1, None]}, inputs={"a": "store://x"}, pythonpath="a:b"
    )
    path = tmp_path / "worker.json"
    path.write_text(spec.dump(), encoding="ascii")
    assert read_spec(str(path)) == spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("[]", "is no worker spec"),
        ('{"root": "/", "handler": "f"}', "is no worker spec of version"),
        (json.dumps({"api": "nuwrap/worker/v2", "root": "/", "handler": "f"}), "is no worker spec of version"),
        (json.dumps({"api": API, "handler": "f"}), "lacks root"),
        (json.dumps({"api": API, "root": "/", "handler": "f", "rot": 1, "b": 2}), "unknown keys: b, rot"),
    ],
)
def test_what_is_no_spec_says_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "worker.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_spec(str(path))


def test_a_missing_spec_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_spec(str(tmp_path / "nowhere"))


def test_two_specs_share_no_mapping() -> None:
    one: Any = WorkerSpec(root="/", handler="f")
    other: Any = WorkerSpec(root="/", handler="f")
    one.parameters["a"] = 1
    assert other.parameters == {}
