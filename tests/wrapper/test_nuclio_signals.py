"""Drain, continue, terminate, a processor that is gone: no event is lost or answered twice, nothing left running."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from running_job import is_running, wait_gone
from scripted_processor import ONE, ScriptedProcessor, WorkerGone, frame

from nuwrap_runtime.worker import protocol

DRAIN, CONTINUE, TERMINATE = signal.SIGUSR2, signal.SIGCONT, signal.SIGUSR1

SYNC = """
import asyncio, os, signal, subprocess, sys, threading, time

def init_context(context):
    context.platform.set_drain_callback(lambda: context.logger.info("drained"))
    context.platform.set_termination_callback(lambda: context.logger.info("terminated"))

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.002)

def f(context, event):
    if event.path == "/wait":
        open("begun", "w").close()
        wait_for("go")
    return event.body
"""
ASYNC = """
import asyncio, os

async def init_context(context):
    async def drained():
        await asyncio.sleep(0.001)
        context.logger.info("drained")
    async def terminated():
        await asyncio.sleep(0.001)
        context.logger.info("terminated")
    context.platform.set_drain_callback(drained)
    context.platform.set_termination_callback(terminated)

async def f(context, event):
    if event.path == "/wait":
        open("begun", "w").close()
        while not os.path.exists("go"):
            await asyncio.sleep(0.002)
    return event.body
"""
both = pytest.mark.parametrize("code", [SYNC, ASYNC], ids=["sync", "async"])

Workers = Callable[..., ScriptedProcessor]


def until(is_so: Callable[[], Any]) -> Any:
    """Wait until it is so and return what it is."""
    end = time.monotonic() + 60
    while not (found := is_so()):
        assert time.monotonic() < end
        time.sleep(0.002)
    return found


def told(peer: ScriptedProcessor, count: int) -> list[str]:
    """Return the texts of all log records, once there are so many."""
    while len(peer.logs()) < count:
        peer.event.wait(protocol.LOG)
    return [one["message"] for one in peer.logs()]


def go_on(peer: ScriptedProcessor) -> None:
    """Send the signal to continue, and events until one is taken."""
    peer.signal(CONTINUE)
    until(lambda: peer.ask(b"x").status == 200)


@both
def test_an_idle_worker_drains_at_once_and_refuses_events_until_it_goes_on(worker: Workers, code: str) -> None:
    peer = worker(code).start()
    peer.signal(DRAIN)
    assert told(peer, 1) == ["drained"]
    for number in range(3):
        refused = peer.ask(b"x", id=f"e{number}")
        assert (refused.status, refused.event_id) == (503, f"e{number}")
        assert json.loads(refused.body)["request_id"] == f"e{number}"
    go_on(peer)
    assert peer.ask(b"y").body == b"y"
    peer.signal(DRAIN)
    assert told(peer, 2) == ["drained"] * 2
    assert peer.finish() == 0


@both
def test_a_busy_worker_drains_when_its_answer_is_sent(worker: Workers, root: Path, code: str) -> None:
    peer = worker(code).start()
    peer.send(frame(b"x", path="/wait"))
    until((root / "begun").exists)
    peer.signal(DRAIN, DRAIN)
    time.sleep(0.05)  # a callback before its time would come now
    (root / "go").write_text("")
    assert peer.event.reply().body == b"x"
    assert told(peer, 1) == ["drained"]
    kinds = [kind for kind, _ in peer.lines]
    assert kinds == [protocol.START, protocol.REPLY, protocol.METRIC, protocol.LOG]
    assert peer.ask().status == 503


@both
@pytest.mark.parametrize("signals", [[TERMINATE], [TERMINATE] * 3, [TERMINATE, CONTINUE], [DRAIN, TERMINATE]], ids=str)
def test_an_idle_worker_terminates_with_its_callback(worker: Workers, code: str, signals: list[int]) -> None:
    peer = worker(code).start()
    if DRAIN in signals:
        peer.signal(DRAIN)
        assert told(peer, 1) == ["drained"]
    begin = time.monotonic()
    peer.signal(*[one for one in signals if one != DRAIN])
    assert peer.end() == 0
    assert time.monotonic() - begin < 10  # what a processor waits for a worker
    assert [one["message"] for one in peer.logs()][-1:] == ["terminated"]
    assert len(peer.logs()) == len({TERMINATE, DRAIN} & set(signals))
    assert peer.stderr() == ""


@both
def test_a_busy_worker_answers_first_and_terminates_then(worker: Workers, root: Path, code: str) -> None:
    peer = worker(code, env={"NUWRAP_NUCLIO_FILES": "no"}).start()
    large = os.urandom(1 << 20) * 8  # which no socket takes at once
    peer.send(frame(large, path="/wait"))
    until((root / "begun").exists)
    peer.signal(TERMINATE, TERMINATE)
    (root / "go").write_text("")
    time.sleep(0.1)  # the socket is full then
    assert peer.end() == 0
    replies = [payload for kind, payload in peer.lines if kind == protocol.REPLY]
    assert [protocol.decode_reply(one).body for one in replies] == [large]
    assert [one["message"] for one in peer.logs()] == ["terminated"]
    assert peer.stderr() == ""


@both
def test_a_signal_to_go_on_that_nothing_went_before_changes_nothing(worker: Workers, code: str) -> None:
    peer = worker(code).start()
    peer.signal(CONTINUE, CONTINUE)
    assert peer.ask(b"x").body == b"x"
    assert peer.logs() == []


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "async"])
def test_a_signal_during_a_callback_waits_for_its_end(worker: Workers, root: Path, kind: str) -> None:
    code = f"""
import asyncio, os, time
def init_context(context):
    def drain():
        context.logger.info("drain begins")
        while not os.path.exists("go"): time.sleep(0.002)
        context.logger.info("drain ends")
    context.platform.set_drain_callback(drain)
    context.platform.set_termination_callback(lambda: context.logger.info("terminated"))
{kind}def f(context, event):
    pass
"""
    peer = worker(code).start()
    peer.signal(DRAIN)
    assert told(peer, 1) == ["drain begins"]
    for number in (TERMINATE, DRAIN, CONTINUE):  # at once they have no order
        peer.signal(number)
        time.sleep(0.01)
    (root / "go").write_text("")
    assert peer.end() == 0
    assert [one["message"] for one in peer.logs()] == ["drain begins", "drain ends", "terminated"]


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "async"])
@pytest.mark.parametrize("act", ["1 / 0", "raise SystemExit(3)"])
def test_a_callback_that_raises_is_logged_and_the_signal_counts(worker: Workers, kind: str, act: str) -> None:
    code = f"""
def init_context(context):
    {kind}def bad():
        {act}
    context.platform.set_drain_callback(bad)
    context.platform.set_termination_callback(bad)
{kind}def f(context, event):
    return "x"
"""
    peer = worker(code).start()
    peer.signal(DRAIN)
    first = told(peer, 1)[0]
    assert first.startswith(("ZeroDivisionError", "SystemExit"))
    assert "in bad" in peer.logs()[0]["with"]["traceback"]
    assert peer.ask().status == 503
    go_on(peer)
    peer.signal(TERMINATE)
    assert peer.end() == 0
    assert [one["message"] for one in peer.logs()] == [first] * 2


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "async"])
def test_without_callbacks_the_signals_mean_the_same(worker: Workers, kind: str) -> None:
    peer = worker(f"{kind}def f(context, event):\n    return 'x'\n").start()
    peer.signal(DRAIN)
    until(lambda: peer.ask().status == 503)
    go_on(peer)
    peer.signal(TERMINATE)
    assert peer.end() == 0
    assert peer.logs() == []


def test_a_coroutine_may_be_the_callback_of_a_sync_function(worker: Workers) -> None:
    code = ASYNC.replace("async def f", "async def g") + "def f(context, event):\n    return 'x'\n"
    peer = worker(code).start()
    peer.signal(DRAIN)
    assert told(peer, 1) == ["drained"]
    peer.signal(TERMINATE)
    assert peer.end() == 0
    assert told(peer, 2) == ["drained", "terminated"]


GATED = """
import os, time
def init_context(context):
    context.platform.set_drain_callback(lambda: context.logger.info("drained"))
    context.platform.set_termination_callback(lambda: context.logger.info("terminated"))
    try:
        open("begun", "w").close()
        while not os.path.exists("go"): time.sleep(0.002)
    {handling}
"""


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("handling", "said"),
    [("finally: print('tidied')", "tidied\n"), ("except BaseException: pass", "")],
    ids=["finally", "swallowed"],
)
def test_a_signal_to_terminate_during_init_ends_in_order(
    worker: Workers, root: Path, kind: str, handling: str, said: str
) -> None:
    peer = worker(GATED.format(handling=handling) + f"{kind}def f(context, event):\n    pass\n").accept()
    until((root / "begun").exists)
    peer.signal(TERMINATE, TERMINATE)
    assert peer.end() == 0
    assert (peer.stdout(), peer.stderr()) == (said, "")
    assert [one["message"] for one in peer.logs()] == ([] if said else ["terminated"])


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "async"])
def test_a_signal_to_drain_during_init_is_heeded_after_it(worker: Workers, root: Path, kind: str) -> None:
    peer = worker(GATED.format(handling="finally: pass") + f"{kind}def f(context, event):\n    pass\n").accept()
    until((root / "begun").exists)
    peer.signal(DRAIN)
    (root / "go").write_text("")
    assert told(peer, 1) == ["drained"]
    assert peer.ask().status == 503
    assert peer.count(protocol.START) == 1


def test_a_signal_that_another_thread_got_wakes_the_waiting_worker(worker: Workers) -> None:
    code = (
        SYNC
        + """
def act():
    time.sleep(0.05)  # until the main thread waits again
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
def f(context, event):
    threading.Thread(target=act, daemon=True).start()
"""
    )
    peer = worker(code).start()
    peer.ask()
    assert told(peer, 1) == ["drained"]
    assert peer.ask().status == 503


@both
def test_no_event_is_lost_or_answered_twice_under_a_storm_of_signals(worker: Workers, code: str) -> None:
    peer = worker(code).start()
    is_over = threading.Event()

    def storm() -> None:
        while not is_over.is_set():
            for number in (DRAIN, CONTINUE, CONTINUE, DRAIN, DRAIN, CONTINUE):
                peer.signal(number)
                time.sleep(0.0005)

    thread = threading.Thread(target=storm)
    thread.start()
    statuses = []
    try:
        for number in range(600):
            reply = peer.ask(b"%d" % number, id=f"e{number}")
            statuses.append(reply.status)
            assert reply.status in (200, 503)
            assert (reply.body if reply.status == 200 else reply.event_id) in (b"%d" % number, f"e{number}")
    finally:
        is_over.set()
        thread.join()
    go_on(peer)
    assert {200, 503} == set(statuses)
    assert peer.count(protocol.REPLY) == peer.count(protocol.METRIC) >= 601
    assert {one["message"] for one in peer.logs()} == {"drained"}


@both
def test_an_end_in_the_middle_of_events_answers_all_that_it_took(worker: Workers, code: str) -> None:
    for pause in (0.002, 0.005, 0.011):
        peer = worker(code).start()
        timer = threading.Timer(pause, peer.signal, [TERMINATE])
        timer.start()
        sent = 0
        try:
            for number in range(5000):
                peer.send(frame(b"x", id=f"e{number}"))
                sent += 1
                assert peer.event.reply().status in (200, 503)
        except (WorkerGone, BrokenPipeError):
            pass
        timer.join()
        assert peer.end() == 0
        assert sent < 5000
        assert sent - peer.count(protocol.REPLY) in (0, 1)  # one that came after the end was never read
        assert peer.logs()[-1]["message"] == "terminated"


CHILDREN = """
import os, signal, subprocess, sys, threading, time
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(999)"
def f(context, event):
    if event.path == "/thread":
        threading.Thread(target=time.sleep, args=(999,)).start()
    elif event.path == "/hang":
        open("begun", "w").close()
        time.sleep(999)
    else:
        forked = os.fork() or time.sleep(999)
        usual = subprocess.Popen(["sleep", "999"])
        stubborn = subprocess.Popen([sys.executable, "-S", "-c", STUBBORN], stdout=subprocess.PIPE)
        stubborn.stdout.readline()
        return [forked, usual.pid, stubborn.pid]
"""


@pytest.fixture
def children() -> Iterator[list[int]]:
    """Processes that a test's worker has started; none of them outlives the test."""
    pids: list[int] = []
    yield pids
    for pid in filter(is_running, pids):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["terminated", "end of file"])
def test_children_end_with_the_worker_those_too_that_do_not_want_to(
    worker: Workers, children: list[int], how: str
) -> None:
    peer = worker(CHILDREN, start_new_session=False).start()
    children += peer.answers()
    if how == "terminated":
        peer.signal(TERMINATE)
    assert (peer.end() if how == "terminated" else peer.finish()) == 0
    for pid in children:
        wait_gone(pid)


def test_children_of_a_killed_worker_end_when_another_is_started_in_its_stead(
    worker: Workers, children: list[int]
) -> None:
    peer = worker(CHILDREN, trigger=("http", "killed/one")).start()
    children += peer.answers()
    peer.signal(signal.SIGKILL)
    assert peer.ended() == -signal.SIGKILL
    other = worker(CHILDREN, trigger=("http", "killed/two")).start()
    assert all(is_running(pid) for pid in children)
    assert other.finish() == 0
    worker(CHILDREN, trigger=("http", "killed/one")).start()
    for pid in children:
        wait_gone(pid)


def test_a_thread_that_does_not_end_holds_no_exit_up(worker: Workers) -> None:
    peer = worker(CHILDREN).start()
    peer.ask(path="/thread")
    peer.signal(TERMINATE)
    assert peer.end() == 0


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "async"])
def test_a_killed_processor_takes_a_busy_worker_and_its_children_along(
    worker: Workers, root: Path, children: list[int], kind: str
) -> None:
    peer = worker(CHILDREN.replace("def f(", f"{kind}def f(")).start()
    children += peer.answers()
    peer.send(frame(path="/hang"))
    until((root / "begun").exists)
    peer.hang_up()
    assert peer.ended() != 0
    assert "the processor is gone" in peer.stderr()
    for pid in children:
        wait_gone(pid)


def test_a_processor_that_is_killed_during_init_takes_the_worker_along(worker: Workers, root: Path) -> None:
    peer = worker(GATED.format(handling="finally: pass") + "def f(context, event):\n    pass\n").accept()
    until((root / "begun").exists)
    peer.hang_up()
    assert peer.ended() != 0


@both
def test_the_end_of_the_event_socket_is_an_orderly_end_without_a_control_socket_too(worker: Workers, code: str) -> None:
    peer = worker(code, sockets=ONE).start()
    assert peer.ask(b"x").body == b"x"
    peer.signal(DRAIN)
    assert told(peer, 1) == ["drained"]
    assert peer.finish() == 0
