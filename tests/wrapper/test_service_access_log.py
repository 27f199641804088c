"""What the access log and the counters say of requests that did not go well: one record for each, and true ones."""

from __future__ import annotations

import socket
import struct

import pytest
from running_gateway import RunningGateway
from running_service import CutOff, request

CODE = """
import time

def items(kind):
    yield "x" * 100
    if kind == "/broken":
        raise ValueError("no more")
    while True:
        time.sleep(0.01)
        yield "x" * 100

def f(context, event):
    if event.path == "/slow":
        time.sleep(600)
    return items(event.path) if event.path in ("/broken", "/endless") else "here"
"""
LOGGED = {"access_log": True}


def records(running, **fields):
    """Return the access log's records with these fields."""
    found = [one for one in running.log() if one["event"] == "request"]
    return [one for one in found if all(one.get(key) == value for key, value in fields.items())]


def cut_by(running, who):
    page = running.admin_page("/metrics").body.decode()
    return float(page.partition(f'nuwrap_requests_cut_total{{by="{who}"}} ')[2].partition("\n")[0])


def leave(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


REFUSED = {
    "body too large": (413, request("POST", "/a?b=1", b"x" * 1000, x_request_id="r1")),
    "chunks too large": (
        413,
        request("POST", "/a?b=1", x_request_id="r1", transfer_encoding="chunked") + b"200\r\n" + b"x" * 512 + b"\r\n",
    ),
    "no host": (400, b"GET /a?b=1 HTTP/1.1\r\n\r\n"),
    "a coding that is not served": (501, request("POST", "/a?b=1", transfer_encoding="gzip")),
    "no header": (400, b"POST /a?b=1 HTTP/1.1\r\nhost: a\r\nno header\r\n\r\n"),
    "headers too large": (431, b"POST /a?b=1 HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 200 + b"\r\n"),
    "a head that does not end": (408, b"POST /a?b=1 HTTP/1.1\r\nhost: a\r\n"),
    "a body that does not come": (408, request("POST", "/a?b=1", content_length="10")),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_the_host_refuses_has_one_record_and_one_count(service, fault):
    status, data = REFUSED[fault]
    running = service(CODE, serve={**LOGGED, "max_body_bytes": 100, "read_timeout_s": 0.5})
    with running.client() as client:
        client.send(data)
        assert client.answer().status == status
    running.await_log(event="request", status=status)
    (record,) = records(running)
    assert (record["target"], record["complete"]) == ("/a?b=1", True)
    assert record["method"] == ("GET" if fault == "no host" else "POST")
    assert record["request_id"]
    assert "seconds" not in record
    if b"r1" in data:
        assert record["request_id"] == "r1"
    assert running.metric("nuwrap_requests_total") == 1


def test_request_above_the_limit_has_a_record_beside_that_of_the_one_under_way(service):
    running = service(CODE, serve={**LOGGED, "max_inflight": 1}, grace_s=0)
    with running.client() as client:
        client.send(request(target="/slow"))
        running.until(lambda: running.metric("nuwrap_requests_in_flight") == 1)
        answer = running.ask(request(target="/next", x_request_id="r2"))
        assert answer.status == 429
        assert answer.json()["error"] == "1 request is under way (serve.max_inflight)"
        assert running.await_log(event="request", status=429)["request_id"] == "r2"
        leave(client)
        left = running.await_log(event="request", target="/slow")
    assert (left["status"], left["complete"]) == (499, False)
    assert len(records(running)) == 2


@pytest.mark.parametrize("library", ["httptools", "h11"])
@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", ("", "")),
        (b"no request at all\r\n\r\n", ("", "")),
        (b"GET /first HTTP/1.1\r\nhost: a\r\n\r\nPOST /second HTTP/1.1\r\nbad\r\n\r\n", ("POST", "/second")),
        (b"PUT /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", ("PUT", "/b")),
    ],
    ids=["tls", "no line", "the second", "in a body"],
)
def test_first_line_of_what_is_refused_is_known_as_far_as_it_is_one(library, data, line):
    with RunningGateway(library) as running:
        with socket.create_connection(running.place) as peer:
            peer.sendall(data)
            while peer.recv(65536):
                pass
        assert running.echo.refused_lines == [line]


def test_stream_that_breaks_is_marked_and_counted(service):
    running = service(CODE, serve=LOGGED)
    with running.client() as client:
        client.send(request(target="/broken"))
        with pytest.raises(CutOff):
            client.answer()
    record = running.await_log(event="request", target="/broken")
    assert (record["status"], record["complete"]) == (200, False)
    assert "cut off by the service" in record["message"]
    assert (cut_by(running, "service"), cut_by(running, "client")) == (1, 0)
    running.ask(request(target="/whole"))
    assert running.await_log(event="request", target="/whole")["complete"] is True


def test_client_that_leaves_a_stream_is_marked_and_counted_apart(service):
    running = service(CODE, serve=LOGGED)
    with running.client() as client:
        client.send(request(target="/endless"))
        assert client.head().status == 200
        leave(client)
    record = running.await_log(event="request", target="/endless")
    assert (record["status"], record["complete"]) == (200, False)
    assert (cut_by(running, "service"), cut_by(running, "client")) == (0, 1)
