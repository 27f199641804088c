"""The same work for both sides: what a Nuclio-style handler does here, a Flask-style one does there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from load import Request

MB = 1024 * 1024

OURS = """
import asyncio, time
BLOB = bytes(range(256)) * 4096

def hello(context, event):
    return "hello"

def document(context, event):
    return event.body

def echo(context, event):
    return context.Response(body=event.body, content_type="application/octet-stream")

def blob(context, event):
    return context.Response(body=BLOB, content_type="application/octet-stream")

def named(name: str = "x"):
    return "hello " + name

async def pause(context, event):
    await asyncio.sleep(0.01)
    return "done"

def slow(context, event):
    time.sleep(30 if event.path == "/slow" else 0)
    return "done"

def events(context, event):
    def lines():
        yield "data: one\\n\\n"
        time.sleep(0.05)
        yield "data: two\\n\\n"
    return context.Response(body=lines(), content_type="text/event-stream")
"""

PEERS = """
import time
import flask
BLOB = bytes(range(256)) * 4096

def hello(request):
    return "hello"

def document(request):
    return request.get_json()

def echo(request):
    return flask.Response(request.get_data(), content_type="application/octet-stream")

def blob(request):
    return flask.Response(BLOB, content_type="application/octet-stream")

def named(request):
    return "hello " + request.args.get("name", "x")

def pause(request):
    time.sleep(0.01)
    return "done"

def events(request):
    def lines():
        yield "data: one\\n\\n"
        time.sleep(0.05)
        yield "data: two\\n\\n"
    return flask.Response(lines(), content_type="text/event-stream")
"""


@dataclass(frozen=True)
class Case:
    """One handler under load. `aims`: peer's name to the least ratio of answers in a second that we want."""

    title: str
    handler: str
    request: Request
    connections: int = 16
    aims: Mapping[str, float] = field(default_factory=dict)


def ten_kilobytes() -> bytes:
    """Return a JSON document as services get them: rows with names, numbers and text, 10 KB in all."""
    rows: list[dict[str, object]] = []
    while len(json.dumps({"rows": rows})) < 10 * 1024:
        number = len(rows)
        rows.append({"id": number, "name": f"row {number}", "value": number / 7, "tags": ["a", "b"], "ok": True})
    return json.dumps({"rows": rows}).encode()


FAST, DEFAULT = "2 x 8", "default"
CASES = (
    Case("hello", "hello", Request(), aims={FAST: 1.2, DEFAULT: 3.0}),
    Case("JSON 10 KB, parsed and returned", "document", Request("/", "application/json", ten_kilobytes())),
    Case("1 MB echo", "echo", Request("/", "application/octet-stream", bytes(range(256)) * 4096), 4, aims={FAST: 0.9}),
    Case("1 MB reply", "blob", Request(), 4, aims={FAST: 0.8}),
    Case("hello by names, `f(name: str)`", "named", Request("/?name=you")),
    Case("10 ms pause: `async def` here, thread there", "pause", Request(), 64),
)
