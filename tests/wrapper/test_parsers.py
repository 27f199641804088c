"""Both parsers of requests: the same calls for the same bytes, whatever pieces they come in, and the same refusals."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Callable, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwrap_runtime.host.service.parsers import HEAD_BYTES, HEADERS, TARGET_BYTES, BadRequest, Head, new_parser

NewSink = Callable[..., "Sink"]

REQUESTS = (
    b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-one: 2\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n02\r\nde\r\n0;x\r\nT: y\r\n\r\n",
    b"PATCH /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT / HTTP/1.1\r\nHost:a\r\nUpgrade:x\r\nConnection:Upgrade\r\nTransfer-Encoding:chunked\r\n\r\n0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nHEAD http://h/p HTTP/1.1\r\nHost:a\r\nX:   spaced\t \r\nY:\r\n\r\n",
)


class Sink:
    """What a parser has told: heads as tuples, bodies joined."""

    def __init__(self, library: str) -> None:
        self.told: list[Any] = []
        self.parser = new_parser(self, library)

    def on_head(self, head: Head) -> None:
        headers = [(name.lower(), value.strip()) for name, value in head.headers]
        self.told.append((head.method, head.target, head.version, headers))
        self.told.append(b"")

    def on_body(self, data: bytes) -> None:
        self.told[-1] += data

    def on_end(self) -> None:
        self.told.append("end")

    def feed(self, *pieces: Union[bytes, memoryview]) -> list[Any]:
        for piece in pieces:
            self.parser.feed(memoryview(piece))
        return self.told

    def fault(self, *pieces: bytes) -> BadRequest:
        with pytest.raises(BadRequest) as caught:
            self.feed(*pieces)
        return caught.value


@pytest.fixture(params=["httptools", "h11"])
def sink(request: pytest.FixtureRequest) -> NewSink:
    return lambda: Sink(request.param)


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Host: a", *lines, b"", b""])


def test_a_request_is_a_head_its_body_and_an_end(sink: NewSink) -> None:
    told = sink().feed(REQUESTS[2])
    assert told[0] == ("PUT", b"/", "1.1", [(b"host", b"a"), (b"transfer-encoding", b"chunked")])
    assert told[1:] == [b"abcde", "end"]


@pytest.mark.parametrize("one", REQUESTS)
def test_any_pieces_of_a_request_are_told_like_the_whole(sink: NewSink, one: bytes) -> None:
    whole = sink().feed(one)
    assert whole[-1] == "end"
    assert sink().feed(*[one[at : at + 1] for at in range(len(one))]) == whole
    for at in range(1, len(one)):
        assert sink().feed(one[:at], one[at:]) == whole


def test_requests_in_one_piece_are_told_one_after_the_other(sink: NewSink) -> None:
    assert sink().feed(b"".join(REQUESTS)) == [one for request in REQUESTS for one in sink().feed(request)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(REQUESTS), max_size=6), st.lists(st.integers(1, 90)))
def test_both_parsers_tell_the_same_of_any_pieces(requests: list[bytes], sizes: list[int]) -> None:
    data, pieces = b"".join(requests), []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    pieces = [piece for piece in [*pieces, data] if piece]
    assert Sink("httptools").feed(*pieces) == Sink("h11").feed(*pieces)


def test_a_parser_is_idle_before_and_after_each_request_alone(sink: NewSink) -> None:
    one = sink()
    for request in REQUESTS[:-1]:
        assert one.parser.is_idle
        one.feed(request[:-1])
        assert not one.parser.is_idle
        one.feed(request[-1:])
    assert one.parser.is_idle


def test_thousands_of_requests_that_ask_for_another_protocol_are_followed(sink: NewSink) -> None:
    upgrade = head(b"Connection: Upgrade", b"Upgrade: websocket")
    assert sink().feed(upgrade * 3000).count("end") == 3000


def test_the_body_of_a_request_that_asks_for_another_protocol_is_no_request(sink: NewSink) -> None:
    hidden = head(first=b"GET /hidden HTTP/1.1")
    lines = (b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(hidden))
    told = sink().feed(head(*lines, first=b"POST / HTTP/1.1") + hidden)
    assert told[1:] == [hidden, "end"]


def test_a_framing_that_is_none_is_refused_whatever_protocol_is_asked_for(sink: NewSink) -> None:
    lines = (b"Connection: Upgrade", b"Upgrade: x", b"Transfer-Encoding: chunk!ed")
    assert sink().fault(head(*lines) + b"0\r\n\r\n").status in (400, 501)


def test_many_tiny_requests_whose_last_is_cut_are_no_large_head(sink: NewSink) -> None:
    tiny = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    data = tiny * (3 * HEAD_BYTES // len(tiny)) + tiny[:9]
    assert sink().feed(data, tiny[9:]).count("end") == 3 * HEAD_BYTES // len(tiny) + 1


@pytest.mark.parametrize("size", [1, 1000, 4096, 1 << 20])
def test_a_head_within_the_limits_is_taken_in_pieces_of_any_size(sink: NewSink, size: int) -> None:
    data = head(*[b"x-%d: %s" % (number, b"v" * 600) for number in range(100)])
    assert len(data) < HEAD_BYTES
    assert sink().feed(*[data[at : at + size] for at in range(0, len(data), size)])[-1] == "end"


@pytest.mark.parametrize("size", [1000, 1 << 20])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(first=b"GET /%s HTTP/1.1" % (b"a" * TARGET_BYTES)), 414),
        (head(b"x: " + b"v" * HEAD_BYTES), 431),
        (head(b"v" * HEAD_BYTES + b": x"), 431),
        (head(*[b"x-%d: %s" % (number, b"v" * 1000) for number in range(70)]), 431),
        (head(*[b"x: y"] * HEADERS), 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: y\r\n" * HEAD_BYTES, 431),
    ],
    ids=["address", "value", "name", "headers", "count", "trailer"],
)
def test_a_bomb_is_refused_while_it_comes(sink: NewSink, data: bytes, status: int, size: int) -> None:
    assert sink().fault(*[data[at : at + size] for at in range(0, len(data), size)]).status == status


@pytest.mark.parametrize("data", [b"GET /" + b"a" * 300_000, b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"v" * 300_000])
def test_a_bomb_without_an_end_is_refused(sink: NewSink, data: bytes) -> None:
    assert sink().fault(*[data[at : at + 5000] for at in range(0, len(data), 5000)]).status in (414, 431)


def test_what_follows_a_request_that_closes_is_refused(sink: NewSink) -> None:
    for closing in (head(b"Connection: close"), head(first=b"GET / HTTP/1.0")):
        one = sink()
        assert one.fault(closing + REQUESTS[0]).status == 400
        assert one.told.count("end") == 1


def test_a_refusal_of_the_sink_ends_the_parsing(sink: NewSink) -> None:
    class Refusing(Sink):
        def on_head(self, head: Head) -> None:
            super().on_head(head)
            raise BadRequest(417, "no")

    one = sink()
    refusing = Refusing("h11" if "H11" in type(one.parser).__name__ else "httptools")
    assert refusing.fault(b"".join(REQUESTS)).status == 417
    assert len(refusing.told) == 2


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.sampled_from(REQUESTS), st.integers(0, 80))
def test_any_bytes_are_requests_or_a_bad_request(noise: bytes, one: bytes, at: int) -> None:
    for library in ("httptools", "h11"):
        for data in (noise, one[:at] + noise + one[at:], one + noise):
            with suppress(BadRequest):
                Sink(library).feed(data)
