"""`nuwrap/1`: how a worker and a host of ours talk in a service. Bytes in, messages out; no sockets, no threads.

Both ways a frame is the processor's: `int32 big-endian length` + that many bytes. Host to worker: one MessagePack map,
an event as the processor sends it, or one of the two orders below. Worker to host: one byte of kind + payload.

| kind | payload |
|---|---|
| `s` | JSON `{"seconds": {…}, "sockets": n}`: started; `n` event sockets are connected, one call each at a time |
| `l` | JSON, a log record as the processor's, of the call under way on this socket |
| `n` | the same, of no call: logged by a thread or a task of the function's own |
| `r` | MessagePack `[status, content_type, headers, body, size]`: the whole answer; `body` nil: it is in a file |
| `c` | MessagePack `[status, content_type, headers, length]`: an answer begins, chunks follow; -1: length unknown |
| `b` | raw bytes, one chunk |
| `e` | empty: the answer's end |
| `x` | empty: the answer stops here and is not whole |

Each event has exactly one answer: `r`, or `c b* e`, or `c b* x`. A body of more than `INLINE_BYTES` goes in a file
whose descriptor (SCM_RIGHTS) comes with the first byte of its frame; such an event has the key `SIZE`.
Of an answer of at most `KEPT_BYTES` both sides keep the file: an event with the key `KEPT` allows the worker to write
its answer into that again, and to send no descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from nuwrap_runtime.worker.protocol import HEADER, ProtocolError, Reply

FORM = "nuwrap/1"
INLINE_BYTES = 64 * 1024
KEPT_BYTES = 4 * 1024 * 1024  # of a body whose file both sides keep for the next one
CHUNK_BYTES = 256 * 1024  # of one `b`; a longer chunk is several
MESSAGE_BYTES = 4 * 1024 * 1024  # of one message of a worker: what is larger goes in a file, or in chunks

HEAD, CHUNK, END, BROKEN, STRAY = b"c", b"b", b"e", b"x", b"n"

SIZE = "nuwrap_size"  # of an event whose body is in the file that came with it
CANCEL = "nuwrap_cancel"  # an order: stop answering the event of this id, nobody waits any more
KEPT = "nuwrap_kept"  # of an event: the last kept file that this socket sent is free to be written again
DESCRIBE = "nuwrap_describe"  # an order: answer with the function's description, as JSON

CANCELLED = 499  # status of the answer to an event that was cancelled; no client gets it

Headers = Mapping[str, Union[str, Sequence[str]]]


def encode_message(kind: bytes, payload: bytes = b"") -> bytes:
    """Return one message of a worker."""
    return HEADER.pack(len(payload) + 1) + kind + payload


def reply_fields(reply: Reply) -> list[Any]:
    """Return what `r` carries of a reply whose body is small, or without its body."""
    body = reply.body.encode("utf-8", "surrogateescape") if isinstance(reply.body, str) else reply.body
    return [reply.status or 200, reply.content_type, header_texts(reply.headers), body, len(body)]


def header_texts(headers: Mapping[str, Any]) -> dict[str, Union[str, list[str]]]:
    """Return the headers as text; a list or a tuple is one header sent several times, such as Set-Cookie."""
    return {
        str(name): [str(one) for one in value] if isinstance(value, (list, tuple)) else str(value)
        for name, value in headers.items()
    }


def check_reply(fields: Any) -> tuple[int, str, Headers, Optional[bytes], int]:
    """Return the fields of an `r`, every value of its type. Raises ProtocolError."""
    if type(fields) is list and len(fields) == 5:
        status, content_type, headers, body, size = fields
        is_body = body is None or type(body) is bytes
        if _is_head(status, content_type, headers) and type(size) is int and size >= 0 and is_body:
            return status, content_type, headers, body, size
    raise ProtocolError(f"the worker's reply is not one: {str(fields)[:80]}")


def check_head(fields: Any) -> tuple[int, str, Headers, int]:
    """Return the fields of a `c`, every value of its type. Raises ProtocolError."""
    if type(fields) is list and len(fields) == 4:
        status, content_type, headers, length = fields
        if _is_head(status, content_type, headers) and type(length) is int and length >= -1:
            return status, content_type, headers, length
    raise ProtocolError(f"the head of the worker's answer is none: {str(fields)[:80]}")


def _is_head(status: Any, content_type: Any, headers: Any) -> bool:
    if type(status) is not int or not 0 <= status <= 999 or type(content_type) is not str or type(headers) is not dict:
        return False
    return all(type(name) is str and _is_value(value) for name, value in headers.items())


def _is_value(value: Any) -> bool:
    return type(value) is str or (type(value) is list and all(type(one) is str for one in value))


def open_body_file() -> int:
    """Return a descriptor of an empty file that is in memory and has no name. Raises OSError where there is none."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("nuwrap-body")
    import tempfile  # 5 ms that Linux never needs

    with tempfile.TemporaryFile(dir="/dev/shm") as stream:
        return os.dup(stream.fileno())
