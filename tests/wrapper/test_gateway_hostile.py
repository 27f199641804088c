"""Clients that mean harm, or are broken: what a gateway answers them, and that it stays there for the others."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Callable

import pytest
from running_gateway import RunningGateway
from running_service import HELLO, Client, CutOff, RunningService, request

from nuwrap_runtime.host.service.exchange import Refusal

StartGateway = Callable[..., RunningGateway]
StartService = Callable[..., RunningService]

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
GET = b"GET / HTTP/1.1\r\n"

# What two servers could take for different requests: headers after `Host`, and what follows the head.
SMUGGLING_HEADERS = {
    "length and coding": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "coding and length": (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(HIDDEN), b""),
    "two equal lengths": (b"Content-Length: 0\r\nContent-Length: 0\r\n", b""),
    "a list of lengths": (b"Content-Length: 0, 0\r\n", b""),
    "coding twice": (CHUNKED + CHUNKED, b"0\r\n\r\n"),
    "coding twice, other case": (CHUNKED + b"TRANSFER-ENCODING: identity\r\n", b"0\r\n\r\n"),
    "chunked, identity": (b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    "identity, chunked": (b"Transfer-Encoding: identity, chunked\r\n", b"0\r\n\r\n"),
    "gzip, chunked": (b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "identity": (b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n"),
    "xchunked": (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "no coding": (b"Transfer-Encoding:\r\n", b"0\r\n\r\n"),
    "vertical tab before coding": (b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "form feed after coding": (b"Transfer-Encoding: chunked\x0c\r\n", b"0\r\n\r\n"),
    "no length": (b"Content-Length:\r\n", b""),
    "+ length": (b"Content-Length: +0\r\n", b""),
    "- length": (b"Content-Length: -0\r\n", b""),
    "hexadecimal length": (b"Content-Length: 0x0\r\n", b""),
    "junk after length": (b"Content-Length: 0 a\r\n", b""),
    "junk before length": (b"Content-Length: a 0\r\n", b""),
    "underscored length": (b"Content-Length: 0_0\r\n", b""),
    "huge length": (b"Content-Length: 99999999999999999999\r\n", b""),
    "other digits": ("Content-Length: \u0660\r\n".encode(), b""),
    "vertical tab before length": (b"Content-Length: \x0b0\r\n", b""),
    "space before colon": (b"Content-Length : 0\r\n", b""),
    "tab before colon": (b"Content-Length\t: 0\r\n", b""),
    "space before name": (b"X: y\r\n Content-Length: 0\r\n", b""),
    "folded line": (b"X: a\r\n b\r\n", b""),
    "folded coding": (b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    "bare LF in a head": (b"X: y\nZ: w\r\n", b""),
    "bare CR in a head": (b"X: a\rContent-Length: 5\r\n", b""),
    "CR CR LF": (b"X: y\r\r\n", b""),
    "NUL in a value": (b"X: a\x00b\r\n", b""),
    "NUL in a name": (b"X\x00: a\r\n", b""),
    "no colon": (b"foo\r\n", b""),
    "no name": (b": a\r\n", b""),
    "two hosts": (b"Host: b\r\n", b""),
    "+ chunk": (CHUNKED, b"+0\r\n\r\n"),
    "0x chunk": (CHUNKED, b"0x0\r\n\r\n"),
    "- chunk": (CHUNKED, b"-1\r\n\r\n"),
    "space after chunk size": (CHUNKED, b"0 \r\n\r\n"),
    "space before chunk size": (CHUNKED, b" 0\r\n\r\n"),
    "no chunk size": (CHUNKED, b"\r\n\r\n"),
    "bare LF after chunk size": (CHUNKED, b"0\n\n"),
    "bare LF after a chunk": (CHUNKED, b"1\r\nx\n0\r\n\r\n"),
    "bare LF in an extension": (CHUNKED, b"1;a\nx\r\n0\r\n\r\n"),
    "bare CR in an extension": (CHUNKED, b"1;a\rb\r\nx\r\n0\r\n\r\n"),
    "longer chunk than said": (CHUNKED, b"1\r\nxx\r\n0\r\n\r\n"),
    "huge chunk": (CHUNKED, b"FFFFFFFFFFFFFFFFF\r\nx"),
    "bare LF ends a trailer": (CHUNKED, b"0\r\nX: y\n\n"),
    "bare LF in a trailer": (CHUNKED, b"0\r\nX: y\nZ: w\r\n\r\n"),
    "length in a trailer": (CHUNKED, b"0\r\nContent-Length: 3\r\n\r\n"),
    "coding in a trailer": (CHUNKED, b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "bare LF ends a body": (CHUNKED, b"0\r\n\n"),
}

SMUGGLING_WHOLE = {
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF at the head's end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "coding in HTTP/1.0": b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the first header": b"GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
    "NUL in the address": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a host of two words": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "three words": b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
    "tabs": b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "tunnel with a body": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN),
    "HTTP/0.9": b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
}

SMUGGLED = {
    **{name: b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % pair for name, pair in SMUGGLING_HEADERS.items()},
    **SMUGGLING_WHOLE,
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_request_that_could_hide_another_is_refused_and_the_connection_closed(
    gateway: StartGateway, name: str
) -> None:
    running = gateway()
    with running.client() as client:
        client.send(SMUGGLED[name] + HIDDEN)
        answer = client.answer()
        assert answer.status in (400, 501, 505)
        assert answer.header("connection") == "close"
        assert set(answer.json()) == {"error", "request_id"}
        assert client.is_closed()
    assert running.echo.executed == []


def test_what_a_request_for_another_protocol_carries_is_its_body(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        upgrade = request("POST", "/", HIDDEN, connection="Upgrade, HTTP2-Settings", upgrade="h2c")
        client.send(upgrade + request(target="/next"))
        assert client.answer().body == b"POST / %d" % len(HIDDEN)
        assert client.answer().body == b"GET /next 0"
    assert running.echo.bodies == [HIDDEN, b""]


def test_nothing_is_run_that_follows_a_request_which_closes(gateway: StartGateway) -> None:
    running = gateway()
    for closing in (b"GET / HTTP/1.0\r\n\r\n", request(connection="close"), request(connection="x, Close")):
        with running.client() as client:
            assert client.ask(closing + HIDDEN).status == 200
            assert client.is_closed()
    assert [target for _, target in running.echo.executed] == ["/"] * 3


# Limits


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(target="/" + "a" * 20_000), 414),
        (request(x="v" * 70_000), 431),
        (request(**{f"x{number}": "v" for number in range(200)}), 431),
        (request(**{f"x{number}": "v" * 1000 for number in range(80)}), 431),
    ],
    ids=["address", "value", "count", "size"],
)
def test_a_large_head_is_refused_and_its_answer_reaches_a_client_that_keeps_sending(
    gateway: StartGateway, data: bytes, status: int
) -> None:
    running = gateway()
    with running.client() as client:
        client.send(data)
        client.try_send(bytes(1 << 20))
        assert client.answer().status == status
        assert client.is_closed()
    assert running.echo.executed == []


def test_a_header_that_never_ends_is_refused(gateway: StartGateway) -> None:
    with gateway().client() as client:
        client.send(GET + b"x: ")
        while client.try_send(b"v" * 10_000):
            if client.socket.recv(0) == b"" and select_readable(client):
                break
        assert client.answer().status == 431


def select_readable(client: Client) -> bool:
    client.socket.setblocking(False)
    try:
        client.socket.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        client.socket.settimeout(60)
    return True


@pytest.mark.parametrize("size", [1001, 100_000, 10**15])
def test_a_large_body_is_refused_by_its_length_before_it_comes(gateway: StartGateway, size: int) -> None:
    running = gateway(max_body_bytes=1000)
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(min(size, 2000)))
        answer = client.answer()
        assert (answer.status, "max_body_bytes" in answer.json()["error"]) == (413, True)
    assert running.echo.executed == []


def test_a_small_body_that_is_refused_leaves_the_connection_usable(gateway: StartGateway) -> None:
    with gateway(max_body_bytes=1000).client() as client:
        assert client.ask(request("POST", "/", bytes(1001))).status == 413
        assert client.ask(request("POST", "/", bytes(1000))).body == b"POST / 1000"


def test_a_large_body_in_chunks_is_refused_while_it_comes(gateway: StartGateway) -> None:
    running = gateway(max_body_bytes=100_000)
    chunk = b"2710\r\n" + bytes(10_000) + b"\r\n"
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n" + chunk * 11)
        assert client.answer().status == 413
        client.try_send(chunk * 10 + b"0\r\n\r\n" + HIDDEN)
        client.shut()
        assert client.is_closed()
    assert running.echo.executed == []


def test_a_body_of_exactly_the_limit_is_taken(gateway: StartGateway) -> None:
    running = gateway(max_body_bytes=100_000)
    with running.client() as client:
        assert client.ask(request("POST", "/", bytes(100_000))).body == b"POST / 100000"
        chunk = b"2710\r\n" + bytes(10_000) + b"\r\n"
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n" + chunk * 10 + b"0\r\n\r\n")
        assert client.answer().body == b"POST / 100000"


def test_a_body_nobody_waits_for_is_not_asked_for_when_it_would_be_refused(gateway: StartGateway) -> None:
    running = gateway(max_body_bytes=1000)
    ask = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with running.client() as client:
        client.send(ask % 1001)
        assert client.head().status == 413
    running.echo.refusal = Refusal(429, "too many", may_retry=True)
    with running.client() as client:
        client.send(ask % 10)
        head = client.head()
        assert (head.status, head.header("retry-after"), head.header("connection")) == (429, "1", "close")


def test_one_connection_too_many_gets_503_and_a_place_when_one_closes(gateway: StartGateway) -> None:
    running = gateway(max_connections=3)
    clients = [running.client() for _ in range(3)]
    for one in clients:
        assert one.ask(request()).status == 200
    with running.client() as extra:
        assert extra.answer().status == 503
        assert extra.is_closed()
    clients.pop().socket.close()
    running.until(lambda: running.connections_now() == 2)
    with running.client() as client:
        assert client.ask(request()).status == 200
    for one in clients:
        one.socket.close()


# Slow and broken clients


@pytest.mark.parametrize(
    "pieces",
    [
        (b"GET / HT",),
        (GET, b"Host: a\r\n"),
        (b"GET / HT", b"TP/1.1\r\nHost: a\r\n\r\nGET / HT"),
        (request("POST", "/", b"", content_length="10"), b"12345"),
        (b"POST / HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n", b"5\r\nab"),
    ],
    ids=["line", "header", "second head", "body", "chunk"],
)
def test_a_request_that_does_not_come_whole_gets_408(gateway: StartGateway, pieces: tuple[bytes, ...]) -> None:
    running = gateway(read_timeout_s=0.3)
    with running.client() as client:
        for piece in pieces:
            client.send(piece)
            time.sleep(0.02)
        answers = [client.answer()]
        if answers[0].status == 200:
            answers.append(client.answer())
        assert answers[-1].status == 408
        assert client.is_closed()


def test_a_head_that_trickles_gets_408_however_often_a_byte_comes(gateway: StartGateway) -> None:
    with gateway(read_timeout_s=0.3).client() as client:
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 1000:
            if not client.try_send(bytes([byte])) or select_readable(client):
                break
            time.sleep(0.01)
        else:
            pytest.fail("all of it was taken")
        assert client.answer().status == 408


def test_a_body_that_trickles_gets_408_however_often_a_byte_comes(gateway: StartGateway) -> None:
    running = gateway(read_timeout_s=0.3)
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            if not client.try_send(b"x") or select_readable(client):
                break
            time.sleep(0.01)
        assert client.answer().status == 408
    assert running.echo.executed == []


def test_a_body_that_waited_for_the_answers_before_it_has_its_time(gateway: StartGateway) -> None:
    running = gateway(read_timeout_s=0.4)
    with running.client() as client:
        client.send(request(target="/hold") + request() + request("POST", "/", b"ab", content_length="4"))
        running.until(lambda: running.echo.held)
        time.sleep(0.8)
        running.release()
        assert [client.answer().status, client.answer().status] == [200, 200]
        client.send(b"cd")
        assert client.answer().body == b"POST / 4"


def test_an_idle_connection_is_closed_without_an_answer(gateway: StartGateway) -> None:
    running = gateway(read_timeout_s=0.3, keep_alive_s=0.3)
    with running.client() as fresh, running.client() as used:
        assert used.ask(request()).status == 200
        assert used.is_closed()
        assert fresh.is_closed()
    assert running.echo.refusals == []


def test_a_slow_answer_has_no_limit_of_the_gateway(gateway: StartGateway) -> None:
    running = gateway(read_timeout_s=0.2, keep_alive_s=0.2)
    with running.client() as client:
        client.send(request(target="/hold"))
        time.sleep(0.7)
        running.release()
        assert client.answer().status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        request("POST", "/", b"12345", content_length="6"),
        b"POST / HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n5\r\nabcde\r\n0\r\n",
    ],
    ids=["head", "body", "chunks"],
)
@pytest.mark.parametrize("by_reset", [False, True])
def test_a_cut_request_never_reaches_the_function(gateway: StartGateway, data: bytes, by_reset: bool) -> None:
    running = gateway()
    with running.client() as client:
        client.send(data)
        running.until(lambda: running.connections_now() == 1)
        time.sleep(0.05)
        if by_reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    running.until(lambda: running.connections_now() == 0)
    assert (running.echo.executed, running.echo.open) == ([], 0)


def test_a_client_that_closed_its_half_still_gets_its_answers(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        client.send(request(target="/hold") + request(target="/last"))
        client.shut()
        running.until(lambda: running.echo.held)
        time.sleep(0.05)
        running.release()
        assert client.answer().body == b"GET /hold 0"
        rest = client.rest()
    assert not rest or b"GET /last 0" in rest


def test_a_half_closed_client_gets_the_answer_before_what_is_no_request(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        client.send(request(target="/hold") + b"this is no request\r\n\r\n")
        client.shut()
        running.until(lambda: running.echo.held)
        time.sleep(0.05)
        running.release()
        assert client.answer().body == b"GET /hold 0"


@pytest.mark.parametrize("by_reset", [False, True])
def test_a_client_that_leaves_frees_its_place(gateway: StartGateway, by_reset: bool) -> None:
    running = gateway()
    with running.client() as client:
        client.send(request(target="/hold") + request(target="/hold"))
        running.until(lambda: running.echo.held)
        if by_reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    running.until(lambda: running.echo.open == 0 and running.connections_now() == 0)
    assert len(running.echo.executed) == 1
    running.run(running.echo.held.clear)


# Pipelines


def test_ten_thousand_requests_in_one_write_are_answered_in_order(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        data = b"".join(request(target=f"/{number}") for number in range(10_000))
        sender = threading.Thread(target=client.try_send, args=(data,))
        sender.start()
        for number in range(10_000):
            assert client.answer().body == b"GET /%d 0" % number
        sender.join()
    assert running.echo.most_open == 1


def test_requests_behind_a_slow_one_are_answered_after_it_and_have_no_place_meanwhile(gateway: StartGateway) -> None:
    running = gateway(max_body_bytes=1000)
    with running.client() as client:
        client.send(request(target="/hold") + request("POST", "/big", bytes(2000)) + request(target="/last"))
        running.until(lambda: running.echo.held)
        assert running.echo.open == 1
        running.release()
        assert client.answer().body == b"GET /hold 0"
        assert client.answer().status == 413
        assert client.answer().body == b"GET /last 0"
    assert ("POST", "/big") not in running.echo.executed


def test_what_is_no_request_behind_a_slow_one_is_refused_after_its_answer(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        client.send(request(target="/hold") + request(target="/2") + b"nonsense\r\n\r\n" + HIDDEN)
        running.release()
        assert [client.answer().status for _ in range(3)] == [200, 200, 400]
        assert client.is_closed()
    assert len(running.echo.executed) == 2


def test_a_request_behind_one_that_is_refused_early_takes_no_place(gateway: StartGateway) -> None:
    running = gateway(max_body_bytes=1000)
    with running.client() as client:
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n800\r\n" + bytes(2048) + b"\r\n0\r\n\r\n" + HIDDEN
        )
        assert client.answer().status == 413
        assert client.is_closed()
    running.until(lambda: running.connections_now() == 0)
    assert (running.echo.executed, running.echo.open) == ([], 0)


def test_answers_that_nobody_reads_do_not_heap_up(gateway: StartGateway) -> None:
    running = gateway()
    with running.client(small_window=True) as client:
        client.send(request(target="/bytes/60000") * 1000)
        time.sleep(0.5)
        done = len(running.echo.executed)
        assert done < 500  # what the system's own buffers hold, and one more
        for _ in range(1000):
            assert len(client.answer().body) == 60_000
        assert client.ask(request()).status == 200


# A service as a process


def test_a_gigabyte_against_a_limit_of_a_megabyte_gets_413_and_costs_no_memory(service: StartService) -> None:
    running = service(HELLO, serve={"max_body_bytes": 1 << 20})
    assert running.ask().status == 200
    before = running.rss()
    block = bytes(1 << 20)
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        sent = sum(1 for _ in range(1024) if client.try_send(block))
        assert client.answer().status == 413
        assert sent > 0
    with running.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n")
        for _ in range(1024):
            client.try_send(b"100000\r\n" + block + b"\r\n")
        assert client.answer().status == 413
    assert running.rss() - before < 8 << 20
    assert running.ask().body == b"hello"


def test_a_thousand_idle_connections_leave_room_for_a_hello(service: StartService) -> None:
    running = service(HELLO)
    idle = [running.client() for _ in range(1000)]
    try:
        assert running.ask().body == b"hello"
        assert running.metric("nuwrap_connections") >= 1000
        for one in idle[::100]:
            assert one.ask(request()).body == b"hello"
    finally:
        for one in idle:
            one.socket.close()
    assert running.ask().body == b"hello"


def test_a_slow_reader_of_a_large_reply_gets_all_of_it_and_holds_up_nobody(service: StartService) -> None:
    running = service("def f(context, event):\n    return b'x' * int(event.path[1:])\n")
    with running.client(small_window=True) as client:
        client.send(request(target="/30000000"))
        time.sleep(0.2)
        for _ in range(20):
            assert running.ask(request(target="/5")).body == b"xxxxx"
        assert client.answer().body == b"x" * 30_000_000


def test_a_header_bomb_in_a_hundred_connections_leaves_the_service_well(service: StartService) -> None:
    running = service(HELLO)
    assert running.ask().status == 200
    before = running.rss()
    for _ in range(100):
        with running.client() as client:
            client.try_send(GET + b"x: y\r\n" * 100_000)
            try:
                assert client.answer().status == 431
            except CutOff as cut:
                pytest.fail(f"no answer, but {cut.data!r}")
    assert running.ask().body == b"hello"
    assert running.rss() - before < 16 << 20
