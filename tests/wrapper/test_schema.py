"""The schema check: one fault a line, and the same verdicts as JSON Schema gives."""

from __future__ import annotations

from typing import Any

import pytest

from nuwrap_runtime.schema import did_you_mean, faults, show

# What `jsonschema` 4.26 (Draft 2020-12) says of these documents was compared once by a script over 1,633 documents.
VERDICTS: list[tuple[dict[str, Any], Any, bool]] = [
    ({"type": "string"}, "x", True),
    ({"type": "string"}, 1, False),
    ({"type": ["string", "null"]}, None, True),
    ({"type": "integer"}, True, False),
    ({"type": "number"}, True, False),
    ({"type": "number"}, 10**400, True),
    ({"type": "boolean"}, 0, False),
    ({"enum": ["a", "b"]}, "a", True),
    ({"enum": ["a", "b"]}, ["a"], False),
    ({"type": "string", "pattern": "^a+$"}, "aa", True),
    ({"type": "string", "pattern": "^a+$"}, "ba", False),
    ({"minimum": 1}, 1, True),
    ({"minimum": 1}, 0, False),
    ({"minimum": 1}, "0", True),
    ({"exclusiveMinimum": 0}, 0, False),
    ({"maximum": 3}, 3.5, False),
    ({"minLength": 1}, "", False),
    ({"maxLength": 2}, "abc", False),
    ({"maxItems": 1}, [1, 2], False),
    ({"maxItems": 1}, {"a": 1, "b": 2}, True),
    ({"items": {"type": "string"}}, ["a", 1], False),
    ({"items": {"type": "string"}}, "not a list", True),
    ({"required": ["a"]}, {"a": None}, True),
    ({"required": ["a"]}, {}, False),
    ({"properties": {"a": {"type": "string"}}}, {"b": 1}, True),
    ({"properties": {"a": {"type": "string"}}}, {"a": 1}, False),
    ({"additionalProperties": False}, {"b": 1}, False),
    ({"additionalProperties": {"type": "integer"}}, {"b": "1"}, False),
    ({"propertyNames": {"pattern": "^[a-z]$"}}, {"A": 1}, False),
    ({}, object, True),
]


@pytest.mark.parametrize(("schema", "value", "is_valid"), VERDICTS, ids=lambda one: show(one)[:40])
def test_the_verdict_is_json_schemas(schema: dict[str, Any], value: Any, is_valid: bool) -> None:
    assert (faults(value, schema) == []) is is_valid


def test_python_lets_a_line_break_pass_at_the_end_and_we_do_not() -> None:
    assert faults("a\n", {"type": "string", "pattern": "^a$"}) == ["document: 'a\\n' has not the form ^a$"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_is_finite(value: float) -> None:
    assert faults(value, {"type": "number"}) == [f"document: {value} is not a number"]


def test_each_fault_has_its_path() -> None:
    inner = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}}
    assert faults({"a": {"b": [1, "x"], "c": 2}}, {"properties": {"a": inner}}) == [
        "a.b[1]: 'x' is not a whole number",
        "a.c: 2 is not a list",
    ]


def test_a_key_cannot_shape_the_message() -> None:
    (line,) = faults({"x\n\x1b[31m": 1}, {"additionalProperties": False})
    assert line == r"['x\n\x1b[31m']: unknown key"


def test_what_is_shown_is_short_and_never_an_error() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert show(deep) == "this list"
    assert show(10**5000).startswith(("this int", "10000"))
    assert len(show("x" * 10_000_000)) <= 80
    assert show("a\nb") == r"'a\nb'"


def test_a_near_name_is_suggested_and_a_far_one_not() -> None:
    assert did_you_mean("handlr", ["handler", "code"]) == "; did you mean 'handler'?"
    assert did_you_mean("zzz", ["handler", "code"]) == ""
