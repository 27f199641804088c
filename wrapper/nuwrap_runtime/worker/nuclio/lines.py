"""Replies as the lines that a Nuclio processor reads. Makes bytes and, for large bodies, files in memory.

A processor takes text alone as a body, so JSON stands in it as JSON text; bytes are base64. Both cost it more than the
call from some 100 KB on: then the body is a file in /dev/shm, which its HTTP trigger sends and deletes
(pkg/processor/trigger/http, since 1.5). Where that is full or missing the line carries it.
"""

from __future__ import annotations

import base64
import json
import json.encoder as json_encoder
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable

from nuwrap_runtime.worker import protocol, replies
from nuwrap_runtime.worker.nuclio import memory
from nuwrap_runtime.worker.nuclio.settings import Settings
from nuwrap_runtime.worker.protocol import Reply

FILE_BYTES = 64 * 1024
PLAIN_CHARACTERS = 1024  # of a JSON text; a longer one is read in less time as base64
FILE_HEADER, DELETE_HEADER = "X-nuclio-filestream-path", "X-nuclio-filestream-delete-after-send"
NO_ACK = "x-nuclio-stream-no-ack"
NO_ID = "unknown"  # of an event in a batch: a reply to none at all would end the processor
HEAD, CHUNK, END = b"c", b"b", b"e"

_ascii: Callable[[str], str] = json_encoder.encode_basestring_ascii
_TEXT = '{"body":%s,"body_encoding":"%s","content_type":%s,"headers":%s,"status_code":%d,"event_id":%s}'
_TEXT_TYPE, _JSON_TYPE = _ascii(replies.TEXT), _ascii(replies.JSON)


class Lines:
    """One worker's replies as lines."""

    def __init__(self, settings: Settings, returns: replies.Returns = replies.NUCLIO) -> None:
        self._settings = settings
        self.returns = returns
        self._form = b"r[%b]\n" if settings.takes_lists else b"r%b\n"
        self._most = FILE_BYTES if settings.takes_files else protocol.FRAME_BYTES
        self._number = 0
        self._prefix = memory.prefix_of("reply")
        if settings.takes_files:
            for _, _, path in memory.left_files(self._prefix):
                memory.remove(path)

    def of(self, value: Any, request: str) -> bytes:
        """Return the line for what the function returned. Raises ReplyError."""
        kind = type(value)
        if kind is str and len(value) <= self._most:
            return self._plain(value, _TEXT_TYPE)
        if kind is dict or kind is list:
            text = replies.encode_json(value, self.returns)
            if len(text) <= PLAIN_CHARACTERS:
                return self._plain(text, _JSON_TYPE)
            if len(text) <= self._most:
                return self._packed(text, _JSON_TYPE)
            return self.reply(Reply(text, content_type=replies.JSON, event_id=request))
        return self.reply(replies.to_reply(value, request, self.returns))

    def reply(self, reply: Reply) -> bytes:
        """Return the line of a reply."""
        return self._form % self._document(reply, may_be_file=True)

    def document(self, reply: Reply) -> bytes:
        """Return a reply as part of a batch's line, where the processor tells them apart by `event_id`."""
        return self._document(reply if reply.event_id else replace(reply, event_id=NO_ID), may_be_file=True)

    def batch(self, documents: Sequence[bytes]) -> bytes:
        """Return the line of a batch's replies; it is never an empty list."""
        return b"r[%b]\n" % b",".join(documents)

    def head(self, reply: Reply) -> bytes:
        """Return the line that begins a stream with its first chunk."""
        return protocol.encode_line(HEAD, self._document(reply, may_be_file=False))

    def _plain(self, text: str, content_type: str) -> bytes:
        """Return the line of a text and nothing else, without the detour over a Reply."""
        if not text.isascii():
            return self.reply(Reply(text, content_type=json.loads(content_type)))
        line = _TEXT % (_ascii(text), "text", content_type, "{}", 200, '""')
        return self._form % line.encode("ascii")

    def _packed(self, text: str, content_type: str) -> bytes:
        """Return the same as base64: each quote of a JSON text would be escaped here and unescaped there."""
        body = base64.b64encode(replies.encode_text(text)).decode("ascii")
        line = _TEXT % (f'"{body}"', "base64", content_type, "{}", 200, '""')
        return self._form % line.encode("ascii")

    def _document(self, reply: Reply, *, may_be_file: bool) -> bytes:
        headers = header_values(reply.headers)
        body, encoding = reply.body, "text"
        if may_be_file and len(body) > self._most and not _names_file(headers):
            path = self._file(body)
            if path:
                body = ""
                headers.update({FILE_HEADER: path, DELETE_HEADER: "true"})
        body = _as_go_reads(body)
        if isinstance(body, bytes):
            body, encoding = base64.b64encode(body).decode("ascii"), "base64"
        known = json.dumps(headers) if headers else "{}"
        status, event_id = int(reply.status), _ascii(str(reply.event_id))
        line = _TEXT % (_ascii(body), encoding, _ascii(str(reply.content_type)), known, status, event_id)
        return line.encode("ascii")

    def _file(self, body: Any) -> str:
        """Return the path of a new file with the body, "" where there is no room for it."""
        data = replies.encode_text(body) if isinstance(body, str) else body
        self._number += 1
        name = f"{self._prefix}{os.getpid()}-{self._number}"
        path = os.path.join(memory.FOLDER, name)
        try:
            file = memory.create(name)
        except OSError:
            return ""
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
        except OSError:
            os.unlink(path)
            return ""
        finally:
            os.close(file)
        return path


def header_values(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers as text: the processor drops all other values without a word, and sends each name once.

    The one that it reads itself is true under both names that it has had: stream triggers look for a bool, by one
    spelling (pkg/processor/trigger/kafka, resolveNoAckMessage).
    """
    found: dict[str, Any] = {str(name): _header_text(value) for name, value in headers.items()}
    for name in [one for one in found if one.lower() == NO_ACK]:
        if found.pop(name).lower() == "true":
            found.update({NO_ACK: True, NO_ACK.title(): True})
    return found


def _header_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_header_text(one) for one in value)
    return str(value)


def _names_file(headers: Mapping[str, Any]) -> bool:
    """Tell whether the function names a file of its own as the body."""
    return any(name.lower() == FILE_HEADER.lower() for name in headers)


def _as_go_reads(body: Any) -> Any:
    """Return the body; as bytes, where it has half a character: Go's JSON would make that another one."""
    if isinstance(body, str) and not body.isascii():
        try:
            body.encode("utf-8")
        except UnicodeEncodeError:
            return replies.encode_text(body)
    return body
