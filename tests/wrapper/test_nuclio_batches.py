"""Batches: one frame of several events, one line of as many replies, each with its event's id."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from real_processor import RealProcessor
from scripted_processor import ScriptedProcessor, content_of, event_of, frame, pack

from nuwrap_runtime.worker import protocol

CODE = """
import nuclio_sdk

class Bad:
    def __str__(self): raise ValueError("no text")

def named(context, batch):
    return [context.Response(body=event.body, status_code=201, event_id=event.id) for event in reversed(batch)]

def yielded(context, batch):
    for event in batch:
        yield nuclio_sdk.Response(body=event.body, event_id=event.id)

def raising(context, batch):
    raise KeyError("x")

def answering(context, batch):
    raise nuclio_sdk.exceptions.ExceptionWithResponse(409, {"why": 1})

def kinds(context, batch):
    return ["a", {"b": 1}, (202, "c"), None, [1], b"d"][: len(batch)]

def odd(context, batch):
    bad = [context.Response(headers={"X": Bad()}), "\\ud800", ("x", 1), object(), (one for one in "ab"), "fine"]
    return bad[: len(batch)]

ACTS = {
    "named": named, "yielded": yielded, "raising": raising, "answering": answering, "kinds": kinds, "odd": odd,
    "size": lambda context, batch: {"events": len(batch)},
    "text": lambda context, batch: "for all",
    "none": lambda context, batch: None,
    "pair": lambda context, batch: (202, "x"),
    "empty": lambda context, batch: [],
    "short": lambda context, batch: ["a"],
    "long": lambda context, batch: ["a"] * 9,
    "partly": lambda context, batch: [context.Response(body="first", event_id=batch[0].id)],
    "wrong": lambda context, batch: [context.Response(body="x", event_id="not-there") for _ in batch],
    "twice": lambda context, batch: [context.Response(body=str(n), event_id=batch[0].id) for n in range(len(batch))],
    "unreplied": lambda context, batch: [context.Response(body="x") for _ in batch],
    "large": lambda context, batch: ["%d " % n * 100_000 for n in range(len(batch))],
    "large_text": lambda context, batch: "x" * 100_000,
    "exits": lambda context, batch: exit(3),
    "generator": lambda context, batch: context.Response(body=(one for one in ("a", b"b")), status_code=203),
}

def f(context, event):
    assert type(event) is list
    path = event[0].path
    act = path.decode() if isinstance(path, bytes) else path
    return ACTS[act.strip("/")](context, event)
"""
ASYNC = CODE.replace("def f(", "async def f(").replace("def yielded", "async def yielded")
both = pytest.mark.parametrize("code", [CODE, ASYNC], ids=["sync", "async"])


@pytest.fixture(params=[CODE, ASYNC], ids=["sync", "async"])
def peer(request: pytest.FixtureRequest, worker: Callable[..., ScriptedProcessor]) -> ScriptedProcessor:
    """A worker that gets batches."""
    return worker(request.param).start()


def ask(peer: ScriptedProcessor, act: str, count: int = 3) -> list[tuple[int, Any]]:
    """Send a batch; return status and body by event, in the events' order."""
    events = [event_of(b"body %d" % number, id=f"e{number}", path=f"/{act}") for number in range(count)]
    found = peer.event.batch(*events)
    assert set(found) == {f"e{number}" for number in range(count)}
    return [(found[f"e{number}"].status, content_of(found[f"e{number}"]).decode()) for number in range(count)]


def errors(found: list[tuple[int, Any]]) -> list[str]:
    """Return what the 500s say; each has its own event's id."""
    documents = [json.loads(body) for status, body in found if status == 500]
    return [one["error"] for one in documents]


class TestAnswers:
    def test_responses_go_to_the_events_they_name_in_any_order(self, peer: ScriptedProcessor) -> None:
        assert ask(peer, "named") == [(201, f"body {number}") for number in range(3)]
        assert ask(peer, "yielded") == [(200, f"body {number}") for number in range(3)]
        assert ask(peer, "named", 1) == [(201, "body 0")]
        assert len(ask(peer, "named", 200)) == 200

    def test_values_of_any_kind_go_to_the_events_by_their_order(self, peer: ScriptedProcessor) -> None:
        assert ask(peer, "kinds", 6) == [(200, "a"), (200, '{"b": 1}'), (202, "c"), (200, ""), (200, "[1]"), (200, "d")]
        assert ask(peer, "unreplied") == [(200, "x")] * 3

    def test_one_value_is_every_event_s(self, peer: ScriptedProcessor) -> None:
        assert ask(peer, "text") == [(200, "for all")] * 3
        assert ask(peer, "size") == [(200, '{"events": 3}')] * 3
        assert ask(peer, "none") == [(200, "")] * 3
        assert ask(peer, "pair") == [(202, "x")] * 3
        assert ask(peer, "generator") == [(203, "ab")] * 3

    @pytest.mark.parametrize("act", ["empty", "short", "long", "partly", "wrong", "twice"])
    def test_an_event_without_an_answer_gets_a_500_and_the_log_says_why(
        self, peer: ScriptedProcessor, act: str
    ) -> None:
        found = ask(peer, act)
        first = {"partly": (200, "first"), "twice": (200, "0")}.get(act)
        assert [one for one in found if one[0] == 200] == ([first] if first else [])
        assert set(errors(found)) == {"the function's list has no answer for this event"}
        [record] = peer.logs()
        assert "for a batch of 3 events; return one value for each" in record["message"]
        assert record["with"]["request_id"] == ("e1, e2" if first else "e0, e1, e2")

    def test_a_value_that_cannot_be_sent_takes_no_other_s_answer(self, peer: ScriptedProcessor) -> None:
        found = ask(peer, "odd", 6)
        assert [status for status, _ in found] == [500, 500, 500, 500, 200, 200]
        assert [body for _, body in found[4:]] == ["ab", "fine"]
        assert [one["with"]["request_id"] for one in peer.logs()] == ["e0", "e1", "e2", "e3"]
        assert [json.loads(body)["request_id"] for _, body in found[:4]] == ["e0", "e1", "e2", "e3"]


class TestFaults:
    @pytest.mark.parametrize(("act", "logged"), [("raising", "KeyError: 'x'"), ("exits", "SystemExit: ")])
    def test_an_exception_is_every_event_s_and_one_record(self, peer: ScriptedProcessor, act: str, logged: str) -> None:
        found = ask(peer, act)
        assert errors(found) == ["the function raised an exception; its log says more"] * 3
        assert [json.loads(body)["request_id"] for _, body in found] == ["e0", "e1", "e2"]
        [record] = peer.logs()
        assert record["message"].startswith(logged)
        assert record["with"]["request_id"] == "e0, e1, e2"

    def test_an_exception_with_a_response_is_every_event_s_answer(self, peer: ScriptedProcessor) -> None:
        assert ask(peer, "answering") == [(409, '{"why": 1}')] * 3
        assert peer.logs() == []

    def test_a_drained_worker_refuses_each_event(self, peer: ScriptedProcessor) -> None:
        peer.signal(signal.SIGUSR2)
        while (found := ask(peer, "text"))[0][0] == 200:
            pass
        assert [status for status, _ in found] == [503] * 3

    def test_a_batch_of_nothing_or_of_no_events_has_one_answer(self, peer: ScriptedProcessor) -> None:
        for bad in ([], [1, 2], [event_of(path="/text"), "x"]):
            peer.event.send(protocol.encode_frame(pack(bad)))
            reply = peer.event.reply()
            assert (reply.status, reply.event_id) == (500, "unknown")
        assert ask(peer, "text") == [(200, "for all")] * 3
        assert peer.count(protocol.REPLY) == 4

    @pytest.mark.parametrize("act", ["text", "kinds", "raising", "short"])
    def test_an_event_without_an_id_is_answered_by_a_name(self, peer: ScriptedProcessor, act: str) -> None:
        assert set(peer.event.batch(event_of(id="", path=f"/{act}"))) == {"unknown"}

    def test_a_single_event_is_none_of_a_batch(self, peer: ScriptedProcessor) -> None:
        peer.send(frame(path="/text"))
        assert peer.event.reply().status == 500
        assert peer.logs()[0]["message"].startswith("AssertionError")


class TestForms:
    def test_large_answers_go_by_files_of_their_own(self, peer: ScriptedProcessor) -> None:
        found = ask(peer, "large")
        assert [body for _, body in found] == [f"{number} " * 100_000 for number in range(3)]
        assert ask(peer, "large_text") == [(200, "x" * 100_000)] * 3

    @both
    def test_raw_events_have_their_answers_by_ids_of_text(
        self, worker: Callable[..., ScriptedProcessor], code: str
    ) -> None:
        peer = worker(code, is_decoded=False).start()
        assert ask(peer, "named") == [(201, f"body {number}") for number in range(3)]

    @both
    def test_a_batch_is_never_streamed(self, worker: Callable[..., ScriptedProcessor], code: str) -> None:
        peer = worker(code, env={"NUWRAP_NUCLIO_STREAMS": "yes"}).start()
        assert ask(peer, "yielded") == [(200, f"body {number}") for number in range(3)]
        assert {kind for kind, _ in peer.lines} == {protocol.START, protocol.REPLY, protocol.METRIC}


@pytest.fixture(scope="module")
def processor(tree: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProcessor]:
    """Nuclio's own, which gathers events for a moment."""
    http = {"batch": {"mode": "enable", "batchSize": 4, "timeout": "100ms"}}
    with RealProcessor(tree, tmp_path_factory.mktemp("processor"), CODE, http=http) as one:
        yield one.ready()


def answers(processor: RealProcessor, act: str) -> list[tuple[int, str]]:
    """Send as many requests as make a batch, at once."""

    def call(number: int) -> tuple[int, str]:
        answer = processor.call("POST", f"/{act}", b"body %d" % number)
        return answer.status, answer.body.decode()

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(call, range(4)))


def test_every_client_of_a_batch_gets_its_own_answer(processor: RealProcessor) -> None:
    assert answers(processor, "named") == [(201, f"body {number}") for number in range(4)]
    assert answers(processor, "yielded") == [(200, f"body {number}") for number in range(4)]
    assert answers(processor, "size") == [(200, '{"events": 4}')] * 4
    assert sorted(answers(processor, "large")) == [(200, f"{number} " * 100_000) for number in range(4)]
    assert processor.call("POST", "/named", b"alone").body == b"alone"


@pytest.mark.parametrize("act", ["raising", "exits", "short", "wrong", "twice", "odd"])
def test_a_fault_in_a_batch_leaves_no_client_waiting(processor: RealProcessor, act: str) -> None:
    statuses = [status for status, _ in answers(processor, act)]
    assert statuses.count(500) == {"twice": 3}.get(act, 4)
    assert answers(processor, "text") == [(200, "for all")] * 4


def test_a_processor_s_batch_may_end_in_an_answer_by_exception(processor: RealProcessor, tmp_path: Path) -> None:
    assert answers(processor, "answering") == [(409, '{"why": 1}')] * 4
