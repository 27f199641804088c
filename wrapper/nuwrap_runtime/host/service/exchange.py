"""One request and its one answer: what an application gets from a connection, and how it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Optional, Protocol

from nuwrap_runtime.host.service.answers import (
    JSON,
    NO_BODY,
    RESET_CONTENT,
    RETRY_SECONDS,
    Headers,
    encode_head,
    error_body,
)
from nuwrap_runtime.host.service.bodies import AnswerFile, Body
from nuwrap_runtime.host.service.requests import Request

if TYPE_CHECKING:
    from nuwrap_runtime.host.service.connection import HttpConnection


@dataclass(frozen=True)
class Refusal:
    """Why a request is not taken: status and message; `may_retry` adds Retry-After."""

    status: int
    message: str
    may_retry: bool = False


@dataclass(frozen=True)
class Refused:
    """Something that was answered with an error and never admitted; "" is what had not come of its first line."""

    status: int
    id: str
    method: str
    target: str


def refused_request(status: int, request: Request) -> Refused:
    """Return what is told of a request whose head was whole."""
    return Refused(status, request.id, request.method, request.target)


class Application(Protocol):
    """Who answers a connection's requests."""

    def admit(self, exchange: Exchange, /) -> Optional[Refusal]:
        """Tell, once the head is here, why the request is not taken; None takes it."""

    def submit(self, exchange: Exchange, /) -> None:
        """Answer the request, whose body is whole now: later, or at once."""

    def closed(self, exchange: Exchange, /) -> None:
        """Hear that an admitted exchange is over: answered whole, broken off, or its client gone."""

    def refused(self, refused: Refused, /) -> None:
        """Hear that something was answered with an error without an exchange that was admitted."""


def _nothing(*_arguments: object) -> None:
    return None


class Exchange:
    """A request and its answer. `on_gone` is called when the client left first, `on_flow(is_paused)` while streaming.

    Exactly one of `reply`, `reply_file`, `stream … end` is the answer; after `is_over` each of them does nothing.
    """

    __slots__ = (
        "_connection",
        "_is_chunked",
        "_is_mute",
        "_left",
        "began",
        "body",
        "cut_by",
        "is_admitted",
        "is_over",
        "is_streaming",
        "note",
        "on_flow",
        "on_gone",
        "owes_continue",
        "refusal",
        "request",
        "status",
    )

    def __init__(self, connection: HttpConnection, request: Request) -> None:
        self._connection = connection
        self.request = request
        self.body = Body()
        self.refusal: Optional[Refusal] = None
        self.owes_continue = request.expects_continue
        self.is_admitted = False
        self.is_over = False
        self.is_streaming = False
        self.status = 0
        self.began = 0.0  # when its head had come
        self.cut_by = ""  # who ended an answer that had begun before it was whole: "service" or "client"
        self.note: object = None  # whatever the application keeps with it
        self.on_gone: Callable[[], None] = _nothing
        self.on_flow: Callable[[bool], None] = _nothing
        self._is_chunked = False
        self._is_mute = False  # HEAD, 204, 205, 304: no byte of a body goes out
        self._left = -1

    def reply(self, status: int, content_type: str, headers: Headers, body: bytes) -> None:
        """Answer with a whole body. Raises BadHeader; nothing has been sent then."""
        if self.is_over:
            return
        head = self._head(status, content_type, headers, len(body))
        self._connection.write(head if self._is_mute else head + body)
        self._close()

    def reply_file(self, status: int, content_type: str, headers: Headers, file: tuple[AnswerFile, int]) -> None:
        """Answer with so many bytes of a file, which is told when it is done with. Raises BadHeader, OSError."""
        if self.is_over:
            return
        found, size = file
        head = self._head(status, content_type, headers, size)
        if not self._is_mute:
            found.begin(size)
        self._connection.write(head)
        if self._is_mute:
            self._close()
        else:
            self._connection.send_file(found, size)

    def error(self, status: int, message: str, *, may_retry: bool = False) -> None:
        """Answer with our JSON of an error, or break off an answer that has begun."""
        if self.is_streaming:
            self.break_off()
            return
        headers = {"Retry-After": RETRY_SECONDS} if may_retry else {}
        self.reply(status, JSON, headers, error_body(message, self.request.id))

    def stream(self, status: int, content_type: str, headers: Headers, length: int) -> None:
        """Begin an answer whose body comes in chunks; `length` is -1 when it is not known. Raises BadHeader."""
        if self.is_over:
            return
        is_old = self.request.version == "1.0"
        if length < 0 and is_old:
            self._connection.close_after_answer()
        head = self._head(status, content_type, headers, length)
        self.is_streaming = True
        self._is_chunked = length < 0 and not is_old
        self._left = length
        self._connection.write(head)

    @property
    def is_bodiless(self) -> bool:
        """Whether no byte of a body goes out, whatever is sent: HEAD, 204, 205, 304."""
        return self._is_mute

    def chunk(self, data: bytes) -> None:
        """Send a piece of a streamed body."""
        if self.is_over or self._is_mute or not data:
            return
        if self._left >= 0:
            data = data[: self._left]
            self._left -= len(data)
        self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def end(self) -> None:
        """End a streamed answer; one that is shorter than its length is broken off."""
        if self.is_over:
            return
        if self._left > 0 and not self._is_mute:
            self.break_off()
            return
        if self._is_chunked and not self._is_mute:
            self._connection.write(b"0\r\n\r\n")
        self._close()

    def break_off(self) -> None:
        """Close the connection so that the client sees that the answer is not whole."""
        if self.is_over:
            return
        self.is_over = True
        self.cut_by = "service"
        self._connection.break_off(is_plain=not self._is_chunked and self._left < 0)

    def gone(self) -> None:
        """Take note that the connection is lost."""
        was_over, self.is_over = self.is_over, True
        if not was_over:
            self.cut_by = "client" if self.status else ""
            self.on_gone()
        self.on_gone = self.on_flow = _nothing

    def file_sent(self, *, is_whole: bool) -> None:
        """Take note that the file of `reply_file` is sent, or could not be."""
        if is_whole:
            self._close()
        else:
            self.break_off()

    def _head(self, status: int, content_type: str, headers: Headers, length: int) -> bytes:
        status = status or 200
        framing = []
        if status == RESET_CONTENT:
            framing.append("Content-Length: 0")
        elif status not in NO_BODY:
            if length >= 0:
                framing.append(f"Content-Length: {length}")
            elif self.request.version != "1.0":
                framing.append("Transfer-Encoding: chunked")
        framing += self._connection.connection_lines(self.request)
        head = encode_head(status, content_type, headers, self.request.id, framing)
        self.status = status
        self._is_mute = self.request.method == "HEAD" or status in NO_BODY
        return head

    def _close(self) -> None:
        self.is_over = True
        self.on_gone = self.on_flow = _nothing  # no circle is left for the garbage collector
        self._connection.answered(self)
