"""The processor's protocol as bytes: any cut, any content, nonsense."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuwrap_runtime.worker.protocol import (
    FrameDecoder,
    LineDecoder,
    ProtocolError,
    Reply,
    decode_reply,
    encode_frame,
    encode_line,
    encode_reply,
    make_event,
)

MIB = 1024 * 1024
_lines = st.lists(
    st.tuples(st.sampled_from([b"s", b"r", b"l", b"m"]), st.binary().filter(lambda one: b"\n" not in one))
)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[begin:end] for begin, end in zip(edges, edges[1:])]


@given(st.lists(st.binary(min_size=1)), st.lists(st.integers(0, 10_000)))
def test_frames_survive_any_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(body) for body in bodies)
    decoder = FrameDecoder()
    assert [body for piece in pieces(stream, cuts) for body in decoder.feed(piece)] == bodies
    assert decoder.missing == 4


@given(_lines, st.lists(st.integers(0, 10_000)))
def test_lines_survive_any_cut(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(encode_line(*line) for line in lines)
    decoder = LineDecoder()
    assert [line for piece in pieces(stream, cuts) for line in decoder.feed(piece)] == lines


def test_missing_counts_down_to_the_next_message() -> None:
    decoder = FrameDecoder()
    seen = []
    for byte in encode_frame(b"abc"):
        seen.append(decoder.missing)
        decoder.feed(bytes([byte]))
    assert seen == [4, 3, 2, 1, 3, 2, 1]
    assert decoder.missing == 4


def test_missing_of_a_large_message_is_what_it_lacks_not_what_a_read_gives() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(encode_frame(b"x" * MIB)[: MIB // 2]) == []
    assert decoder.missing == MIB + 4 - MIB // 2


@pytest.mark.parametrize("length", [0, -1, -(2**31)])
def test_a_length_below_one_ends_the_stream(length: int) -> None:
    with pytest.raises(ProtocolError, match=f"a frame of {length} bytes"):
        FrameDecoder().feed(length.to_bytes(4, "big", signed=True))


def test_empty_lines_are_dropped_and_a_lone_kind_is_a_line() -> None:
    assert LineDecoder().feed(b"\n\ns\n\nr{}\n") == [(b"s", b""), (b"r", b"{}")]


def seconds_for(size: int) -> float:
    decoder, block = LineDecoder(), b"r" + b"x" * (64 * 1024 - 1)
    begin = time.process_time()
    for _ in range(size // len(block)):
        assert decoder.feed(block) == []
    ((_, payload),) = decoder.feed(b"\n")
    assert len(payload) == size - 1
    return time.process_time() - begin


def test_a_long_line_costs_its_length_not_its_square() -> None:
    ratios = [seconds_for(64 * MIB) / max(seconds_for(8 * MIB), 0.001) for _ in range(3)]
    assert min(ratios) < 40  # 8 for a linear one, 64 for one that joins at every block


_values = st.text() | st.binary()
_texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(_values, st.integers(100, 599), _texts, st.dictionaries(_texts, _texts), _texts)
def test_a_reply_is_read_back_as_it_was_written(body: Any, status: int, kind: str, headers: Any, event_id: str) -> None:
    reply = Reply(body, status, kind, headers, event_id)
    line = encode_reply(reply)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_reply(line[1:-1]) == reply


def test_half_characters_pass_as_the_json_escape_that_go_reads() -> None:
    line = encode_reply(Reply("a\ud800b"))
    assert b'"a\\ud800b"' in line
    assert decode_reply(line[1:-1]).body == "a\ud800b"


def test_header_values_of_other_types_become_text() -> None:
    headers: Any = {"a": 1, "b": 1.5, "c": True, "d": None}
    document = json.loads(encode_reply(Reply(headers=headers))[1:])
    assert document["headers"] == {"a": "1", "b": "1.5", "c": "True", "d": "None"}


@pytest.mark.parametrize(
    "change",
    [
        {"body": 5},
        {"body": None},
        {"body": ["a"]},
        {"body": "@@@", "body_encoding": "base64"},
        {"body": 5, "body_encoding": "base64"},
        {"status_code": "200"},
        {"status_code": True},
        {"status_code": 200.0},
        {"headers": None},
        {"headers": "ab"},
        {"headers": {"a": 1}},
        {"event_id": 7},
        {"content_type": None},
    ],
    ids=str,
)
def test_a_reply_with_a_value_of_another_type_is_none(change: dict[str, Any]) -> None:
    document = {**json.loads(encode_reply(Reply())[1:]), **change}
    with pytest.raises(ProtocolError, match="the worker's reply is not one"):
        decode_reply(json.dumps(document).encode())


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 200_000, b"1" * 5000])
def test_nonsense_is_no_reply(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_reply(payload)


def test_an_event_has_every_key_the_processor_sends() -> None:
    event = make_event(b"abc", content_type="text/plain", headers={"a": "b"}, trigger=("job", "t"))
    assert event["content_type"] == event["content-type"] == "text/plain"
    assert (event["size"], event["headers"], event["trigger"]) == (3, {"a": "b"}, {"kind": "job", "name": "t"})
    assert make_event(None)["size"] == 0
    assert make_event()["id"] != make_event()["id"]
