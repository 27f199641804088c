"""What many connections, and many requests on one, may take: of open files, of memory, of the log."""

from __future__ import annotations

import contextlib
import resource
import socket
import urllib.request
from collections.abc import Callable

import psutil
import pytest

CODE = """
import time
def f(context, event):
    if event.path == "/slow":
        time.sleep(0.5)
    return b"x" * 300_000 if event.path == "/big" else b"x" * 20_000_000 if event.path == "/huge" else "ok"
"""
FILES = 256
ONE = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


def ask(place: tuple[str, int], path: str = "/") -> bytes:
    with urllib.request.urlopen(f"http://{place[0]}:{place[1]}{path}", timeout=20) as answer:
        return answer.read()


@pytest.fixture
def limited(service: Callable[..., object]) -> object:
    return service(CODE, serve={"workers": 1}, popen={"preexec_fn": limit_files})


def test_a_low_limit_on_open_files_lowers_the_connections_with_one_warning(limited) -> None:
    warnings = [line for line in limited.stderr().splitlines() if "ulimit -n" in line]
    assert len(warnings) == 1
    assert f"this process may open {FILES} files" in warnings[0]


def test_more_connections_than_files_leave_the_service_and_its_log_whole(limited) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.create_connection(limited.place, timeout=20))
        first.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert first.recv(4096).startswith(b"HTTP/1.1 200")
        for _ in range(FILES + 50):
            stack.enter_context(socket.create_connection(limited.place, timeout=20))
        first.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: first.recv(65536), b""))
        assert (received[:12], len(received) > 300_000) == (b"HTTP/1.1 200", True)
        assert limited.admin_page("/ready").status == 200
    assert ask(limited.place) == b"ok"
    assert len(limited.stderr()) < 100_000
    assert "out of system resource" not in limited.stderr()


def test_a_connection_too_many_is_told_so_and_when_to_come_again(service) -> None:
    running = service(CODE, serve={"workers": 1, "max_connections": 2})
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(socket.create_connection(running.place, timeout=20))
        for _ in range(20):
            with socket.create_connection(running.place, timeout=20) as extra:
                extra.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
                answer = b"".join(iter(lambda: extra.recv(4096), b""))
                assert answer.startswith(b"HTTP/1.1 503")
                assert b"\r\nretry-after:" in answer.lower()


def test_requests_that_wait_on_one_connection_are_kept_as_bytes(service) -> None:
    running = service(CODE, serve={"workers": 1})
    host = psutil.Process(running.process.pid)
    before = host.memory_info().rss
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(socket.create_connection(running.place, timeout=20))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.send(ONE * 8000)
        assert running.admin_page("/live").status == 200
        assert host.memory_info().rss - before < 40_000_000  # 160,000 requests as objects take ten times that


def test_a_large_answer_to_a_client_that_closes_is_no_fault(service) -> None:
    running = service(CODE)
    for _ in range(5):
        assert len(ask(running.place, "/huge")) == 20_000_000
    assert "a fault of nuwrap" not in running.stderr()
