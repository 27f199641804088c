"""The result document, and the 4,096 bytes of it that Kubernetes keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuwrap_runtime.result import COMPLETED, ERROR, SCHEMA, TERMINATION_BYTES, Failure, Result, shorten
from nuwrap_runtime.schema import faults

FRAMES = [{"file": "main.py", "line": 3, "function": "f", "code": "1 / 0"}]


def full(**changed: Any) -> dict[str, Any]:
    """A document that has everything."""
    failure = Failure("handler", "ValueError", "no", frames=FRAMES, exit=None, signal="")
    result = Result(
        state=ERROR,
        exit_code=1,
        run="RUN",
        outputs={"a": {"type": "artifact", "kind": "file", "path": "outputs/a"}},
        results={"r": 1},
        failure=failure,
        requirements=["pandas==2.0"],
        seconds={"load": 0.1},
    )
    return {**json.loads(json.dumps(result.to_document())), **changed}


def test_a_document_is_valid_by_its_own_schema() -> None:
    assert faults(full(), SCHEMA) == []
    assert faults(json.loads(json.dumps(Result(COMPLETED, 0).to_document())), SCHEMA) == []


def test_a_failure_survives_json_and_drops_what_a_later_version_says() -> None:
    failure = Failure("handler", "SystemExit", "", frames=FRAMES, exit=0, signal="")
    again = Failure.from_document({**json.loads(json.dumps(failure.to_document())), "later": 1})
    assert again == failure
    assert failure.to_document()["exit"] == 0


def test_a_failure_told_by_a_broken_worker_is_still_one() -> None:
    assert Failure.from_document({"message": 5}) == Failure("", "", "5")


def test_a_document_that_fits_is_only_freed_of_what_is_empty() -> None:
    short = json.loads(shorten(full()))
    assert short == {key: value for key, value in full().items() if value not in ("", {}, [], None)}
    assert "truncated" not in short


_LONG = "x" * 1500
_SIZES: dict[str, Any] = {
    "requirements": [_LONG],
    "results": {"r": _LONG},
    "seconds": {_LONG: 1.0},
    "failure": {"phase": "handler", "type": "E", "message": _LONG, "frames": [{"code": _LONG}]},
    "outputs": {"a": {"path": _LONG}},
    "warnings": [_LONG],
}


@pytest.mark.parametrize(
    ("limit", "went"),
    [
        (12_000, []),
        (9_500, ["requirements"]),
        (8_000, ["requirements", "results"]),
        (6_700, ["requirements", "results", "seconds"]),
        (5_200, ["requirements", "results", "seconds", "frames"]),
        (3_600, ["requirements", "results", "seconds", "frames", "outputs"]),
        (2_000, ["requirements", "results", "seconds", "frames", "outputs", "warnings"]),
        (1_000, ["requirements", "results", "seconds", "frames", "outputs", "warnings", "message"]),
    ],
)
def test_what_matters_least_goes_first(limit: int, went: list[str]) -> None:
    text = shorten(full(**_SIZES), limit)
    short = json.loads(text)
    assert len(text) <= limit
    assert short.get("truncated", []) == went
    assert (short["state"], short["exit_code"], short["run"]) == (ERROR, 1, "RUN")


def test_only_what_was_there_is_said_to_be_gone() -> None:
    text = shorten({"api": "nuwrap/v1", "state": ERROR, "exit_code": 1, "results": {"r": "x" * 5000}})
    assert json.loads(text)["truncated"] == ["results"]


def test_the_beginning_of_a_message_stays() -> None:
    failure = {"phase": "handler", "type": "E", "message": 'begin "é\n' + "é" * 5000}
    short = json.loads(shorten(full(failure=failure)))
    assert short["failure"]["message"].startswith('begin "é\n')
    assert short["failure"]["message"].endswith("é…")
    assert len(shorten(full(failure=failure))) > TERMINATION_BYTES - 200


def test_a_class_name_of_any_length_leaves_room_for_the_message() -> None:
    short = json.loads(shorten(full(failure={"phase": "handler", "type": "T" * 9999, "message": "why"})))
    assert short["failure"] == {"phase": "handler", "type": "T" * 100 + "…", "message": "why"}


def test_a_number_that_json_has_not_is_null() -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    short = json.loads(shorten(full(metrics={"m": [float("nan"), 1.0]}, results={})), parse_constant=refuse)
    assert short["metrics"] == {"m": [None, 1.0]}


_text = st.text(max_size=5) | st.builds(lambda one, n: one * n, st.text(min_size=1, max_size=2), st.integers(0, 5000))
_value = _text | st.floats() | st.lists(_text, max_size=2) | st.dictionaries(_text, st.floats(), max_size=2)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    failure=st.none() | st.fixed_dictionaries({"phase": _text, "type": _text, "message": _text, "signal": _text}),
    run=_text,
    results=st.dictionaries(_text, _value, max_size=3),
    outputs=st.dictionaries(_text, st.fixed_dictionaries({"path": _text}), max_size=2),
    other=st.dictionaries(_text.filter(lambda one: one not in SCHEMA["properties"]), _value, max_size=2),
)
def test_any_document_is_cut_to_valid_json(failure: Any, run: Any, results: Any, outputs: Any, other: Any) -> None:
    document = full(failure=failure, run=run, results=results, outputs=outputs)
    for limit in (512, TERMINATION_BYTES):
        text = shorten({**other, **document}, limit)
        assert len(text) <= limit
        short = json.loads(text)
        assert (short["state"], short["exit_code"]) == (ERROR, 1)
        assert "\x00" not in text.decode("utf-8")
