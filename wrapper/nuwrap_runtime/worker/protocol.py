"""The Nuclio processor's protocol as bytes, both ends of it. No sockets, no threads: bytes in, messages out.

Processor to worker: frames, `int32 big-endian length` + that many bytes of MessagePack. Worker to processor: lines,
one character of kind + payload + newline. Source: nuclio/nuclio pkg/processor/runtime/rpc (1.11 to 1.15).
"""

from __future__ import annotations

import base64
import json
import signal
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

HEADER = struct.Struct(">i")
FRAME_BYTES = 2**31 - 1

Data = Union[bytes, memoryview]

LINE_BYTES = 256 * 1024 * 1024  # of a host of ours; the processor has no limit

# A host's poke after SIGTERM. One that comes just before a system call, or on another thread, only marks Python's
# handler as due: without another signal it would run when the call returns. Unhandled, this one is ignored.
WAKE = signal.SIGURG

START, REPLY, LOG, METRIC = b"s", b"r", b"l", b"m"


class ProtocolError(Exception):
    """The peer sent bytes that are no frame; the stream cannot be followed any further."""


class FrameDecoder:
    """Cut the processor's byte stream into messages; keeps what is incomplete for the next call."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: Data) -> list[Data]:
        """Return the bodies that `data` completes, in order; one may be a view of `data`, when that is one.

        Raises ProtocolError on a length below 1.
        """
        if not self._buffer and len(data) > HEADER.size and HEADER.unpack_from(data)[0] == len(data) - HEADER.size:
            return [data[HEADER.size :]]  # one whole frame, as nearly always
        self._buffer += data
        messages: list[Data] = []
        while len(self._buffer) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer)
            if size < 1:
                raise ProtocolError(f"a frame of {size} bytes; the processor sends 1 at least")
            end = HEADER.size + size
            if len(self._buffer) < end:
                break
            messages.append(bytes(self._buffer[HEADER.size : end]))
            del self._buffer[:end]
        return messages

    @property
    def is_empty(self) -> bool:
        """Whether no message is under way."""
        return not self._buffer

    @property
    def missing(self) -> int:
        """Bytes that the message under way still lacks, so that a reader can ask for as many at once."""
        if len(self._buffer) < HEADER.size:
            return HEADER.size - len(self._buffer)
        return int(HEADER.size + HEADER.unpack_from(self._buffer)[0]) - len(self._buffer)


class LineDecoder:
    """Cut a worker's byte stream into (kind, payload) pairs; a line without end must not fill a host's memory."""

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = limit

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the lines that `data` completes. Empty lines are dropped, as the processor does.

        Raises ProtocolError for a line that is longer than the limit.
        """
        if b"\n" not in data:
            self._parts.append(data)
            self._size += len(data)
            if self._size > self._limit:
                raise ProtocolError(f"a line of more than {self._limit} bytes")
            return []
        *lines, rest = (b"".join(self._parts) + data).split(b"\n")
        self._parts, self._size = ([rest] if rest else []), len(rest)
        return [(line[:1], line[1:]) for line in lines if line]


@dataclass(frozen=True)
class Reply:
    """An answer to one event. `body` is text, or bytes that go as base64."""

    body: Union[str, bytes] = ""
    status: int = 200
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)
    event_id: str = ""


def encode_frame(body: bytes) -> bytes:
    """Return one frame around a packed message."""
    return HEADER.pack(len(body)) + body


def encode_line(kind: bytes, payload: bytes = b"") -> bytes:
    """Return one line; `payload` must hold no raw newline (JSON has none)."""
    return kind + payload + b"\n"


def encode_reply(reply: Reply) -> bytes:
    """Return the `r` line of a reply.

    Header values are made text: the processor's HTTP trigger drops all others without a word (JSON numbers arrive
    there as float64; nuclio/nuclio pkg/processor/trigger/http).
    """
    text, encoding = reply.body, "text"
    if isinstance(text, bytes):
        text, encoding = base64.b64encode(text).decode("ascii"), "base64"
    document = {
        "body": text,
        "body_encoding": encoding,
        "content_type": reply.content_type,
        "headers": {name: str(value) for name, value in reply.headers.items()},
        "status_code": reply.status,
        "event_id": reply.event_id,
    }
    return encode_line(REPLY, json.dumps(document).encode("ascii"))


def decode_reply(payload: bytes) -> Reply:
    """Return the reply that an `r` line's payload holds, every value of the type that `Reply` says.

    Raises ProtocolError when it is none.
    """
    try:
        document = json.loads(payload)
        body: Any = document["body"]
        if document["body_encoding"] == "base64":
            body = base64.b64decode(body, validate=True)
        status, headers = document["status_code"], dict(document["headers"])
        texts = (document["content_type"], document["event_id"], *headers, *headers.values())
        if type(status) is not int or not isinstance(body, (str, bytes)) or not all(type(one) is str for one in texts):
            raise TypeError("a value of another type")
        return Reply(body, status, texts[0], headers, texts[1])
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise ProtocolError(f"the worker's reply is not one: {payload[:80]!r}") from exc


def make_event(
    body: Optional[bytes] = b"",
    *,
    content_type: str = "",
    method: str = "",
    path: str = "",
    headers: Optional[Mapping[str, str]] = None,
    fields: Optional[Mapping[str, str]] = None,
    trigger: tuple[str, str] = ("http", "http"),
) -> dict[str, Any]:
    """Return an event as the processor sends it: all keys are always there, both spellings of the content type."""
    import uuid  # 5 to 10 ms that no worker needs

    return {
        "body": body,
        "content_type": content_type,
        "content-type": content_type,
        "trigger": {"kind": trigger[0], "name": trigger[1]},
        "fields": dict(fields or {}),
        "headers": dict(headers or {}),
        "id": str(uuid.uuid4()),
        "method": method,
        "path": path,
        "url": "",
        "size": len(body or b""),
        "timestamp": int(time.time()),
        "shard_id": -1,
        "num_shards": 0,
        "type": "",
        "type_version": "",
        "version": "",
        "offset": 0,
        "topic": "",
    }
