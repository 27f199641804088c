"""The worker in `nuwrap/1`, over real sockets, as our service host sees it: answers, files, streams, the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack

import msgpack
import pytest
from native_host import NativeHost
from scripted_processor import WorkerGone

from nuwrap_runtime.worker import native, protocol

ECHO = "def f(context, event):\n    return event.body\n"
PREFIXES = pytest.mark.parametrize("prefix", ["", "async "], ids=["sync", "async"])


@pytest.fixture
def host(tree, root):
    """Start a worker of `nuwrap/1` on `code`; further arguments are keys of the worker spec."""
    with ExitStack() as stack:

        def make(code="", **options):
            if code:
                (root / "main.py").write_text(code, encoding="utf-8")
            return stack.enter_context(NativeHost(options.pop("tree", tree), root, **options))

        yield make


class TestReplies:
    @PREFIXES
    def test_body_comes_back_as_bytes(self, host, prefix):
        peer = host(prefix + ECHO).start()
        answer = peer.ask(b"\x00\xff\n")
        assert (answer.status, answer.body, answer.length, answer.ended) == (200, b"\x00\xff\n", 3, b"r")
        assert peer.ask(b"again").body == b"again"

    def test_status_headers_and_content_type_go_along(self, host):
        code = "def f(context, event):\n    headers = {'X': 1, 'Set-Cookie': ['a=1', 'b=2']}\n"
        code += "    return context.Response(headers=headers, body='<p>', content_type='text/html', status_code=404)\n"
        answer = host(code).start().ask()
        assert (answer.status, answer.content_type, answer.body) == (404, "text/html", b"<p>")
        assert answer.headers == {"X": "1", "Set-Cookie": ["a=1", "b=2"]}

    def test_bytes_that_are_no_utf8_go_both_ways_as_text(self, host):
        code = "def f(context, event):\n    got = event.headers['X']\n"
        code += "    return context.Response(headers={'Y': got}, body=got, content_type=got)\n"
        answer = host(code).start().ask(headers={"X": "a\udcff"})
        assert (answer.headers["Y"], answer.content_type, answer.body) == ("a\udcff", "a\udcff", b"a\xff")

    def test_status_0_is_200_as_with_the_processor(self, host):
        assert host("def f(context, event):\n    return 0, 'x'\n").start().ask().status == 200

    def test_text_that_is_no_unicode_at_all_is_a_500(self, host):
        peer = host("def f(context, event):\n    return '\\ud800' if event.body else 'fine'\n").start()
        assert [peer.ask(b"x").status, peer.ask().status] == [500, 200]

    def test_values_that_do_not_fit_are_a_422_that_names_the_field(self, host):
        peer = host("def f(x: int):\n    return x\n").start()
        bad = peer.ask(b'{"x": "a"}', content_type="application/json")
        assert (bad.status, bad.json()["error"].startswith("x: ")) == (422, True)
        assert not peer.logs()

    def test_no_metric_is_sent_and_start_tells_seconds_and_sockets(self, host):
        peer = host(ECHO).start()
        peer.ask(b"x")
        assert [kind for kind, _ in peer.first.messages] == [protocol.START, protocol.REPLY]
        told = json.loads(peer.first.messages[0][1])
        assert (sorted(told["seconds"]), told["sockets"]) == (["init", "load"], 1)

    def test_headers_longer_than_a_message_are_a_500(self, host):
        code = "def f(context, event):\n    return context.Response(headers={'X': 'x' * (5 << 20)})\n"
        peer = host(code).start()
        assert [peer.ask().status, peer.ask().status] == [500, 500]
        assert "the answer's headers have" in peer.logs()[0]["message"]


class TestFrames:
    def test_frame_survives_a_cut_at_every_byte(self, host):
        peer = host(ECHO).start()
        message = protocol.encode_frame(msgpack.packb({"body": b"abc", "id": "i"}))
        for cut in range(1, len(message)):
            peer.send_raw(message[:cut])
            peer.send_raw(message[cut:])
            assert peer.answer().body == b"abc"

    @PREFIXES
    def test_several_frames_in_one_write_are_answered_in_order(self, host, prefix):
        peer = host(prefix + ECHO).start()
        peer.send_raw(
            b"".join(protocol.encode_frame(msgpack.packb({"body": b"%d" % n, "id": str(n)})) for n in range(9))
        )
        assert [peer.answer().body for _ in range(9)] == [b"%d" % number for number in range(9)]

    @PREFIXES
    @pytest.mark.parametrize("garbage", [b"\xc1", b"\x81\xa1", b"\x2a", b"\x90"], ids=["type", "cut", "int", "batch"])
    def test_frame_that_is_no_event_gets_one_answer_and_the_next_its_own(self, host, prefix, garbage):
        peer = host(prefix + ECHO).start()
        peer.send_raw(protocol.encode_frame(garbage))
        peer.post(b"good")
        bad, good = peer.answer(), peer.answer()
        assert (bad.status >= 500, good.body) == (True, b"good")

    @PREFIXES
    def test_length_below_one_ends_the_worker_with_a_word(self, host, prefix):
        peer = host(prefix + ECHO).start()
        peer.send_raw(b"\xff\xff\xff\xff\x00")
        with pytest.raises(WorkerGone) as gone:
            peer.answer()
        assert (gone.value.code, "a frame of -1 bytes" in peer.stderr()) == (1, True)


class TestFiles:
    @PREFIXES
    def test_large_bodies_go_in_files_both_ways_and_none_is_left_open(self, host, prefix):
        peer = host(prefix + ECHO).start()
        body = os.urandom(1 << 20) * 5  # more than either side keeps
        peer.ask()
        before = peer.open_files()
        for _ in range(5):
            peer.post_file(body)
            answer = peer.answer()
            assert (answer.body == body, answer.in_file, answer.length) == (True, True, len(body))
        peer.ask()  # it closes what it sent after sending it
        assert peer.open_files() == before

    def test_body_of_the_limit_is_inline_and_one_byte_more_is_not(self, host):
        peer = host("def f(context, event):\n    return 'x' * int(event.body)\n").start()
        limit = native.INLINE_BYTES
        assert [peer.ask(b"%d" % size).in_file for size in (limit, limit + 1)] == [False, True]

    @PREFIXES
    def test_frames_behind_one_with_a_file_keep_their_own(self, host, prefix):
        peer = host(prefix + ECHO).start()
        for size in (70_000, 80_000):
            peer.post_file(b"y" * size)
            peer.post(b"%d" % size)
        assert [len(peer.answer().body) for _ in range(4)] == [70_000, 5, 80_000, 5]

    def test_file_that_is_shorter_than_told_and_none_at_all_are_500s(self, host):
        peer = host(ECHO).start()
        peer.ask()
        before = peer.open_files()
        peer.post_file(b"short", size=99)
        peer.send({**protocol.make_event(None), native.SIZE: 5})
        assert [peer.answer().status, peer.answer().status, peer.ask().status] == [500, 500, 200]
        assert peer.open_files() == before

    def test_file_that_no_event_asks_for_is_closed(self, host):
        peer = host(ECHO).start()
        peer.ask()
        before = peer.open_files()
        with open(os.devnull, "rb") as stream:
            peer.send(protocol.make_event(b"x"), file=stream.fileno())
        assert [peer.answer().body, peer.ask(b"y").body] == [b"x", b"y"]
        assert peer.open_files() == before

    @PREFIXES
    def test_child_of_the_users_does_not_inherit_a_received_file(self, host, prefix):
        code = "import os, subprocess, sys\nLIST = 'import os; print(len(os.listdir(\"/proc/self/fd\")))'\n"
        code += f"{prefix}def f(context, event):\n"
        code += "    return subprocess.run([sys.executable, '-c', LIST], close_fds=False, capture_output=True).stdout\n"
        peer = host(code).start()
        plain = peer.ask().body
        peer.post_file(b"z" * 70_000)
        assert peer.answer().body == plain

    @PREFIXES
    def test_without_a_file_the_body_comes_in_chunks_of_a_known_length(self, host, prefix):
        code = "import os\nfrom nuwrap_runtime.worker import native\ndef none(): raise OSError(28, 'full')\n"
        code += f"native.open_body_file = none\n{prefix}def f(context, event):\n    return b'q' * 600_000\n"
        answer = host(code).start().ask()
        assert (answer.ended, answer.length, answer.body) == (native.END, 600_000, b"q" * 600_000)
        assert max(len(one) for one in answer.pieces) == native.CHUNK_BYTES


class TestLogs:
    @PREFIXES
    def test_exception_is_one_record_with_the_users_frames(self, host, prefix):
        peer = host(f"{prefix}def f(context, event):\n    raise KeyError('secret')\n").start()
        answer = peer.ask(id="the-id")
        assert (answer.status, answer.json()["request_id"], b"secret" in answer.body) == (500, "the-id", False)
        [record] = peer.logs()
        assert (record["level"], record["message"]) == ("error", "KeyError: 'secret'")
        text = record["with"]["traceback"]
        assert text.splitlines()[1].endswith("line 2, in f")
        assert "nuwrap_runtime" not in text
        assert "KeyError" not in peer.stderr()

    def test_exception_is_told_though_the_user_wants_no_logs(self, host):
        code = "def f(context, event):\n    context.logger.set_level('critical')\n    raise ValueError(1)\n"
        peer = host(code).start()
        peer.ask()
        assert [one["message"] for one in peer.logs()] == ["ValueError: 1"]

    def test_loggers_records_are_messages(self, host):
        peer = host("def f(context, event):\n    context.logger.info_with('rows', n=3)\n").start()
        peer.ask()
        [record] = peer.logs()
        assert (record["level"], record["message"], record["with"]) == ("info", "rows", {"n": 3})

    def test_record_longer_than_a_message_is_cut(self, host):
        peer = host("def f(context, event):\n    context.logger.info('x' * (5 << 20))\n    return 'fine'\n").start()
        assert peer.ask().body == b"fine"
        assert peer.logs()[0]["message"].startswith("xxxx")
        assert max(len(payload) for _, payload in peer.first.messages) < native.MESSAGE_BYTES

    def test_failing_load_says_why_and_ends(self, host):
        peer = host("raise OSError('no luck')").accept()
        with pytest.raises(WorkerGone) as gone:
            peer.next(protocol.START)
        failure = peer.logs()[0]["with"]["nuwrap_failure"]
        assert (gone.value.code, failure["phase"], failure["message"]) == (5, "load", "no luck")

    def test_init_is_announced_and_its_failure_told(self, host):
        peer = host("def setup(context):\n    raise OSError('no luck')\n" + ECHO, init_function="setup").accept()
        with pytest.raises(WorkerGone) as gone:
            peer.next(protocol.START)
        marker, failure = peer.logs(of=0)
        assert (marker["with"], failure["with"]["nuwrap_failure"]["phase"]) == ({"nuwrap_phase": "init"}, "init")
        assert gone.value.code == 6

    def test_calls_log_on_their_own_sockets_and_threads_on_the_first(self, host):
        code = """
import asyncio, threading
async def init_context(context):
    context.logger.info("init")
async def f(context, event):
    context.logger.info("call")
    inner = asyncio.create_task(asyncio.sleep(0))
    await inner
    context.logger.bind(a=1).info("call")
    thread = threading.Thread(target=context.logger.info, args=("thread",))
    thread.start()
    thread.join()
"""
        peer = host(code, concurrency=3).start()
        peer.ask(to=2)
        peer.ask(to=0)
        messages = [[one["message"] for one in peer.logs(of=number)] for number in range(3)]
        assert messages == [["init begins", "init", "thread", "call", "call", "thread"], [], ["call", "call"]]


STREAM = """
import asyncio
def f(context, event):
    case = event.body.decode()
    if case == "text": yield "a"; yield b"b"; yield None; yield {"c": 1}
    if case == "json": yield {"a": float("nan")}; yield [1]; yield 2; yield "text"
    if case == "response":
        yield context.Response(body="first", status_code=201, content_type="text/css", headers={"X": 1})
        yield context.Response(body={"second": 2}, status_code=500)
    if case == "none": yield None
    if case == "empty": yield ""; yield b""; yield "end"
    if case == "raise first": raise KeyError("x")
    if case == "raise": yield "a"; raise KeyError("x")
    if case == "exit": yield "a"; raise SystemExit(3)
    if case == "object": yield "a"; yield object()
    if case == "bad head": yield context.Response(body="x", status_code=99)
    if case == "large": yield b"l" * 600_000
"""
STREAMS = {
    "text": (200, "text/plain", [b"a", b"b", b'{"c": 1}\n'], b"e"),
    "json": (200, "application/x-ndjson", [b'{"a": "NaN"}\n', b"[1]\n", b"2\n", b"text"], b"e"),
    "response": (201, "text/css", [b"first", b'{"second": 2}\n'], b"e"),
    "none": (200, "text/plain", [b""], b"r"),
    "nothing": (200, "text/plain", [b""], b"r"),
    "empty": (200, "text/plain", [b"end"], b"e"),
    "raise": (200, "text/plain", [b"a"], b"x"),
    "exit": (200, "text/plain", [b"a"], b"x"),
    "object": (200, "text/plain", [b"a"], b"x"),
    "large": (200, "text/plain", [b"l" * 262_144, b"l" * 262_144, b"l" * 75_712], b"e"),
}

ENDLESS = """
import asyncio, time
def f(context, event):
    if event.body == b"plain":
        yield "fine"
        return
    try:
        while True:
            yield "tick "
            SLEEP
    finally:
        context.logger.info("closed")
"""


class TestStreams:
    @PREFIXES
    def test_every_form_of_stream(self, host, prefix):
        peer = host(STREAM.replace("def f", prefix + "def f")).start()
        for case, expected in STREAMS.items():
            answer = peer.ask(case.encode())
            assert (case, (answer.status, answer.content_type, answer.pieces, answer.ended)) == (case, expected)
        assert [peer.ask(case).status for case in (b"raise first", b"bad head")] == [500, 500]
        assert peer.finish() == 0
        assert peer.answers_count() == len(STREAMS) + 2
        names = [one["message"].partition(":")[0] for one in peer.logs()]
        unsent = "what the function returned cannot be sent"
        assert names == ["KeyError", "SystemExit", unsent, "KeyError", unsent]

    @pytest.mark.parametrize(
        "code",
        [
            "def f(context, event):\n    return g()\n{}def g():\n    yield 'a'\n    yield 'b'\n",
            "def f(context, event):\n    return context.Response(None, g(), None, 203)\n{}def g():\n    yield 'ab'\n",
            "async def f(context, event):\n    return 203, g()\n{}def g():\n    yield 'a'\n    yield 'b'\n",
        ],
        ids=["returned", "a Response's body", "a pair's body"],
    )
    @PREFIXES
    def test_generator_that_is_returned_streams_too(self, host, code, prefix):
        answer = host(code.format(prefix)).start().ask()
        assert (answer.body, answer.ended, answer.status) == (b"ab", b"e", 203 if "203" in code else 200)

    @PREFIXES
    def test_item_is_sent_at_once(self, host, prefix, root):
        os.mkfifo(root / "gate")
        wait = "open('gate').close()" if not prefix else "await asyncio.to_thread(open, 'gate')"
        if prefix and sys.version_info < (3, 9):
            pytest.skip("needs to_thread")
        code = f"import asyncio\n{prefix}def f(context, event):\n    yield 'first'\n    {wait}\n    yield 'second'\n"
        peer = host(code).start()
        peer.post()
        peer.next(native.HEAD)
        assert peer.next(native.CHUNK)[1] == b"first"
        (root / "gate").write_text("")
        assert [peer.next(native.CHUNK, native.END) for _ in range(2)] == [(b"b", b"second"), (b"e", b"")]

    @pytest.mark.parametrize(
        ("prefix", "sleep"), [("", "time.sleep(0.01)"), ("async ", "await asyncio.sleep(600)"), ("async ", "pass")]
    )
    def test_cancel_closes_the_generator_and_the_next_event_is_answered(self, host, prefix, sleep):
        peer = host(ENDLESS.replace("def f", prefix + "def f").replace("SLEEP", sleep)).start()
        for _ in range(3):
            event = peer.post()
            peer.next(native.CHUNK)
            peer.cancel("another")
            peer.cancel(event)
            peer.cancel(event)
            peer.next(native.BROKEN)
            assert peer.ask(b"plain").body == b"fine"
        assert [one["message"] for one in peer.logs()] == ["closed"] * 3

    def test_async_generator_of_a_sync_function_is_cancelled_too(self, host):
        code = "import asyncio\ndef f(context, event):\n    return g(context)\nasync def g(context):\n    try:\n"
        code += "        while True:\n            yield 'a'\n            await asyncio.sleep(0.01)\n"
        peer = host(code + "    finally:\n        context.logger.info('closed')\n").start()
        event = peer.post()
        peer.next(native.CHUNK)
        peer.cancel(event)
        peer.next(native.BROKEN)
        assert [one["message"] for one in peer.logs()] == ["closed"]

    @PREFIXES
    def test_stream_under_way_when_the_host_says_the_end_is_whole(self, host, prefix):
        code = f"import time\n{prefix}def f(context, event):\n    for n in range(5):\n        time.sleep(0.02)\n"
        peer = host(code + "        yield str(n)\n", concurrency=2).start()
        peer.post()
        assert peer.finish() == 0
        answer = peer.answer()
        assert (answer.body, answer.ended) == (b"01234", native.END)

    @PREFIXES
    def test_host_that_is_gone_ends_a_stream_and_the_worker(self, host, prefix):
        code = f"{prefix}def f(context, event):\n    try:\n        while True: yield 'x' * 1000\n"
        peer = host(code + "    finally:\n        print('closed')\n", concurrency=2).start()
        peer.post()
        peer.next(native.CHUNK)
        for one in peer.sockets:
            one.peer.close()
        assert peer.process.wait(60) == 1
        assert (peer.stdout(), "is lost" in peer.stderr()) == ("closed\n", True)

    @PREFIXES
    def test_cancel_of_another_event_is_ignored(self, host, prefix):
        peer = host(prefix + ECHO).start()
        peer.cancel("nobody")
        peer.cancel(peer.post(b"x"))
        assert peer.answer().status in (200, native.CANCELLED)
        assert peer.ask(b"y").body == b"y"

    def test_slow_host_holds_an_async_stream_back_and_not_the_other_calls(self, host):
        code = """
sent = 0
async def f(context, event):
    global sent
    if event.body:
        yield str(sent)
        return
    for sent in range(1, 201):
        yield b"s" * 100_000
"""
        peer = host(code, concurrency=2).start()
        peer.post(to=0)
        counts = [int(peer.ask(b"how many", to=1).body) for _ in range(20)]
        assert counts[-1] < 50
        answer = peer.answer(to=0)
        assert (len(answer.body), answer.ended) == (20_000_000, native.END)

    def test_async_generator_that_ignores_its_cancel_is_ended_all_the_same(self, host):
        code = """
import asyncio
async def f(context, event):
    while True:
        try:
            yield "a"
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            pass
"""
        peer = host(code).start()
        event = peer.post()
        peer.next(native.CHUNK)
        peer.cancel(event)
        peer.next(native.BROKEN)


GATHER = """
import asyncio
inside = 0
async def f(context, event):
    global inside
    inside += 1
    while inside < 4: await asyncio.sleep(0.001)
    return str(inside)
"""

CANCELS = """
import asyncio
async def f(context, event):
    context.logger.info("began")
    case = event.body.decode()
    try:
        await asyncio.sleep(600 if case else 0)
    except asyncio.CancelledError:
        if case == "swallow": return "all the same"
        if case == "other": raise KeyError("x")
        if case == "exit": raise SystemExit(3)
        raise
    return "done"
"""


class TestConcurrency:
    def test_all_sockets_are_answered_at_once_by_one_loop(self, host):
        peer = host(GATHER, concurrency=4).start()
        assert len(peer.sockets) == 4
        for number in range(4):
            peer.post(to=number)
        assert [peer.answer(to=number).body for number in range(4)] == [b"4"] * 4

    def test_one_socket_has_one_call_at_a_time(self, host):
        code = "import asyncio\ninside = 0\nasync def f(context, event):\n    global inside\n    inside += 1\n"
        code += "    most = inside\n    await asyncio.sleep(0.01)\n    inside -= 1\n    return str(most)\n"
        peer = host(code, concurrency=2).start()
        for _ in range(3):
            peer.post()
        assert [peer.answer().body for _ in range(3)] == [b"1"] * 3

    @pytest.mark.parametrize(
        "code",
        [
            "async def f(context, event):\n    return 'a'\n",
            "async def f(context, event):\n    yield 'a'\n",
            "import functools\nasync def g(context, event):\n    return 'a'\nf = functools.partial(g)\n",
            "class F:\n    async def __call__(self, context, event):\n        return 'a'\nf = F()\n",
            "from nuwrap_runtime import handler\n@handler\nasync def f(context, event):\n    return 'a'\n",
        ],
        ids=["async", "async generator", "partial", "object", "@handler"],
    )
    def test_every_form_of_async_handler_has_several_sockets(self, host, code):
        peer = host(code, concurrency=2).start()
        assert (len(peer.sockets), peer.ask(to=1).body) == (2, b"a")

    @pytest.mark.parametrize(
        "code",
        [
            "def f(context, event):\n    return g()\nasync def g():\n    return 'a'\n",
            "async def init_context(context):\n    pass\ndef f(context, event):\n    return 'a'\n",
        ],
        ids=["returns an awaitable", "async init"],
    )
    def test_sync_function_has_one_socket(self, host, code):
        peer = host(code, concurrency=4).start()
        assert (len(peer.sockets), peer.ask().body) == (1, b"a")

    def test_init_and_calls_share_one_loop(self, host):
        code = """
import asyncio
async def init_context(context):
    context.user_data.queue = asyncio.Queue()
    context.user_data.task = asyncio.ensure_future(context.user_data.queue.get())
async def f(context, event):
    await context.user_data.queue.put("through")
    return await context.user_data.task
"""
        assert host(code).start().ask().body == b"through"

    @pytest.mark.parametrize("case", ["plain", "swallow", "other", "exit"])
    def test_cancelled_call_is_answered_once_and_the_next_one_too(self, host, case):
        peer = host(CANCELS, concurrency=2).start()
        event = peer.post(case.encode(), to=1)
        peer.next(protocol.LOG, to=1)
        peer.cancel("another", to=1)
        peer.cancel(event, to=0)
        peer.cancel(event, to=1)
        assert peer.answer(to=1).status == native.CANCELLED
        assert peer.ask(to=1).body == b"done"
        assert peer.finish() == 0
        assert peer.answers_count() == 2

    def test_call_that_is_cancelled_before_its_first_step_is_answered(self, host):
        peer = host(CANCELS, concurrency=1).start()
        event = protocol.make_event(b"plain")
        order = protocol.encode_frame(msgpack.packb({native.CANCEL: event["id"]}))
        peer.send_raw(protocol.encode_frame(msgpack.packb(event)) + order)
        assert peer.answer().status == native.CANCELLED
        assert peer.ask().body == b"done"

    def test_calls_under_way_end_before_the_worker_does(self, host):
        code = "import asyncio\nasync def f(context, event):\n    await asyncio.sleep(0.2)\n    return 'late'\n"
        code += "def shutdown(context):\n    context.logger.info('bye')\n"
        peer = host(code, concurrency=2).start()
        peer.post(to=1)
        assert peer.finish() == 0
        assert peer.answer(to=1).body == b"late"
        assert [one["message"] for one in peer.logs(of=0)] == ["shutdown begins", "bye"]


HOSTILE = """
import asyncio, os, sys, threading
def loop(): return loop()
class Odd:
    def __str__(self): raise ValueError("no text")
    __repr__ = __str__
class Bad(Exception):
    def __str__(self): raise ValueError("no text")
async def leave(): sys.exit(5)
def f(context, event):
    case = event.body.decode()
    if case == "raise": raise KeyError("x")
    if case == "unprintable": raise Bad()
    if case == "exit": sys.exit(3)
    if case == "interrupt": raise KeyboardInterrupt
    if case == "generator exit": raise GeneratorExit
    if case == "cancelled": raise asyncio.CancelledError
    if case == "recursion": loop()
    if case == "object": return Odd()
    if case == "header": return context.Response(headers={"a": Odd()}, body="x")
    if case == "type": return context.Response(content_type=Odd(), body="x")
    if case == "fork": return "child" if os.fork() == 0 else "parent"
    if case == "child exits": sys.exit(4) if os.fork() == 0 else None
    if case == "child raises":
        if os.fork() == 0: raise RuntimeError("in the child")
    if case == "child logs":
        if os.fork() == 0: context.logger.info("from the child")
    if case == "child streams": return (os.fork() and "parent" for _ in range(1))
    if case == "threads":
        todo = [threading.Thread(target=context.logger.info, args=("x" * 3000,)) for _ in range(50)]
        [one.start() for one in todo]
        [one.join() for one in todo]
    if case == "prints":
        for _ in range(300): print("y" * 9999)
    if case == "stdout": sys.stdout.close()
    if case == "stderr": os.close(2)
    return case
"""
CASES = {
    "raise": 500,
    "unprintable": 500,
    "exit": 500,
    "interrupt": 500,
    "generator exit": 500,
    "cancelled": 500,
    "recursion": 500,
    "object": 500,
    "header": 500,
    "type": 500,
    "fork": 200,
    "child exits": 200,
    "child raises": 200,
    "child logs": 200,
    "child streams": 200,
    "threads": 200,
    "prints": 200,
    "stdout": 200,
    "stderr": 200,
}


class TestOneAnswer:
    @PREFIXES
    def test_every_event_gets_exactly_one_answer_whatever_the_handler_does(self, host, prefix):
        peer = host(HOSTILE.replace("def f", prefix + "def f"), concurrency=2).start()
        for case, status in CASES.items():
            assert (case, peer.ask(case.encode()).status) == (case, status)
        assert peer.ask(b"last").body == b"last"
        assert peer.finish() == 0
        assert peer.answers_count() == len(CASES) + 1
        assert not [one for one in peer.logs() if "child" in one["message"]]

    @pytest.mark.parametrize("awaits", ["", "    await asyncio.sleep(0)\n"], ids=["returns", "awaits"])
    def test_child_that_an_async_function_forks_never_answers(self, host, awaits):
        code = "import asyncio, os\nasync def f(context, event):\n    child = os.fork()\n"
        code += f"    if not child:\n    {awaits or '    pass'}\n"
        code += "    return str(os.waitpid(child, 0)[1] >> 8) if child else 'child'\n"
        peer = host(code, concurrency=2).start()
        assert [peer.ask(to=number).body for number in (0, 1, 0)] == [b"1" if awaits else b"0"] * 3

    def test_task_of_the_users_that_exits_does_not_end_the_worker(self, host):
        code = "import asyncio, sys\nasync def leave(): sys.exit(3)\nasync def f(context, event):\n"
        code += "    if event.body: asyncio.ensure_future(leave())\n    await asyncio.sleep(0.01)\n    return 'on'\n"
        peer = host(code, concurrency=2).start()
        assert [peer.ask(body, to=to).body for body, to in ((b"x", 0), (b"", 1), (b"", 0))] == [b"on"] * 3

    def test_cancelling_ones_own_task_is_an_exception_like_another(self, host):
        code = "import asyncio\nasync def f(context, event):\n    asyncio.current_task().cancel()\n"
        code += "    if event.body: await asyncio.sleep(1)\n    return b'r' * 5_000_000\n"
        peer = host(code).start()
        assert [peer.ask(b"x").status, peer.ask().status, peer.ask().status] == [500, 200, 200]

    @PREFIXES
    def test_closing_every_descriptor_ends_the_worker_with_a_word(self, host, prefix):
        peer = host(f"import os\n{prefix}def f(context, event):\n    os.closerange(3, 9999)\n", concurrency=2).start()
        peer.post()
        with pytest.raises(WorkerGone) as gone:
            peer.answer()
        assert (gone.value.code, "connection to its host is lost" in peer.stderr()) == (1, True)

    @PREFIXES
    def test_users_modules_with_names_of_ours_are_his(self, host, root, prefix):
        for name in ("msgpack", "link", "channel", "tasks", "streams", "service", "answers", "native", "schemas"):
            (root / f"{name}.py").write_text("WHO = 'user'\n")
        (root / "asyncio.py").write_text("raise RuntimeError\n")
        code = "import msgpack, link, channel, tasks, streams, service, answers, native, schemas\n"
        code += f"{prefix}def f(context, event):\n    return [m.WHO for m in (msgpack, link, channel, tasks)]\n"
        peer = host(code, concurrency=2).start()
        assert [peer.ask().json(), peer.ask().json()] == [["user"] * 4] * 2

    @PREFIXES
    def test_default_timeout_of_sockets_and_sigpipe_do_not_matter(self, host, prefix):
        code = "import signal, socket\nsocket.setdefaulttimeout(0.001)\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        peer = host(code + prefix + ECHO, concurrency=3).start()
        subprocess.run(["sleep", "0.05"], check=True)
        assert [peer.ask(b"x", to=to).body for to in range(len(peer.sockets))] == [b"x"] * len(peer.sockets)

    def test_asyncio_is_not_loaded_for_a_sync_handler(self, host):
        code = "import sys\ndef f(context, event):\n    return [m for m in NAMES if m in sys.modules]\n"
        code += "NAMES = ['asyncio', 'nuclio_sdk', 'msgpack', 'traceback', 'threading', 'tempfile', 'selectors']\n"
        assert host(code).start().ask().json() == []


class TestShutdown:
    @PREFIXES
    @pytest.mark.parametrize("handler", ["", "async "], ids=["sync handler", "async handler"])
    def test_it_is_called_once_with_the_context_at_the_end(self, host, prefix, handler):
        code = f"def init_context(context):\n    context.user_data.n = 1\n{handler}{ECHO}"
        code += f"{prefix}def shutdown(context):\n    context.logger.info(str(context.user_data.n))\n"
        peer = host(code, concurrency=2).start()
        peer.ask()
        assert peer.finish() == 0
        assert [one["message"] for one in peer.logs()] == ["1"]

    def test_one_beside_the_function_wins_over_the_handlers_module(self, host, root):
        (root / "inner.py").write_text(ECHO + "def shutdown(context):\n    context.logger.info('inner')\n")
        peer = host("from inner import f\ndef shutdown(context):\n    context.logger.info('main')\n").start()
        peer.finish()
        assert [one["message"] for one in peer.logs()] == ["inner"]

    @PREFIXES
    @pytest.mark.parametrize("act", ["raise KeyError('x')", "raise SystemExit(9)"], ids=["raises", "exits"])
    def test_its_exception_is_a_record_and_the_exit_code_0(self, host, prefix, act):
        peer = host(f"{prefix}{ECHO}\n{prefix}def shutdown(context):\n    {act}\n", concurrency=2).start()
        assert peer.finish() == 0
        assert [one["level"] for one in peer.logs()] == ["error"]

    def test_tasks_that_are_left_are_cancelled_and_end(self, host):
        code = """
import asyncio
async def forever(context):
    try:
        await asyncio.sleep(600)
    finally:
        context.logger.info("cleaned")
async def f(context, event):
    context.user_data.task = asyncio.create_task(forever(context))
    await asyncio.sleep(0)
"""
        peer = host(code, concurrency=2).start()
        peer.ask(to=1)
        assert peer.finish() == 0
        assert ([one["message"] for one in peer.logs()], peer.stderr()) == (["cleaned"], "")

    def test_without_one_the_end_is_0(self, host):
        peer = host("import atexit\natexit.register(print, 'bye')\n" + ECHO).start()
        assert (peer.finish(), peer.stdout()) == (0, "bye\n")


def test_interpreter_without_a_build_of_ours_answers_too(host, tree, tmp_path):
    lean = tmp_path / "tree"
    (lean / "abi").mkdir(parents=True)
    (lean / "worker").symlink_to(os.path.join(tree, "worker"))
    (lean / "abi" / "pure").symlink_to(os.path.join(tree, "abi", "pure"))
    peer = host(ECHO, tree=str(lean), python=os.path.realpath(sys.executable)).start()
    assert [peer.ask(b"x").body, peer.ask(b"y").body] == [b"x", b"y"]


DESCRIBED = '''
import datetime, enum
from typing import Dict, List, Literal, Optional, Union
class Colour(enum.Enum):
    RED = "red"
    BLUE = 2
class Odd(enum.Enum):
    A = object()
def f(
    project, context, n: int, s: str = "x", r: float = float("inf"), b: bool = True, items: List[int] = [1],
    table: Dict[str, float] = {}, maybe: Optional[int] = None, either: Union[int, str] = 1,
    pick: Literal["a", 1] = "a", colour: Colour = Colour.BLUE, odd: Odd = Odd.A,
    at: datetime.datetime = datetime.datetime(2026, 1, 31), day: Optional[datetime.date] = None, free=object(),
    data: bytes = b"x", given: int = 1, **others: int,
) -> Dict[str, int]:
    """First line.

    More of it.
    """
'''
SCHEMAS = {
    "n": {"type": "integer"},
    "s": {"type": "string"},
    "r": {"type": "number"},
    "b": {"type": "boolean"},
    "items": {"type": "array", "items": {"type": "integer"}},
    "table": {"type": "object", "additionalProperties": {"type": "number"}},
    "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    "pick": {"enum": ["a", 1]},
    "colour": {"enum": ["red", 2]},
    "odd": {"enum": ["A"]},
    "at": {"type": "string", "format": "date-time"},
    "day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
    "free": {},
    "data": {},
    "others": {"type": "integer"},
}


class TestDescription:
    @PREFIXES
    def test_it_has_what_an_openapi_document_needs(self, host, prefix):
        peer = host(DESCRIBED.replace("def f", prefix + "def f"), parameters={"given": 2}).start()
        peer.send({native.DESCRIBE: True})
        answer = peer.answer()
        told = answer.json()
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert {one["name"]: one["schema"] for one in told["parameters"]} == SCHEMAS
        assert [one["name"] for one in told["parameters"] if one["required"]] == ["n"]
        defaults = {one["name"]: one["default"] for one in told["parameters"] if "default" in one}
        expected = {"s": "x", "b": True, "items": [1], "table": {}, "maybe": None, "either": 1, "pick": "a"}
        assert defaults == {**expected, "colour": 2, "at": "2026-01-31T00:00:00", "day": None}
        assert (told["fixed"], told["has_any"], told["binding"]) == (["given"], True, "names")
        assert told["returns_schema"] == {"type": "object", "additionalProperties": {"type": "integer"}}
        assert (told["doc"], told["text"]) == ("First line.", "First line.\n\nMore of it.")
        assert told["kind"] == (prefix.strip() or "sync")

    def test_handler_of_context_and_event_is_described_too(self, host):
        peer = host("def f(ctx, event, extra=1):\n    return event.body\n").start()
        peer.send({native.DESCRIBE: True})
        told = peer.answer().json()
        assert (told["binding"], told["parameters"], told["returns_schema"]) == ("nuclio", [], {})
        assert peer.ask(b"x").body == b"x"

    def test_annotation_that_cannot_be_resolved_is_anything(self, host):
        peer = host("def f(a: 'Nowhere', b: 'list[Nowhere]' = None, c: 'int' = 3): pass\n").start()
        peer.send({native.DESCRIBE: True})
        assert [one["schema"] for one in peer.answer().json()["parameters"]] == [{}, {}, {"type": "integer"}]
