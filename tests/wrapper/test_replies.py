"""What a service's function returns becomes a reply in nuclio-sdk's forms, and what cannot says so."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nuwrap_runtime.stored import Dataitem
from nuwrap_runtime.worker.answers import Encoder
from nuwrap_runtime.worker.protocol import Reply
from nuwrap_runtime.worker.replies import ReplyError, Returns, check_status, error_reply, exception_reply, to_reply

HAS_SDK = importlib.util.find_spec("nuclio_sdk") is not None
needs_sdk = pytest.mark.skipif(not HAS_SDK, reason="nuclio-sdk is not installed")
needs_pandas = pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")

NAMED = Returns(is_named=True)


class Odd:
    pass


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


def response(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **{"body": None, "status_code": 200, "headers": {}, "content_type": "text/plain", "event_id": None, **values}
    )


@pytest.mark.parametrize(
    ("value", "body", "content_type", "status"),
    [
        (None, "", "text/plain", 200),
        ("text", "text", "text/plain", 200),
        (b"\xff", b"\xff", "text/plain", 200),
        ({"a": [1, None]}, '{"a": [1, null]}', "application/json", 200),
        ([], "[]", "application/json", 200),
        ([1, "x"], '[1, "x"]', "application/json", 200),
        (7, "7", "text/plain", 200),
        (True, "True", "text/plain", 200),
        ((201, "made"), "made", "text/plain", 201),
        ((201, {"a": 1}), '{"a": 1}', "application/json", 201),
        ((200, 5), "5", "application/json", 200),
        ((204, None), "", "text/plain", 204),
        ((200, b"x"), b"x", "text/plain", 200),
        ((0, "x"), "x", "text/plain", 0),
        ((1, 2, 3), "(1, 2, 3)", "text/plain", 200),
    ],
    ids=repr,
)
def test_forms_of_a_return_value(value: Any, body: Any, content_type: str, status: int) -> None:
    assert to_reply(value, "ID") == Reply(body, status, content_type, event_id="ID")


def test_numbers_that_json_lacks_are_strings() -> None:
    value = {"a": [float("nan"), float("inf")], "b": (-float("inf"), 1.5)}
    assert json.loads(to_reply(value).body) == {"a": ["NaN", "Infinity"], "b": ["-Infinity", 1.5]}


def test_what_json_cannot_say_is_its_repr_in_an_answer_of_context_and_event() -> None:
    assert json.loads(to_reply({"a": {1}, "b": float("nan"), "c": object}).body) == {
        "a": "{1}",
        "b": "NaN",
        "c": "<class 'object'>",
    }


@pytest.mark.parametrize(
    ("given", "body", "content_type"),
    [
        (response(body={"a": 1}), '{"a": 1}', "application/json"),
        (response(body={"a": 1}, content_type="application/problem+json"), '{"a": 1}', "application/problem+json"),
        (response(body=[1]), "[1]", "application/json"),
        (response(body="<p>", content_type="text/html"), "<p>", "text/html"),
        (response(body=b"x", content_type="image/png"), b"x", "image/png"),
        (response(body=None), "", "text/plain"),
    ],
)
def test_a_response_object_keeps_its_content_type(given: Any, body: Any, content_type: str) -> None:
    assert to_reply(given, "ID") == Reply(body, 200, content_type, {}, "ID")


def test_a_response_object_has_status_headers_and_event_id() -> None:
    reply = to_reply(response(body="x", status_code=404, headers={"X-A": 1}, event_id="E"), "ID")
    assert reply == Reply("x", 404, "text/plain", {"X-A": 1}, "E")


@pytest.mark.parametrize("value", [("a", "b"), (True, "x"), (100, "x"), (1000, "x"), (-1, "x")], ids=repr)
def test_a_pair_without_a_status_is_an_error_of_the_function(value: Any) -> None:
    with pytest.raises(ReplyError, match="no HTTP status"):
        to_reply(value)


def test_a_pair_in_the_wrong_order_is_told_the_right_one() -> None:
    with pytest.raises(ReplyError, match=r"\(status, body\); 'created' is str, no HTTP status; write 201, 'created'"):
        to_reply(("created", 201))


def test_the_status_of_a_response_is_told_as_what_it_is() -> None:
    with pytest.raises(ReplyError, match="the status '201' is str, no HTTP status; allowed: a whole number") as caught:
        to_reply(response(status_code="201"))
    assert "tuple" not in str(caught.value)
    with pytest.raises(ReplyError, match="1000 is no HTTP status"):
        check_status(1000)


@pytest.mark.parametrize("returns", [NAMED, Returns()], ids=["names", "nuclio"])
def test_body_status_and_headers_as_flask_has_them_is_told_the_way(returns: Returns) -> None:
    with pytest.raises(ReplyError, match=r"a tuple of 3; return \(status, body\), a list, or context\.Response\(body="):
        to_reply(("made", 201, {"X-A": "1"}), "", returns)


@pytest.mark.parametrize("returns", [NAMED, Returns()], ids=["names", "nuclio"])
def test_an_object_that_only_its_address_describes_is_told_the_way(returns: Returns) -> None:
    with pytest.raises(ReplyError, match=r"test_replies\.Odd; return text, bytes, .* context\.Response"):
        to_reply(Odd(), "", returns)


@pytest.mark.parametrize(
    ("value", "body", "content_type"),
    [
        (5, "5", "text/plain"),
        (True, "True", "text/plain"),
        (decimal.Decimal("1.50"), "1.50", "text/plain"),
        (Color.RED, "red", "text/plain"),
        (datetime.datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00", "text/plain"),
        ({"d": datetime.date(2026, 1, 2), "c": [Color.RED]}, '{"d": "2026-01-02", "c": ["red"]}', "application/json"),
        ((201, [datetime.time(9, 30)]), '["09:30:00"]', "application/json"),
    ],
    ids=repr,
)
def test_what_people_expect_of_json_is_sent_for_a_function_with_named_arguments(
    value: Any, body: str, content_type: str
) -> None:
    reply = to_reply(value, "", NAMED)
    assert (reply.body, reply.content_type) == (body, content_type)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({1}, r"sent: set; return sorted\(value\)"),
        ({"a": [1, {2}]}, r"set at \['a'\]\[1\]; return sorted"),
        (frozenset(), "frozenset; return sorted"),
        ({"a": Odd()}, r"test_replies\.Odd at \['a'\]; return text"),
        (Point(1), r"Point; return dataclasses\.asdict"),
        ([Point(1)], r"Point at \[0\]; return dataclasses\.asdict"),
        ({"a": b"x"}, r"bytes at \['a'\]; return it as the whole answer"),
        ({"n": float("nan"), "a": 1j}, r"complex at \['a'\]; return \[value\.real"),
        ((200, {1}), "set inside; return sorted"),
        ((1, 2, 3), "a tuple of 3"),
        (response(body={1}), "set; return sorted"),
        (int, "type; return text"),
        ({(1, 2): 3}, "keys must be str"),
    ],
    ids=lambda one: one if isinstance(one, str) else type(one).__name__,
)
def test_what_no_json_can_say_is_refused_for_a_function_with_named_arguments(value: Any, text: str) -> None:
    with pytest.raises(ReplyError, match=text):
        to_reply(value, "", NAMED)


def test_a_path_in_the_function_s_folders_is_its_file(tmp_path: Path) -> None:
    returns = Returns(is_named=True, folders={"the source root": str(tmp_path)})
    for name, content_type in (
        ("a.csv", "text/csv"),
        ("b.png", "image/png"),
        ("c.tar.gz", "application/gzip"),
        ("d", ""),
    ):
        (tmp_path / name).write_bytes(b"\x00" + name.encode())
        reply = to_reply(tmp_path / name, "", returns)
        assert (reply.body, reply.content_type) == (
            b"\x00" + name.encode(),
            content_type or "application/octet-stream",
        )
    assert to_reply((201, tmp_path / "a.csv"), "", returns).status == 201
    with pytest.raises(ReplyError, match=r"a returned file must lie in the source root"):
        to_reply(Path("/etc/passwd"), "", returns)
    with pytest.raises(ReplyError, match=r"gone' does not exist; write the file"):
        to_reply(tmp_path / "gone", "", returns)
    assert to_reply(Path("/a/b")).body == "/a/b"


def test_a_tuple_of_the_named_outputs_is_an_object_of_them() -> None:
    returns = Returns(is_named=True, outputs=("rows", "name"))
    reply = to_reply((500, "abc"), "", returns)
    assert (reply.status, reply.body, reply.content_type) == (200, '{"rows": 500, "name": "abc"}', "application/json")
    assert to_reply((201, "made"), "", Returns(is_named=True, outputs=("rows",))).status == 201
    assert to_reply([1, 2], "", returns).body == "[1, 2]"
    assert to_reply((404, "no"), "", Returns(outputs=("rows", "name"))).status == 404
    with pytest.raises(ReplyError, match=r"set at \['name'\]"):
        to_reply((1, {2}), "", returns)


def test_half_a_character_in_an_answer_is_a_fault_of_what_was_returned() -> None:
    with pytest.raises(ReplyError, match="half a character"):
        Encoder(lambda _: b"").reply(Reply("\ud800"))


def test_a_value_that_contains_itself_is_no_recursion_error() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (loop, deep):
        with pytest.raises(ValueError, match="contains itself, or is nested too deeply"):
            to_reply(value)


def test_an_entity_is_no_answer() -> None:
    with pytest.raises(ReplyError, match="return its key"):
        to_reply(Dataitem("store://p/dataitem/table/t"))


@needs_pandas
def test_an_array_is_a_list_of_numbers_and_strings_for_nan() -> None:
    import numpy as np

    assert to_reply(np.arange(3), "", NAMED) == Reply("[0, 1, 2]", content_type="application/json")
    assert to_reply({"a": np.array([[1.5, np.nan]])}, "", NAMED).body == '{"a": [[1.5, "NaN"]]}'
    assert to_reply({"a": np.array([1])}).body == '{"a": [1]}'


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
@pytest.mark.parametrize("returns", [NAMED, Returns()], ids=["names", "nuclio"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # matplotlib's of pyparsing, on Python 3.9
def test_a_figure_is_a_png(returns: Returns) -> None:
    from matplotlib.figure import Figure

    for value in (Figure(), Figure().subplots(), (200, Figure()), response(body=Figure())):
        reply = to_reply(value, "", returns)
        assert (reply.body[:4], reply.content_type) == (b"\x89PNG", "image/png")


@needs_pandas
def test_a_data_frame_is_no_answer_and_a_numpy_scalar_is_a_number() -> None:
    import numpy as np
    import pandas as pd

    with pytest.raises(ReplyError, match="to_dict"):
        to_reply(pd.DataFrame({"body": [1]}))
    assert to_reply({"a": np.int64(3), "b": np.float32("nan"), "c": np.bool_(True)}).body == (
        '{"a": 3, "b": "NaN", "c": true}'
    )


def test_an_error_is_json_with_the_request_id() -> None:
    reply = error_reply(422, "n: is missing", "ID")
    assert (reply.status, reply.content_type) == (422, "application/json")
    assert json.loads(reply.body) == {"error": "n: is missing", "request_id": "ID"}


def test_an_exception_tells_the_client_neither_text_nor_traceback() -> None:
    reply = exception_reply(ValueError("password=hunter2"), "ID")
    assert reply.status == 500
    assert "hunter2" not in str(reply.body)
    assert json.loads(reply.body)["request_id"] == "ID"


def test_an_exception_that_only_looks_like_a_response_is_a_500() -> None:
    class ExceptionWithResponse(Exception):
        status_code, body, content_type = 403, "secret of the upstream", "text/plain"

    assert exception_reply(ExceptionWithResponse(), "ID").status == 500


@needs_sdk
def test_nuclio_sdks_exception_with_response_is_its_response() -> None:
    import nuclio_sdk

    reply = exception_reply(nuclio_sdk.exceptions.ExceptionWithResponse(409, {"a": 1}), "ID")
    assert reply == Reply('{"a": 1}', 409, "application/json", {}, "ID")
    assert exception_reply(nuclio_sdk.exceptions.ExceptionWithResponse("no"), "ID").status == 500


@needs_sdk
@pytest.mark.parametrize(
    "value", ["text", {"a": float("nan")}, [1, {"b": {2}}], (201, "x"), (201, [1]), 7, True, 1.5, {"ü": "ü"}], ids=repr
)
def test_our_reply_is_nuclio_sdks(value: Any) -> None:
    from nuclio_sdk import Response
    from nuclio_sdk.json_encoder import Encoder

    theirs = Response.from_entrypoint_output(Encoder().encode, value)
    ours = to_reply(value)
    assert (ours.body, ours.content_type, ours.status) == (
        theirs["body"],
        theirs["content_type"],
        theirs["status_code"],
    )


def test_replies_load_no_library_of_the_user() -> None:
    code = (
        "from nuwrap_runtime.worker import replies; replies.to_reply({1: {2}});"
        "print([m for m in ('numpy', 'pandas', 'nuclio_sdk', 'pathlib', 'tempfile') if m in sys.modules])"
    )
    path = [one for one in sys.path if one]
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {path!r}; {code}"], stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.strip() == b"[]"
