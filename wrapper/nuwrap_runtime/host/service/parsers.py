"""HTTP/1.1 requests out of a byte stream: httptools' compiled parser, h11 where there is none for this interpreter.

Both give the same three calls: a head, pieces of its body, its end. Nothing is decided here but what is no HTTP, and
how large a head may be.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Optional, Protocol, Union

from nuwrap_runtime.worker.paths import TREE

TARGET_BYTES = 16 * 1024
HEAD_BYTES = 64 * 1024
HEADERS = 128

RawHeaders = list[tuple[bytes, bytes]]


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
        self._in_head = False
        self._fault: Optional[BadRequest] = None
        self.is_idle = True

    def feed(self, data: Union[bytes, memoryview]) -> None:
        """See `Parser.feed`."""
        try:
            self._parser.feed_data(data)
        except self._library.HttpParserUpgrade as upgrade:
            self._go_on(data[upgrade.args[0] :])
        except self._library.HttpParserError as exc:
            if isinstance(exc, self._library.HttpParserCallbackError) and not self._fault:
                raise  # a fault of ours
            raise self._fault or BadRequest(400, f"this is no HTTP/1.1 request: {exc}") from exc
        if self._in_head:
            self._count(len(data))
            if self._fault:
                raise self._fault

    def _go_on(self, rest: Union[bytes, memoryview]) -> None:
        """Follow a request that asks for another protocol as if it had not: that is the server's right."""
        self._parser = self._library.HttpRequestParser(self)
        if rest:
            self.feed(rest)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES or len(self._headers) > HEADERS:
            self._fault = BadRequest(431, f"the headers are larger than {HEAD_BYTES} bytes, or more than {HEADERS}")
        elif len(self._target) > TARGET_BYTES:
            self._fault = BadRequest(414, f"the address is longer than {TARGET_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self.is_idle = False
        self._in_head = True
        self._target = b""
        self._headers = []
        self._head_bytes = 0

    def on_url(self, part: bytes) -> None:
        """Take the address, or a part of it."""
        self._target += part
        if len(self._target) > TARGET_BYTES:
            self._count(0)
            raise ValueError("too long")  # httptools stops at any exception; `_fault` says which

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one of a chunked body's trailer is only counted."""
        if self._in_head:
            self._headers.append((name, value))
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES or len(self._headers) > HEADERS:
            self._count(0)
            raise ValueError("too large")

    def on_headers_complete(self) -> None:
        """Hand the head on."""
        self._in_head = False
        parser = self._parser
        method = parser.get_method().decode("ascii")
        try:
            self._sink.on_head(Head(method, self._target, parser.get_http_version(), self._headers))
        except BadRequest as exc:
            self._fault = exc
            raise

    def on_body(self, data: bytes) -> None:
        """Hand a piece of the body on."""
        self._sink.on_body(data)

    def on_message_complete(self) -> None:
        """Hand the end on."""
        self.is_idle = True
        self._sink.on_end()


class H11Parser:
    """h11, driven as a parser alone: what it would send is thrown away. Source: python-hyper/h11's documentation."""

    def __init__(self, sink: Sink) -> None:
        import h11

        self._h11 = h11
        self._sink = sink
        self._connection = h11.Connection(our_role=h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    @property
    def is_idle(self) -> bool:
        """See `Parser.is_idle`."""
        return self._connection.their_state is self._h11.IDLE and not self._connection.trailing_data[0]

    def feed(self, data: Union[bytes, memoryview]) -> None:
        """See `Parser.feed`."""
        h11, connection = self._h11, self._connection
        try:
            connection.receive_data(bytes(data))
            while True:
                event = connection.next_event()
                if event in (h11.NEED_DATA, h11.PAUSED):
                    return
                self._hand_on(event)
        except h11.RemoteProtocolError as exc:
            raise BadRequest(exc.error_status_hint, f"this is no HTTP/1.1 request: {exc}") from exc

    def _hand_on(self, event: Any) -> None:
        h11 = self._h11
        if isinstance(event, h11.Request):
            if len(event.target) > TARGET_BYTES:
                raise BadRequest(414, f"the address is longer than {TARGET_BYTES} bytes")
            if len(event.headers) > HEADERS:
                raise BadRequest(431, f"there are more than {HEADERS} headers")
            headers = [(bytes(name), bytes(value)) for name, value in event.headers]
            version = event.http_version.decode("ascii")
            self._sink.on_head(Head(event.method.decode("ascii"), bytes(event.target), version, headers))
        elif isinstance(event, h11.Data):
            self._sink.on_body(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self._begin_next()
            self._sink.on_end()

    def _begin_next(self) -> None:
        """Answer in h11's book alone, so that it reads on; what is to be closed has no next request."""
        connection = self._connection
        connection.send(self._h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(self._h11.EndOfMessage())
        if connection.our_state is self._h11.DONE and connection.their_state is self._h11.DONE:
            connection.start_next_cycle()
