"""Generators under a processor: lines `c`, `b`, `e` where it reads them (1.15), one answer where it does not."""

from __future__ import annotations

import base64
import json
import signal
import time
from pathlib import Path
from typing import Callable

import pytest
from scripted_processor import ScriptedProcessor, frame

from nuwrap_runtime.worker import protocol

Workers = Callable[..., ScriptedProcessor]

SYNC = """
import os, time

def init_context(context):
    context.platform.set_drain_callback(lambda: context.logger.info("drained"))

def values(*given):
    for one in given:
        if isinstance(one, Exception):
            raise one
        yield one

def gated():
    yield "first"
    while not os.path.exists("go"):
        time.sleep(0.002)
    yield "second"

def counted(context):
    for number in range(200):
        open("count", "w").write(str(number))
        yield b"x" * (1 << 18)

def forked():
    yield "a"
    if os.fork() == 0:
        yield "the child's"
    yield "b"

def act(context, event):
    kind = event.path.strip("/")
    return {
        "values": lambda: values("one ", b"two ", None, "", {"three": 3}, [4]),
        "json": lambda: values({"a": 1}, 2),
        "none": lambda: values(),
        "pair": lambda: (201, values("a", "b")),
        "response": lambda: context.Response(
            headers={"X-N": 5}, body=values("a", "b"), content_type="text/css", status_code=202),
        "responses": lambda: values(context.Response(body="a", status_code=203, headers={"X": "1"}), "b"),
        "late": lambda: values("a", "b", KeyError("late")),
        "early": lambda: values(KeyError("early")),
        "odd": lambda: values("a", object()),
        "gated": gated,
        "counted": lambda: counted(context),
        "forked": forked,
        "logs": lambda: logs(context),
        "plain": lambda: "plain",
    }[kind]()

def logs(context):
    yield "a"
    context.logger.info("between")
    yield "b"

def f(context, event):
    return act(context, event)
"""
ASYNC = SYNC.replace("def f(", "async def f(").replace("def gated", "async def gated")
ASYNC = ASYNC.replace("time.sleep", "await sleep").replace("import os, time", "import os\nfrom asyncio import sleep")
ASYNC = ASYNC.replace("def values", "async def values").replace("def counted", "async def counted")
both = pytest.mark.parametrize("code", [SYNC, ASYNC], ids=["sync", "async"])
ON = {"NUWRAP_NUCLIO_STREAMS": "yes"}

Line = tuple[bytes, bytes]


def stream(peer: ScriptedProcessor, kind: str) -> tuple[dict[str, object], list[bytes]]:
    """Ask, and return the head of the answer and its chunks, the first one among them."""
    before = len(peer.lines)
    peer.send(frame(path=f"/{kind}", id=f"id of {kind}"))
    peer.wait(protocol.METRIC)
    lines = [line for line in peer.lines[before:] if line[0] != protocol.LOG]
    kinds = b"".join(kind for kind, _ in lines)
    assert kinds[:1] == b"c", kinds
    assert kinds == b"c" + b"b" * (len(kinds) - 3) + b"em", kinds
    assert lines[-2] == (b"e", b"")
    head = json.loads(lines[0][1])
    assert head.pop("event_id") == f"id of {kind}"
    first = base64.b64decode(head.pop("body"))
    assert head.pop("body_encoding") == "base64"
    return head, [first, *(base64.b64decode(payload, validate=True) for _, payload in lines[1:-2])]


class TestSent:
    @both
    def test_each_value_is_a_line_once_it_is_yielded(self, worker: Workers, code: str) -> None:
        peer = worker(code, env=ON).start()
        plain = {"content_type": "text/plain", "headers": {}, "status_code": 200}
        assert stream(peer, "values") == (plain, [b"one ", b"two ", b'{"three": 3}\n', b"[4]\n"])
        ndjson = {**plain, "content_type": "application/x-ndjson"}
        assert stream(peer, "json") == (ndjson, [b'{"a": 1}\n', b"2\n"])
        assert stream(peer, "pair") == ({**plain, "status_code": 201}, [b"a", b"b"])
        own = {"content_type": "text/css", "headers": {"X-N": "5"}, "status_code": 202}
        assert stream(peer, "response") == (own, [b"a", b"b"])
        assert stream(peer, "responses") == ({**plain, "status_code": 203, "headers": {"X": "1"}}, [b"a", b"b"])
        assert peer.ask(path="/plain").body == "plain"
        assert peer.ask(path="/none").body == b""
        assert peer.count(protocol.REPLY) == 2

    @both
    def test_the_first_chunk_is_sent_while_the_second_is_made(self, worker: Workers, root: Path, code: str) -> None:
        peer = worker(code, env=ON).start()
        peer.send(frame(path="/gated"))
        [head] = peer.wait(b"c")
        assert base64.b64decode(json.loads(head)["body"]) == b"first"
        assert not peer.count(b"b")
        (root / "go").write_text("")
        peer.wait(b"e")
        assert [base64.b64decode(one) for kind, one in peer.lines if kind == b"b"] == [b"second"]

    @both
    def test_a_generator_that_raises_midway_says_so_in_its_text_and_in_the_log(
        self, worker: Workers, code: str
    ) -> None:
        peer = worker(code, env=ON).start()
        for kind, logged in (("late", "KeyError: 'late'"), ("odd", "what the function returned cannot be sent: a obj")):
            _, chunks = stream(peer, kind)
            assert chunks[-1] == b"\n[nuwrap: the answer broke off here]\n"
            assert chunks[:-1] == ([b"a", b"b"] if kind == "late" else [b"a"])
            assert peer.logs()[-1]["message"].startswith(logged)
        assert peer.ask(path="/plain").body == "plain"

    @both
    def test_a_generator_that_raises_at_once_is_a_500(self, worker: Workers, code: str) -> None:
        peer = worker(code, env=ON).start()
        assert peer.ask(path="/early").status == 500
        assert b"".join(kind for kind, _ in peer.lines)[:3] == b"slr"

    @both
    def test_a_generator_waits_for_a_processor_that_does_not_read(self, worker: Workers, root: Path, code: str) -> None:
        peer = worker(code, env=ON).start()
        peer.send(frame(path="/counted"))
        peer.wait(b"c")
        seen = -1
        while (now := int((root / "count").read_text() or 0)) != seen:
            seen = now
            time.sleep(0.1)
        assert seen < 100
        peer.wait(b"e")
        assert sum(len(base64.b64decode(one)) for kind, one in peer.lines if kind == b"b") == 199 << 18

    @both
    def test_a_drain_lets_a_stream_end_first(self, worker: Workers, root: Path, code: str) -> None:
        peer = worker(code, env=ON).start()
        peer.send(frame(path="/gated"))
        peer.wait(b"c")
        peer.signal(signal.SIGUSR2)
        (root / "go").write_text("")
        peer.wait(protocol.LOG)
        kinds = b"".join(kind for kind, _ in peer.lines)
        assert kinds == b"scbeml"

    def test_a_child_that_a_generator_forks_sends_nothing(self, worker: Workers) -> None:
        peer = worker(SYNC, env=ON).start()
        assert stream(peer, "forked")[1] == [b"a", b"b"]
        assert peer.ask(path="/plain").body == "plain"

    def test_records_come_where_they_are_logged(self, worker: Workers) -> None:
        peer = worker(SYNC, env=ON).start()
        stream(peer, "logs")
        assert b"".join(kind for kind, _ in peer.lines) == b"sclbem"


class TestSwitch:
    @pytest.mark.parametrize(
        ("env", "is_sent"),
        [
            ({}, False),
            ({"NUWRAP_NUCLIO_VERSION": "1.14.2"}, False),
            ({"NUWRAP_NUCLIO_VERSION": "1.15.0"}, True),
            ({"NUWRAP_NUCLIO_VERSION": "1.15.0", "NUWRAP_NUCLIO_STREAMS": "no"}, False),
            ({"NUWRAP_NUCLIO_VERSION": "unstable"}, False),
        ],
        ids=str,
    )
    def test_streams_are_sent_to_a_processor_that_reads_them(
        self, worker: Workers, env: dict[str, str], is_sent: bool
    ) -> None:
        peer = worker(SYNC, env=env).start()
        peer.send(frame(path="/json"))
        peer.wait(protocol.METRIC)
        assert bool(peer.count(b"c")) == is_sent
        assert bool(peer.count(protocol.REPLY)) != is_sent

    def test_no_other_trigger_than_http_gets_streams(self, worker: Workers) -> None:
        peer = worker(SYNC, env=ON, trigger=("cron", "tick")).start()
        assert peer.ask(path="/json").body == b'{"a": 1}\n2\n'

    @both
    def test_without_them_the_values_are_one_answer(self, worker: Workers, code: str) -> None:
        peer = worker(code).start()
        assert peer.ask(path="/values").body == b'one two {"three": 3}\n[4]\n'
        assert peer.ask(path="/late").status == 500
        assert {kind for kind, _ in peer.lines} == {protocol.START, protocol.REPLY, protocol.METRIC, protocol.LOG}
