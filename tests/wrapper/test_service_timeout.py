"""Calls that take too long, clients that leave, and functions that speak on our socket: who pays, and who does not."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time

import pytest
from running_job import wait_gone
from running_service import CutOff, request

HELPERS = """
import asyncio, os, pathlib, stat, threading, time

FOLDER = pathlib.Path({folder!r})

def put(name, text="x"):
    (FOLDER / f".{{name}}").write_text(text)
    (FOLDER / f".{{name}}").rename(FOLDER / name)

def wait_for(name):
    while not (FOLDER / name).exists():
        time.sleep(0.005)

def sockets():
    "Our event sockets in this process."
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{{name}}").startswith("socket:"):
                found.append(int(name))
        except OSError:
            pass
    return found
"""


@pytest.fixture
def serving(service, tmp_path):
    """Serve code that knows this test's folder."""
    return lambda code, **keys: service(HELPERS.format(folder=str(tmp_path)) + code, **keys)


def restarts(running, reason):
    page = running.admin_page("/metrics").body.decode()
    line = next(one for one in page.split("\n") if one.startswith(f'nuwrap_worker_restarts_total{{reason="{reason}"}}'))
    return float(line.rpartition(" ")[2])


def hang_up(client, *, by_reset):
    """Leave without a word: by a reset, or as a process that ends does, whose system answers later bytes with one."""
    if by_reset:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


SYNC = """
def f(context, event):
    if event.path == "/slow":
        put(f"begun-{os.getpid()}")
        time.sleep(600)
    return str(os.getpid())
"""


def test_sync_call_that_takes_too_long_gets_504_and_ends_its_worker_alone(serving, tmp_path):
    running = serving(SYNC, timeout_s=0.5)
    pid = int(running.ask().body)
    with running.client() as slow, running.client() as queued:
        slow.send(request(target="/slow"))
        running.until((tmp_path / f"begun-{pid}").exists)
        queued.send(request())
        answer = slow.answer()
        assert answer.status == 504
        assert "0.5 s (timeout_s)" in answer.json()["error"]
        assert answer.json()["request_id"] == answer.header("x-request-id")
        assert int(queued.answer().body) != pid
        assert slow.ask(request()).status == 200  # the same connection goes on
    wait_gone(pid)
    assert (restarts(running, "timed_out"), restarts(running, "crashed")) == (1, 0)
    assert running.metric("nuwrap_requests_in_flight") == 0


def test_time_outs_one_after_the_other_do_not_slow_the_service_down(serving):
    running = serving(SYNC, timeout_s=0.05)
    for _ in range(6):
        assert running.ask(request(target="/slow")).status == 504
    assert running.ask().status == 200
    assert restarts(running, "timed_out") == 6
    assert not any("again in" in line["message"] for line in running.log() if line["event"] == "warning")


def test_time_spent_waiting_for_a_worker_does_not_count(serving, tmp_path):
    running = serving("def f(context, event):\n    time.sleep(0.3)\n    return 1\n", timeout_s=1)
    clients = [running.client() for _ in range(6)]
    for one in clients:
        one.send(request())
    assert [one.answer().status for one in clients] == [200] * 6
    for one in clients:
        one.socket.close()


ASYNC = """
async def f(context, event):
    name = event.path[1:]
    put(f"begun-{name}")
    try:
        if name.startswith("slow"):
            await asyncio.sleep(600)
        while name.startswith("deaf"):
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                put("cancelled")
        while name.startswith("other") and not (FOLDER / "go").exists():
            await asyncio.sleep(0.005)
        return str(os.getpid())
    finally:
        put(f"finally-{name}")
"""


def begin(running, tmp_path, client, name):
    client.send(request(target=f"/{name}"))
    running.until((tmp_path / f"begun-{name}").exists)


def test_async_call_that_takes_too_long_is_cancelled_and_others_go_on(serving, tmp_path):
    running = serving(ASYNC, timeout_s=2)
    (pid,) = running.worker_pids()
    with running.client() as slow, running.client() as other:
        begin(running, tmp_path, slow, "slow")
        time.sleep(1)
        begin(running, tmp_path, other, "other")
        assert slow.answer().status == 504
        running.until((tmp_path / "finally-slow").exists)
        (tmp_path / "go").touch()
        assert int(other.answer().body) == pid
        assert int(slow.ask(request(target="/next")).body) == pid
    assert running.metric("nuwrap_worker_restarts_total") == 0
    assert running.metric("nuwrap_requests_in_flight") == 0


def test_async_call_that_will_not_be_cancelled_ends_its_worker_and_others_may_come_again(serving, tmp_path):
    running = serving(ASYNC, timeout_s=1.5)
    (pid,) = running.worker_pids()
    with running.client() as deaf, running.client() as other:
        begin(running, tmp_path, deaf, "deaf")
        time.sleep(1.2)
        begin(running, tmp_path, other, "other")
        assert deaf.answer().status == 504
        answer = other.answer()
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        (tmp_path / "go").touch()
        assert int(other.ask(request(target="/other")).body) != pid
    assert (tmp_path / "cancelled").exists()
    wait_gone(pid)
    assert restarts(running, "timed_out") == 1


STREAMS = {
    "sync": """
def f(context, event):
    if event.path == "/pid":
        return str(os.getpid())
    return pieces(event)

def pieces(event):
    for _ in range(5):
        time.sleep(0.25)
        yield "piece;"
    if event.path == "/slow":
        time.sleep(600)
""",
    "async": """
async def f(context, event):
    return str(os.getpid()) if event.path == "/pid" else pieces(event)

async def pieces(event):
    for _ in range(5):
        await asyncio.sleep(0.25)
        yield "piece;"
    if event.path == "/slow":
        await asyncio.sleep(600)
""",
}


@pytest.mark.parametrize("kind", STREAMS)
def test_stream_has_the_time_for_each_piece_and_is_cut_when_one_takes_too_long(serving, kind):
    running = serving(STREAMS[kind], timeout_s=1)
    pid = running.ask(request(target="/pid")).body
    assert running.ask(request()).body == b"piece;" * 5
    with running.client() as client:
        client.send(request(target="/slow"))
        assert client.head().status == 200
        assert [client.chunk() for _ in range(5)] == [b"piece;"] * 5
        with pytest.raises(CutOff):
            client.chunk()
    is_same = running.ask(request(target="/pid")).body == pid
    assert is_same == (kind == "async")


STUBBORN = """
async def f(context, event):
    return pieces() if event.path == "/stream" else str(os.getpid())

async def pieces():
    yield "first"
    try:
        await asyncio.sleep(600)
    finally:
        try:
            yield "second"
        finally:
            while True:
                try:
                    await asyncio.sleep(600)
                except BaseException:
                    pass
"""


def test_stream_that_speaks_once_more_after_its_cancellation_is_ended_all_the_same(serving):
    running = serving(STUBBORN, timeout_s=0.3, concurrency=2)
    (pid,) = running.worker_pids()
    with running.client() as client:
        client.send(request(target="/stream"))
        assert client.head().status == 200
        assert client.chunk() == b"first"
        assert client.rest() == b""
    wait_gone(pid)
    running.ready()
    assert int(running.ask().body) != pid


ENDLESS = """
def f(context, event):
    return pieces() if event.path == "/stream" else str(os.getpid())

def pieces():
    try:
        while True:
            yield b"x" * 50_000
    finally:
        put("closed")
        if TRAP:
            time.sleep(600)
"""


def test_streams_client_that_is_the_slow_one_costs_no_time_out(serving):
    running = serving("TRAP = False\n" + ENDLESS, timeout_s=0.3)
    (pid,) = running.worker_pids()
    with running.client(small_window=True) as client:
        client.send(request(target="/stream"))
        assert client.head().status == 200
        time.sleep(1)
        for _ in range(200):
            assert len(client.chunk()) == 50_000
    assert int(running.ask().body) == pid


def test_function_that_hangs_when_its_slow_client_has_left_is_ended_by_the_time_out(serving, tmp_path):
    running = serving("TRAP = True\n" + ENDLESS, timeout_s=0.5)
    (pid,) = running.worker_pids()
    with running.client(small_window=True) as client:
        client.send(request(target="/stream"))
        assert client.head().status == 200
        time.sleep(0.5)
        hang_up(client, by_reset=True)
    assert int(running.ask().body) != pid
    assert (tmp_path / "closed").exists()


LENGTHS = """
def f(context, event):
    return (b"x" * 20_000 for _ in range(int(event.body))) if event.body else "short"
"""


def test_stream_that_has_ended_while_its_client_was_slow_leaves_its_worker_to_others(serving):
    running = serving(LENGTHS)
    for count in range(1, 280, 6):  # some of them end with what the systems' buffers have no room for
        with running.client(small_window=True) as slow:
            slow.send(request("POST", body=str(count).encode()))
            time.sleep(0.02)
            assert len(slow.answer().body) == 20_000 * count
        assert running.ask().body == b"short"


@pytest.mark.parametrize("by_reset", [True, False], ids=["reset", "end"])
def test_async_call_whose_client_has_left_is_cancelled(serving, tmp_path, by_reset):
    running = serving(ASYNC)
    (pid,) = running.worker_pids()
    with running.client() as client:
        begin(running, tmp_path, client, "slow")
        hang_up(client, by_reset=by_reset)
    running.until((tmp_path / "finally-slow").exists)
    assert int(running.ask(request(target="/next")).body) == pid
    running.until(lambda: running.metric("nuwrap_requests_in_flight") == 0)


LATE = """
def f(context, event):
    name = event.path[1:]
    put(f"begun-{name}")
    if name.startswith("slow"):
        wait_for("go")
    return name
"""


@pytest.mark.parametrize("by_reset", [True, False], ids=["reset", "end"])
def test_answer_of_a_sync_call_whose_client_has_left_is_nobodys(serving, tmp_path, by_reset):
    running = serving(LATE)
    (pid,) = running.worker_pids()
    with running.client() as gone, running.client() as waits_and_goes, running.client() as waits:
        begin(running, tmp_path, gone, "slow")
        waits_and_goes.send(request(target="/never"))
        running.until(lambda: running.metric("nuwrap_requests_waiting") == 1)
        waits.send(request(target="/right"))
        running.until(lambda: running.metric("nuwrap_requests_waiting") == 2)
        hang_up(gone, by_reset=by_reset)
        hang_up(waits_and_goes, by_reset=by_reset)
        running.until(lambda: running.metric("nuwrap_requests_waiting") == 1)
        (tmp_path / "go").touch()
        assert waits.answer().body == b"right"
        for number in range(20):
            assert waits.ask(request(target=f"/{number}")).body == str(number).encode()
    assert not (tmp_path / "begun-never").exists()
    assert running.worker_pids() == [pid]


def test_worker_that_is_over_is_given_no_request_while_another_is_free(serving):
    running = serving("def f(context, event):\n    return str(os.getpid())\n", serve={"workers": 2})
    running.until(lambda: 'nuwrap_workers{state="ready"} 2.0' in running.admin_page("/metrics").body.decode())
    for _ in range(20):
        running.until(lambda: 'nuwrap_workers{state="ready"} 2.0' in running.admin_page("/metrics").body.decode())
        pids = running.worker_pids()
        running.process.send_signal(signal.SIGSTOP)  # so that it hears of both at once
        os.kill(pids[0], signal.SIGKILL)
        wait_gone(pids[0])
        with running.client() as one, running.client() as other:
            one.send(request())
            other.send(request())
            running.process.send_signal(signal.SIGCONT)
            assert {one.answer().status, other.answer().status} == {200}


# Functions that find our socket and speak on it


HOSTILE = """
from nuwrap_runtime.worker import msgpack, native, protocol

pack = msgpack.load_packer()
whole = lambda text: native.encode_message(protocol.REPLY, pack([200, "text/plain", {}, text, len(text)]))
head = native.encode_message(native.HEAD, pack([200, "text/plain", {}, -1]))
chunk = native.encode_message(native.CHUNK, b"forged")
end = native.encode_message(native.END)

SAYS = {
    "garbage": b"\\xff" * 64,
    "a length of 2 GB": b"\\x7f\\xff\\xff\\xff",
    "an empty frame": b"\\0\\0\\0\\0",
    "garbage, then its answer": b"\\xff" * 64,
    "no kind": native.encode_message(b"?", b"x"),
    "no answer": native.encode_message(protocol.REPLY, b"\\xc1"),
    "an answer of the wrong form": native.encode_message(protocol.REPLY, pack([200])),
    "a status that is none": native.encode_message(protocol.REPLY, pack([101, "", {}, b"", 0])),
    "a file that did not come": native.encode_message(protocol.REPLY, pack([200, "", {}, None, 5])),
    "a chunk without a head": chunk,
    "an end without a head": end,
    "two heads": head + head,
    "an answer in a stream": head + chunk + whole(b"forged"),
    "a second start": native.encode_message(protocol.START, b"{}"),
}

def f(context, event):
    what = event.path[1:].replace("%20", " ")
    if what in SAYS:
        for one in sockets():
            os.write(one, SAYS[what])
    if what.endswith("its answer"):
        for one in sockets():
            os.write(one, whole(b"its own"))
        time.sleep(600)
    if what == "two answers":
        for one in sockets():
            os.write(one, whole(b"first") + whole(b"second"))
        time.sleep(600)
    if what == "later":
        threading.Timer(0.1, lambda: [os.write(one, whole(b"late")) for one in sockets()]).start()
    return f"{os.getpid()} {what}"
"""
SAID = [
    "garbage",
    "garbage, then its answer",
    "a length of 2 GB",
    "an empty frame",
    "no kind",
    "no answer",
    "an answer of the wrong form",
    "a status that is none",
    "a file that did not come",
    "a chunk without a head",
    "an end without a head",
    "two heads",
    "an answer in a stream",
    "a second start",
]


def test_function_that_speaks_on_our_socket_loses_its_worker_and_no_other_request(serving):
    running = serving(HOSTILE)
    for what in SAID:
        pid = running.ask(request(target="/pid")).body.split()[0]
        with running.client() as hostile, running.client() as other:
            hostile.send(request(target="/" + what.replace(" ", "%20")))
            other.send(request(target="/other"))
            try:
                assert hostile.answer().status == 502, what
            except CutOff:
                assert what in ("two heads", "an answer in a stream")
            answered_by, _, said = other.answer().body.partition(b" ")
            assert (said, answered_by != pid) == (b"other", True), what
    assert restarts(running, "crashed") == len(SAID)


def test_second_answer_to_one_request_is_never_the_next_requests(serving):
    running = serving(HOSTILE)
    pid = running.ask(request(target="/pid")).body.split()[0]
    with running.client() as hostile, running.client() as other:
        hostile.send(request(target="/two%20answers"))
        other.send(request(target="/other"))
        assert hostile.answer().body == b"first"
        answer = other.answer().body
        assert answer.endswith(b" other")
        assert not answer.startswith(pid)


def test_answer_that_nobody_asked_for_ends_its_worker(serving):
    running = serving(HOSTILE)
    pid, _, _ = running.ask(request(target="/later")).body.partition(b" ")
    wait_gone(int(pid))
    answer = running.ask(request(target="/other")).body
    assert answer.endswith(b" other")
    assert restarts(running, "crashed") == 1
