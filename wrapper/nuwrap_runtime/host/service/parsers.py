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
from typing import Any, Optional, Protocol, Union

from nuwrap_runtime.worker.paths import TREE

TARGET_BYTES = 16 * 1024
HEAD_BYTES = 64 * 1024
HEADERS = 128
LINE_BYTES = 4096  # of what frames a chunk; and of a request line beside its address

RawHeaders = list[tuple[bytes, bytes]]

FRAMING = (b"content-length", b"transfer-encoding")
_METHOD = re.compile(rb"[\r\n]*[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: |\Z)")


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

    def feed(self, data: Union[bytes, memoryview]) -> None:
        """Tell the sink of what the bytes complete. Raises BadRequest; then nothing more may be fed."""


def new_parser(sink: Sink, library: str = "") -> Parser:
    """Return a parser for one connection; `library` is `httptools` or `h11`, by default what is there."""
    found = _httptools()
    if library == "h11" or found is None:
        return _h11_parser(sink)
    return HttptoolsParser(sink, found)


def _h11_parser(sink: Sink) -> Parser:
    from nuwrap_runtime.host.service.parser_h11 import H11Parser

    return H11Parser(sink)


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
    """llhttp's strict parser; source of its calls: MagicStack/httptools README.

    It knows the methods of a list only: from a request with another one on h11 has the connection.
    """

    def __init__(self, sink: Sink, library: Any) -> None:
        self._sink = sink
        self._library = library
        self._parser = library.HttpRequestParser(self)
        self._target = b""
        self._headers: RawHeaders = []
        self._head_bytes = 0
        self._waited: Optional[bytearray] = None  # a head that is not whole yet, where it is known
        self._line_bytes = 0  # of a body's frame since its last whole line
        self._lines = self._payload = 0  # of a body, in what is fed
        self._begun = self._ended = 0
        self._in_head = False
        self._other: Optional[Parser] = None
        self._fault: Optional[BadRequest] = None
        self._framing = b""  # of a request whose body httptools would take for the next request
        self._is_resuming = False
        self._is_idle = True

    @property
    def is_idle(self) -> bool:
        """See `Parser.is_idle`."""
        return self._other.is_idle if self._other else self._is_idle

    @property
    def line(self) -> tuple[str, str]:
        """See `Parser.line`."""
        if self._other:
            return self._other.line
        if self._is_idle or not self._target:
            return "", ""
        return self._parser.get_method().decode("ascii"), self._target.decode("utf-8", "surrogateescape")

    def feed(self, data: Union[bytes, memoryview]) -> None:
        """See `Parser.feed`."""
        if self._other:
            self._other.feed(data)
            return
        rest, self._ended = data, 0
        was_idle = self._is_idle
        try:
            while rest:
                rest = self._feed(rest)
        except self._library.HttpParserError as exc:
            if isinstance(exc, self._library.HttpParserCallbackError) and not self._fault:
                raise  # a fault of ours
            if self._fault:
                raise self._fault from exc
            head = self._unknown_method(exc, data, was_idle=was_idle)
            if not head:
                raise _fault_of(exc) from exc
            self._other = _h11_parser(self._sink)
            self._other.feed(head)

    def _unknown_method(self, exc: Exception, data: Union[bytes, memoryview], *, was_idle: bool) -> bytes:
        """Return the bytes from the head on that has a method unknown to llhttp, b"" when that is not the fault."""
        if "method" not in str(exc):
            return b""
        if was_idle:
            found = bytes(data[_end_of(self._ended, data, self._library) :])
        elif self._waited is not None and not self._ended:
            found = bytes(self._waited) + bytes(data)
        else:  # behind the end of a body that began before
            return b""
        return found if _METHOD.match(found) else b""

    def _feed(self, data: Union[bytes, memoryview]) -> Union[bytes, memoryview]:
        """Return what is left for the next parser."""
        begins_here = self._begun + int(self._is_idle)
        is_in_body = not (self._is_idle or self._in_head)
        if is_in_body:
            self._lines = self._payload = 0
        try:
            self._parser.feed_data(data)
        except self._library.HttpParserUpgrade as upgrade:
            self._go_on()
            return data[upgrade.args[0] :]
        if self._begun == begins_here and not self._is_idle:
            if self._in_head:
                self._wait_for_head(data)
            elif is_in_body:
                self._count_frame(len(data) - self._payload)
        return b""

    def _wait_for_head(self, data: Union[bytes, memoryview]) -> None:
        self._waited = self._waited or bytearray()
        self._waited += data
        if len(self._waited) > HEAD_BYTES:
            raise too_large()

    def _count_frame(self, count: int) -> None:
        """Refuse a line of a chunked body that is too long: llhttp takes extensions of any length."""
        self._line_bytes = count if self._lines else self._line_bytes + count
        if self._line_bytes > (self._lines + 1) * LINE_BYTES:
            raise too_long_line()

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
        self._is_idle = False
        self._begun += 1
        self._in_head = True
        self._target = b""
        self._headers = []
        self._head_bytes = self._line_bytes = 0
        self._waited = None

    def on_url(self, part: bytes) -> None:
        """Take the address, or a part of it."""
        if self._is_resuming:
            return
        self._target += part
        if len(self._target) > TARGET_BYTES:
            self._fault = too_long()
            raise self._fault

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one of a chunked body's trailer is only counted."""
        if self._is_resuming:
            return
        if self._in_head:
            self._headers.append((name, value))
        else:
            self._lines += 1
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES or len(self._headers) > HEADERS:
            self._fault = too_large()
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
        found = [(name, value) for name, value in self._headers if name.lower() in FRAMING and value.strip(b"0 ")]
        if not found:
            return b""
        if not self._parser.should_keep_alive():
            found.append((b"Connection", b"close"))
        return b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % pair for pair in found)

    def on_chunk_header(self) -> None:
        """Count the line."""
        self._lines += 1

    def on_body(self, data: bytes) -> None:
        """Hand a piece of the body on."""
        self._payload += len(data)
        self._sink.on_body(data)

    def on_message_complete(self) -> None:
        """Hand the end on."""
        if not self._framing:
            self._is_idle = True
            self._ended += 1
            self._sink.on_end()


def too_long() -> BadRequest:
    return BadRequest(414, f"the address is longer than {TARGET_BYTES} bytes")


def too_large() -> BadRequest:
    return BadRequest(431, f"the headers are larger than {HEAD_BYTES} bytes, or more than {HEADERS}")


def too_long_line() -> BadRequest:
    return BadRequest(400, f"a line of a chunked body is longer than {LINE_BYTES} bytes")


def _fault_of(exc: Exception) -> BadRequest:
    if "Invalid HTTP version" in str(exc):
        return BadRequest(505, "this version of HTTP is not served; allowed: HTTP/1.1 and HTTP/1.0")
    return BadRequest(400, f"this is no HTTP/1.1 request: {exc}")


class _Ends:
    """A sink that counts requests."""

    def __init__(self) -> None:
        self.count = 0

    def on_head(self, _head: Head) -> None:
        """See `Sink`."""

    def on_body(self, _data: bytes) -> None:
        """See `Sink`."""

    def on_end(self) -> None:
        """See `Sink`."""
        self.count += 1


def _end_of(count: int, data: Union[bytes, memoryview], library: Any) -> int:
    """Return where the first so many requests end: llhttp does not say it, so they are followed byte by byte."""
    sink, at = _Ends(), 0
    parser = HttptoolsParser(sink, library)
    while sink.count < count:
        parser.feed(data[at : at + 1])
        at += 1
    return at
