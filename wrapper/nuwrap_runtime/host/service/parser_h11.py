"""HTTP/1.1 requests by h11: where there is no compiled parser for this interpreter, and for methods unknown to it."""

from __future__ import annotations

import re
from typing import Callable, Optional, Union

from nuwrap_runtime.host.service.parsers import (
    FRAMING,
    HEAD_BYTES,
    HEADERS,
    LINE_BYTES,
    TARGET_BYTES,
    BadRequest,
    Head,
    Sink,
    too_large,
    too_long,
    too_long_line,
)

_BAD_LINE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ((?:/|\*|[A-Za-z]+:/)[^\s\x00-\x1f\x7f]*)")
_LENGTH_LINE = re.compile(rb"(?i)\ncontent-length:")
_LENGTH_LIST = re.compile(rb"(?i)\ncontent-length:[^\r]*,")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class H11Parser:
    """h11 for the heads, and bodies read here: h11 lets lines end in a bare LF, and folded or equal headers pass.

    Two servers may read those differently (RFC 9112, 2.2, 5.2, 6.3 and 11.2), so they are refused as llhttp does.
    """

    def __init__(self, sink: Sink) -> None:
        import h11

        self._h11 = h11
        self._sink = sink
        self._data = bytearray()
        self._head = b""  # of the request whose body comes
        self._searched = 0
        self._left = 0
        self._trailer_bytes = 0
        self._is_last = False
        self._step: Callable[[], bool] = self._take_head

    @property
    def is_idle(self) -> bool:
        """See `Parser.is_idle`."""
        return self._step == self._take_head and not self._data

    @property
    def line(self) -> tuple[str, str]:
        """See `Parser.line`."""
        found = _LINE.match(self._head or self._data)
        method, target = found.groups() if found else (b"", b"")
        return method.decode("ascii"), target[:TARGET_BYTES].decode("utf-8", "surrogateescape")

    def feed(self, data: Union[bytes, memoryview]) -> None:
        """See `Parser.feed`."""
        self._data += data
        while self._step():
            pass

    def _take_head(self) -> bool:
        data = self._data
        if data.startswith((b"\r", b"\n")):  # empty lines before a request: RFC 9112, 2.2, and as llhttp does
            del data[: len(data) - len(data.lstrip(b"\r\n"))]
        if data and self._is_last:
            raise BadRequest(400, "a request follows one that asked to close the connection")
        end = data.find(b"\r\n\r\n", max(0, self._searched - 3))
        size = len(data) if end < 0 else end + 4
        if _BAD_LINE.search(data, max(0, self._searched - 2), size):
            raise BadRequest(400, "this is no HTTP/1.1 request: a line ends in other than CR LF, or is folded")
        if data.find(b"\r\n", 0, TARGET_BYTES + LINE_BYTES) < 0 and size > TARGET_BYTES + LINE_BYTES:
            raise too_long()
        if size > HEAD_BYTES:
            raise too_large()
        self._searched = size if end < 0 else 0
        if end < 0:
            return False
        head = self._head = bytes(data[:size])
        del data[:size]
        self._hand_on(head)
        return True

    def _hand_on(self, head: bytes) -> None:
        if len(_LENGTH_LINE.findall(head)) > 1 or _LENGTH_LIST.search(head):
            raise BadRequest(400, "the header Content-Length is given twice")
        h11 = self._h11
        connection = h11.Connection(our_role=h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        connection.receive_data(head)
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as exc:
            raise BadRequest(exc.error_status_hint, f"this is no HTTP/1.1 request: {exc}") from exc
        if not isinstance(event, h11.Request):
            raise BadRequest(400, "this is no HTTP/1.1 request")
        if len(event.target) > TARGET_BYTES:
            raise too_long()
        if len(event.headers) > HEADERS:
            raise too_large()
        headers = [(bytes(name), bytes(value)) for name, value in event.headers]
        version = event.http_version.decode("ascii")
        self._sink.on_head(Head(event.method.decode("ascii"), bytes(event.target), version, headers))
        self._frame(dict(headers), version)

    def _frame(self, headers: dict[bytes, bytes], version: str) -> None:
        asked = headers.get(b"connection", b"").lower().split(b",")
        tokens = {one.strip() for one in asked}
        self._is_last = b"close" in tokens or (version == "1.0" and b"keep-alive" not in tokens)
        self._left = int(headers.get(b"content-length", 0))
        if b"transfer-encoding" in headers:
            self._step = self._take_size
        elif self._left:
            self._step = self._take_body
        else:
            self._finish()

    def _take_body(self) -> bool:
        if not self._take_bytes():
            return False
        self._finish()
        return True

    def _take_bytes(self) -> bool:
        """Hand on what there is of the bytes that are left; True when that was all of them."""
        piece = bytes(self._data[: self._left])
        del self._data[: len(piece)]
        self._left -= len(piece)
        if piece:
            self._sink.on_body(piece)
        return not self._left

    def _take_size(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        found = _CHUNK_SIZE.fullmatch(line)
        if not found:
            raise BadRequest(400, f"this is no size of a chunk: {line[:40]!r}")
        self._left = int(found.group(1), 16)
        self._trailer_bytes = 0
        self._step = self._take_chunk if self._left else self._take_trailer
        return True

    def _take_chunk(self) -> bool:
        if self._left and not self._take_bytes():
            return False
        if len(self._data) < 2:
            return False
        if not self._data.startswith(b"\r\n"):
            raise BadRequest(400, "a chunk does not end where its size says")
        del self._data[:2]
        self._step = self._take_size
        return True

    def _take_trailer(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        self._trailer_bytes += len(line)
        if self._trailer_bytes > HEAD_BYTES:
            raise too_large()
        if not line:
            self._finish()
        elif not _TRAILER.fullmatch(line) or line.partition(b":")[0].lower() in FRAMING:
            raise BadRequest(400, f"this is no trailer: {line[:40]!r}")
        return True

    def _take_line(self) -> Optional[bytes]:
        """Return the next line of a chunked body's frame; None when it is not whole."""
        end = self._data.find(b"\n", 0, LINE_BYTES)
        if end < 0:
            if len(self._data) >= LINE_BYTES:
                raise too_long_line()
            return None
        line = bytes(self._data[: end + 1])
        if not line.endswith(b"\r\n"):
            raise BadRequest(400, "a line of a chunked body ends in other than CR LF")
        del self._data[: end + 1]
        return line[:-2]

    def _finish(self) -> None:
        self._step = self._take_head
        self._head = b""
        self._sink.on_end()
