"""What a handler may do, and what its client and its log get: one table for all hosts.

A case is a function in `CODE`, asked by its name as the path. Where a host cannot answer alike by design, the case
says why (`differs`), and what is so there instead.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any, Callable, Optional, Union

CODE = r"""
import asyncio, contextlib, datetime, enum, inspect, io, json, math, os, sys, threading
import nuclio_sdk

STARTS = []
STARTS.append(__name__)

def init_context(context):
    context.user_data.inits = getattr(context.user_data, "inits", 0) + 1

class Odd:
    def __repr__(self):
        return "<odd>"

class Text(str, enum.Enum):
    A = "member"

def values(*given):
    for one in given:
        if isinstance(one, Exception):
            raise one
        yield one

async def later_values(*given):
    for one in given:
        await asyncio.sleep(0)
        yield one

async def slept():
    await asyncio.sleep(0.001)
    return "slept"

def raise_it(exc):
    raise exc

def forked(act):
    pid = os.fork()
    if pid == 0:
        return act()
    return str(os.waitpid(pid, 0)[1] >> 8)

def log_levels(context, event):
    log = context.logger
    log.debug("d"); log.info("%s of %d", "one", 2); log.warn("w"); log.warning("w2"); log.error("e"); log.critical("c")
    log.info_with("with", a=1, b=[1, {"c": None}]); log.debug_with("odd", o=object(), n=math.nan)
    log.warn_with("ww"); log.error_with("100%"); log.info("%d", "none")
    log.bind(request="r").info("bound")
    return "logged"

def log_in_threads(context, event):
    todo = [threading.Thread(target=context.logger.info, args=("from a thread",)) for _ in range(5)]
    [one.start() for one in todo]
    [one.join() for one in todo]
    return "joined"

def capture(context, event):
    caught = io.StringIO()
    with contextlib.redirect_stdout(caught), contextlib.redirect_stderr(caught):
        print("caught"); print("too", file=sys.stderr)
    print("not caught")
    return caught.getvalue()

def lose_stdout(context, event):
    kept, sys.stdout = sys.stdout, None
    print("nowhere")
    sys.stdout = io.StringIO()
    sys.stdout.close()
    try:
        print("closed")
    except ValueError:
        sys.stdout = kept
    return "fine"

def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value

def in_circle():
    value = {}
    value["me"] = value
    return value

def call_function(context, event):
    sent = nuclio_sdk.Event(body={"a": 1}, method="POST", path="/called", headers={"X-Own": "1"})
    got = context.platform.call_function("other", sent, service_name_override=event.get_field("to"))
    return [got.status_code, got.body, got.headers["x-back"], got.content_type]

def describe(context, event):
    return {
        "body": event.body if not isinstance(event.body, bytes) else "bytes " + event.body.decode("latin-1"),
        "content_type": event.content_type, "method": event.method, "path": event.path, "size": event.size,
        "fields": dict(event.fields), "x-one": event.get_header("x-ONE"), "own": event.headers.get("X-One"),
        "trigger": event.trigger.kind, "shards": [event.shard_id, event.num_shards], "offset": event.offset,
        "kinds": [event.type, event.type_version, event.version, event.topic], "last": event.last_in_batch,
        "id": type(event.id).__name__, "now": abs((event.timestamp - utc_now()).total_seconds()) < 100,
    }

def event_forms(context, event):
    known = json.loads(event.to_json())
    theirs = json.loads(nuclio_sdk.Event(b"ab", trigger=nuclio_sdk.TriggerInfo("http", "web")).to_json())
    ack = event.compile_explicit_ack_message()
    same = ack == nuclio_sdk.QualifiedOffset.from_event(event).compile_explicit_ack_message()
    return [sorted(known) == sorted(theirs), known["body"], known["trigger"]["kind"], repr(event) == event.to_json(),
            same, ack["kind"], ack["attributes"]]

def utc_now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)

def sdk_error(*args):
    return nuclio_sdk.exceptions.ExceptionWithResponse(*args)

BIG = "0123456789abcdef" * 10_000

HANDLERS = {
    # what is returned
    "text": lambda c, e: "gr\u00fc\u00dfe",
    "text_empty": lambda c, e: "",
    "text_lines": lambda c, e: 'r{}\nr[]\ns\n"\\\x00\u2028\U0001f600',
    "text_of_bytes": lambda c, e: "\udcff",
    "text_half": lambda c, e: "\ud800",
    "text_member": lambda c, e: Text.A,
    "bytes": lambda c, e: b"\x00\xff\n",
    "bytearray": lambda c, e: bytearray(b"ab"),
    "memoryview": lambda c, e: memoryview(b"ab"),
    "none": lambda c, e: None,
    "int": lambda c, e: 5,
    "float": lambda c, e: 0.5,
    "bool": lambda c, e: True,
    "dict": lambda c, e: {"a": [1, None, True, "\u00fc"], 2: 1.5},
    "dict_nan": lambda c, e: {"a": [math.nan, math.inf], "b": (-math.inf, None)},
    "dict_odd": lambda c, e: {"a": Odd(), "b": {1}, "c": b"x"},
    "dict_date": lambda c, e: {"a": datetime.date(2026, 1, 2)},
    "dict_key": lambda c, e: {(1, 2): 3},
    "dict_long": lambda c, e: {"a": 10**30},
    "circle": lambda c, e: in_circle(),
    "deep": lambda c, e: nested(100_000),
    "list": lambda c, e: [1, {"a": 2}],
    "list_empty": lambda c, e: [],
    "list_pairs": lambda c, e: [(200, "a"), (500, "b")],
    "pair": lambda c, e: (201, "made"),
    "pair_json": lambda c, e: (202, {"b": 1}),
    "pair_list": lambda c, e: (200, []),
    "pair_none": lambda c, e: (204, None),
    "pair_bytes": lambda c, e: (200, b"\xff"),
    "pair_wrong": lambda c, e: ("made", 201),
    "triple": lambda c, e: (1, 2, 3),
    "object": lambda c, e: object(),
    "odd": lambda c, e: Odd(),
    # Responses
    "response": lambda c, e: c.Response(
        body={"a": 1}, content_type="application/problem+json", status_code=418,
        headers={"X-Number": 5, "X-Float": 1.5, "X-Bool": True, "X-None": None, "X-Text": "t"}),
    "response_sdk": lambda c, e: nuclio_sdk.Response({"X-A": "1"}, {"b": 2}, None, 203),
    "response_empty": lambda c, e: c.Response(),
    "response_list": lambda c, e: c.Response(body=[1]),
    "response_text": lambda c, e: c.Response(body="<p>", content_type="text/html; charset=utf-8"),
    "response_bytes": lambda c, e: c.Response(body=b"\x89PNG", content_type="image/png"),
    "header_list": lambda c, e: c.Response(body="x", headers={"X-List": ["a", 1]}),
    "header_case": lambda c, e: c.Response(body="x", headers={"x-lower-name": "1"}),
    "header_type": lambda c, e: c.Response(body="x", headers={"Content-Type": "text/css"}),
    "header_raises": lambda c, e: c.Response(body="x", headers={"X-A": Raises()}),
    "status_zero": lambda c, e: c.Response(body="x", status_code=0),
    "status_high": lambda c, e: (999, "x"),
    "status_low": lambda c, e: (99, "x"),
    "status_text": lambda c, e: c.Response(status_code="201"),
    "no_ack": lambda c, e: without_ack(c.Response(body="x")),
    # exceptions
    "raises": lambda c, e: raise_it(KeyError("password=hunter2")),
    "raises_unprintable": lambda c, e: raise_it(Unprintable()),
    "exits": lambda c, e: sys.exit(3),
    "interrupts": lambda c, e: raise_it(KeyboardInterrupt()),
    "recursion": lambda c, e: HANDLERS["recursion"](c, e),
    "error_with_response": lambda c, e: raise_it(sdk_error(409, {"a": 1})),
    "error_with_text": lambda c, e: raise_it(sdk_error(403, "<no>", "text/html")),
    "error_with_nothing": lambda c, e: raise_it(sdk_error(404)),
    "error_with_nonsense": lambda c, e: raise_it(sdk_error("no")),
    # large bodies
    "large_text": lambda c, e: BIG + "\u00fc",
    "large_bytes": lambda c, e: bytes(range(256)) * 1000,
    "large_json": lambda c, e: {"big": BIG},
    "large_list": lambda c, e: [BIG],
    "large_response": lambda c, e: c.Response(body=BIG, status_code=202, content_type="text/css", headers={"X-A": 1}),
    "large_error": lambda c, e: raise_it(sdk_error(500, BIG)),
    # generators
    "values": lambda c, e: values("one ", b"two ", {"three": 3}, None, [4]),
    "values_later": lambda c, e: later_values("a", "b"),
    "values_json": lambda c, e: values({"a": 1}, 2),
    "values_none": lambda c, e: values(),
    "values_pair": lambda c, e: (201, values("a")),
    "values_response": lambda c, e: c.Response(
        body=values("data: 1\n\n", "data: 2\n\n"), content_type="text/event-stream", status_code=201),
    "values_responses": lambda c, e: values(c.Response(body="a", status_code=202), c.Response(body="b")),
    "values_raise": lambda c, e: values("a", KeyError("late")),
    "values_raise_first": lambda c, e: values(KeyError("early")),
    # what else handlers do
    "asyncio_run": lambda c, e: asyncio.run(slept()),
    "asyncio_thread": lambda c, e: in_thread(lambda: asyncio.run(slept())),
    "coroutine": lambda c, e: slept(),
    "capture": capture,
    "lose_stdout": lose_stdout,
    "fork_exits": lambda c, e: forked(lambda: sys.exit(4)),
    "fork_raises": lambda c, e: forked(lambda: raise_it(RuntimeError("in the child"))),
    "fork_returns": lambda c, e: forked(lambda: "the child's"),
    "fork_logs": lambda c, e: forked(lambda: c.logger.info("from the child")),
    "log_levels": log_levels,
    "log_in_threads": log_in_threads,
    "modules": lambda c, e: [STARTS, sys.modules[__name__].STARTS is STARTS, c.user_data.inits],
    "context": lambda c, e: [c.worker_id, c.trigger.kind, c.trigger_name == c.trigger.name, c.platform.kind],
    "call_function": call_function,
    "default_encoding": lambda c, e: [sys.getdefaultencoding(), sys.flags.utf8_mode in (0, 1)],
    # events
    "event": describe,
    "cloud": lambda c, e: [
        e.body if isinstance(e.body, dict) else e.body.decode(), e.content_type, e.id, str(e.timestamp),
        e.type, e.type_version, e.version, e.trigger.kind, len(e.headers) > 0],
    "event_forms": event_forms,
    "header_echo": lambda c, e: c.Response(body="x", headers={"X-Raw": e.headers["X-Raw"]}),
    "header_raw": lambda c, e: e.headers["X-Raw"].encode("utf-8", "surrogateescape").hex(),
    "field": lambda c, e: [e.get_field("a"), e.get_field("b"), e.get_field("b", "none")],
    "body": lambda c, e: e.body,
    "kind_of_body": lambda c, e: type(e.body).__name__,
}

class Raises:
    def __str__(self): raise ValueError("no text")

class Unprintable(Exception):
    def __str__(self): raise ValueError("no text")

def without_ack(response):
    response.ensure_no_ack()
    return response

def in_thread(act):
    found = []
    one = threading.Thread(target=lambda: found.append(act()))
    one.start(); one.join()
    return found[0]

def f(context, event):
    return HANDLERS[event.path.strip("/")](context, event)
"""

ASYNC_CODE = (
    CODE[: CODE.index("def f(context, event)")]
    + """
async def f(context, event):
    await asyncio.sleep(0)
    value = HANDLERS[event.path.strip("/")](context, event)
    return await value if inspect.iscoroutine(value) else value
"""
)

SCRIPTED, REAL, SERVED = "scripted", "real", "served"
CONCURRENT = "concurrent"  # besides one of these: the function is async

Check = Callable[[bytes], object]
Record = tuple[str, str]


@dataclass(frozen=True)
class Case:
    """One row. `body` is what the client gets, or a check of it; `logs` are levels and texts, in order.

    `event` is what of the event the processor makes in a way of its own. `differs` maps a host to (why it is another
    answer there by design, what is so instead; None: not asked).
    """

    path: str
    body: Union[bytes, Check] = b""
    status: int = 200
    type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)
    logs: tuple[Record, ...] = ()
    name: str = ""
    method: str = ""
    query: str = ""
    sent: Optional[bytes] = None
    event: Mapping[str, Any] = field(default_factory=dict)
    sent_headers: Mapping[str, str] = field(default_factory=dict)
    differs: Mapping[str, tuple[str, Optional[Mapping[str, Any]]]] = field(default_factory=dict)

    def on(self, *hosts: str) -> Optional[Case]:
        """Return the case as it is on a host, None when it is not asked there."""
        changes = [self.differs[host][1] for host in hosts if host in self.differs]
        if None in changes:
            return None
        return replace(self, **{name: value for one in changes if one for name, value in one.items()})


@dataclass(frozen=True)
class Seen:
    """What a client got and a log has."""

    status: int
    type: str
    headers: Mapping[str, str]
    body: bytes
    logs: tuple[Record, ...]


def faults(case: Case, seen: Seen) -> list[str]:
    """Return what is not as the case says."""
    found = []
    if (seen.status, seen.type) != (case.status, case.type):
        found.append(f"{seen.status} {seen.type}, not {case.status} {case.type}")
    if callable(case.body) and not case.body(seen.body):
        found.append(f"the body {seen.body[:300]!r} is not {case.body.__doc__ or case.body}")
    if not callable(case.body) and seen.body != case.body:
        found.append(f"the body {seen.body[:300]!r}, not {case.body[:300]!r}")
    for name, value in case.headers.items():
        if seen.headers.get(name) != value:
            found.append(f"header {name} {seen.headers.get(name)!r}, not {value!r}")
    if seen.logs != case.logs:
        found.append(f"log {seen.logs}, not {case.logs}")
    return found


def of_json(value: Any) -> Check:
    """Return a check that the body is this value as JSON."""

    def check(body: bytes) -> bool:
        return bool(json.loads(body) == value)

    check.__doc__ = f"JSON of {value!r}"
    return check


def with_error(text: str) -> Check:
    """Return a check that the body says this and no more, and an id to look for in the log."""

    def check(body: bytes) -> bool:
        document = json.loads(body)
        return set(document) == {"error", "request_id"} and text in document["error"] and bool(document["request_id"])

    check.__doc__ = f"an error of {text!r} with an id"
    return check


def failing(path: str, log: str, told: str = "raised an exception", **more: Any) -> Case:
    """Return the case of a call whose client gets a 500 without the reason, which the log has."""
    logs = (("error", log),)
    return Case(path, with_error(told), 500, JSON, logs=logs, **more)


def unsendable(path: str, log: str, **more: Any) -> Case:
    """Return the case of a returned value that no client could read."""
    return failing(path, f"what the function returned cannot be sent: {log}", "cannot be sent", **more)


def asked(name: str, expected: Mapping[str, Any], **request: Any) -> Case:
    """Return the case of a request as `describe` tells it; `expected` replaces what an empty GET has."""
    sent = request.get("sent")
    plain = {
        "body": None if sent is None else "bytes " + sent.decode("latin-1"),
        "content_type": request.get("sent_headers", {}).get("Content-Type", ""),
        "method": request.get("method") or ("GET" if sent is None else "POST"),
        "path": "/event",
        "size": len(sent or b""),
        "fields": {},
        "x-one": None,
        "own": None,
        "trigger": "http",
        "shards": [-1, 0],
        "offset": 0,
        "kinds": ["", "", "", ""],
        "last": False,
        "id": "str",
        "now": True,
    }
    return Case("event", of_json({**plain, **expected}), type=JSON, name=name, **request)


JSON, NDJSON = "application/json", "application/x-ndjson"
CALLED = "127.{}.{}.{}".format(*os.urandom(2), 9)  # at port 8080, as nuclio-sdk calls: an address for this run alone
BIG = b"0123456789abcdef" * 10_000
SENT_AS_JSON = {"Content-Type": JSON}
CLOUD_EVENT = {
    "cloudEventsVersion": "0.1",
    "eventType": "t",
    "eventTypeVersion": "1",
    "source": "/s",
    "eventID": "id",
    "eventTime": "2026-01-02T03:04:05Z",
    "contentType": JSON,
    "data": {"a": 1},
}
CLOUD_HEADERS = {"CloudEventsVersion": "0.1", "EventType": "t", "Source": "/s", "EventID": "id"}
AS_CLOUD = {
    "type": "t",
    "version": "0.1",
    "id": "id",
    "trigger": {"kind": "/s", "name": "/s"},
    "content_type": JSON,
    "timestamp": 1767323045,
}
ACKNOWLEDGED = {"topic": "/event_forms", "partition": -1, "offset": 0}
STATUSES = "allowed: a whole number from 200 to 999, or 0 for 200"
STREAMED = "the service streams: what was yielded before is sent already, and the answer breaks off"
SEVERAL = "the service sends a list as several headers, such as Set-Cookie; a processor has one of each name"
NO_ONES = "the service knows whose a thread's records are not: they have no request's id"
IN_THREADS = (("info", "from a thread"),) * 5
LEVELS = (
    *(("debug", "d"), ("info", "one of 2"), ("warning", "w"), ("warning", "w2"), ("error", "e"), ("critical", "c")),
    *(("info", "with"), ("debug", "odd"), ("warning", "ww"), ("error", "100%"), ("info", "%d none"), ("info", "bound")),
)
FOUR_LEVELS = tuple(("error" if level == "critical" else level, text) for level, text in LEVELS)
NO_CRITICAL = "the processor has four levels"
ONLY_UTF8 = "a processor reads replies as JSON, where a byte that is no UTF-8 becomes U+FFFD"
NO_CLOUD = "the service has no CloudEvents of the processor's old form: such a request is a plain event"

CASES = [
    Case("text", "grüße".encode()),
    Case("text_empty"),
    Case("text_lines", 'r{}\nr[]\ns\n"\\\x00\u2028\U0001f600'.encode()),
    Case("text_of_bytes", b"\xff"),
    unsendable("text_half", "text with half a character (a lone surrogate); return bytes"),
    Case("text_member", b"member"),
    Case("bytes", b"\x00\xff\n"),
    Case("bytearray", b"ab"),
    Case("memoryview", b"ab"),
    Case("none"),
    Case("int", b"5"),
    Case("float", b"0.5"),
    Case("bool", b"True"),
    Case("dict", of_json({"a": [1, None, True, "ü"], "2": 1.5}), type=JSON),
    Case("dict_nan", of_json({"a": ["NaN", "Infinity"], "b": ["-Infinity", None]}), type=JSON),
    Case("dict_odd", of_json({"a": "<odd>", "b": "{1}", "c": "b'x'"}), type=JSON),
    Case("dict_date", of_json({"a": "2026-01-02"}), type=JSON),
    unsendable("dict_key", "as JSON: keys must be str, int, float, bool or None, not tuple"),
    Case("dict_long", b'{"a": 1000000000000000000000000000000}', type=JSON),
    unsendable("circle", "the value contains itself, or is nested too deeply for JSON"),
    unsendable("deep", "the value contains itself, or is nested too deeply for JSON"),
    Case("list", of_json([1, {"a": 2}]), type=JSON),
    Case("list_empty", b"[]", type=JSON),
    Case("list_pairs", of_json([[200, "a"], [500, "b"]]), type=JSON),
    Case("pair", b"made", 201),
    Case("pair_json", of_json({"b": 1}), 202, JSON),
    Case("pair_list", b"[]", type=JSON),
    Case("pair_none", b"", 204, ""),
    Case("pair_bytes", b"\xff"),
    unsendable("pair_wrong", "a two-tuple is (status, body); 'made' is str, no HTTP status; write 201, 'made'"),
    Case("triple", b"(1, 2, 3)"),
    unsendable(
        "object",
        "object; return text, bytes, a dict or a list, or context.Response(body=…, status_code=…, headers={…}), also "
        "as nuclio_sdk.Response",
    ),
    Case("odd", b"<odd>"),
    Case(
        "response",
        of_json({"a": 1}),
        418,
        "application/problem+json",
        {"x-number": "5", "x-float": "1.5", "x-bool": "True", "x-none": "None", "x-text": "t"},
    ),
    Case("response_sdk", of_json({"b": 2}), 203, JSON, {"x-a": "1"}),
    Case("response_empty"),
    Case("response_list", b"[1]", type=JSON),
    Case("response_text", b"<p>", type="text/html; charset=utf-8"),
    Case("response_bytes", b"\x89PNG", type="image/png"),
    Case("header_list", b"x", headers={"x-list": "a, 1"}, differs={SERVED: (SEVERAL, {"headers": {"x-list": "a|1"}})}),
    Case("header_case", b"x", headers={"x-lower-name": "1"}),
    Case("header_type", b"x"),
    failing("header_raises", "ValueError: no text"),
    Case("status_zero", b"x"),
    Case("status_high", b"x", 999),
    unsendable(
        "status_low", "99 is no HTTP status of an answer; allowed: a whole number from 200 to 999, or 0 for 200"
    ),
    unsendable("status_text", f"the status '201' is str, no HTTP status; {STATUSES}"),
    Case("no_ack", b"x"),
    failing("raises", "KeyError: 'password=hunter2'"),
    failing("raises_unprintable", "main.Unprintable: <its text cannot be had: ValueError>"),
    failing("exits", "SystemExit: the function called sys.exit(3)"),
    failing("interrupts", "KeyboardInterrupt: "),
    failing("recursion", "RecursionError: maximum recursion depth exceeded"),
    Case("error_with_response", of_json({"a": 1}), 409, JSON),
    Case("error_with_text", b"<no>", 403, "text/html"),
    Case("error_with_nothing", b"", 404),
    failing("error_with_nonsense", "nuclio_sdk.exceptions.ExceptionWithResponse: ", "whose response is not valid"),
    Case("large_text", BIG + "ü".encode()),
    Case("large_bytes", bytes(range(256)) * 1000),
    Case("large_json", of_json({"big": BIG.decode()}), type=JSON),
    Case("large_list", of_json([BIG.decode()]), type=JSON),
    Case("large_response", BIG, 202, "text/css", {"x-a": "1"}),
    Case("large_error", BIG, 500),
    Case("values", b'one two {"three": 3}\n[4]\n'),
    Case("values_later", b"ab"),
    Case("values_json", b'{"a": 1}\n2\n', type=NDJSON),
    Case("values_none"),
    Case("values_pair", b"a", 201),
    Case("values_response", b"data: 1\n\ndata: 2\n\n", 201, "text/event-stream"),
    Case("values_responses", b"ab", 202),
    failing("values_raise", "KeyError: 'late'", differs={SERVED: (STREAMED, None)}),
    failing("values_raise_first", "KeyError: 'early'"),
    Case(
        "asyncio_run",
        b"slept",
        differs={CONCURRENT: ("an async function is called in a running loop, where asyncio.run is an error", None)},
    ),
    Case("asyncio_thread", b"slept"),
    Case("coroutine", b"slept"),
    Case("capture", b"caught\ntoo\n"),
    Case("lose_stdout", b"fine"),
    Case("fork_exits", b"4"),
    Case("fork_raises", b"1"),
    Case("fork_returns", b"0"),
    Case("fork_logs", b"0"),
    Case("modules", of_json([["main"], True, 1]), type=JSON),
    Case("context", of_json(["0", "http", True, "local"]), type=JSON),
    Case("default_encoding", of_json(["utf-8", True]), type=JSON),
    Case("log_levels", b"logged", logs=LEVELS, differs={REAL: (NO_CRITICAL, {"logs": FOUR_LEVELS})}),
    Case("log_in_threads", b"joined", logs=IN_THREADS, differs={SERVED: (NO_ONES, {"logs": ()})}),
    asked("event of a GET", {}),
    asked("event with a body", {}, sent=b"\x00abc", sent_headers={"Content-Type": "text/plain"}),
    asked("event without a type", {}, sent=b"abc"),
    asked("event of a PUT", {}, sent=b"abc", method="PUT"),
    asked("event of a DELETE", {}, method="DELETE"),
    asked("event with headers", {"x-one": "a, b", "own": "a, b"}, sent_headers={"x-one": "a, b"}),
    asked("event of a query", {"fields": {"a": "1", "b": "ü /"}}, query="a=0&a=1&b=%C3%BC+%2F"),
    asked("event of JSON", {"body": {"a": [1]}}, sent=b'{"a": [1]}', sent_headers=SENT_AS_JSON),
    asked("event of a JSON list", {"body": [1]}, sent=b"[1]", sent_headers=SENT_AS_JSON),
    asked(
        "event of JSON with a charset",
        {"body": {"a": "ü"}},
        sent='{"a": "ü"}'.encode(),
        sent_headers={"Content-Type": "application/json; charset=utf-8"},
    ),
    asked("event of JSON that is none", {}, sent=b'{"a": ', sent_headers=SENT_AS_JSON),
    asked("event of JSON that is empty", {"body": None}, sent=b"", sent_headers=SENT_AS_JSON),
    asked("event of an empty body", {"body": None}, sent=b""),
    asked("event of JSON of bytes", {}, sent=b'"\xff"', sent_headers=SENT_AS_JSON),
    Case("body", b"[1, 2]", type=JSON, name="a JSON list is given back", sent=b"[1,2]", sent_headers=SENT_AS_JSON),
    Case("body", bytes(range(256)) * 2000, name="large body is given back", sent=bytes(range(256)) * 2000),
    Case("kind_of_body", b"NoneType", name="no body is None"),
    Case("header_raw", b"e9ff41", sent_headers={"X-Raw": "\xe9\xffA"}),
    Case(
        "cloud",
        of_json([{"a": 1.0}, JSON, "id", "2026-01-02 03:04:05", "t", "1", "0.1", "/s", False]),
        type=JSON,
        name="a structured CloudEvent",
        sent=json.dumps(CLOUD_EVENT).encode(),
        sent_headers={"Content-Type": "application/cloudevents+json"},
        event={**AS_CLOUD, "type_version": "1", "body": {"a": 1.0}, "headers": None, "fields": None, "size": 0},
        differs={SERVED: (NO_CLOUD, None)},
    ),
    Case(
        "cloud",
        of_json(["text", "text/plain", "id", "0001-01-01 00:00:00", "t", "", "0.1", "/s", True]),
        type=JSON,
        name="a binary CloudEvent without a time",
        sent=b"text",
        sent_headers={"Content-Type": "text/plain", **{f"CE-{name}": value for name, value in CLOUD_HEADERS.items()}},
        event={**AS_CLOUD, "timestamp": -62135596800, "content_type": "text/plain"},
        differs={SERVED: (NO_CLOUD, None)},
    ),
    Case(
        "event_forms",
        of_json([True, "YWI=", "http", True, True, "streamMessageAck", ACKNOWLEDGED]),
        type=JSON,
        sent=b"ab",
    ),
    Case(
        "call_function",
        of_json([201, {"got": {"a": 1}}, "POST /called 1 other", JSON]),
        type=JSON,
        query=f"to={CALLED}",
    ),
    Case(
        "header_echo",
        b"x",
        headers={"x-raw": "\xe9A"},
        sent_headers={"X-Raw": "\xe9A"},
        differs=dict.fromkeys((SCRIPTED, REAL), (ONLY_UTF8, None)),
    ),
    Case("field", of_json(["1", None, "none"]), type=JSON, query="a=1"),
]


class Called(BaseHTTPRequestHandler):
    """The function that `call_function` calls: it tells what it got."""

    def do_POST(self) -> None:
        got = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"got": got}).encode()
        self.send_response(201)
        self.send_header("Content-Type", JSON)
        told = (self.command, self.path, self.headers["X-Own"], self.headers["X-Nuclio-Target"])
        self.send_header("X-Back", " ".join(told))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def titled(case: Case) -> str:
    """Return the name of a row."""
    return case.name or case.path
