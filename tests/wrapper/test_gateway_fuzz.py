"""Any bytes over real sockets: each request that is one gets one answer, the rest an error, and the service stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running_gateway import RunningGateway
from running_service import Answer, Client, CutOff, RunningService, request

SEEDS = (
    request(target="/a?b=c&b=d", x_one="1"),
    request("POST", "/p", b"hello", content_type="text/plain"),
    request("PUT", "/", connection="keep-alive", transfer_encoding="chunked")
    + b"3;a\r\nabc\r\n2\r\nde\r\n0\r\nT: y\r\n\r\n",
    request("POST", "/c", b"abc", expect="100-continue"),
    request("PATCH", "/u", b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n", connection="Upgrade", upgrade="h2c"),
    request("HEAD", "/stream/3"),
    request("GET", "/stream/3"),
    request("GET", "/file/100000"),
    request("GET", "/status/204"),
    request("DELETE", "http://h/d"),
    b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
)
WITH_BODIES = tuple(one for one in SEEDS if not one.startswith(b"HEAD"))
NOISE = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        (b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
         b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"HTTP/1.1", b"HTTP/2.0", b"\xff", b"%ff")
    ),
)  # fmt: skip
FEW = settings(deadline=None, max_examples=60)


@pytest.fixture(scope="module", params=["httptools", "h11"])
def running(request: pytest.FixtureRequest) -> Iterator[RunningGateway]:
    with RunningGateway(request.param, read_timeout_s=10, max_body_bytes=200_000) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def served(tree: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    code = "def f(context, event):\n    return [event.method, event.path, len(event.body or b'')]\n"
    with RunningService(tree, tmp_path_factory.mktemp("fuzz"), code, {}) as service:
        yield service.ready()


def talk(place: Any, pieces: list[bytes]) -> list[Answer]:
    """Send the pieces, close the sending half, and return all answers, each of them whole; none may be to a HEAD."""
    answers: list[Answer] = []
    with Client(place) as client:
        client.socket.setsockopt(6, 1, 1)  # TCP_NODELAY: each piece as it is
        for piece in pieces:
            if piece and not client.try_send(piece):
                break
        try:
            client.shut()
        except OSError:  # reset already
            return answers
        left = None
        while left is None:
            try:
                answers.append(client.answer())
            except CutOff as cut:
                left = cut.data
    assert left == b"", answers
    return answers


def dated(answers: list[Answer]) -> list[tuple[int, str]]:
    return [(one.status, one.header("content-length")) for one in answers]


def is_well(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        assert client.ask(request(target="/well")).body == b"GET /well 0"
    gateway.until(lambda: gateway.echo.open == 0 and gateway.connections_now() == 0)
    assert not gateway.faults


def answers_of(gateway: RunningGateway, pieces: list[bytes]) -> tuple[list[tuple[str, str]], list[int], bytes]:
    """Return what was executed, the statuses of it, and all bytes that came back; not what was cut on its way in."""
    gateway.run(lambda: (gateway.echo.executed.clear(), gateway.echo.statuses.clear(), gateway.echo.refusals.clear()))
    with gateway.client() as client:
        client.socket.setsockopt(6, 1, 1)
        for piece in pieces:
            if piece and not client.try_send(piece):
                break
        try:
            client.shut()
        except OSError:
            pass
        came = client.rest()
    gateway.until(lambda: gateway.echo.open == 0)
    return list(gateway.echo.executed), [status for status in gateway.echo.statuses if status], came


def check(gateway: RunningGateway, pieces: list[bytes]) -> None:
    """Hold what came back against what was executed: one answer each, and one for each refusal."""
    executed, statuses, came = answers_of(gateway, pieces)
    finals = sum(came.count(b"HTTP/1.1 %d" % status) for status in (200, 204, 400, 408, 413, 414, 417, 431, 501, 505))
    refused = len(gateway.echo.refusals)
    assert len(statuses) == len(executed)
    assert finals == len(executed) + refused
    is_well(gateway)


@FEW
@given(st.lists(st.binary(max_size=300), max_size=4))
def test_any_bytes_leave_the_gateway_well(running: RunningGateway, pieces: list[bytes]) -> None:
    check(running, pieces)


@FEW
@given(st.sampled_from(SEEDS), st.integers(0, 150), st.integers(0, 30), NOISE, st.sampled_from(SEEDS))
def test_a_request_with_bytes_put_in_or_taken_out_leaves_the_gateway_well(
    running: RunningGateway, seed: bytes, at: int, taken: int, noise: bytes, after: bytes
) -> None:
    check(running, [seed[:at] + noise + seed[at + taken :] + after])


@FEW
@given(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=5), st.lists(st.integers(1, 60), max_size=12))
def test_requests_in_any_pieces_are_answered_like_the_whole(
    running: RunningGateway, seeds: list[bytes], sizes: list[int]
) -> None:
    whole, pieces = b"".join(seeds), []
    left = whole
    for size in sizes:
        pieces.append(left[:size])
        left = left[size:]
    executed, statuses, _ = answers_of(running, [*pieces, left])
    assert (len(executed), len(statuses)) == (len(seeds), len(seeds))
    assert (executed, statuses) == answers_of(running, [whole])[:2]
    is_well(running)


@FEW
@given(st.sampled_from(SEEDS), st.integers(1, 1000))
def test_a_request_cut_anywhere_is_not_executed(running: RunningGateway, seed: bytes, at: int) -> None:
    executed, statuses, came = answers_of(running, [seed[: at % len(seed)]])
    assert (executed, statuses) == ([], [])
    assert came.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"") == b""


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(WITH_BODIES), st.integers(0, 150), st.integers(0, 30), NOISE)
def test_a_service_says_hello_after_anything(
    served: RunningService, seed: bytes, at: int, taken: int, noise: bytes
) -> None:
    answers = talk(served.place, [seed[:at] + noise, seed[at + taken :]])
    assert all(one.status in (200, 400, 413, 414, 417, 431, 501, 505) for one in answers), dated(answers)
    assert served.ask(request(target="/well")).json() == ["GET", "/well", 0]
