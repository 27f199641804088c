"""JSON and query text as an annotation's type; what does not fit says what is allowed."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Sequence
from typing import Annotated, Any, Dict, List, Literal, NewType, Optional, Union  # noqa: UP035 - users write them

import pytest

from nuwrap_runtime.worker.convert import convert, takes_list

UserId = NewType("UserId", int)
UTC = datetime.timezone.utc


class Color(enum.Enum):
    RED = "red"
    BLUE = 2
    ODD = [1]  # noqa: RUF012 - a value that cannot be hashed


@dataclasses.dataclass
class Point:
    x: int
    y: float
    name: str = "p"
    tags: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.y < 0:
            raise ValueError("y must not be negative")


@dataclasses.dataclass
class Line:
    ends: list[Point]
    color: Optional[Color] = None
    next: Optional[Line] = None


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ("x", str, "x"),
        (3, int, 3),
        (3.0, int, 3),
        (3, float, 3.0),
        (True, bool, True),
        ([1, 2], list, [1, 2]),
        ([1, 2.0], List[int], [1, 2]),
        (["1"], Sequence[str], ["1"]),
        ({"a": 1}, dict, {"a": 1}),
        ({"1": 2}, Dict[int, float], {1: 2.0}),
        (None, Optional[int], None),
        ("5", Union[int, str], "5"),
        (5, Union[str, int], 5),
        (1, Literal[True, 1], 1),
        ("red", Color, Color.RED),
        (2, Color, Color.BLUE),
        ("BLUE", Color, Color.BLUE),
        ([1], Color, Color.ODD),
        ("2026-01-31T09:30:00Z", datetime.datetime, datetime.datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        ("2026-01-31", datetime.date, datetime.date(2026, 1, 31)),
        (3, Annotated[int, "positive"], 3),
        (3, UserId, 3),
        (None, None, None),
        ({"any": 1}, Any, {"any": 1}),
        ([1], bytes, [1]),
        ({"x": 1.0, "y": 2, "more": 3}, Point, Point(1, 2.0)),
        ({"ends": [{"x": 1, "y": 2}], "color": "red"}, Line, Line([Point(1, 2.0)], Color.RED)),
        ({"ends": [], "next": {"ends": []}}, Line, Line([], None, Line([]))),
        ({"x": 1, "y": 2}, Optional[Point], Point(1, 2.0)),
        ({"x": 1, "y": 2}, Union[int, Point], Point(1, 2.0)),
        ("x", "Unresolved", "x"),
    ],
)
def test_json_that_fits(value: Any, annotation: Any, expected: Any) -> None:
    found = convert(value, annotation, from_query=False)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "annotation", "expected"),
    [
        ("3", str, "3"),
        ("-3", int, -3),
        ("2.5", float, 2.5),
        ("on", bool, True),
        ("FALSE", bool, False),
        ("1,2", List[int], [1, 2]),
        ("[1, 2]", List[int], [1, 2]),
        ("", list, []),
        ('{"a": 1}', dict, {"a": 1}),
        ("", Optional[int], None),
        ("", Optional[str], ""),
        ("5", Union[int, str], 5),
        ("x", Union[int, str], "x"),
        ("2", Literal[1, 2], 2),
        ("2", Color, Color.BLUE),
        ("2026-01-31", datetime.date, datetime.date(2026, 1, 31)),
        ('{"x": 1, "y": 2}', Point, Point(1, 2.0)),
        (["1", "2"], List[int], [1, 2]),
        (["a,b", "c"], Optional[List[str]], ["a,b", "c"]),
        (["a", "b"], Union[str, List[str]], ["a", "b"]),
    ],
)
def test_query_text_that_fits(text: Any, annotation: Any, expected: Any) -> None:
    found = convert(text, annotation, from_query=True)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        ("3", int, "^'3' is not a whole number but text; JSON has a whole number without quotes"),
        ("0.5", float, "'0.5' is not a number but text; JSON has a number without quotes"),
        ("true", bool, "'true' is not true or false but text"),
        (True, int, "^true is not a whole number"),
        (None, int, "^null is not a whole number"),
        ([None, False], str, r"^\[null, false\] is not a string"),
        (False, Literal["a"], "^false is none of a"),
        (3.5, int, "whole number"),
        (1e300, int, "whole number"),
        (True, float, "a number"),
        (10**400, float, "too large for a float"),
        (1, bool, "true or false"),
        (1, str, "1 is not a string"),
        ("ab", list, "a list"),
        ([1, "x"], List[int], "item 1: 'x' is not a whole number"),
        ({"a": "x"}, Dict[str, int], "'a': 'x' is not a whole number"),
        ([], dict, "an object"),
        ([], Union[int, str], "not a whole number; .*not a string"),
        (1, Literal[True], "1 is none of true"),
        ("green", Color, "'green' is none of red, 2"),
        ("tomorrow", datetime.datetime, "ISO 8601 datetime, such as 2026-"),
        (5, datetime.date, "ISO 8601 date"),
        (1, None, "null"),
        ([1], Point, r"^\[1\] is not an object"),
        ({"x": 1}, Point, "^'y' is missing"),
        ({"x": "a", "y": 2}, Point, "^'x': 'a' is not a whole number"),
        ({"x": 1, "y": -2}, Point, "^y must not be negative"),
        ({"ends": [{"x": 1, "y": None}]}, Line, "^'ends': item 0: 'y': null is not a number"),
        ("x", Union[int, Point], "not a whole number but text.*; 'x' is not an object"),
    ],
)
def test_json_that_does_not_fit(value: Any, annotation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(value, annotation, from_query=False)


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("1_0", int),
        ("٣", int),
        ("", int),
        ("9" * 5000, int),
        ("nan", float),
        ("1e999", float),
        ("2", bool),
        ("[1", list),
        ("x", dict),
    ],
)
def test_query_text_that_does_not_fit(text: str, annotation: Any) -> None:
    with pytest.raises(ValueError, match=r"is not (a|one of)"):
        convert(text, annotation, from_query=True)


def test_a_list_is_asked_for_by_its_annotation_or_by_a_member_of_a_union() -> None:
    assert all(takes_list(one) for one in (list, List[int], Sequence[str], Optional[List[int]], Annotated[list, 1]))
    assert not any(takes_list(one) for one in (str, Any, Dict[str, int], Optional[int], "Unresolved", Point))
