"""JSON by the user's orjson is the standard library's, or it is not used."""

from __future__ import annotations

import datetime
import enum
import json
import math
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuwrap_runtime.worker import event, fast_json, replies

PLACE = Path(__file__).parent.parent / ".venvs" / "nuclio"
NUMBERS = st.integers() | st.floats() | st.integers(min_value=2**63 - 5, max_value=2**64 + 5)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
)


class Color(enum.Enum):
    RED = "red"


@pytest.fixture(autouse=True, scope="module")
def orjson() -> Iterator[None]:
    """A user's orjson: from an environment of its own, as this one's workers shall have none."""
    found = list(PLACE.glob("lib/python*/site-packages/orjson"))
    if not found:
        pytest.skip("NOT TESTED: no orjson; `make .venvs/nuclio/stamp` brings it")
    before = list(fast_json._found)
    sys.path.append(str(found[0].parent))
    fast_json._found.clear()
    yield
    sys.path.remove(str(found[0].parent))
    fast_json._found[:] = before


@given(VALUES)
def test_what_is_written_means_the_same(value: Any) -> None:
    exact = replies._encode_exactly(value, replies.NUCLIO)
    assert json.loads(replies.encode_json(value, replies.NUCLIO)) == json.loads(exact)


@given(VALUES)
def test_what_is_read_is_the_same_to_the_type(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        data = text.encode("utf-8", "surrogatepass")
        exact = json.loads(text) if not _is_strange(text) else None
        found = event._parse_json(data)[0]
        if exact is not None:
            assert repr(found) == repr(exact)


def _is_strange(text: str) -> bool:
    return any(0xD800 <= ord(char) <= 0xDFFF for char in text)


@pytest.mark.parametrize("text", ["-9223372036854775809", "[123456789012345678901234567890]", "NaN", "1e400", "-0"])
def test_numbers_at_the_edge_are_as_json_reads_them(text: str) -> None:
    assert repr(event._parse_json(text.encode())[0]) == repr(json.loads(text))


def test_objects_are_written_as_without_it() -> None:
    value = {
        "date": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "id": uuid.UUID(int=5),
        "color": Color.RED,
        "pair": (1, 2),
        "nan": math.nan,
        3: "a number as a key",
    }
    for one in (value, {key: value[key] for key in ("date", "id", "color", "pair")}):
        assert json.loads(replies.encode_json(one, replies.NUCLIO)) == json.loads(
            replies._encode_exactly(one, replies.NUCLIO)
        )


def test_it_is_used() -> None:
    assert replies.encode_json({"a": [1, "x"]}, replies.NUCLIO) == '{"a":[1,"x"]}'
    assert fast_json.loads(b'{"a": 1}') == {"a": 1}
