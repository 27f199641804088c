"""HTTP/1.1 requests out of a byte stream: httptools' compiled parser, h11 where there is none for this interpreter.

Both give the same three calls: a head, pieces of its body, its end. Nothing is decided here but what is no HTTP, and
how large a head may be.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, Optional, Protocol, Union

from nuwrap_runtime.worker.paths import TREE

TARGET_BYTES = 16 * 1024
HEAD_BYTES = 64 * 1024
HEADERS = 128
LINE_BYTES = 4096  # of what frames a chunk; and of a request line beside its address

RawHeaders = list[tuple[bytes, bytes]]

_FRAMING = (b"content-length", b"transfer-encoding")
_BAD_LINE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ((?:/|\*|[A-Za-z]+:/)[^\s\x00-\x1f\x7f]*)")
_LENGTH_LINE = re.compile(rb"(?i)\ncontent-length:")
_LENGTH_LIST = re.compile(rb"(?i)\ncontent-length:[^\r]*,")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class BadRequest(Exception):
    """What came is no request that can be answered; the connection cannot be followed any further."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Head:
    """A request's first part as it came: names of headers in any case, `version` as "1.1"."""

    method: str
    target: bytes
    version: str
    headers: RawHeaders


class Sink(Protocol):
    """Who hears of the requests, in the order of the bytes."""

    def on_head(self, head: Head) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...


class Parser(Protocol):
    """One connection's parser."""

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun that is not whole yet."""

    @property
    def line(self) -> tuple[str, str]:
        """Method and address of the request that is not whole yet, as far as they came; "" for none."""

    def feed(self, data: memoryview) -> None:
        """Tell the sink of what the bytes complete. Raises BadRequest; then nothing more may be fed."""


def new_parser(sink: Sink, library: str = "") -> Parser:
    """Return a parser for one connection; `library` is `httptools` or `h11`, by default what is there."""
    found = _httptools()
    if library == "h11" or found is None:
        return H11Parser(sink)
    return HttptoolsParser(sink, found)


_loaded: list[Optional[ModuleType]] = []


def _httptools() -> Optional[ModuleType]:
    """Return httptools for this interpreter's ABI, None where there is no build."""
    if not _loaded:
        folder = os.path.join(TREE, "abi", f"cp{sys.version_info[0]}{sys.version_info[1]}")
        sys.path.append(folder)
        try:
            import httptools

            _loaded.append(httptools)
        except ImportError:
            _loaded.append(None)
        finally:
            sys.path.remove(folder)
    return _loaded[0]


class HttptoolsParser:
    """llhttp's strict parser; source of its calls: MagicStack/httptools README."""

    def __init__(self, sink: Sink, library: Any) -> None:
        self._sink = sink
        self._library = library
        self._parser = library.HttpRequestParser(self)
        self._target = b""
        self._headers: RawHeaders = []
        self._head_bytes = 0
        self._waited_bytes = 0  # of a head that is not whole yet, where it is known
        self._begun = 0
        self._in_head = False
        self._fault: Optional[BadRequest] = None
        self._framing = b""  # of a request whose body httptools would take for the next request
        self._is_resuming = False
        self.is_idle = True

    @property
    def line(self) -> tuple[str, str]:
        """See `Parser.line`."""
        if self.is_idle or not self._target:
            return "", ""
        return self._parser.get_method().decode("ascii"), self._target.decode("utf-8", "surrogateescape")

    def feed(self, data: Union[bytes, memoryview]) -> None:
        """See `Parser.feed`."""
        rest = data
        try:
            while rest:
                rest = self._feed(rest)
        except self._library.HttpParserError as exc:
            if isinstance(exc, self._library.HttpParserCallbackError) and not self._fault:
                raise  # a fault of ours
            raise self._fault or BadRequest(400, f"this is no HTTP/1.1 request: {exc}") from exc

    def _feed(self, data: Union[bytes, memoryview]) -> Union[bytes, memoryview]:
        """Return what is left for the next parser."""
        begins_here = self._begun + int(self.is_idle)
        try:
            self._parser.feed_data(data)
        except self._library.HttpParserUpgrade as upgrade:
            self._go_on()
            return data[upgrade.args[0] :]
        if self._in_head and self._begun == begins_here:
            self._waited_bytes += len(data)
            if self._waited_bytes > HEAD_BYTES:
                raise _too_large()
        return b""

    def _go_on(self) -> None:
        """Follow a request that asks for another protocol as if it had not: that is the server's right."""
        self._parser = self._library.HttpRequestParser(self)
        framing, self._framing = self._framing, b""
        if framing:
            self._is_resuming = True
            self._parser.feed_data(framing)
            self._is_resuming = False

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        if self._is_resuming:
            return
        self.is_idle = False
        self._begun += 1
        self._in_head = True
        self._target = b""
        self._headers = []
        self._head_bytes = self._waited_bytes = 0

    def on_url(self, part: bytes) -> None:
        """Take the address, or a part of it."""
        if self._is_resuming:
            return
        self._target += part
        if len(self._target) > TARGET_BYTES:
            self._fault = _too_long()
            raise self._fault

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one of a chunked body's trailer is only counted."""
        if self._is_resuming:
            return
        if self._in_head:
            self._headers.append((name, value))
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES or len(self._headers) > HEADERS:
            self._fault = _too_large()
            raise self._fault

    def on_headers_complete(self) -> None:
        """Hand the head on."""
        if self._is_resuming:
            return
        self._in_head = False
        parser = self._parser
        method = parser.get_method().decode("ascii")
        try:
            self._sink.on_head(Head(method, self._target, parser.get_http_version(), self._headers))
        except BadRequest as exc:
            self._fault = exc
            raise
        if parser.should_upgrade():
            self._framing = self._body_framing()

    def _body_framing(self) -> bytes:
        """Return a head for the body alone, b"" when there is none.

        httptools ends a request that asks for another protocol with its head, whatever follows: a hidden request could.
        """
        found = [(name, value) for name, value in self._headers if name.lower() in _FRAMING and value.strip(b"0 ")]
        if not found:
            return b""
        if not self._parser.should_keep_alive():
            found.append((b"Connection", b"close"))
        return b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % pair for pair in found)

    def on_body(self, data: bytes) -> None:
        """Hand a piece of the body on."""
        self._sink.on_body(data)

    def on_message_complete(self) -> None:
        """Hand the end on."""
        if not self._framing:
            self.is_idle = True
            self._sink.on_end()


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
        while data.startswith(b"\r\n"):  # RFC 9112, 2.2
            del data[:2]
        if data and self._is_last:
            raise BadRequest(400, "a request follows one that asked to close the connection")
        end = data.find(b"\r\n\r\n", max(0, self._searched - 3))
        size = len(data) if end < 0 else end + 4
        if _BAD_LINE.search(data, max(0, self._searched - 2), size):
            raise BadRequest(400, "this is no HTTP/1.1 request: a line ends in other than CR LF, or is folded")
        if data.find(b"\r\n", 0, TARGET_BYTES + LINE_BYTES) < 0 and size > TARGET_BYTES + LINE_BYTES:
            raise _too_long()
        if size > HEAD_BYTES:
            raise _too_large()
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
            raise _too_long()
        if len(event.headers) > HEADERS:
            raise _too_large()
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
            raise _too_large()
        if not line:
            self._finish()
        elif not _TRAILER.fullmatch(line) or line.partition(b":")[0].lower() in _FRAMING:
            raise BadRequest(400, f"this is no trailer: {line[:40]!r}")
        return True

    def _take_line(self) -> Optional[bytes]:
        """Return the next line of a chunked body's frame; None when it is not whole."""
        end = self._data.find(b"\n", 0, LINE_BYTES)
        if end < 0:
            if len(self._data) >= LINE_BYTES:
                raise BadRequest(400, f"a line of a chunked body is longer than {LINE_BYTES} bytes")
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


def _too_long() -> BadRequest:
    return BadRequest(414, f"the address is longer than {TARGET_BYTES} bytes")


def _too_large() -> BadRequest:
    return BadRequest(431, f"the headers are larger than {HEAD_BYTES} bytes, or more than {HEADERS}")
