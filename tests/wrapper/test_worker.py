"""The worker over real sockets, as the processor sees it: frames, lines, one reply each, init, context."""

from __future__ import annotations

import json
import os
import sys
import threading

import msgpack
import pytest
from scripted_processor import WorkerGone, frame

from nuwrap_runtime.worker import protocol
from nuwrap_runtime.worker.connection import Connection

ECHO = "def f(context, event):\n    return event.body\n"
EVENT = {"mode": "event"}


def replies_to(peer, data, count=1):
    peer.send(*data)
    return [protocol.decode_reply(one) for one in peer.wait(protocol.REPLY, count=count)]


class TestFrames:
    def test_frame_survives_a_cut_at_every_byte(self, worker):
        peer = worker(ECHO).start()
        message = frame(b"abc", id="x")
        for cut in range(1, len(message)):
            [reply] = replies_to(peer, [message[:cut], message[cut:]])
            assert (reply.body, reply.event_id) == (b"abc", "x")
        assert peer.count(protocol.REPLY) == len(message) - 1

    def test_frame_survives_being_sent_byte_by_byte(self, worker):
        message = frame(b"abc")
        [reply] = replies_to(worker(ECHO).start(), [message[at : at + 1] for at in range(len(message))])
        assert reply.body == b"abc"

    def test_several_frames_in_one_write_are_answered_in_order(self, worker):
        stream = b"".join(frame(b"%d" % number) for number in range(20))
        found = replies_to(worker(ECHO).start(), [stream], count=20)
        assert [reply.body for reply in found] == [b"%d" % number for number in range(20)]

    def test_frame_and_the_next_ones_header_in_one_write(self, worker):
        first, second = frame(b"one"), frame(b"two")
        peer = worker(ECHO).start()
        [one] = replies_to(peer, [first + second[:4]])
        [two] = replies_to(peer, [second[4:]])
        assert (one.body, two.body) == (b"one", b"two")

    def test_body_of_many_megabytes_comes_back_whole(self, worker):
        body = os.urandom(1 << 20) * 24
        peer = worker(ECHO, env={"NUWRAP_NUCLIO_FILES": "no"}).start()
        assert peer.ask(body).body == body

    @pytest.mark.parametrize(
        "garbage", [b"\xc1", b"\x81\xa1", b"\xff" * 40, b"\x2a"], ids=["no type", "cut", "int", "42"]
    )
    def test_frame_that_is_no_event_gets_an_error_and_the_next_its_answer(self, worker, garbage):
        bad, good = replies_to(worker(ECHO).start(), [protocol.encode_frame(garbage), frame(b"good")], count=2)
        assert (bad.status >= 500, good.status, good.body) == (True, 200, b"good")

    def test_length_below_one_ends_the_worker_with_a_word(self, worker):
        peer = worker(ECHO).start()
        peer.send(b"\xff\xff\xff\xff")
        with pytest.raises(WorkerGone) as gone:
            peer.wait(protocol.REPLY)
        assert gone.value.code == 1
        assert "a frame of -1 bytes" in peer.stderr()
        assert "Traceback" not in peer.stderr()

    def test_headers_that_are_not_utf8_keep_their_bytes(self, worker):
        code = "def f(context, event):\n    return event.headers['X'].encode('utf-8', 'surrogateescape')\n"
        raw = msgpack.packb({**protocol.make_event(), "headers": {"X": "@@"}}).replace(b"@@", b"\xe9\xff")
        [reply] = replies_to(worker(code).start(), [protocol.encode_frame(raw)])
        assert (reply.status, reply.body) == (200, b"\xe9\xff")

    def test_keys_that_are_no_text_and_a_timestamp_are_taken(self, worker):
        code = "def f(context, event):\n    return f'{event.body[1]} {event.fields[\"at\"].year}'\n"
        event = protocol.make_event()
        event.update(body={1: "one"}, fields={"at": msgpack.Timestamp(-62135596800)})
        [reply] = replies_to(worker(code).start(), [protocol.encode_frame(msgpack.packb(event))])
        assert reply.body == "one 1"


HOSTILE = """
import os, sys, threading

def loop():
    return loop()

class Odd:
    def __str__(self): raise ValueError("no text")
    __repr__ = __str__

class Bad(Exception):
    def __str__(self): raise ValueError("no text")

def f(context, event):
    case = event.body.decode()
    if case == "raise": raise KeyError("x")
    if case == "unprintable": raise Bad()
    if case == "exit": sys.exit(3)
    if case == "interrupt": raise KeyboardInterrupt
    if case == "generator exit": raise GeneratorExit
    if case == "recursion": loop()
    if case == "memory": return bytearray(1 << 60)
    if case == "object": return Odd()
    if case == "in a dict": return {"a": Odd()}
    if case == "circle":
        value = []
        value.append(value)
        return value
    if case == "surrogate": return "\\udc80"
    if case == "header": return context.Response(headers={"a": Odd()}, body="x")
    if case == "fork": return "child" if os.fork() == 0 else "parent"
    if case == "child exits": sys.exit(4) if os.fork() == 0 else None
    if case == "child raises":
        if os.fork() == 0: raise RuntimeError("in the child")
    if case == "child logs":
        if os.fork() == 0: context.logger.info("from the child")
    if case == "empty list": return []
    if case == "threads":
        todo = [threading.Thread(target=context.logger.info, args=("x" * 3000,)) for _ in range(50)]
        [one.start() for one in todo]
        [one.join() for one in todo]
    if case == "prints":
        for _ in range(300): print("y" * 9999)
    if case == "newlines": return "r{}\\nr{}\\ns\\n"
    return case
"""
CASES = [
    ("raise", 500),
    ("unprintable", 500),
    ("exit", 500),
    ("interrupt", 500),
    ("generator exit", 500),
    ("recursion", 500),
    ("memory", 500),
    ("object", 500),
    ("in a dict", 500),
    ("circle", 500),
    ("surrogate", 200),
    ("header", 500),
    ("fork", 200),
    ("child exits", 200),
    ("child raises", 200),
    ("child logs", 200),
    ("empty list", 200),
    ("threads", 200),
    ("prints", 200),
    ("newlines", 200),
]


class TestOneReply:
    def test_every_event_gets_exactly_one_reply_whatever_the_handler_does(self, worker):
        peer = worker(HOSTILE).start()
        for number, (case, status) in enumerate(CASES):
            reply = peer.ask(case.encode(), id=str(number))
            assert (case, reply.status) == (case, status)
            assert reply.event_id in ("", str(number))
        assert peer.ask(b"last").body == "last"
        assert peer.finish() == 0
        assert peer.count(protocol.REPLY) == len(CASES) + 1
        assert peer.count(protocol.START) == 1

    def test_answer_after_a_fork_is_the_parents(self, worker):
        peer = worker(HOSTILE).start()
        assert peer.ask(b"fork").body == "parent"
        assert peer.ask(b"child logs").body == "child logs"
        assert peer.finish() == 0
        assert not peer.logs()

    def test_threads_log_whole_lines(self, worker):
        peer = worker(HOSTILE).start()
        peer.ask(b"threads")
        assert [record["message"] for record in peer.logs()] == ["x" * 3000] * 50

    def test_traceback_goes_to_the_log_and_not_to_the_client(self, worker):
        peer = worker(HOSTILE).start()
        reply = peer.ask(b"raise", id="the-id")
        assert json.loads(reply.body)["request_id"] == "the-id"
        assert "KeyError" not in reply.body
        [record] = peer.logs()
        assert record["with"]["traceback"].splitlines()[1].endswith("in f")
        assert "nuwrap_runtime" not in record["with"]["traceback"]

    def test_metric_comes_after_each_reply_and_is_not_zero(self, worker):
        peer = worker(ECHO).start()
        peer.ask(b"x")
        if not peer.count(protocol.METRIC):
            peer.wait(protocol.METRIC)
        kinds = [kind for kind, _ in peer.lines]
        assert kinds == [protocol.START, protocol.REPLY, protocol.METRIC]
        assert json.loads(peer.lines[2][1])["duration"] > 0

    @pytest.mark.parametrize(("act", "code"), [("sys.exit(4)", "4"), ("raise RuntimeError", "1"), ("return", "0")])
    def test_forked_child_ends_as_in_a_script(self, worker, act, code):
        text = "import os, sys\ndef f(context, event):\n    if os.fork() == 0:\n"
        text += f"        {act}\n    return str(os.wait()[1] >> 8)\n"
        assert worker(text).start().ask().body == code

    def test_signal_handler_may_log_while_a_line_is_written(self, worker):
        code = """
import signal, os
def f(context, event):
    signal.signal(signal.SIGALRM, lambda *_: context.logger.info("tick"))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    for _ in range(300): context.logger.info("z" * 20000)
    signal.setitimer(signal.ITIMER_REAL, 0)
"""
        peer = worker(code).start()
        peer.ask()
        assert {record["message"] for record in peer.logs()} == {"tick", "z" * 20000}

    def test_line_sent_from_within_a_send_of_the_same_thread_comes_after_it(self):
        sent = []

        class Peer:
            def sendall(self, lines):
                sent.append(lines)
                if lines == b"outer":  # as a signal handler that logs
                    connection.send(b"inner")

        connection = Connection(Peer())
        thread = threading.Thread(target=connection.send, args=(b"outer",), daemon=True)
        thread.start()
        thread.join(10)
        assert sent == [b"outer", b"inner"]
        assert not thread.is_alive()


class TestStart:
    def test_start_comes_once_and_only_after_init(self, worker, root):
        code = "import os\ndef init_context(context):\n    os.mkfifo('gate')\n    open('gate').close()\n" + ECHO
        peer = worker(code).accept()
        peer.send(frame(b"early"))
        while not (root / "gate").exists():
            assert peer.process.poll() is None
        assert not peer.lines
        (root / "gate").write_text("")
        assert protocol.decode_reply(peer.wait(protocol.REPLY)[0]).body == b"early"
        assert [kind for kind, _ in peer.lines][:2] == [protocol.START, protocol.REPLY]

    def test_unknown_options_are_skipped(self, worker):
        assert worker(ECHO, extra=["--log-level", "debug", "--brand-new"]).start().ask(b"x").body == b"x"

    def test_script_folder_is_not_importable(self, worker):
        code = "import sys\ndef f(context, event):\n    return sys.path\n"
        assert not [one for one in worker(code).start().answers() if one.endswith("nuwrap_runtime/worker")]

    def test_end_of_the_event_socket_ends_the_worker_in_order(self, worker):
        code = "import atexit\natexit.register(print, 'bye')\n" + ECHO
        peer = worker(code).start()
        assert (peer.finish(), peer.stdout()) == (0, "bye\n")

    def test_failing_load_says_why_on_both_channels_and_ends(self, worker):
        peer = worker("raise OSError('no luck')").accept()
        with pytest.raises(WorkerGone) as gone:
            peer.wait(protocol.START)
        failure = peer.logs()[0]["with"]["nuwrap_failure"]
        assert (gone.value.code, failure["phase"], failure["message"]) == (5, "load", "no luck")
        assert "OSError: no luck" in peer.stderr()


class TestInit:
    @pytest.mark.parametrize("prefix", ["", "async "], ids=["sync", "async"])
    def test_init_function_gets_context_and_parameters_and_shares_the_module(self, worker, prefix):
        code = f"""
model = None
{prefix}def setup(context, size, extra=1):
    global model
    model = [size, extra]
    context.user_data.seen = True
def f(context, event):
    return [*model, context.user_data.seen]
"""
        spec = {"init_function": "setup", "init_parameters": {"size": 7}, **EVENT}
        assert worker(code, spec=spec).start().answers() == [7, 1, True]

    def test_init_function_may_name_its_module(self, worker, root):
        (root / "lib-a").mkdir()
        (root / "lib-a" / "warm-up.py").write_text("def go(context, **rest):\n    context.user_data.got = rest\n")
        code = "def f(context, event):\n    return context.user_data.got\n"
        spec = {"init_function": "lib-a.warm-up:go", "init_parameters": {"a": 1}, **EVENT}
        assert worker(code, spec=spec).start().answers() == {"a": 1}

    @pytest.mark.parametrize(
        ("signature", "given", "words"),
        [
            ("context, k", {}, ["missing: k", "expected: context, k"]),
            ("context", {"z": 1}, ["unknown: z", "expected: context"]),
            ("k", {"k": 1}, ["no parameter 'context'"]),
        ],
    )
    def test_init_parameters_that_do_not_fit_are_listed(self, worker, signature, given, words):
        code = f"def setup({signature}):\n    pass\n" + ECHO
        peer = worker(code, spec={"init_function": "setup", "init_parameters": given, **EVENT}).accept()
        with pytest.raises(WorkerGone) as gone:
            peer.wait(protocol.START)
        assert gone.value.code == 6
        assert all(word in peer.logs()[-1]["message"] for word in words)

    def test_init_function_that_is_not_there_is_a_load_error(self, worker):
        peer = worker(ECHO, spec={"init_function": "nope", **EVENT}).accept()
        with pytest.raises(WorkerGone) as gone:
            peer.wait(protocol.START)
        assert gone.value.code == 5
        assert "init_function 'nope': 'nope' not found in main.py; it defines: f" in peer.logs()[0]["message"]

    def test_init_context_of_the_module_that_defines_the_handler_is_called(self, worker, root):
        (root / "inner.py").write_text("def init_context(context):\n    context.user_data.by = 'inner'\n" + BY)
        code = "from inner import f\ndef init_context(context):\n    context.user_data.by = 'main'\n"
        assert worker(code).start().ask().body == "inner"

    def test_init_context_beside_a_partial_is_called(self, worker):
        code = "import functools\n" + BY + "g = functools.partial(f)\n"
        code += "async def init_context(context):\n    context.user_data.by = 'main'\n"
        assert worker(code, handler="main:g").start().ask().body == "main"

    def test_async_init_and_handler_share_one_loop(self, worker):
        code = """
import asyncio
async def setup(context):
    context.user_data.queue = asyncio.Queue()
    context.user_data.loop = asyncio.get_running_loop()
    context.user_data.task = asyncio.ensure_future(context.user_data.queue.get())
async def f(context, event):
    await context.user_data.queue.put("through")
    assert asyncio.get_running_loop() is context.user_data.loop
    return await context.user_data.task
"""
        assert worker(code, spec={"init_function": "setup", **EVENT}).start().ask().body == "through"


BY = "def f(context, event):\n    return context.user_data.by\n"


class TestHandlers:
    @pytest.mark.parametrize(
        "code",
        [
            "def f(context, event):\n    return [1, 2]",
            "async def f(context, event):\n    return [1, 2]",
            "class F:\n    async def __call__(self, context, event):\n        return [1, 2]\nf = F()",
            "import asyncio\ndef f(context, event):\n    return asyncio.run(g())\nasync def g():\n    return [1, 2]",
        ],
        ids=["sync", "async", "object", "asyncio.run"],
    )
    def test_every_form_of_handler_answers(self, worker, code):
        peer = worker(code).start()
        assert peer.answers() == [1, 2]
        assert peer.answers() == [1, 2]

    @pytest.mark.parametrize("prefix", ["", "async "], ids=["sync", "async"])
    def test_generators_values_are_joined_into_one_reply(self, worker, prefix):
        peer = worker(f"{prefix}def f(context, event):\n    yield {{'a': 1}}\n    yield None\n    yield 2\n").start()
        for _ in range(2):
            reply = peer.ask()
            assert (reply.body, reply.content_type) == (b'{"a": 1}\n2\n', "application/x-ndjson")

    def test_response_whose_body_is_a_generator_is_one_reply(self, worker):
        code = "def f(context, event):\n    parts = (one for one in ('a', b'b'))\n"
        code += "    return context.Response(body=parts, status_code=201, content_type='text/css', headers={'X': 1})\n"
        reply = worker(code).start().ask(id="E")
        assert (reply.body, reply.status, reply.content_type) == (b"ab", 201, "text/css")
        assert (reply.headers, reply.event_id) == ({"X": "1"}, "E")

    def test_generator_that_raises_midway_is_one_500(self, worker):
        peer = worker("def f(context, event):\n    yield 'a'\n    raise KeyError('x')\n").start()
        assert (peer.ask().status, peer.ask().status) == (500, 500)
        assert [one["message"] for one in peer.logs()] == ["KeyError: 'x'"] * 2

    def test_cancelled_error_of_the_handlers_own_is_an_exception_of_his(self, worker):
        code = "import asyncio\nasync def f(context, event):\n    raise asyncio.CancelledError()\n"
        peer = worker(code).start()
        assert (peer.ask().status, peer.ask().status) == (500, 500)

    def test_asyncio_is_not_loaded_for_a_sync_handler(self, worker):
        code = "import sys\ndef f(context, event):\n    return [m for m in NAMES if m in sys.modules]\n"
        code += "NAMES = ['asyncio', 'nuclio_sdk', 'msgpack', 'msgpack._cmsgpack', 'traceback', 'threading']\n"
        assert worker(code).start().answers() == []


class TestContext:
    def test_logger_takes_every_form(self, worker):
        code = """
def f(context, event):
    log = context.logger
    log.debug("plain"); log.info("%s of %d", "one", 2); log.warn("old"); log.warning("w"); log.error("100%")
    log.critical("c"); log.info_with("with", a=1, b=float("nan")); log.warn_with("obj", o=object)
    log.debug_with("%d!", 3, k={1: 2, (3, 4): 5}); log.error_with("e"); log.critical_with("c", x="y")
    log.info("%d", "no number"); log.info(12); log.bind(request="r").info("bound", )
    circle = {}; circle["me"] = circle
    log.info_with("circle", c=circle)
"""
        peer = worker(code).start()
        assert peer.ask().status == 200
        records = [(one["level"], one["message"]) for one in peer.logs()]
        assert records[:4] == [("debug", "plain"), ("info", "one of 2"), ("warning", "old"), ("warning", "w")]
        assert records[4:7] == [("error", "100%"), ("critical", "c"), ("info", "with")]
        assert records[7:11] == [("warning", "obj"), ("debug", "3!"), ("error", "e"), ("critical", "c")]
        assert records[11:] == [("info", "%d no number"), ("info", "12"), ("info", "bound"), ("info", "circle")]
        assert peer.logs()[6]["with"] == {"a": "1", "b": "nan"}
        assert peer.logs()[13]["with"] == {"request": "r"}

    def test_level_of_the_logger_is_kept_by_a_bound_one(self, worker):
        code = """
def f(context, event):
    context.logger.set_level("warning")
    context.logger.info("no"); context.logger.bind(a=1).info("no"); context.logger.error("yes")
"""
        peer = worker(code).start()
        peer.ask()
        assert [one["message"] for one in peer.logs()] == ["yes"]

    def test_names_are_injected_where_the_signature_has_them(self, worker):
        code = "def f(project, run, context, event, x):\n"
        code += "    return [project.name, run.id, context.trigger.name, event.method, x]\n"
        spec = {"parameters": {"x": 3}, "project": "p", "run": "r1", **EVENT}
        reply = worker(code, spec=spec).start().ask(method="PUT")
        assert json.loads(reply.body) == ["p", "r1", "web", "PUT", 3]

    def test_values_that_do_not_fit_are_a_422_that_names_the_field(self, worker):
        peer = worker("def f(x: int):\n    return {'x': x}\n", spec=EVENT).start()
        fields = {"content_type": "application/json"}
        assert json.loads(peer.ask(b'{"x": 4}', **fields).body) == {"x": 4}
        bad = peer.ask(b'{"x": "four"}', **fields)
        assert (bad.status, bad.body.count("x: ")) == (422, 1)


class TestStreams:
    @pytest.mark.parametrize(
        "act",
        [
            "sys.stdout.close()",
            "os.close(1)",
            "sys.stdout = None",
            "sys.stderr.close()",
            "os.close(2)",
            "sys.stderr = None",
        ],
    )
    def test_closed_streams_do_not_hurt_the_answer(self, worker, act):
        code = f"import os, sys\ndef f(context, event):\n    {act}\n"
        code += "    if event.body: raise ValueError(1)\n    return 'fine'\n"
        assert worker(code).start().ask().body == "fine"
        assert worker(code).start().ask(b"raise").status == 500

    def test_fifty_megabytes_of_prints_go_through(self, worker):
        code = "def f(context, event):\n    for _ in range(50): print('p' * (1 << 20))\n    return 'done'\n"
        peer = worker(code).start()
        assert peer.ask().body == "done"
        assert len(peer.stdout()) == 50 * ((1 << 20) + 1)

    def test_closing_every_descriptor_ends_the_worker_with_a_word(self, worker):
        peer = worker("import os\ndef f(context, event):\n    os.closerange(3, 9999)\n").start()
        peer.send(frame())
        with pytest.raises(WorkerGone) as gone:
            peer.wait(protocol.REPLY)
        assert gone.value.code == 1
        assert "connection to its host is lost" in peer.stderr()


def test_spawned_processes_find_the_users_module(worker):
    code = """
import multiprocessing
def double(x):
    return 2 * x
def f(context, event):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(double, [1, 2])
"""
    peer = worker(code).start()
    assert peer.answers() == [2, 4], peer.stderr()


def test_worker_runs_on_the_interpreter_under_test(worker):
    peer = worker("import sys\ndef f(context, event):\n    return list(sys.version_info[:2])\n").start()
    assert peer.answers() == list(sys.version_info[:2])
