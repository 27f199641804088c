"""What a client of a service gets: HTTP/1.1 as it should be, the event that the function sees, the answer it gives."""

from __future__ import annotations

import http.client
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Callable

import pytest
from running_gateway import RunningGateway
from running_service import Answer, Client, CutOff, RunningService, request

from nuwrap_runtime.host.service.exchange import Refusal

StartGateway = Callable[..., RunningGateway]
StartService = Callable[..., RunningService]

EDGES = [0, 1, 65_535, 65_536, 65_537, 1 << 20, 10 << 20]

# `/NAME` answers with what is at that name, any other path with the event.
FUNCTION = r"""
import json
class Mean(Exception):
    pass
def f(context, event):
    kind = event.path.rpartition("/")[2]
    Response = context.Response
    if kind in REPLIES:
        return REPLIES[kind]
    if kind == "echo":
        return Response(body=event.body, content_type="application/octet-stream")
    if kind == "bytes":
        return b"\x07" * int(event.get_field("n"))
    if kind == "raise":
        raise Mean("the secret is 42")
    if kind == "cookies":
        return Response(body="ok", headers={"Set-Cookie": ["a=1", "b=2"], "X-One": "1"})
    if kind == "header":
        return Response(body="ok", headers=json.loads(event.body))
    if kind == "type":
        return Response(body="ok", content_type=json.loads(event.body))
    if kind == "status":
        return Response(body="body", status_code=int(event.get_field("n")))
    if kind == "log":
        context.logger.info("said by f")
        return "ok"
    if kind == "events":
        return (f"data: {n}\n\n" for n in range(3))
    if kind == "broken":
        return broken()
    if kind == "left":
        return left(event.get_field("file"))
    body = event.body.decode("latin-1") if isinstance(event.body, bytes) else event.body
    return {"method": event.method, "path": event.path, "fields": event.fields, "headers": event.headers,
            "body": body, "id": event.id, "url": event.url, "content_type": event.content_type}
def broken():
    yield "one"
    raise Mean("midway")
def left(path):
    import time
    try:
        while True:
            yield "x" * 1000
            time.sleep(0.01)
    finally:
        open(path, "w").write("closed")
REPLIES = {"text": "grüße", "bytes_reply": b"\x00\xff", "none": None, "dict": {"a": [1, None]}, "list": [1, 2],
           "tuple": (202, {"b": 1}), "tuple_text": (404, "gone"), "empty": ""}
"""


@pytest.fixture(scope="module")
def served(tree: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    keys = {"serve": {"workers": 2, "access_log": True, "max_body_bytes": 20 << 20}}
    with RunningService(tree, tmp_path_factory.mktemp("gateway"), FUNCTION, keys) as service:
        yield service.ready()


def is_error(answer: Answer) -> bool:
    """Whether the answer has our form of an error, with the id of its header."""
    told = answer.json()
    return set(told) == {"error", "request_id"} and told["request_id"] == answer.header("x-request-id")


# HTTP, with either parser


def test_a_connection_serves_one_request_after_the_other(gateway: StartGateway) -> None:
    with gateway().client() as client:
        for number in range(50):
            answer = client.ask(request(target=f"/{number}"))
            assert (answer.status, answer.body, answer.all("connection")) == (200, b"GET /%d 0" % number, [])


def test_a_client_that_asks_to_close_is_told_so_and_closed(gateway: StartGateway) -> None:
    with gateway().client() as client:
        assert client.ask(request(connection="close")).header("connection") == "close"
        assert client.is_closed()


def test_http_1_0_is_closed_unless_it_asks_to_stay(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        answer = client.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert (answer.version, answer.header("connection")) == ("HTTP/1.1", "close")
        assert client.is_closed()
    with running.client() as client:
        for _ in range(2):
            answer = client.ask(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            assert answer.header("connection") == "keep-alive"


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        answer = client.ask(b"GET /stream/3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (answer.body, answer.header("transfer-encoding")) == (b"0\n1\n2\n", "")
    with running.client() as client:
        client.send(b"GET /cut/3 HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            client.answer()


def test_a_stream_comes_in_chunks_and_the_connection_stays(gateway: StartGateway) -> None:
    with gateway().client() as client:
        assert client.ask(request(target="/stream/3")).chunks == (b"0\n", b"1\n", b"2\n")
        assert client.ask(request(target="/stream/0")).chunks == ()


def test_a_stream_that_is_broken_off_is_seen_to_be(gateway: StartGateway) -> None:
    with gateway().client() as client:
        client.send(request(target="/cut/3"))
        with pytest.raises(CutOff):
            client.answer()


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "PATCH", "PURGE", "TRACE", "DELETE", "PROPFIND", "REPORT"])
@pytest.mark.parametrize("target", ["/", "/a/b%2Fc?x=%20", "http://host/p?q", "*", "//a", "/?", "/a?b?c#d", "/~!$&'()"])
def test_any_method_and_address_reach_the_application(gateway: StartGateway, method: str, target: str) -> None:
    running = gateway()
    with running.client() as client:
        assert client.ask(request(method, target)).status == 200
    assert running.echo.executed == [(method, target)]


@pytest.mark.parametrize(
    ("target", "path", "fields"),
    [
        ("/a%2Fb%20c?x=1&x=2", "/a/b c", {"x": "2"}),
        ("/%C3%BC?n%C3%A4=%C3%BC", "/ü", {"nä": "ü"}),
        ("/%FF?x=%FF", "/\udcff", {"x": "\udcff"}),
        ("/?a=&b&c=+d%2B", "/", {"a": "", "b": "", "c": " d+"}),
        ("/p?", "/p", {}),
        ("?", None, {}),
        ("http://host:1/p?q=1", "/p", {"q": "1"}),
        ("http://host?q=1", "/", {"q": "1"}),
        ("*", "*", {}),
        ("/p?a=1#b=2", "/p", {"a": "1"}),
        ("/p?a=1;b=2", "/p", {"a": "1;b=2"}),
        ("/%", "/%", {}),
        ("/a//b/../c", "/a//b/../c", {}),
    ],
)
def test_path_and_query_are_decoded(gateway: StartGateway, target: str, path: Any, fields: dict[str, str]) -> None:
    running = gateway()
    with running.client() as client:
        answer = client.ask(request(target=target))
    if path is None:
        assert answer.status == 400 or running.echo.events[0]["path"] == "/"
        return
    (event,) = running.echo.events
    assert (event["path"], event["fields"], event["url"]) == (path, fields, target)


def test_a_query_of_too_many_arguments_is_refused(gateway: StartGateway) -> None:
    with gateway().client() as client:
        assert client.ask(request(target="/?" + "a&" * 1001)).status == 400
        assert client.ask(request(target="/?" + "&".join(["a=1"] * 900))).status == 200


def test_headers_have_canonical_names_and_are_joined(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        lines = [b"host: a", b"X-oNE: 1", b"x-one:2 ", b"cookie: a=1", b"Cookie: b=2", b"x-u: \xc3\xbc\xff"]
        assert client.ask(b"\r\n".join([b"GET / HTTP/1.1", *lines, b"", b""])).status == 200
    headers = running.echo.events[0]["headers"]
    assert headers == {"Host": "a", "X-One": "1, 2", "Cookie": "a=1; b=2", "X-U": "ü\udcff"}


def test_a_request_id_is_taken_when_it_can_be_else_made(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        assert client.ask(request(x_request_id="mine-1")).header("x-request-id") == "mine-1"
        for bad in ("", "a b", "x" * 129, "\u00fc"):
            made = client.ask(request(x_request_id=bad)).header("x-request-id")
            assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made)
    assert len({event["id"] for event in running.echo.events}) == 5


def test_a_body_may_come_in_chunks_with_extensions_and_trailers(gateway: StartGateway) -> None:
    running = gateway()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: T\r\n\r\n"
    with running.client() as client:
        client.send(head + b'5;a;b="c"\r\nhello\r\n00006\r\n world\r\n0;z\r\nT: 1\r\nX-Sum: 3\r\n\r\n' + request())
        assert client.answer().body == b"POST / 11"
        assert client.answer().body == b"GET / 0"
    assert running.echo.bodies == [b"hello world", b""]
    assert "T" not in running.echo.events[0]["headers"]


@pytest.mark.parametrize("target", ["/", "/file/100000", "/stream/3", "/status/404"])
def test_head_gets_the_head_alone(gateway: StartGateway, target: str) -> None:
    with gateway().client() as client:
        got, head = client.ask(request(target=target)), client.ask(request("HEAD", target), "HEAD")
        assert (head.status, head.body) == (got.status, b"")
        assert head.header("content-type") == got.header("content-type")
        assert head.header("transfer-encoding") == got.header("transfer-encoding")
        assert client.ask(request()).body == b"GET / 0"


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_has_none(gateway: StartGateway, status: int) -> None:
    with gateway().client() as client:
        answer = client.ask(request(target=f"/status/{status}"))
        assert (answer.status, answer.header("content-length"), answer.header("content-type")) == (status, "", "")
        assert client.ask(request()).body == b"GET / 0"


def test_a_client_that_waits_is_told_to_go_on(gateway: StartGateway) -> None:
    with gateway().client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n")
        assert client.head().status == 100
        assert client.ask(b"hello").body == b"POST / 5"
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n")
        assert client.head().status == 200  # there is nothing to go on with


def test_another_expectation_cannot_be_met(gateway: StartGateway) -> None:
    with gateway().client() as client:
        assert client.ask(request(expect="miracles")).status == 417


def test_a_client_that_waits_behind_another_request_is_told_to_go_on_after_it(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        client.send(request(target="/hold") + request("POST", "/", b"", expect="100-continue", content_length="2"))
        running.release()
        assert client.answer().body == b"GET /hold 0"
        assert client.head().status == 100
        assert client.ask(b"ab").body == b"POST / 2"


def test_a_wish_for_another_protocol_is_ignored(gateway: StartGateway) -> None:
    with gateway().client() as client:
        for _ in range(3):
            answer = client.ask(request("POST", "/", b"abc", connection="Upgrade", upgrade="websocket"))
            assert (answer.status, answer.body) == (200, b"POST / 3")


def test_one_request_too_many_gets_429_and_the_connection_stays(gateway: StartGateway) -> None:
    running = gateway()
    with running.client() as client:
        running.echo.refusal = Refusal(429, "too many", may_retry=True)
        answer = client.ask(request("POST", "/", b"abc"))
        assert (answer.status, answer.header("retry-after"), is_error(answer)) == (429, "1", True)
        running.echo.refusal = None
        assert client.ask(request()).status == 200
    assert running.echo.refusals == [429]


@pytest.mark.parametrize("size", EDGES)
def test_bodies_of_any_size_come_and_go_whole(gateway: StartGateway, size: int) -> None:
    running = gateway()
    data = os.urandom(size)
    with running.client() as client:
        sender = threading.Thread(target=client.send, args=(request("POST", "/", data),))
        sender.start()
        assert client.answer().body == b"POST / %d" % size
        sender.join()
        assert running.echo.bodies == [data]
        assert len(client.ask(request(target=f"/bytes/{size}")).body) == size
        assert client.ask(request(target=f"/file/{size}")).body == bytes(size)
        assert client.ask(request()).status == 200


# A function behind it


def test_the_function_sees_the_request(served: RunningService) -> None:
    sent = {"X-Forwarded-For": "1.2.3.4", "x-forwarded-proto": "https", "X-Request-ID": "r-1", "Content-Type": "text/x"}
    told = served.call("PUT", "/some%20path?a=1&b=", b"body", sent).json()
    assert (told["method"], told["path"], told["fields"]) == ("PUT", "/some path", {"a": "1", "b": ""})
    assert (told["body"], told["id"], told["content_type"]) == ("body", "r-1", "text/x")
    assert told["headers"]["X-Forwarded-For"] == "1.2.3.4"
    assert told["headers"]["X-Forwarded-Proto"] == "https"


def test_a_chunked_body_is_the_function_s_whole(served: RunningService) -> None:
    told = served.call("POST", "/", iter([b"one", b" ", b"two"])).json()
    assert (told["body"], told["headers"]["Transfer-Encoding"]) == ("one two", "chunked")


@pytest.mark.parametrize(
    ("path", "status", "content_type", "body"),
    [
        ("text", 200, "text/plain", "grüße".encode()),
        ("empty", 200, "text/plain", b""),
        ("none", 200, None, b""),
        ("bytes_reply", 200, None, b"\x00\xff"),
        ("dict", 200, "application/json", b'{"a": [1, null]}'),
        ("list", 200, "application/json", b"[1, 2]"),
        ("tuple", 202, "application/json", b'{"b": 1}'),
        ("tuple_text", 404, "text/plain", b"gone"),
    ],
)
def test_what_the_function_returns_is_the_answer(
    served: RunningService, path: str, status: int, content_type: Any, body: bytes
) -> None:
    answer = served.call("GET", f"/{path}")
    assert (answer.status, answer.body) == (status, body)
    assert answer.header("content-length") == str(len(body))
    if content_type:
        assert answer.header("content-type").partition(";")[0] == content_type
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.header("date"))


def test_a_header_with_several_values_is_sent_several_times(served: RunningService) -> None:
    answer = served.call("GET", "/cookies")
    assert (answer.all("set-cookie"), answer.all("x-one")) == (["a=1", "b=2"], ["1"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("header", {"X-A": "a\r\nX-B: b"}),
        ("header", {"X-A": "a\nb"}),
        ("header", {"X-A": "a\rb"}),
        ("header", {"X-A": "a\u0000"}),
        ("header", {"X-A": ["fine", "a\r\n\r\nbody"]}),
        ("header", {"X-A\r\nX-B": "a"}),
        ("header", {"X A": "a"}),
        ("header", {"": "a"}),
        ("type", "text/plain\r\nX-B: b"),
        ("type", "text/plain\n"),
    ],
)
def test_a_header_that_would_be_two_is_an_error_and_logged(served: RunningService, path: str, value: Any) -> None:
    answer = served.call("POST", f"/{path}", json.dumps(value).encode())
    assert (answer.status, is_error(answer), answer.all("x-b")) == (500, True, [])
    logged = served.await_log(event="log", level="error", request_id=answer.header("x-request-id"))
    assert "cannot be sent" in logged["message"]


def test_what_the_connection_needs_is_not_the_function_s_to_say(served: RunningService) -> None:
    mine = {
        "Content-Length": "1",
        "Connection": "x",
        "transfer-encoding": "chunked",
        "X-Request-Id": "y",
        "X-Mine": "z",
    }
    answer = served.call("POST", "/header", json.dumps(mine).encode())
    assert (answer.body, answer.header("x-mine"), answer.header("connection")) == (b"ok", "z", "")
    assert answer.header("x-request-id") != "y"


@pytest.mark.parametrize("status", [200, 201, 204, 304, 400, 404, 418, 500, 503, 599, 799])
def test_any_final_status_is_passed_on(served: RunningService, status: int) -> None:
    answer = served.call("GET", f"/status?n={status}")
    assert (answer.status, answer.body) == (status, b"" if status in (204, 304) else b"body")


@pytest.mark.parametrize("status", [1, 100, 101, 199, 1000, -1])
def test_what_is_no_status_of_an_answer_is_an_error(served: RunningService, status: int) -> None:
    assert served.call("GET", f"/status?n={status}").status in (500, 502)
    assert served.call("GET", "/text").status == 200


def test_an_exception_is_a_500_that_tells_nothing_and_its_traceback_is_in_the_log(served: RunningService) -> None:
    answer = served.call("GET", "/raise", headers={"X-Request-ID": "raised-1"})
    assert (answer.status, is_error(answer), answer.json()["request_id"]) == (500, True, "raised-1")
    assert b"42" not in answer.body
    assert b"Mean" not in answer.body
    logged = json.dumps(served.await_log(event="log", level="error", request_id="raised-1"))
    assert "the secret is 42" in logged
    assert "raise Mean" in logged


def test_what_the_function_logs_has_the_request_s_id(served: RunningService) -> None:
    served.call("GET", "/log", headers={"X-Request-ID": "log-1"})
    assert served.await_log(event="log", request_id="log-1")["message"] == "said by f"


def test_the_access_log_has_a_line_for_each_request(served: RunningService) -> None:
    served.call("GET", "/tuple_text?a=1", headers={"X-Request-ID": "access-1"})
    line = served.await_log(event="request", request_id="access-1")
    assert (line["method"], line["target"], line["status"]) == ("GET", "/tuple_text?a=1", 404)
    assert line["seconds"] >= 0


def test_nobody_logs_requests_unless_asked_to(service: StartService) -> None:
    running = service(FUNCTION)
    running.call("GET", "/log")
    running.await_log(event="log")
    running.stop()
    assert not [line for line in running.log() if line["event"] == "request"]


@pytest.mark.parametrize("size", EDGES)
def test_a_body_of_any_size_comes_back_as_it_was(served: RunningService, size: int) -> None:
    data = os.urandom(size)
    assert served.call("POST", "/echo", data).body == data
    assert served.call("POST", "/echo", iter([data[: size // 2] or b"", data[size // 2 :]])).body == data
    assert served.call("GET", f"/bytes?n={size}").body == b"\x07" * size


def test_large_bodies_at_the_same_time_are_not_mixed(served: RunningService) -> None:
    wrong: list[int] = []

    def call(number: int) -> None:
        data = os.urandom(200_000 * (number + 1))
        with closing(http.client.HTTPConnection(*served.place)) as connection:
            for _ in range(3):
                connection.request("POST", "/echo", data)
                if connection.getresponse().read() != data:
                    wrong.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong


def test_one_request_too_many_is_told_to_come_again(service: StartService) -> None:
    code = "import time\ndef f(context, event):\n    time.sleep(float(event.path[1:]))\n    return 'ok'\n"
    running = service(code, serve={"max_inflight": 2})
    with running.client() as first, running.client() as second, running.client() as third:
        first.send(request(target="/1.0"))
        second.send(request(target="/0"))
        running.until(
            lambda: running.metric("nuwrap_requests_in_flight") + running.metric("nuwrap_requests_waiting") == 2
        )
        answer = third.ask(request(target="/0"))
        assert (answer.status, answer.header("retry-after"), is_error(answer)) == (429, "1", True)
        assert [first.answer().status, second.answer().status, third.ask(request(target="/0")).status] == [200] * 3


# Streams of a function


def test_server_sent_events_come_one_by_one(served: RunningService, service: StartService) -> None:
    assert served.call("GET", "/events").body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    code = """
import os, time
def f(context, event):
    return context.Response(body=events(event.path), content_type="text/event-stream")
def events(path):
    yield "data: 1\\n\\n"
    while not os.path.exists(path):
        time.sleep(0.01)
    yield "data: 2\\n\\n"
"""
    running = service(code)
    go = running.folder / "go"
    with running.client() as client:
        client.send(request(target=str(go)))
        head = client.head()
        assert (head.header("content-type"), head.header("transfer-encoding")) == ("text/event-stream", "chunked")
        assert client.chunk() == b"data: 1\n\n"
        go.touch()
        assert (client.chunk(), client.chunk()) == (b"data: 2\n\n", b"")


def test_a_stream_that_raises_is_visibly_broken_and_its_traceback_logged(served: RunningService) -> None:
    with served.client() as client:
        client.send(request(target="/broken", x_request_id="broken-1"))
        with pytest.raises(CutOff):
            client.answer()
    assert "midway" in json.dumps(served.await_log(event="log", level="error", request_id="broken-1"))
    with served.client() as client:
        client.send(b"GET /broken HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            client.answer()


def test_a_client_that_leaves_a_stream_closes_the_generator(served: RunningService) -> None:
    mark = served.folder / "mark"
    with served.client() as client:
        client.send(request(target=f"/left?file={mark}"))
        client.head()
        assert client.chunk() == b"x" * 1000
    served.until(mark.exists)
    assert served.call("GET", "/text").status == 200


def test_a_client_that_does_not_read_a_stream_stops_the_generator_and_no_other_request(served: RunningService) -> None:
    with Client(served.place, small_window=True) as client:
        client.send(request(target=f"/left?file={served.folder / 'slow'}"))
        time.sleep(0.3)
        assert served.call("GET", "/text").status == 200
    served.until((served.folder / "slow").exists)
