"""A worker as other processors start it: their options, events of other triggers, acknowledgements, the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import msgpack
import pytest
from scripted_processor import ONE, ScriptedProcessor, WorkerGone, event_of, frame

from nuwrap_runtime.worker import protocol
from nuwrap_runtime.worker.nuclio.settings import doubts, read_settings

Workers = Callable[..., ScriptedProcessor]

ECHO = "def f(context, event):\n    return event.body\n"
TELL = """
def f(context, event):
    said = {name: value for name, value in vars(event).items() if name[0] != "_" and name != "trigger"}
    trigger = [event.trigger.kind, event.trigger.name]
    return {**{name: repr(value) for name, value in said.items()}, "trigger": repr(trigger),
            "one": repr(event.get_header("X-ONE")), "a": repr(event.get_field("a")), "time": str(event.timestamp)}
"""


class TestOptions:
    def test_one_socket_alone_is_a_processor_before_1_9(self, worker: Workers) -> None:
        code = "async def f(context, event):\n    return context.platform.kind\n"
        for text in (code, code.replace("async ", "")):
            peer = worker(text, sockets=ONE).start()
            assert peer.ask().body == "local"
            assert peer.finish() == 0

    def test_options_of_later_processors_are_skipped(self, worker: Workers) -> None:
        more = ["--brand-new", "--with-value", "5", "--log-level", "debug", "stray"]
        peer = worker(ECHO, extra=more).start()
        assert peer.ask(b"x").body == b"x"
        assert peer.stderr() == ""

    @pytest.mark.parametrize(
        ("given", "event", "is_listening"),
        [
            ("/tmp/a.sock", "/tmp/a.sock", False),
            ("/tmp/a.sock, /tmp/b.sock", "/tmp/a.sock", False),
            ("/tmp/odd:80", "/tmp/odd:80", False),
            ("127.0.0.1:1337", "127.0.0.1:1337", True),
            ("[::1]:1337", "[::1]:1337", True),
            (":1337", ":1337", True),
            ("name", "name", False),
        ],
    )
    def test_an_event_socket_is_a_path_or_an_address(self, given: str, event: str, is_listening: bool) -> None:
        found = read_settings({"event-socket-path": given}, {})
        assert (found.event, found.is_listening) == (event, is_listening)

    @pytest.mark.parametrize(
        ("version", "takes_lists", "takes_streams"),
        [
            *(("", False, False), ("1.12.15", False, False), ("1.13.0", True, False), ("v1.14.2", True, False)),
            *(("1.15.3", True, True), ("2.0", True, True), ("latest", False, False)),
        ],
    )
    def test_a_version_tells_what_is_read(self, version: str, takes_lists: bool, takes_streams: bool) -> None:
        found = read_settings({"event-socket-path": "/s"}, {"NUWRAP_NUCLIO_VERSION": version})
        assert (found.takes_lists, found.takes_streams) == (takes_lists, takes_streams)
        assert bool(doubts({"NUWRAP_NUCLIO_VERSION": version})) == (version == "latest")

    def test_the_context_tells_who_the_worker_is(self, worker: Workers) -> None:
        code = """
def f(context, event):
    return [context.worker_id, context.trigger.kind, context.trigger.name, context.trigger_name,
            context.platform.kind, context.platform.namespace, context.platform._get_function_url("other")]
"""
        more = ["--worker-id", "7", "--platform-kind", "kube", "--namespace", "space"]
        peer = worker(code, extra=more, trigger=("kafka-cluster", "k")).start()
        wanted = ["7", "kafka-cluster", "k", "k", "kube", "space", "nuclio-other:8080"]
        assert json.loads(peer.ask().body) == wanted

    def test_a_start_without_sockets_says_who_starts_it(self, tree: str, root: Path) -> None:
        script = os.path.join(tree, "worker", "nuwrap_runtime", "worker", "main.py")
        command = [sys.executable, "-u", script, "--handler", "main:f"]
        done = subprocess.run(command, cwd=root, capture_output=True, check=False)
        assert done.returncode == 10
        assert b"this script is for a Nuclio processor to start" in done.stderr
        assert b"Traceback" not in done.stderr

    def test_it_says_once_that_it_is_ready(self, worker: Workers) -> None:
        peer = worker(ECHO).start()
        peer.ask(b"x")
        assert peer.controls() == [{"kind": "wrapperInitialized", "attributes": {"ready": "true"}}]


class TestRawEvents:
    def test_texts_stay_bytes_where_the_processor_wants_it(self, worker: Workers) -> None:
        peer = worker(TELL, is_decoded=False).start()
        headers, fields = {"x-one": "\udcff1"}, {"a": "1", "n": 2}
        more = {"id": "e1", "path": "/p", "method": "PUT", "headers": headers, "fields": fields, "timestamp": 1}
        said = json.loads(peer.ask(b"\xff", **more).body)
        assert said["body"] == "b'\\xff'"
        assert (said["id"], said["path"], said["method"]) == ("b'e1'", "b'/p'", "b'PUT'")
        assert (said["one"], said["a"]) == ("b'\\xff1'", "b'1'")
        assert said["headers"] == "{b'x-one': b'\\xff1'}"
        assert said["trigger"] == "[b'http', b'http']"
        assert said["time"] == "1970-01-01 00:00:01"

    def test_json_is_read_and_an_id_answered_all_the_same(self, worker: Workers) -> None:
        peer = worker(ECHO, is_decoded=False).start()
        reply = peer.ask(b'{"a": 1}', content_type="application/json; charset=utf-8", id="e1")
        assert json.loads(reply.body) == {"a": 1}
        failed = worker("def f(context, event):\n    1 / 0\n", is_decoded=False).start().ask(id="e1")
        assert json.loads(failed.body)["request_id"] == "e1"


class TestTriggers:
    def test_an_event_of_a_job_trigger(self, worker: Workers) -> None:
        peer = worker(TELL, trigger=("job", "j")).start()
        event = {"headers": {"X-One": 1.0, "X-Deep": {"a": [1]}}, "fields": None, "timestamp": 0, "method": ""}
        said = json.loads(peer.ask(b'{"a": 1}', trigger={"kind": "job", "name": "j"}, **event).body)
        assert (said["body"], said["path"], said["fields"]) == ("b'{\"a\": 1}'", "'/'", "{}")
        assert (said["one"], said["time"], said["trigger"]) == ("1.0", "1970-01-01 00:00:00", "['job', 'j']")

    def test_an_event_of_a_websocket_trigger_and_its_text_frame(self, worker: Workers) -> None:
        event = {"method": "websocket", "content_type": "application/octet-stream", "headers": None, "fields": None}
        for code, text in ((ECHO, b"data"), ("def f(context, event):\n    pass\n", "")):
            peer = worker(code, trigger=("websocket", "w")).start()
            assert peer.ask(b"data", **event).body == text

    def test_headers_of_bytes_and_times_of_an_extension_type(self, worker: Workers) -> None:
        peer = worker(TELL, trigger=("mjpeg", "m")).start()
        fields = {"frame_num": 3, "timestamp": msgpack.Timestamp(1767323045, 5)}
        said = json.loads(peer.ask(b"\xff\xd8", headers={"x-one": b"\xff"}, fields=fields).body)
        assert said["one"] == "b'\\xff'"
        assert "datetime.datetime(2026, 1, 2, 3, 4, 5" in said["fields"]

    @pytest.mark.parametrize(
        ("timestamp", "text"),
        [
            (-62135596800, "0001-01-01 00:00:00"),
            (-(2**62), "1970-01-01 00:00:00"),
            (2**62, "1970-01-01 00:00:00"),
            (1767323045.5, "2026-01-02 03:04:05.500000"),
            (None, "1970-01-01 00:00:00"),
            ("soon", "1970-01-01 00:00:00"),
            ([], "1970-01-01 00:00:00"),
        ],
        ids=str,
    )
    def test_a_time_that_is_none_is_the_epoch(self, worker: Workers, timestamp: Any, text: str) -> None:
        assert json.loads(worker(TELL).start().ask(timestamp=timestamp).body)["time"] == text

    def test_keys_that_a_processor_leaves_out_are_empty(self, worker: Workers) -> None:
        peer = worker(TELL).start()
        peer.send(protocol.encode_frame(msgpack.packb({"id": "e1"})))
        said = json.loads(peer.event.reply().body)
        assert (said["body"], said["headers"], said["offset"], said["path"]) == ("None", "{}", "0", "'/'")

    def test_a_status_of_zero_is_sent_as_it_is(self, worker: Workers) -> None:
        code = "def f(context, event):\n    return context.Response(body='changed', status_code=0)\n"
        peer = worker(code, trigger=("extproc", "e")).start()
        peer.send(frame())
        assert json.loads(peer.wait(protocol.REPLY)[0])["status_code"] == 0


ACK = """
import asyncio, nuclio_sdk
{kind}def f(context, event):
    offset = nuclio_sdk.QualifiedOffset.from_event(event)
    {call}
    response = context.Response(body="taken")
    response.ensure_no_ack()
    return response
"""
ACKS = pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("", "asyncio.run(context.platform.explicit_ack(offset))"),
        ("async ", "await context.platform.explicit_ack(offset)"),
    ],
    ids=["sync", "async"],
)


class TestAcknowledgements:
    @ACKS
    def test_an_acknowledgement_is_a_message_on_the_control_socket(self, worker: Workers, kind: str, call: str) -> None:
        peer = worker(ACK.format(kind=kind, call=call), trigger=("kafka-cluster", "k")).start()
        for offset in range(3):
            assert peer.ask(topic="t", shard_id=4, offset=offset).body == "taken"
        wanted = [{"topic": "t", "partition": 4, "offset": offset} for offset in range(3)]
        assert [one["attributes"] for one in peer.controls("streamMessageAck", count=3)] == wanted

    @ACKS
    def test_an_answer_that_acknowledges_nothing_says_so_as_every_processor_reads_it(
        self, worker: Workers, kind: str, call: str
    ) -> None:
        peer = worker(ACK.format(kind=kind, call=call), trigger=("kafka-cluster", "k")).start()
        peer.send(frame())
        headers = json.loads(peer.wait(protocol.REPLY)[0])["headers"]
        assert headers == {"x-nuclio-stream-no-ack": True, "X-Nuclio-Stream-No-Ack": True}

    def test_nuclio_sdk_s_response_says_it_too(self, worker: Workers) -> None:
        code = """
import nuclio_sdk
def f(context, event):
    response = nuclio_sdk.Response(headers={"X-A": 1}, body="x")
    response.ensure_no_ack()
    return response
"""
        peer = worker(code).start()
        peer.send(frame())
        headers = json.loads(peer.wait(protocol.REPLY)[0])["headers"]
        assert headers == {"X-A": "1", "x-nuclio-stream-no-ack": True, "X-Nuclio-Stream-No-Ack": True}

    def test_without_a_control_socket_it_is_an_error_that_says_what_it_needs(self, worker: Workers) -> None:
        peer = worker(
            ACK.format(kind="async ", call="await context.platform.explicit_ack(offset)"), sockets=ONE
        ).start()
        assert peer.ask().status == 500
        assert "explicit acknowledgements need a processor of 1.9 or later" in peer.logs()[0]["message"]


LEVELS = ["debug", "info", "warning", "error", "critical"]
LOG = """
def f(context, event):
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(context.logger, level)(level)
        getattr(context.logger, level + "_with")(level + " with", a=1)
    context.logger.copy().info("copy")
    1 / 0
"""


class TestLog:
    @pytest.mark.parametrize(
        ("name", "level"),
        [("", "debug"), ("debug", "debug"), ("INFO", "info"), ("warn", "warning"), ("error", "error")],
    )
    def test_records_below_a_level_are_not_sent(self, worker: Workers, name: str, level: str) -> None:
        peer = worker(LOG, env={"NUWRAP_LOG_LEVEL": name}).start()
        peer.ask()
        kept = LEVELS[LEVELS.index(level) :]
        wanted = [text for one in kept for text in (one, f"{one} with")] + (["copy"] if "info" in kept else [])
        assert [one["message"] for one in peer.logs()] == [*wanted, "ZeroDivisionError: division by zero"]

    def test_a_level_that_is_none_is_told_and_all_is_sent(self, worker: Workers) -> None:
        peer = worker(LOG, env={"NUWRAP_LOG_LEVEL": "warnings"}).start()
        peer.ask()
        first = peer.logs()[0]
        assert first["level"] == "warning"
        assert first["message"] == (
            "NUWRAP_LOG_LEVEL is 'warnings', which is no level; "
            "allowed: critical, debug, error, info, warn, warning; did you mean 'warning'?"
        )
        assert peer.logs()[1]["message"] == "debug"

    def test_bound_fields_stay_as_with_nuclio_sdk_s_logger(self, worker: Workers) -> None:
        code = """
def init_context(context):
    context.logger.bind(service="s")
def f(context, event):
    context.logger.bind(request=event.id)
    context.logger.info_with("x", own=1)
"""
        peer = worker(code).start()
        for request in ("a", "b"):
            peer.ask(id=request)
        assert [one["with"] for one in peer.logs()] == [
            {"service": "s", "request": request, "own": 1} for request in ("a", "b")
        ]

    def test_a_record_has_what_the_processor_reads(self, worker: Workers) -> None:
        peer = worker(
            "def f(context, event):\n    context.logger.info_with('a\\nb', n=float('nan'), o=object)\n"
        ).start()
        peer.ask()
        [(_, payload)] = [line for line in peer.lines if line[0] == protocol.LOG]
        record = json.loads(payload, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert sorted(record) == ["datetime", "level", "message", "with"]
        assert record["message"] == "a\nb"

    def test_a_traceback_is_the_log_s_alone(self, worker: Workers) -> None:
        peer = worker("def f(context, event):\n    raise KeyError('secret')\n").start()
        reply = peer.ask()
        assert "secret" not in reply.body
        assert "Traceback" not in reply.body
        assert "raise KeyError('secret')" in peer.logs()[0]["with"]["traceback"]
        assert peer.stderr() == ""

    @pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "async"])
    def test_a_failure_has_an_id_of_its_own_for_client_and_log(self, worker: Workers, kind: str) -> None:
        peer = worker(f"{kind}def f(context, event):\n    1 / 0\n").start()
        told = [json.loads(peer.ask(id=name).body)["request_id"] for name in ("a", "a", "b", "a")]
        assert told == ["a", "a-2", "b", "a-3"]  # the HTTP trigger's ids are one for each worker
        assert [one["with"]["request_id"] for one in peer.logs()] == told


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "code_of_exit"),
        [("1 / 0\n", 5), ("def init_context(context):\n    raise KeyError(1)\n" + ECHO, 6), ("x = 1\n", 5)],
        ids=["load", "init", "no function"],
    )
    def test_a_function_that_does_not_start_ends_the_worker_and_says_why(
        self, worker: Workers, code: str, code_of_exit: int
    ) -> None:
        peer = worker(code).accept()
        with pytest.raises(WorkerGone) as gone:
            peer.event.wait(protocol.START)
        assert gone.value.code == code_of_exit
        assert peer.stderr().count("nuwrap: the function does not start") == 1
        assert [one["level"] for one in peer.logs()] == ["critical"]
        assert peer.controls() == []

    def test_a_thread_of_a_module_that_does_not_load_holds_no_exit_up(self, worker: Workers) -> None:
        code = "import threading, time\nthreading.Thread(target=time.sleep, args=(999,)).start()\n1 / 0\n"
        peer = worker(code).accept()
        assert peer.end() == 5


def test_prints_reach_standard_output_and_no_answer(worker: Workers) -> None:
    code = """
import os, sys
def f(context, event):
    print("r{}"); print("l{}", file=sys.stderr); os.write(1, b"raw\\n"); os.system("echo child")
    return "answer"
"""
    peer = worker(code).start()
    assert peer.ask().body == "answer"
    assert peer.stdout() == "r{}\nraw\nchild\n"
    assert peer.stderr() == "l{}\n"
    assert peer.count(protocol.REPLY) == 1


def test_a_body_that_is_a_map_comes_as_one(worker: Workers) -> None:
    peer = worker("def f(context, event):\n    return [event.body, type(event.body).__name__]\n").start()
    assert peer.ask({"a": {"b": 1}}, content_type="application/json").body == '[{"a": {"b": 1}}, "dict"]'
    assert event_of({"a": 1})["size"] == 0
