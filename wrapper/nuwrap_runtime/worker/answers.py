"""Replies as messages of `nuwrap/1`: whole in one, in a file, or in chunks. Makes the bytes, sends nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Callable

from nuwrap_runtime.worker import native, protocol, replies
from nuwrap_runtime.worker.protocol import Reply

Piece = tuple[bytes, int]  # a message, and the descriptor that goes with it or -1; who takes it closes that


class Encoder:
    """Replies to messages, with one packer for all of a worker's."""

    def __init__(self, pack: Callable[[Any], bytes]) -> None:
        self._pack = pack
        self.may_reuse = False  # the host is done with the file that was sent last
        self._kept = -1

    def plain(self, body: bytes, content_type: str = replies.TEXT) -> list[Piece]:
        """Return the messages of an answer that is nothing but its body, without the detour over a Reply."""
        if len(body) > native.INLINE_BYTES:
            return self.reply(Reply(body, content_type=content_type))
        return [(native.encode_message(protocol.REPLY, self._pack([200, content_type, {}, body, len(body)])), -1)]

    def reply(self, reply: Reply) -> list[Piece]:
        """Return the messages of a whole answer. Raises ReplyError, and what its headers' `__str__` raise."""
        try:
            fields = native.reply_fields(reply)
        except UnicodeEncodeError:
            raise replies.ReplyError("text with half a character (a lone surrogate); return bytes") from None
        body = fields[3]
        if len(body) <= native.INLINE_BYTES:
            return [(self._message(protocol.REPLY, fields), -1)]
        fields[3] = None
        message = self._message(protocol.REPLY, fields)
        try:
            return [(message, self._file(body))]
        except OSError:  # no such file, or no room in it: through the socket
            return [*self.head(reply, len(body)), *chunks(body), (native.encode_message(native.END), -1)]

    def _file(self, body: bytes) -> int:
        """Return the descriptor of a file with the body, -1 when it is in the one that the host has already."""
        if len(body) > native.KEPT_BYTES:
            return _body_file(body)
        if self.may_reuse and self._kept >= 0:
            _write(self._kept, body)
            return -1
        file = _body_file(body)
        if self._kept >= 0:
            os.close(self._kept)
            self._kept = -1
        self._kept = os.dup(file)
        return file

    def head(self, reply: Reply, length: int = -1) -> list[Piece]:
        """Return the message that begins an answer in chunks."""
        status, content_type, headers, *_ = native.reply_fields(reply)
        return [(self._message(native.HEAD, [status, content_type, headers, length]), -1)]

    def _message(self, kind: bytes, fields: list[Any]) -> bytes:
        payload = self._pack(fields)
        if len(payload) >= native.MESSAGE_BYTES:
            raise replies.ReplyError(f"the answer's headers have {len(payload)} bytes; allowed: {native.MESSAGE_BYTES}")
        return native.encode_message(kind, payload)


def chunks(data: bytes) -> Iterator[Piece]:
    """Yield the messages that carry the bytes; none for no bytes."""
    view = memoryview(data)
    for start in range(0, len(data), native.CHUNK_BYTES):
        yield native.encode_message(native.CHUNK, bytes(view[start : start + native.CHUNK_BYTES])), -1


def close(pieces: list[Piece]) -> None:
    """Close the descriptors of messages that are sent, or will not be."""
    for _, file in pieces:
        if file >= 0:
            os.close(file)


def _body_file(body: bytes) -> int:
    file = native.open_body_file()
    try:
        _write(file, body)
    except BaseException:
        os.close(file)
        raise
    return file


def _write(file: int, body: bytes) -> None:
    view, done = memoryview(body), 0
    while done < len(view):
        done += os.pwrite(file, view[done:], done)
