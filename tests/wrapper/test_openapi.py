"""The service's OpenAPI document, held against the standard's own schema."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, List, Optional, Union  # noqa: UP035 - users write them

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from nuwrap_runtime.host.service.docs_page import docs_page
from nuwrap_runtime.host.service.openapi import clean_schema, example, is_flat, openapi_document
from nuwrap_runtime.schema import faults
from nuwrap_runtime.worker.schemas import schema_of

WHOLE = {"type": "integer"}
NAMES = {"name": "f", "kind": "sync", "binding": "names"}


@dataclasses.dataclass
class Point:
    x: int
    y: Optional[float] = None
    tags: List[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Line:
    start: Point
    rest: Optional[Line] = None


def document(description: dict[str, Any], **changes: str) -> dict[str, Any]:
    """Return the document, known to be valid and to be JSON."""
    given = {"function": "f", "project": "p", "address": "http://127.0.0.1:8080", "version": "0.1.0", **changes}
    made = openapi_document(description, **given)
    assert [error.message for error in OpenAPIV31SpecValidator(made).iter_errors()] == []
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


def parameter(name: str, schema: Any = WHOLE, **more: Any) -> dict[str, Any]:
    given = {"name": name, "kind": "positional_or_keyword", "schema": schema, "required": "default" not in more}
    return {**given, **more}


def path_of(*parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    path: dict[str, Any] = document({**NAMES, "parameters": list(parameters), **more})["paths"]["/"]
    return path


def body_of(*parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = path_of(*parameters, **more)["post"]["requestBody"]
    return body


def test_what_has_no_default_is_required_in_body_and_query() -> None:
    given = (parameter("a"), parameter("b", default=3))
    body, query = body_of(*given), path_of(*given)["get"]["parameters"]
    assert body["required"] is True
    assert body["content"]["application/json"]["schema"] == {
        "type": "object",
        "properties": {"a": WHOLE, "b": {**WHOLE, "default": 3}},
        "required": ["a"],
    }
    assert [(one["name"], one["in"], one["required"]) for one in query] == [("a", "query", True), ("b", "query", False)]


def test_a_body_of_defaults_alone_may_be_left_out() -> None:
    body = body_of(parameter("a", default=None))
    assert body["required"] is False
    assert "required" not in body["content"]["application/json"]["schema"]


def test_a_function_without_parameters_takes_no_body() -> None:
    path = path_of()
    assert sorted(path) == ["get", "post"]
    assert "requestBody" not in path["post"]


@pytest.mark.parametrize(
    ("schema", "flat"),
    [
        ({"type": "string"}, True),
        ({"type": ["integer", "null"]}, True),
        ({"enum": ["a", 1, None]}, True),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, True),
        ({"type": "array", "items": {"type": "string"}}, True),
        ({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}, True),
        ({}, True),
        ({"type": "object"}, False),
        ({"type": "array", "items": {"type": "array"}}, False),
        ({"type": "array", "items": {"type": "object"}}, False),
        ({"anyOf": [{"type": "number"}, {"type": "object"}]}, False),
    ],
    ids=str,
)
def test_get_is_told_when_a_query_can_carry_every_value(schema: dict[str, Any], flat: bool) -> None:
    assert is_flat(schema) is flat
    assert ("get" in path_of(parameter("a"), parameter("b", schema))) is flat


def test_a_list_in_the_query_is_one_value_with_commas() -> None:
    (one,) = path_of(parameter("a", {"type": "array", "items": WHOLE}))["get"]["parameters"]
    assert (one["style"], one["explode"]) == ("form", False)


def test_what_is_fixed_reserved_or_not_from_the_request_is_no_parameter() -> None:
    given = [parameter("model"), parameter("context"), parameter("x"), {"name": "di", "required": True}]
    assert list(body_of(*given, fixed=["model"])["content"]["application/json"]["schema"]["properties"]) == ["x"]
    assert "cannot set them: model." in path_of(*given, fixed=["model"])["post"]["description"]


def test_other_names_are_open_where_the_function_takes_any() -> None:
    path = path_of({"name": "rest", "kind": "var_keyword", "schema": {}}, has_any=True)
    assert path["post"]["requestBody"]["content"]["application/json"]["schema"]["additionalProperties"] is True
    assert path["get"]["parameters"][0]["schema"] == {"type": "object", "additionalProperties": True}


@pytest.mark.parametrize(
    ("returns", "types"),
    [
        ({"type": "object"}, ["application/json"]),
        ({"type": "array", "items": WHOLE}, ["application/json"]),
        ({"type": "string"}, ["text/plain"]),
        (WHOLE, ["text/plain"]),
        ({"anyOf": [{"type": "object"}, {"type": "string"}]}, ["application/json", "text/plain"]),
        ({}, ["application/json", "text/plain"]),
        (None, ["application/json", "text/plain"]),
    ],
    ids=str,
)
def test_an_answer_is_json_or_text_as_the_worker_sends_it(returns: Any, types: list[str]) -> None:
    assert list(path_of(returns_schema=returns)["post"]["responses"]["200"]["content"]) == types


@pytest.mark.parametrize("kind", ["generator", "asyncgen"])
def test_a_generator_answers_with_a_stream(kind: str) -> None:
    answer = path_of(kind=kind)["post"]["responses"]["200"]
    assert list(answer["content"]) == ["text/plain", "text/event-stream"]


def test_errors_have_the_form_that_the_service_gives_them() -> None:
    made = document(NAMES)
    statuses = list(made["paths"]["/"]["post"]["responses"])
    assert statuses == ["200", "400", "408", "413", "422", "429", "500", "502", "503", "504"]
    assert made["components"]["schemas"]["Error"]["required"] == ["error", "request_id"]
    waits = [name for name, one in made["components"]["responses"].items() if "Retry-After" in one["headers"]]
    assert waits == ["TooMany", "Unavailable"]


def test_a_handler_of_context_and_event_is_opaque() -> None:
    path = document({"name": "f", "binding": "nuclio", "parameters": [parameter("x")]})["paths"]["/"]
    assert list(path) == ["get", "head", "post", "put", "patch", "delete", "options"]
    assert "422" not in path["post"]["responses"]
    assert path["post"]["requestBody"] == {"content": {"*/*": {}}}
    assert "requestBody" not in path["get"]


def test_the_docstring_is_the_description() -> None:
    info = document({**NAMES, "text": "Add.\n\nMore."})["info"]
    assert (info["summary"], info["description"]) == ("Add.", "Add.\n\nMore.")


def test_a_default_that_its_schema_does_not_allow_is_left_out() -> None:
    body = body_of(parameter("a", default=None), parameter("b", default="3"), parameter("c", default=float("nan")))
    assert body["content"]["application/json"]["schema"]["properties"] == {"a": WHOLE, "b": WHOLE, "c": WHOLE}


def test_a_long_default_is_not_in_the_example() -> None:
    text = {"type": "string"}
    content = body_of(parameter("a"), parameter("b", text, default="x" * 5000))["content"]["application/json"]
    assert content["example"] == {"a": 1}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "date-time"},
        {"type": ["null", "number"]},
        {"enum": ["b", "a"]},
        {"type": "array", "items": {"enum": [3, 4]}},
        {"anyOf": [{"type": "null"}, {"type": "integer"}]},
        {"type": "boolean", "default": False},
        {},
    ],
    ids=str,
)
def test_an_example_fits_its_schema(schema: dict[str, Any]) -> None:
    assert faults(example(schema), schema) == []


def test_a_schema_keeps_what_is_known_and_right() -> None:
    told = {
        "type": ["string", "nonsense", 3],
        "minLength": -1,
        "maxLength": 5,
        "minimum": 10**400,
        "maximum": float("inf"),
        "enum": [],
        "$ref": "http://evil/x",
        "pattern": "(",
        "description": "a\ud800",
        "items": "no",
        "anyOf": [{"type": "string"}, 5],
        7: 8,
    }
    assert clean_schema(told) == {
        "type": "string",
        "maxLength": 5,
        "minimum": 10**400,
        "description": "a?",
        "items": {},
        "anyOf": [{"type": "string"}],
    }


def test_a_schema_without_end_is_cut() -> None:
    deep: Any = {}
    for _ in range(5000):
        deep = {"type": "array", "items": deep}
    assert len(json.dumps(clean_schema(deep))) < 1000


POINT = {
    "type": "object",
    "properties": {
        "x": {"type": "integer"},
        "y": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["x"],
}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (Point, POINT),
        (Optional[Point], {"anyOf": [POINT, {"type": "null"}]}),
        (List[Point], {"type": "array", "items": POINT}),
        (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
    ],
    ids=str,
)
def test_a_dataclass_is_an_object_with_its_fields(annotation: Any, schema: Any) -> None:
    assert schema_of(annotation) == schema
    assert clean_schema(schema) == schema


def test_a_dataclass_that_holds_itself_is_any_object_there() -> None:
    rest = {"anyOf": [{"type": "object"}, {"type": "null"}], "default": None}
    assert schema_of(Line)["properties"] == {"start": POINT, "rest": rest}


SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=6)
KEY = st.sampled_from(
    ["type", "enum", "items", "anyOf", "default", "properties", "required", "additionalProperties", "format", "title"]
)
KIND = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])
ANYTHING = st.recursive(
    SCALAR | KIND,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
PARAMETERS = st.lists(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("name", "kind", "schema", "default", "required"), ANYTHING),
    ),
    max_size=3,
)
NAMED = st.sampled_from(["names", "nuclio"])
DESCRIPTION = st.fixed_dictionaries(
    {},
    optional={
        "parameters": PARAMETERS | ANYTHING,
        "binding": NAMED | ANYTHING,
        "kind": st.sampled_from(["generator", "sync"]) | ANYTHING,
        **dict.fromkeys(("name", "text", "doc", "fixed", "has_any", "returns_schema"), ANYTHING),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(DESCRIPTION)
def test_whatever_a_worker_says_the_document_is_valid_and_has_a_page(description: dict[str, Any]) -> None:
    assert docs_page(document(description)).startswith(b"<!doctype html>")
