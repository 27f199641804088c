"""Result lines of a log: what goes in comes out, and nothing that is not whole, sound and of the schema."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuwrap_runtime.result import DOCUMENT_BYTES, Failure, Result
from nuwrap_runtime.result_lines import MARK, read_result_lines, result_lines, take_result_lines

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def document(**results: Any) -> dict[str, Any]:
    return {"api": "nuwrap/v1", "state": "COMPLETED", "exit_code": 0, "results": results}


def large(seed: int = 1) -> dict[str, Any]:
    """A document of several lines: what is random packs badly."""
    return document(x=random.Random(seed).randbytes(40_000).hex())  # noqa: S311 - any bytes


def packed(content: bytes) -> str:
    """The one line that holds this content, sound but for what it is."""
    data = zlib.compress(content)
    digest = hashlib.sha256(data).hexdigest()[:32]
    return f"{MARK}1/1 {digest} {base64.b64encode(data).decode()}"


@given(st.dictionaries(st.text(), VALUES), st.text(alphabet=st.characters(codec="utf-8")))
def test_a_document_comes_back_and_the_log_is_as_it_was(results: dict[str, Any], before: str) -> None:
    log = before.replace(MARK, "") + "\n"
    text = log + "".join(f"{line}\n" for line in result_lines(document(**results)))
    assert take_result_lines(text) == (log, document(**results))


def test_lines_are_short_and_plain() -> None:
    lines = list(result_lines(large()))
    assert len(lines) > 2
    assert all(len(line) < 8192 and line.isascii() and line.isprintable() for line in lines)


def test_lines_may_stand_apart_out_of_order_and_twice() -> None:
    lines = list(result_lines(large()))
    text = "\n".join(["begin", *reversed(lines), "a late word", lines[0], "end"])
    assert take_result_lines(text) == ("begin\na late word\nend", large())


def test_the_last_whole_document_counts() -> None:
    first, second, third = (list(result_lines(large(seed))) for seed in (1, 2, 3))
    assert read_result_lines([*first, *second, *third[:-1]]) == large(2)
    assert read_result_lines([*second, *first]) == large(1)


def test_a_text_without_such_lines_is_left_alone() -> None:
    text = f"one\r\n say {MARK}1/1 x\n\n"
    assert take_result_lines(text) == (text, None)


def test_a_failure_comes_as_it_is() -> None:
    told = Result("ERROR", 1, failure=Failure("handler", "ValueError", "no")).to_document()
    assert read_result_lines(result_lines({**told, "requirements": [], "warnings": []})) == {
        **told, "requirements": [], "warnings": []
    }  # fmt: skip


def test_a_number_that_json_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        list(result_lines(document(x=float("nan"))))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b"[]",
        b"\xff",
        b'{"api": "nuwrap/v1"}',
        b'{"api": "nuwrap/v1", "state": "DONE", "exit_code": 0}',
        b'{"api": "nuwrap/v1", "state": "COMPLETED", "exit_code": 0, "results": {"x": NaN}}',
        b'{"api": "nuwrap/v1", "state": "COMPLETED", "exit_code": 0, "results": ' + b'{"x":' * 100_000,
        b'{"api": "nuwrap/v1", "state": "COMPLETED", "exit_code": 0, "results": {"x": ' + b"9" * 5000 + b"}}",
    ],
    ids=["empty", "text", "list", "bytes", "no state", "other state", "nan", "deep", "long number"],
)
def test_what_is_no_result_is_none(content: bytes) -> None:
    assert read_result_lines([packed(content)]) is None


def test_what_unpacks_without_end_is_none() -> None:
    head = b'{"api": "nuwrap/v1", "state": "COMPLETED", "exit_code": 0}'
    assert read_result_lines([packed(head + b" " * 100)]) is not None
    text = packed(head + b" " * DOCUMENT_BYTES)
    digest, data = text.split(" ", 3)[2], text.split(" ", 3)[3]
    parts = [data[at : at + 8000] for at in range(0, len(data), 8000)]
    assert read_result_lines(f"{MARK}{n}/{len(parts)} {digest} {part}" for n, part in enumerate(parts, 1)) is None


@pytest.mark.parametrize("change", ["0", "A", "!", " "])
def test_a_changed_line_spoils_its_document_alone(change: str) -> None:
    good, bad = list(result_lines(large(1))), list(result_lines(large(2)))
    at = len(bad[1]) // 2
    bad[1] = bad[1][:at] + (change if bad[1][at] != change else "B") + bad[1][at + 1 :]
    assert read_result_lines([*good, *bad]) == large(1)


def test_lines_without_end_take_no_memory_and_hide_no_later_document() -> None:
    part = "A" * 8000

    def endless():
        for number in range(9000):
            yield f"{MARK}{number % 9 + 1}/9 {number:032x} {part}"
        yield from result_lines(large())

    assert read_result_lines(endless()) == large()
