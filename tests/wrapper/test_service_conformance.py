"""A function answers alike, whoever is its host: a processor's lines, or the service's port."""

from __future__ import annotations

import base64
import json
from typing import Any, Callable, Optional

import pytest
from running_service import RunningService, call
from scripted_processor import ScriptedProcessor

REPLIES = """
import datetime, enum, math
class Text(str, enum.Enum):
    A = "member"
class Odd:
    def __repr__(self):
        return "<odd>"
def sync_values():
    yield "one "
    yield b"two "
    yield {"three": 3}
def f(context, event):
    kind = event.get_field("kind")
    if kind in RETURNED:
        return RETURNED[kind]
    if kind == "response":
        return context.Response(body={"a": 1}, headers={"X-N": 5, "X-B": True}, content_type="application/problem+json",
                                status_code=418)
    if kind == "response_bytes":
        return context.Response(body=b"\\x00\\xff", content_type="application/octet-stream")
    if kind == "generator":
        return sync_values()
    if kind == "response_generator":
        return context.Response(body=iter_text(), content_type="text/event-stream", status_code=201)
    if kind == "raises":
        raise ValueError("not for the client")
    if kind == "exits":
        raise SystemExit(3)
    if kind == "event":
        return [event.method, event.path, event.content_type, repr(event.body), dict(event.fields),
                event.get_header("x-one"), type(event.timestamp).__name__, event.trigger.kind]
def iter_text():
    yield "data: 1\\n\\n"
    yield "data: 2\\n\\n"
RETURNED = {
    "text": "grüße", "bytes": b"\\x00\\x01\\xff", "empty": "", "none": None, "int": 5, "float": 0.5, "bool": True,
    "dict": {"a": [1, None]}, "list": [1, 2], "empty_list": [], "nan": {"x": math.nan, "y": [math.inf]},
    "tuple": (202, {"b": 1}), "tuple_text": (404, "gone"), "tuple_none": (204, None), "bad_tuple": ("x", 1),
    "enum": Text.A, "odd": {"o": Odd()}, "date": datetime.date(2026, 1, 2), "large": "x" * 100_000,
}
"""
KINDS = [
    "text", "bytes", "empty", "none", "int", "float", "bool", "dict", "list", "empty_list", "nan", "tuple",
    "tuple_text", "tuple_none", "bad_tuple", "enum", "odd", "date", "large", "response", "response_bytes", "generator",
    "response_generator", "raises", "exits", "event",
]  # fmt: skip


def by_processor(processor: ScriptedProcessor, kind: str, body: Optional[bytes], content_type: str) -> dict[str, Any]:
    reply = processor.ask(
        body,
        fields={"kind": kind},
        content_type=content_type,
        headers={"X-One": "1"},
        method="POST" if body else "GET",
        path="/p",
        id="one",
    )
    content = reply.body.encode("utf-8", "surrogateescape") if isinstance(reply.body, str) else reply.body
    return answer_of(reply.status or 200, reply.content_type, dict(reply.headers), content)


def by_service(service: RunningService, kind: str, body: Optional[bytes], content_type: str) -> dict[str, Any]:
    headers = {"X-One": "1", "X-Request-Id": "one", **({"Content-Type": content_type} if content_type else {})}
    answer = call(service.place, "POST" if body else "GET", f"/p?kind={kind}", body, headers)
    given = {name.title(): value for name, value in answer.headers if name.startswith("x-") and name != "x-request-id"}
    return answer_of(answer.status, answer.header("content-type"), given, answer.body)


def answer_of(status: int, content_type: str, headers: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Return what a client can tell; an answer without a body needs no content type."""
    has_type = status != 204
    return {
        "status": status,
        "type": content_type if has_type else "",
        "headers": headers,
        "body": base64.b64encode(body).decode(),
    }


def test_every_reply_is_the_same_from_both_hosts(
    service: Callable[..., RunningService], worker: Callable[..., ScriptedProcessor]
) -> None:
    served = service(REPLIES)
    processor = worker(REPLIES, spec={"default_module": "main"}, handler="main:f").start()
    differences = {}
    for kind in KINDS:
        ours, theirs = by_service(served, kind, None, ""), by_processor(processor, kind, None, "")
        if ours != theirs:
            differences[kind] = (ours, theirs)
    assert differences == {}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"a": 1}', "application/json"),
        (b'{"a": 1}', "application/json; charset=utf-8"),
        (b'{"a": ', "application/json"),
        (b"[1, 2]", "application/json"),
        (b"\x00\xff", "application/octet-stream"),
        (b"plain", ""),
        (b"x" * 70_000, "text/plain"),
    ],
    ids=["json", "json with a charset", "no json", "json list", "bytes", "no type", "large"],
)
def test_every_event_is_the_same_from_both_hosts(
    service: Callable[..., RunningService],
    worker: Callable[..., ScriptedProcessor],
    body: bytes,
    content_type: str,
) -> None:
    served = service(REPLIES)
    processor = worker(REPLIES, spec={"default_module": "main"}, handler="main:f").start()
    assert by_service(served, "event", body, content_type) == by_processor(processor, "event", body, content_type)


BINDING = """
import enum
from typing import Optional
class Level(enum.Enum):
    LOW = 1
    HIGH = 2
def f(event, x: int, items: list[int], fixed=None, level: Level = Level.LOW, note: Optional[str] = None, **more):
    return {"x": x, "items": items, "fixed": fixed, "level": level.name, "note": note, "more": more, "m": event.method}
"""
REQUESTS = [
    ({"x": 1, "items": [1, 2]}, {}),
    ({"x": 1}, {"items": "1,2"}),
    ({}, {"x": "5", "items": "[3]", "level": "2", "some-more": "z"}),
    ({"x": "1", "items": []}, {}),
    ({"x": 1.5, "items": []}, {}),
    ({"items": []}, {}),
    ({"x": 1, "items": [], "level": "NONE"}, {}),
    ({"x": 1, "items": [], "fixed": 2}, {}),
    ({"x": 1, "items": [], "event": 2}, {}),
    ({"x": True, "items": []}, {}),
    ({"x": 1, "items": [], "note": None, "other": {"deep": [1]}}, {}),
]


def test_arguments_are_bound_and_refused_alike_by_both_hosts(
    service: Callable[..., RunningService], worker: Callable[..., ScriptedProcessor]
) -> None:
    served = service(BINDING, parameters={"fixed": 9})
    spec = {"default_module": "main", "parameters": {"fixed": 9}}
    processor = worker(BINDING, spec=spec, handler="main:f").start()
    seen = set()
    for body, query in REQUESTS:
        text = json.dumps(body).encode()
        target = "/?" + "&".join(f"{name}={value}" for name, value in query.items())
        headers = {"Content-Type": "application/json", "X-Request-Id": "one"}
        ours = call(served.place, "POST", target, text, headers)
        theirs = processor.ask(text, content_type="application/json", fields=query, method="POST", id="one")
        assert (ours.status, ours.body.decode()) == (theirs.status, theirs.body), (body, query)
        seen.add(ours.status)
    assert seen == {200, 422}
