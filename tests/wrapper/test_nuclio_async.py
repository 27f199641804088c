"""Async functions: background tasks between events, and the async mode, with several connections of the processor."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from running_job import is_running, wait_gone
from scripted_processor import LISTEN, Peer, ScriptedProcessor, event_of, frame, pack

from nuwrap_runtime.worker import protocol

Workers = Callable[..., ScriptedProcessor]

CODE = """
import asyncio, json, os, sys, threading, time

NOW = {"count": 0, "most": 0, "ticks": 0}
GATE = asyncio.Event() if sys.version_info >= (3, 10) else None

async def tick(context):
    while True:
        NOW["ticks"] += 1
        await asyncio.sleep(0.005)

async def init_context(context):
    global GATE
    GATE = asyncio.Event()
    context.user_data.task = asyncio.ensure_future(tick(context))
    context.platform.set_termination_callback(lambda: context.logger.info("terminated"))
    context.platform.set_drain_callback(lambda: context.logger.info("drained"))

async def waited(event):
    NOW["count"] += 1
    NOW["most"] = max(NOW["most"], NOW["count"])
    try:
        await GATE.wait()
    except asyncio.CancelledError:
        NOW["cancelled"] = NOW.get("cancelled", 0) + 1
        raise
    finally:
        NOW["count"] -= 1
    return event.body

async def fail_later(kind):
    await asyncio.sleep(0)
    raise kind

async def logged(context, event):
    for number in range(20):
        context.logger.info_with("mine", id=event.id)
        await asyncio.sleep(0)
    await asyncio.get_running_loop().run_in_executor(None, context.logger.info, "a thread's")
    return "logged"

async def forked(context, event):
    pid = os.fork()
    if pid == 0:
        await asyncio.sleep(0)
        return "the child's"
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return str(status >> 8)
        await asyncio.sleep(0.002)

async def f(context, event):
    act = event.path.strip("/")
    if act == "wait":
        return await waited(event)
    if act == "gate":
        while not os.path.exists("go"):
            await asyncio.sleep(0.002)
        return event.body
    if act == "open":
        GATE.set()
    if act == "close":
        GATE.clear()
    if act == "late":
        context.user_data.late = asyncio.ensure_future(fail_later(SystemExit(3)))
        context.user_data.later = asyncio.ensure_future(fail_later(KeyError("later")))
        context.user_data.later.add_done_callback(lambda one: one.exception())
    if act == "logged":
        return await logged(context, event)
    if act == "stray":
        asyncio.get_running_loop().call_later(0.01, context.logger.info, "later")
        threading.Thread(target=context.logger.info, args=("thread",)).start()
    if act == "joined":
        one = threading.Thread(target=context.logger.info, args=("first",))
        one.start(); one.join()
        return "then"
    if act == "forked":
        return await forked(context, event)
    if act == "block":
        time.sleep(0.2)
    if act == "large":
        return "x" * (8 << 20)
    return {**NOW, "body": event.body.decode() if event.body else None}
"""


def until(is_so: Callable[[], Any]) -> Any:
    """Wait until it is so and return what it is."""
    end = time.monotonic() + 60
    while not (found := is_so()):
        assert time.monotonic() < end
        time.sleep(0.002)
    return found


def now(peer: Peer) -> dict[str, Any]:
    """Return what the function counts."""
    return json.loads(peer.ask(path="/now").body)


class TestOneConnection:
    def test_background_tasks_go_on_between_events(self, worker: Workers) -> None:
        peer = worker(CODE).start().event
        first = now(peer)["ticks"]
        time.sleep(0.1)
        assert now(peer)["ticks"] > first + 3

    def test_events_are_answered_one_by_one_and_in_order(self, worker: Workers) -> None:
        peer = worker(CODE).start().event
        peer.send(b"".join(frame(b"%d" % number, path="/now") for number in range(30)))
        replies = [protocol.decode_reply(one) for one in peer.wait(protocol.REPLY, count=30)]
        assert [json.loads(one.body)["body"] for one in replies] == [str(number) for number in range(30)]

    def test_a_background_task_that_exits_or_raises_does_not_end_the_worker(self, worker: Workers) -> None:
        peer = worker(CODE).start()
        for _ in range(3):
            assert peer.ask(path="/late").status == 200
            time.sleep(0.01)
            assert peer.ask(path="/now").status == 200
        assert [one["message"] for one in peer.logs()] == ["SystemExit: the function called sys.exit(3)"] * 3
        assert peer.finish() == 0

    def test_a_child_that_waits_in_its_parent_s_loop_ends_and_answers_nothing(self, worker: Workers) -> None:
        peer = worker(CODE).start()
        for _ in range(3):
            assert peer.ask(path="/forked").body == "1"
        assert peer.stderr().count("forked in an async function") == 3
        assert peer.count(protocol.REPLY) == 3

    def test_what_a_thread_has_logged_comes_before_the_answer(self, worker: Workers) -> None:
        peer = worker(CODE).start()
        assert peer.ask(path="/joined").body == "then"
        assert b"".join(kind for kind, _ in peer.lines)[:3] == b"slr"

    def test_the_end_of_the_socket_cancels_what_nobody_waits_for(self, worker: Workers) -> None:
        peer = worker(CODE).start()
        peer.send(frame(path="/wait"))
        time.sleep(0.05)
        assert peer.finish() == 0
        assert peer.logs() == []
        assert peer.stderr() == ""

    def test_a_large_answer_waits_for_a_slow_processor(self, worker: Workers) -> None:
        peer = worker(CODE, env={"NUWRAP_NUCLIO_FILES": "no"}).start()
        peer.send(frame(path="/large"))
        time.sleep(0.1)
        assert len(peer.event.reply().body) == 8 << 20


@pytest.fixture
def listening(worker: Workers) -> ScriptedProcessor:
    """A worker that was told an address to listen on."""
    return worker(CODE, sockets=LISTEN).accept()


class TestSeveralConnections:
    def test_each_connection_has_its_own_start_and_answers(self, listening: ScriptedProcessor) -> None:
        peers = [listening.connect() for _ in range(8)]
        for peer in peers:
            peer.send(frame(b"%d" % peers.index(peer), path="/wait"))
        last = listening.connect()
        until(lambda: now(last)["count"] == 8)
        last.ask(path="/open")
        for number, peer in enumerate(peers):
            assert peer.reply().body == b"%d" % number
        assert now(last)["most"] == 8
        assert {peer.count(protocol.START) for peer in [*peers, last]} == {1}
        assert {peer.count(protocol.REPLY) for peer in peers} == {1}

    def test_a_slow_event_holds_no_other_connection_up(self, listening: ScriptedProcessor) -> None:
        slow, quick = listening.connect(), listening.connect()
        slow.send(frame(b"slow", path="/wait"))
        for _ in range(20):
            assert quick.ask(path="/now").status == 200
        assert slow.count(protocol.REPLY) == 0
        quick.ask(path="/open")
        assert slow.reply().body == b"slow"

    def test_records_of_an_event_come_on_its_connection_before_its_answer(self, listening: ScriptedProcessor) -> None:
        peers = [listening.connect() for _ in range(4)]
        for number, peer in enumerate(peers):
            peer.send(frame(path="/logged", id=f"e{number}"))
        for number, peer in enumerate(peers):
            assert peer.reply().body == "logged"
            assert {one["with"]["id"] for one in peer.logs() if one["message"] == "mine"} == {f"e{number}"}
            kinds = [kind for kind, _ in peer.lines if kind != protocol.METRIC]
            assert kinds == [protocol.START, *[protocol.LOG] * (len(kinds) - 2), protocol.REPLY]

    def test_records_of_no_event_come_by_the_control_socket(self, listening: ScriptedProcessor) -> None:
        peer = listening.connect()
        peer.ask(path="/stray")
        found = [one["attributes"]["message"] for one in listening.controls("log", count=1)]
        assert found[0] == "thread"
        [record, *_] = listening.controls("log")
        assert set(record["attributes"]) == {"datetime", "level", "message", "with"}
        until(lambda: "later" in [one["message"] for one in (peer.take(), *peer.logs())[1:]])

    def test_the_worker_says_that_it_is_ready(self, listening: ScriptedProcessor) -> None:
        listening.connect()
        assert listening.controls() == [{"kind": "wrapperInitialized", "attributes": {"ready": "true"}}]

    def test_a_lost_connection_cancels_its_event_and_no_other(self, listening: ScriptedProcessor) -> None:
        first, second, third = (listening.connect() for _ in range(3))
        for one in (first, second):
            one.send(frame(b"x", path="/wait"))
        until(lambda: now(third)["count"] == 2)
        first.socket.close()
        until(lambda: now(third).get("cancelled") == 1)
        third.ask(path="/open")
        assert second.reply().body == b"x"
        assert listening.connect().ask(path="/now").status == 200

    def test_the_worker_outlives_all_its_connections(self, listening: ScriptedProcessor) -> None:
        for _ in range(5):
            peer = listening.connect()
            assert peer.ask(path="/now").status == 200
            peer.socket.close()
        assert listening.process.poll() is None

    def test_bytes_that_are_no_frame_end_their_connection_alone(self, listening: ScriptedProcessor) -> None:
        good, bad = listening.connect(), listening.connect()
        bad.send(b"\xff\xff\xff\xff")
        assert bad.socket.recv(100) == b""
        assert good.ask(path="/now").status == 200
        assert "a frame of -1 bytes" in listening.controls("log", count=1)[0]["attributes"]["message"]

    def test_a_batch_and_nonsense_are_answered_on_their_connections(self, listening: ScriptedProcessor) -> None:
        one, other = listening.connect(), listening.connect()
        one.send(protocol.encode_frame(b"\xc1"))
        assert one.reply().status == 500
        other.send(protocol.encode_frame(pack([event_of(id="a"), event_of(id="b")])))
        assert other.wait(protocol.REPLY)

    def test_a_drain_refuses_on_every_connection_and_calls_back_once_all_are_answered(
        self, listening: ScriptedProcessor, root: Path
    ) -> None:
        first, second = listening.connect(), listening.connect()
        first.send(frame(b"x", path="/gate"))
        assert second.ask(path="/now").status == 200
        listening.signal(signal.SIGUSR2)
        until(lambda: second.ask(path="/now").status == 503)
        assert listening.controls("log") == []
        (root / "go").write_text("")
        assert first.reply().body == b"x"
        assert listening.controls("log", count=1)[0]["attributes"]["message"] == "drained"
        assert first.ask(path="/now").status == 503
        listening.signal(signal.SIGCONT)
        until(lambda: second.ask(path="/now").status == 200)

    def test_a_stop_answers_all_events_first(self, listening: ScriptedProcessor, root: Path) -> None:
        peers = [listening.connect() for _ in range(4)]
        for peer in peers[1:]:
            peer.send(frame(b"x", path="/gate"))
        assert peers[0].ask(path="/now").status == 200
        listening.signal(signal.SIGUSR1)
        until(lambda: peers[0].ask(path="/now").status == 503)
        listening.signal(signal.SIGCONT)  # changes nothing
        time.sleep(0.02)
        assert peers[0].ask(path="/now").status == 503
        assert listening.process.poll() is None
        (root / "go").write_text("")
        for peer in peers[1:]:
            assert peer.reply().body == b"x"
        assert listening.ended() == 0
        assert [one["attributes"]["message"] for one in listening.controls("log")] == ["terminated"]

    def test_the_address_takes_connections_while_init_is_under_way(self, worker: Workers, root: Path) -> None:
        wait = "    global GATE\n    while not os.path.exists('go'): time.sleep(0.002)\n"
        peer = worker(CODE.replace("    global GATE\n", wait), sockets=LISTEN).accept()

        def connected() -> bool:
            with socket.socket() as one:
                return one.connect_ex(peer.address) == 0

        until(connected)
        (root / "go").write_text("")
        assert peer.connect().ask(path="/now").status == 200

    def test_an_address_that_is_taken_is_an_error_that_names_it(self, worker: Workers) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "{}:{}".format(*taken.getsockname())
            peer = worker(CODE, extra=["--event-socket-path", address])
            assert peer.ended() == 10
        assert f"the processor wants to connect at '{address}', where nobody can listen" in peer.stderr()
        assert "Traceback" not in peer.stderr()

    def test_a_sync_function_is_served_in_async_mode_one_event_at_a_time(self, worker: Workers) -> None:
        code = "import os\ndef f(context, event):\n    context.logger.info(event.id)\n    return event.body\n"
        listening = worker(code, sockets=LISTEN).accept()
        peers = [listening.connect() for _ in range(3)]
        for number, peer in enumerate(peers):
            peer.send(frame(b"%d" % number, id=f"e{number}"))
        for number, peer in enumerate(peers):
            assert peer.reply().body == b"%d" % number
            assert [one["message"] for one in peer.logs()] == [f"e{number}"]

    def test_a_killed_processor_ends_the_worker(self, listening: ScriptedProcessor) -> None:
        peer = listening.connect()
        peer.send(frame(path="/wait"))
        listening.hang_up()
        assert listening.ended() == 0
        assert not is_running(listening.process.pid)
        wait_gone(listening.process.pid)

    def test_many_connections_at_once_lose_no_event(self, listening: ScriptedProcessor) -> None:
        failures: list[Any] = []

        def ask(peer: Peer) -> None:
            for number in range(40):
                body = os.urandom(8).hex()
                found = json.loads(peer.ask(body.encode(), path="/now", id=f"{number}").body)["body"]
                if found != body:
                    failures.append((found, body))

        threads = [threading.Thread(target=ask, args=(listening.connect(),)) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert failures == []
