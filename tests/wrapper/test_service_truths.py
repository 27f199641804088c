"""What logs and metrics say of a request is that request's; what nobody can say is left out."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import pytest

THREADS = """
import threading, time
def late(context, name):
    time.sleep(0.3)
    context.logger.info("late of " + name)
def f(context, event):
    context.logger.info("own of " + event.id)
    if event.path == "/first":
        threading.Thread(target=late, args=(context, event.id)).start()
    else:
        time.sleep(0.6)
    return "ok"
"""
EXECUTOR = """
import asyncio
async def f(context, event):
    context.logger.info("own of " + event.id)
    await asyncio.get_running_loop().run_in_executor(None, lambda: context.logger.info("pool of " + event.id))
    return "ok"
"""
BLOCKS = """
import asyncio, time
async def f(context, event):
    if event.path == "/block":
        time.sleep(4)
    return "ok"
"""


def logged(running: Any) -> list[dict[str, Any]]:
    whole = running.stderr().rpartition("\n")[0]
    return [one for one in map(json.loads, whole.splitlines()) if one["event"] == "log"]


def test_a_thread_that_outlives_its_request_logs_under_no_id(service: Any) -> None:
    running = service(THREADS)
    for name in ("first", "second"):
        running.call("GET", f"/{name}", headers={"X-Request-ID": name})
    running.until(lambda: len(logged(running)) == 3)
    records = {one["message"]: one.get("request_id", "") for one in logged(running)}
    assert records == {"own of first": "first", "own of second": "second", "late of first": ""}


def test_a_thread_of_an_executor_logs_under_no_other_calls_id(service: Any) -> None:
    running = service(EXECUTOR, concurrency=8)
    names = [f"n{number}" for number in range(16)]
    threads = [
        threading.Thread(target=running.call, args=("GET", "/"), kwargs={"headers": {"X-Request-ID": name}})
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running.until(lambda: len(logged(running)) == 2 * len(names))  # they come on sockets of their own
    assert {one["message"]: one.get("request_id", "") for one in logged(running)} == {
        **{f"own of {name}": name for name in names},
        **{f"pool of {name}": "" for name in names},
    }


def test_no_request_is_given_to_a_worker_that_is_about_to_be_killed(service: Any) -> None:
    running = service(BLOCKS, concurrency=4, timeout_s=0.5, serve={"workers": 2})
    running.until(lambda: running.metric("nuwrap_workers") == 2)
    blocked = threading.Thread(target=running.call, args=("GET", "/block"))
    blocked.start()
    time.sleep(0.7)  # its call is overdue, and the worker has one more second
    statuses = [running.call("GET", "/quick").status for _ in range(10)]
    blocked.join()
    assert statuses == [200] * 10


def test_the_duration_counts_from_the_head_and_a_body_under_way_is_with_no_worker(service: Any) -> None:
    running = service("def f(context, event): return 'ok'\n")
    with socket.create_connection(running.place, timeout=20) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
        time.sleep(0.5)
        assert running.metric("nuwrap_requests_in_flight") == 0
        client.sendall(b"ab")
        while client.recv(4096):
            pass
    running.until(lambda: running.metric("nuwrap_request_duration_seconds_count") == 1)
    assert running.metric("nuwrap_request_duration_seconds_sum") >= 0.5


@pytest.mark.parametrize("code", ["1 / 0\n", "import nowhere\n", "def f(:\n"], ids=["raises", "import", "syntax"])
def test_a_start_that_fails_leaves_json_lines_alone(service: Any, code: str) -> None:
    running = service(code, wait=False)
    running.process.wait(20)
    records = [json.loads(line) for line in running.stderr().splitlines()]
    assert records[-1]["event"] == "error"
    assert any("main.py" in json.dumps(one) for one in records)
