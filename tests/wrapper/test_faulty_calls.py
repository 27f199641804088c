"""What author and client are told of a request that does not fit and of an answer that cannot be sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Callable

import pytest
from native_host import NativeHost
from scripted_processor import ScriptedProcessor

RETURNS = """
class Odd:
    pass
RETURNED = {
    b"order": ("made", 201), b"flask": ("made", 201, {"X": "1"}), b"object": Odd(), b"key": {"a": {(1, 2): 3}},
}
def f(context, event):
    if event.body == b"status":
        return context.Response(status_code="201")
    if event.body == b"headers":
        return context.Response(headers={"X": "x" * (5 << 20)})
    return RETURNED[event.body]
"""
ASYNC = RETURNS.replace("def f", "async def f")
TOLD = {
    b"order": "write 201, 'made'",
    b"flask": "context.Response(body=",
    b"object": "main.Odd; return text",
    b"key": "keys must be str",
    b"status": "the status '201' is str, no HTTP status",
    b"headers": "the answer's headers have",
}


@pytest.fixture
def host(tree: str, root: Any) -> Iterator[Callable[..., NativeHost]]:
    """Start a worker of `nuwrap/1` on `code`; further arguments are keys of the worker spec."""
    with ExitStack() as stack:

        def make(code: str, **spec: Any) -> NativeHost:
            (root / "main.py").write_text(code, encoding="utf-8")
            return stack.enter_context(NativeHost(tree, root, **spec)).start()

        yield make


@pytest.mark.parametrize("code", [RETURNS, ASYNC], ids=["sync", "async"])
def test_an_answer_that_cannot_be_sent_is_one_record_without_frames(host: Callable[..., NativeHost], code: str) -> None:
    peer = host(code)
    for name, told in TOLD.items():
        answer = peer.ask(name)
        assert (answer.status, answer.json()["error"]) == (
            500,
            "the function returned what cannot be sent; its log says more",
        )
        record = peer.logs()[-1]
        assert record["level"] == "error"
        assert record["message"].startswith("what the function returned cannot be sent: ")
        assert told in record["message"]
        assert record["with"] == {}
    assert len(peer.logs()) == len(TOLD)


def test_an_exception_of_the_function_still_comes_with_its_frames_alone(host: Callable[..., NativeHost]) -> None:
    peer = host("def f(context, event):\n    return 1 / 0\n")
    assert peer.ask().json()["error"] == "the function raised an exception; its log says more"
    record = peer.logs()[-1]
    assert record["message"] == "ZeroDivisionError: division by zero"
    assert record["with"]["traceback"].count("  File ") == 1


def test_a_processor_gets_the_same_and_the_log_has_no_frames(worker: Callable[..., ScriptedProcessor]) -> None:
    processor = worker(RETURNS, handler="main:f").start()
    reply = processor.ask(b"order")
    assert (reply.status, "cannot be sent" in str(reply.body)) == (500, True)
    [record] = processor.logs()
    assert record["message"] == (
        "what the function returned cannot be sent: a two-tuple is (status, body); 'made' is str, no HTTP status; "
        "write 201, 'made'"
    )
    assert list(record["with"]) == ["request_id"]


def test_a_body_that_is_no_json_is_a_422_for_named_arguments_and_no_log_record(
    host: Callable[..., NativeHost],
) -> None:
    peer = host("def f(name='x'):\n    return name\n")
    answer = peer.ask(b'{"name": ', content_type="application/json")
    assert answer.status == 422
    assert answer.json()["error"] == (
        "body: is sent as application/json and is no JSON: Expecting value at line 1, column 10"
    )
    assert peer.ask(b"[1]", content_type="application/json").status == 422
    assert peer.ask(b'{"name": "y"}', content_type="application/json").body == b"y"
    assert not peer.logs()


def test_a_body_that_is_no_json_is_bytes_for_context_and_event_and_no_log_record(
    worker: Callable[..., ScriptedProcessor],
) -> None:
    processor = worker("def f(context, event):\n    return event.body\n", handler="main:f").start()
    assert processor.ask(b'{"name": ', content_type="application/json").body == b'{"name": '
    assert processor.stderr() == ""


def test_a_handler_of_ctx_and_ev_is_called_with_context_and_event(host: Callable[..., NativeHost]) -> None:
    peer = host("def f(ctx, ev):\n    ctx.logger.info('seen')\n    return ev.body\n")
    assert peer.ask(b"x").body == b"x"


def test_a_dataclass_is_made_of_a_json_object(host: Callable[..., NativeHost]) -> None:
    code = "from __future__ import annotations\nimport dataclasses\nfrom typing import List, Optional\n"
    code += "@dataclasses.dataclass\nclass Point:\n    x: int\n    y: Optional[float] = None\n"
    code += "def f(points: List[Point]):\n    return [type(one).__name__ + str(one.x) for one in points]\n"
    peer = host(code)
    assert peer.ask(b'{"points": [{"x": 1}, {"x": 2}]}', content_type="application/json").json() == ["Point1", "Point2"]
    bad = peer.ask(b'{"points": [{"x": true}]}', content_type="application/json")
    assert (bad.status, bad.json()["error"]) == (422, "points: item 0: 'x': true is not a whole number")


VALUES = """
import datetime, pathlib
def f(what: str):
    pathlib.Path("made.txt").write_text("inside")
    values = {
        "date": {"on": datetime.date(2020, 1, 2)}, "set": {1, 2}, "path": pathlib.Path("made.txt"),
        "away": pathlib.Path("/etc/hostname"), "object": {"a": [object()]}, "flask": ({"a": 1}, 202, {"X": "b"}),
    }
    return values[what]
"""
ANSWERS = {
    "date": (200, "application/json", b'{"on": "2020-01-02"}'),
    "path": (200, "text/plain", b"inside"),
    "set": (500, "set"),
    "away": (500, "must lie in"),
    "object": (500, "['a'][0]"),
    "flask": (500, "a tuple of 3"),
}


def test_a_function_by_names_never_sends_a_repr(host: Callable[..., NativeHost]) -> None:
    peer = host(VALUES)
    for what, (status, *told) in ANSWERS.items():
        answer = peer.ask(f'{{"what": "{what}"}}'.encode(), content_type="application/json")
        assert answer.status == status, what
        if status == 200:
            assert [answer.content_type, answer.body] == told
        else:
            assert told[0] in peer.logs()[-1]["message"]


def test_named_outputs_are_one_json_object(host: Callable[..., NativeHost]) -> None:
    code = "from nuwrap_runtime import handler\n@handler(outputs=['rows', 'name'])\n"
    code += "def f(n: int = 5):\n    return n, 'abc'\n"
    assert host(code).ask(b'{"n": 500}', content_type="application/json").json() == {"rows": 500, "name": "abc"}


def test_an_argument_that_is_given_twice_fills_a_list(service: Any) -> None:
    running = service("from typing import List\ndef f(tags: List[str]): return tags\n")
    assert running.call("GET", "/?tags=a&tags=b").json() == ["a", "b"]
