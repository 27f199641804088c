"""Whatever a function returns is a line that a processor reads; whatever a frame holds has exactly one answer."""

from __future__ import annotations

import base64
import json
import math
import random
import re
import struct
from typing import Any, Callable, Optional

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_processor import ScriptedProcessor, frame

from nuwrap_runtime.worker import protocol, replies
from nuwrap_runtime.worker.context import Logger, Response
from nuwrap_runtime.worker.nuclio.answers import Answers
from nuwrap_runtime.worker.nuclio.events import make_event
from nuwrap_runtime.worker.nuclio.lines import Lines
from nuwrap_runtime.worker.nuclio.settings import Settings
from nuwrap_runtime.worker.nuclio.streaming import StreamLines
from nuwrap_runtime.worker.protocol import Reply
from nuwrap_runtime.worker.streams import Stream, find_stream

PLAIN = Settings(event="/s")
LISTS = Settings(event="/s", takes_lists=True)
RAW = Settings(event="/s", is_raw=True)

_any_text = st.text() | st.text(st.sampled_from("a\u00fc\n\x00\u2028\U0001f600\udc80\udcff\udfff"), max_size=8)
_whole_text = st.text()
_floats = st.floats(allow_nan=True, allow_infinity=True)
_scalars = st.none() | st.booleans() | st.integers() | _floats | _any_text
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_whole_text, inner, max_size=4), max_leaves=12
)
_odd = _json | st.binary() | st.complex_numbers() | st.sets(st.integers()) | st.dates() | st.just(object())
_responses = st.builds(
    Response,
    headers=st.dictionaries(_any_text | st.binary(max_size=4), _odd, max_size=3),
    body=_odd,
    content_type=st.none() | _any_text,
    status_code=st.integers(-5, 1200) | _odd,
    event_id=st.none() | _any_text,
)
_returned = _odd | _responses | st.tuples(st.integers(0, 1000), _odd) | st.lists(_responses, max_size=2)


def read(line: bytes, *, is_list: bool) -> tuple[dict[str, Any], bytes]:
    """Return a reply's document and body as a processor reads them, which it must be able to."""
    assert line[:1] == b"r"
    assert line[-1:] == b"\n"
    assert line.count(b"\n") == 1
    line[1:].decode("ascii")
    document = json.loads(line[1:])
    if is_list:
        [document] = document
    assert sorted(document) == ["body", "body_encoding", "content_type", "event_id", "headers", "status_code"]
    assert all(type(document[name]) is str for name in ("body", "body_encoding", "content_type", "event_id"))
    assert type(document["status_code"]) is int
    assert all(type(one) is str or one is True for one in document["headers"].values())
    encoding, body = document["body_encoding"], document["body"]
    assert encoding in ("text", "base64")
    return document, base64.b64decode(body, validate=True) if encoding == "base64" else body.encode()


def is_broken(text: Any) -> bool:
    """Tell whether it has half a character that stands for no byte."""
    return isinstance(text, str) and re.search("[\\ud800-\\udc7f\\udd00-\\udfff]", text) is not None


@given(
    _any_text | st.binary(),
    st.integers(0, 999),
    _any_text,
    st.dictionaries(_any_text, _odd, max_size=3),
    _any_text,
    st.booleans(),
)
def test_any_reply_is_a_line_that_reads_as_it_was(
    body: Any, status: int, kind: str, headers: Any, event_id: str, is_list: bool
) -> None:
    lines = Lines(LISTS if is_list else PLAIN)
    reply = Reply(body, status, kind, headers, event_id)
    if is_broken(body):
        with pytest.raises(replies.ReplyError):
            lines.reply(reply)
        return
    document, content = read(lines.reply(reply), is_list=is_list)
    assert content == (body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body)
    assert (document["status_code"], document["content_type"], document["event_id"]) == (status, kind, event_id)
    known = {name for name in headers if name.lower() != "x-nuclio-stream-no-ack"}
    assert known <= set(document["headers"])


class Records:
    """An application as far as answers need one."""

    returns = replies.NUCLIO

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.logger = Logger(self.records.append)


@settings(deadline=None)
@given(_returned, st.booleans())
def test_any_value_has_one_answer_and_a_record_when_it_cannot_be_sent(value: Any, is_list: bool) -> None:
    application = Records()
    answers = Answers(application, LISTS if is_list else PLAIN, msgpack.unpackb)  # type: ignore[arg-type]
    event = answers.read(frame(id="the-id")[4:])
    try:
        line = answers.of(value, event)
        is_fault = False
    except Exception as exc:
        line = answers.failed(exc, event)
        is_fault = True
    document, content = read(line, is_list=is_list)
    assert len(application.records) == is_fault
    if is_fault:
        assert document["status_code"] == 500
        assert json.loads(content)["request_id"] == "the-id"


def as_sent(value: Any) -> Any:
    """Return what a client reads of JSON: what JSON has not as nuclio-sdk writes it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): as_sent(one) for key, one in value.items()}
    return [as_sent(one) for one in value] if isinstance(value, list) else value


@given(st.dictionaries(_whole_text, _json, max_size=5) | st.lists(_json, max_size=5))
def test_json_reads_as_it_was_with_words_for_what_it_lacks(value: Any) -> None:
    document, content = read(Lines(PLAIN).of(value, "id"), is_list=False)
    assert document["content_type"] == "application/json"
    assert json.loads(content) == as_sent(value)


@given(st.lists(_whole_text | st.binary() | st.none() | st.dictionaries(_whole_text, st.integers()), max_size=8))
def test_a_stream_s_lines_are_its_values_one_after_the_other(values: list[Any]) -> None:
    stream = find_stream(one for one in values)
    assert isinstance(stream, Stream)
    sent: list[bytes] = []
    writer = StreamLines(Lines(PLAIN), stream, "id", sent.append)
    for one in stream.values:
        writer.item(one)
    sent.append(writer.end())
    parts = []
    for line in b"".join(sent).split(b"\n")[:-1]:
        if line[:1] in (b"c", b"r"):
            parts.append(read(b"r" + line[1:] + b"\n", is_list=False)[1])
        elif line[:1] == b"b":
            parts.append(base64.b64decode(line[1:], validate=True))
    whole = b"".join(
        one if isinstance(one, bytes) else one.encode() if isinstance(one, str) else json.dumps(one).encode() + b"\n"
        for one in values
        if one is not None
    )
    assert b"".join(parts) == whole
    assert [line[:1] for line in sent][-1] in (b"e", b"r")


_events = st.fixed_dictionaries(
    {},
    optional={
        "body": st.none() | st.binary() | st.dictionaries(_whole_text, st.integers(-(2**63), 2**63)),
        "content_type": _any_text,
        "trigger": st.none() | st.fixed_dictionaries({"kind": _any_text, "name": _any_text}),
        "fields": st.none() | st.dictionaries(_any_text, _any_text | st.floats() | st.booleans()),
        "headers": st.none() | st.dictionaries(_any_text, _any_text | st.binary() | st.integers(0, 9)),
        "id": _any_text,
        "method": _any_text,
        "path": _any_text,
        "size": st.integers(0, 2**40),
        "timestamp": st.integers(-(2**62), 2**62) | st.floats() | _any_text | st.none(),
        "shard_id": st.integers(-1, 2**31),
        "offset": st.integers(0, 2**62),
        "topic": _any_text,
    },
)


@settings(deadline=None)
@given(_events, st.lists(st.integers(0, 10_000), max_size=4), st.booleans())
def test_any_event_survives_the_way_and_says_what_it_is(fields: dict[str, Any], cuts: list[int], is_raw: bool) -> None:
    packed = msgpack.packb({**protocol.make_event(), **fields}, unicode_errors="surrogatepass")
    stream = protocol.encode_frame(packed)
    decoder = protocol.FrameDecoder()
    edges = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    [data] = [one for begin, end in zip(edges, edges[1:]) for one in decoder.feed(stream[begin:end])]
    errors = None if is_raw else "surrogatepass"
    message = msgpack.unpackb(data, raw=is_raw, unicode_errors=errors, strict_map_key=False, timestamp=3)
    event = make_event(message, RAW if is_raw else PLAIN)
    for name in ("id", "method", "topic", "shard_id", "offset", "size"):
        if name in fields:
            assert plain(getattr(event, name)) == fields[name]
    assert event.path
    assert event.timestamp.year >= 1
    assert event.get_header("not there") is None
    assert event.get_field("not there", 5) == 5
    for name, value in (fields.get("headers") or {}).items():
        assert name.lower() in [plain(one).lower() for one in event.headers] or value is None
    json.loads(event.to_json())


def plain(value: Any) -> Any:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


CODE = """
def f(context, event):
    if isinstance(event, list):
        return [str(one.id) for one in event]
    event.timestamp, event.get_header("x"), event.get_field("y"), event.to_json()
    return {"id": str(event.id)}
"""


def nonsense(random: random.Random, depth: int = 0) -> Any:
    """Return a value that MessagePack has."""
    kinds = [None, True, random.getrandbits(63), -random.getrandbits(31), random.random(), "text", b"\x00\xff"]
    kinds.append(msgpack.ExtType(random.randrange(128), b"x" * random.randrange(20)))
    kinds.append(msgpack.Timestamp(random.randrange(9)))
    if depth < 4:
        kinds.append([nonsense(random, depth + 1) for _ in range(random.randrange(4))])
        names = ["id", "body", "headers", "fields", "trigger", "path", "timestamp", "content_type", 5]
        kinds.append({random.choice(names): nonsense(random, depth + 1) for _ in range(random.randrange(6))})
    return random.choice(kinds)


def bad_frame(random: random.Random) -> bytes:
    """Return a frame of anything but an event."""
    way = random.randrange(5)
    if way == 0:
        return random.getrandbits(8 * 20).to_bytes(20, "big")[: random.randrange(1, 20)]
    if way == 1:
        return frame(b"x" * random.randrange(500))[4 : random.randrange(5, 60)]
    if way == 2:
        return b"\x91" * random.randrange(1, 5000)  # lists in lists, without an end
    if way == 3:
        return struct.pack(">BI", random.choice([0xDD, 0xDF, 0xC6, 0xDB]), 2**32 - 1)  # of four milliards of items
    packed: bytes = msgpack.packb(nonsense(random))
    return packed


@pytest.mark.parametrize("kind", ["", "async "], ids=["sync", "async"])
@pytest.mark.parametrize("is_decoded", [True, False], ids=["decoded", "raw"])
@pytest.mark.parametrize("seed", range(2))
def test_fuzzed_frames_never_end_the_worker_or_shift_answers(
    worker: Callable[..., ScriptedProcessor], kind: str, is_decoded: bool, seed: int
) -> None:
    peer = worker(kind + CODE.lstrip(), is_decoded=is_decoded).start()
    chance = random.Random(seed)  # noqa: S311 - the same frames in every run
    sent: list[Optional[str]] = []
    stream = b""
    for number in range(400):
        if chance.random() < 0.4:
            sent.append(f"e{number}")
            stream += frame(b"x", id=f"e{number}")
        else:
            sent.append(None)
            stream += protocol.encode_frame(bad_frame(chance))
    edges = sorted({0, len(stream), *(chance.randrange(len(stream)) for _ in range(100))})
    for begin, end in zip(edges, edges[1:]):
        peer.send(stream[begin:end])
        peer.event.take()
    while peer.count(protocol.REPLY) < len(sent):
        peer.event.receive()
    answers = [json.loads(payload) for one, payload in peer.lines if one == protocol.REPLY]
    assert len(answers) == len(sent)
    for wanted, answer in zip(sent, answers):
        if wanted is not None:
            assert (answer["status_code"], json.loads(answer["body"])["id"][-5:].strip("b'")) == (200, wanted)
    assert peer.finish() == 0
    assert peer.count(protocol.REPLY) == len(sent)
