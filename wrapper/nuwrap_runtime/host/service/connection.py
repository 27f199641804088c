"""One connection of HTTP/1.1: requests in, in their order answers out, with limits on size and time."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Optional, cast

from nuwrap_runtime.host.service.answers import error_answer
from nuwrap_runtime.host.service.bodies import AnswerFile, FileSender
from nuwrap_runtime.host.service.exchange import Exchange, Refusal, Refused, refused_request
from nuwrap_runtime.host.service.parsers import BadRequest, Head, Parser, new_parser
from nuwrap_runtime.host.service.requests import Request, check_request, end_of_heads, make_id

if TYPE_CHECKING:
    from nuwrap_runtime.host.service.gateway import Gateway

NEVER = float("inf")
SMALL_BODY = 64 * 1024  # of a refused request: read to its end, so that the connection can stay
WAITING = 16  # most requests behind the one under way; what follows them stays bytes
SHORTEST = len(b"GET / HTTP/1.0\r\n\r\n")
HEAD_READ_BYTES = 16 * 1024  # of one read while no body comes, so that little is left behind waiting requests
CHUNKED_READ_BYTES = 64 * 1024
WRITE_SECONDS = 60.0  # for what is written, 256 KiB at most, to be taken by the client
LINGER_SECONDS = 10.0  # for a client to stop sending after an answer that came early
BYTES_A_SECOND = 1024  # least that a body must come with, after `read_timeout_s`
REFUSE_SECONDS = 2.0  # for a connection too many to send its request and to take its answer
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
STOP_SECONDS = 0.2  # for one more request on a connection whose last answer did not say that it ends
TOO_MANY = BadRequest(503, "too many connections are open (serve.max_connections)")


class HttpConnection(asyncio.BufferedProtocol):
    """A client's connection. At most one request is under way; those behind it wait, their bytes bounded."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser: Optional[Parser] = None
        self._incoming: Optional[Exchange] = None
        self._active: Optional[Exchange] = None
        self._waiting: deque[Exchange] = deque()
        self._error: Optional[BadRequest] = None  # to be answered when all before it is
        self._is_deaf = False  # what still comes is thrown away
        self._is_closing = False  # after the answer under way
        self._is_advancing = False
        self._is_paused = False
        self._has_eof = False
        self._file: Optional[FileSender] = None  # of the answer under way
        self._rest = b""  # came behind as many requests as may wait
        self._taken = 0  # requests of what is being parsed
        self._is_parsing = False
        self._is_extra = False  # a connection too many
        self._is_between = False  # since the last request nothing of the next has come
        self._in_head = False
        self._is_due = False  # the body that comes is still to be decided on
        self._body_began = 0.0
        self.deadline = NEVER

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # so that each write that is not taken at once pauses us
        self._is_extra = not self._gateway.add(self)
        self._wait_for_head(REFUSE_SECONDS if self._is_extra else self._gateway.limits.read_timeout_s)

    def connection_lost(self, _exc: Optional[Exception]) -> None:
        """See asyncio."""
        self._gateway.remove(self)
        self.deadline = NEVER
        self._rest = b""
        if self._file:
            self._file.drop()
            self._file = None
        for exchange in (self._active, self._incoming, *self._waiting):
            if exchange:
                exchange.gone()
                self._release(exchange)
        self._active = self._incoming = None
        self._waiting.clear()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """See asyncio. All connections read into one buffer: what is read is taken, or copied, at once."""
        incoming = self._incoming
        if incoming is None:
            return self._gateway.buffer[:HEAD_READ_BYTES]
        if incoming.request.length < 0:
            return self._gateway.buffer[:CHUNKED_READ_BYTES]
        return self._gateway.buffer[: incoming.request.length - incoming.body.size + HEAD_READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        self._parse(self._gateway.buffer[:nbytes])

    def eof_received(self) -> bool:
        """See asyncio. A client that closed its half still gets its answer; one that is gone altogether says so.

        A 100 (Continue), which every client must skip (RFC 9110, 15.2), makes the system of a client that is gone
        answer with a reset: `look` sees it then.
        """
        self._has_eof = True
        if self._active is None:
            return bool(self._waiting)
        if self._active.request.version == "1.1" and not self._active.status and not self._file:
            self._transport.write(CONTINUE)
        return True

    def pause_writing(self) -> None:
        """See asyncio."""
        self._is_paused = True
        self.deadline = self._gateway.now() + WRITE_SECONDS
        if self._active and self._active.is_streaming:
            self._active.on_flow(True)  # noqa: FBT003 - asyncio's two calls in one

    def resume_writing(self) -> None:
        """See asyncio. Its transport does not bear to be closed in this call: it would be told lost twice."""
        self._is_paused = False
        self._gateway.call_soon(self._resumed)

    def _resumed(self) -> None:
        if self._is_paused or self._transport.is_closing():
            return
        if self._active:
            self.deadline = NEVER
        if self._file:
            self._pump_file()
        elif self._active and self._active.is_streaming:
            self._active.on_flow(False)  # noqa: FBT003
        elif self._active is None and not self._is_closing:
            self._advance()

    # What the parser calls

    def on_head(self, head: Head) -> None:
        """Decide on a request by its head, when it is its turn: one connection has one place at most."""
        if self._is_deaf:
            return
        self._in_head = self._is_between = False
        request = check_request(head)
        exchange = self._incoming = Exchange(self, request)
        if self._is_extra:
            exchange.refusal = Refusal(TOO_MANY.status, TOO_MANY.message, may_retry=True)
        elif request.length > self._gateway.limits.max_body_bytes:
            exchange.refusal = self._too_large()
        self._is_due = True
        if self._active is None and not self._waiting:
            self._decide(exchange)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body of the request under way."""
        exchange = self._incoming
        if self._is_deaf or exchange is None or exchange.refusal:
            return
        if exchange.body.size + len(data) <= self._gateway.limits.max_body_bytes:
            try:
                exchange.body.add(data)
            except OSError as exc:
                exchange.refusal = Refusal(503, f"there is no room for the body: {exc.strerror}", may_retry=True)
        else:
            exchange.refusal = self._too_large()
        if exchange.refusal:
            self._release(exchange)
            if self._active is None and not self._waiting:
                self._answer_early(exchange)

    def on_end(self) -> None:
        """Take a request that is whole."""
        exchange, self._incoming = self._incoming, None
        if self._is_deaf or exchange is None:
            return
        self._taken += 1
        self._waiting.append(exchange)
        self._advance()

    # What an exchange calls

    def write(self, data: bytes) -> None:
        """Send bytes of the answer under way."""
        self._transport.write(data)

    def send_file(self, file: AnswerFile, size: int) -> None:
        """Send so many bytes of a file as the body of the answer under way."""
        self._file = FileSender(self._transport, file, size)
        self._pump_file()

    def answered(self, exchange: Exchange) -> None:
        """Go on after an answer that is whole."""
        self._active = None
        self._release(exchange)
        if self._transport.is_closing():
            return
        if self._is_closing:
            self._close()
            return
        self._advance()

    def break_off(self, *, is_plain: bool) -> None:
        """Close at once; where only the end of the connection ends a body, by a reset, so that it shows."""
        if is_plain:
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
        else:
            self._transport.close()

    def close_after_answer(self) -> None:
        """Take no further request: the answer under way ends with the connection."""
        self._is_closing = True

    def connection_lines(self, request: Request) -> list[str]:
        """Return the head's lines on what comes after this answer."""
        self._is_closing = self._is_closing or not self._is_kept(request)
        if self._is_closing:
            return ["Connection: close"]
        return ["Connection: keep-alive"] if request.version == "1.0" else []

    # What the gateway calls

    def look(self, now: float) -> None:
        """Act on a deadline that is over, and on a client that is gone."""
        if (
            self._active
            and (self._has_eof or self._waiting or self._rest)
            and self._transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        ):
            self._transport.abort()
        if now < self.deadline:
            return
        self.deadline = NEVER
        if self._is_extra and not self._is_deaf:
            self._refuse_all(TOO_MANY)
        elif self._is_paused or self._is_deaf or (self._incoming is None and not self._in_head):
            self._transport.abort() if self._is_paused else self._transport.close()
        else:
            self._refuse_all(BadRequest(408, "the request did not come in time"))

    def close_if_idle(self) -> None:
        """Close a connection that nothing is under way on."""
        if not (self._active or self._waiting or self._incoming or self._in_head or self._is_paused):
            self._transport.close()

    def refuse_now(self) -> None:
        """Answer a connection too many, and close, whatever it was about to send."""
        if not self._is_deaf:
            self._refuse_all(TOO_MANY)
        self._transport.close()

    def abort(self) -> None:
        """Close whatever is under way."""
        self._transport.abort()

    # Inside

    def _parse(self, data: memoryview) -> None:
        """Take requests, as many as may wait; the bytes behind them are kept until those are answered."""
        if self._is_deaf:
            return
        if self._parser is None:
            self._parser = new_parser(self, self._gateway.library)
        begin, size = 0, len(data)
        self._taken = 0
        self._is_parsing = True
        try:
            while begin < size:
                end = self._cut(data, begin)
                self._parser.feed(data[begin:end])
                begin = end
                if self._is_full() or (self._taken >= WAITING and begin < size):
                    self._rest = bytes(data[begin:])
                    self._transport.pause_reading()
                    break
        except BadRequest as exc:
            if not self._is_deaf:
                self._refuse_all(exc)
            return
        finally:
            self._is_parsing = False
        if self._rest:  # other connections have their turn first
            self._gateway.call_soon(self._take_rest)
        elif self._can_go_on():
            self._go_on()

    def _take_rest(self) -> None:
        if self._rest and self._can_go_on():
            self._go_on()

    def _cut(self, data: memoryview, begin: int) -> int:
        """Return the end of the next bytes that hold no more requests than may wait.

        A head ends with an empty line; a body may have any number of them, and is then taken in pieces.
        """
        size, incoming = len(data), self._incoming
        if size - begin < SHORTEST * WAITING:
            return size
        if incoming and incoming.request.length - incoming.body.size >= size - begin:
            return size
        return end_of_heads(data, begin, max(1, WAITING - len(self._waiting)))

    def _advance(self) -> None:
        """Begin with the requests that are whole, one after the other; in a loop, since an answer may come at once."""
        if self._is_advancing:
            return
        self._is_advancing = True
        while self._can_go_on() and self._waiting:
            exchange = self._active = self._waiting.popleft()
            self.deadline = NEVER
            self._admit(exchange)
            if exchange.refusal:
                self._answer_refusal(exchange)
            else:
                self._gateway.application.submit(exchange)
        self._is_advancing = False
        if self._can_go_on() and not self._is_parsing:  # else it goes on when it is at the end of its bytes
            self._go_on()

    def _can_go_on(self) -> bool:
        """Tell whether the next answer may begin: not while the client takes none, else they would heap up here."""
        return self._active is None and not (self._is_paused or self._is_closing or self._transport.is_closing())

    def _is_full(self) -> bool:
        """Tell whether enough requests wait; up to then it is read on, so that the end of the connection shows."""
        waiting = self._waiting
        return bool(waiting) and (len(waiting) >= WAITING or sum(one.body.size for one in waiting) > SMALL_BODY)

    def _admit(self, exchange: Exchange) -> None:
        if exchange.refusal is None and not exchange.is_admitted:
            exchange.refusal = self._gateway.application.admit(exchange)
            exchange.is_admitted = exchange.refusal is None

    def _decide(self, exchange: Exchange) -> None:
        """Admit the request whose body comes now, and begin to count that body's time."""
        self._is_due = False
        self._body_began = self._gateway.now() if exchange.request.has_body else 0.0
        self._admit(exchange)
        self._answer_head(exchange)

    def _go_on(self) -> None:
        """Turn to what comes next; nothing is under way and nothing waits."""
        if self._rest:
            rest, self._rest = self._rest, b""
            self._parse(memoryview(rest))
            return
        if self._error:
            self._refuse_all(self._error)
            return
        if self._has_eof:
            self._close()
            return
        self._transport.resume_reading()
        if self._incoming and self._is_due:
            self._decide(self._incoming)
        if not self._is_deaf:
            self._await_more()

    def _answer_head(self, exchange: Exchange) -> None:
        """Say at once what a client may wait for before it sends the body."""
        length = exchange.request.length
        if exchange.refusal and (exchange.owes_continue or length < 0 or length > SMALL_BODY):
            self._answer_early(exchange)
        elif exchange.owes_continue and not exchange.refusal:
            exchange.owes_continue = False
            self._transport.write(CONTINUE)

    def _answer_early(self, exchange: Exchange) -> None:
        """Answer a request whose body is still to come, and throw that away."""
        self._incoming, self._active = None, exchange
        self._is_closing = True
        self._answer_refusal(exchange)

    def _answer_refusal(self, exchange: Exchange) -> None:
        refusal = exchange.refusal
        if refusal:
            self._gateway.application.refused(refused_request(refusal.status, exchange.request))
            exchange.error(refusal.status, refusal.message, may_retry=refusal.may_retry)

    def _refuse_all(self, error: BadRequest) -> None:
        """Answer what is no request, after all that is under way, and take nothing any more."""
        self._is_deaf = True
        if self._active or self._waiting:
            self._error = error
            return
        method, target = self._parser.line if self._parser else ("", "")
        refused = Refused(error.status, make_id(), method, target)
        if self._incoming:
            refused = refused_request(error.status, self._incoming.request)
            self._release(self._incoming)
            self._incoming = None
        self._error = None
        self._gateway.application.refused(refused)
        self._transport.write(error_answer(error.status, error.message, refused.id))
        self._close()

    def _close(self) -> None:
        """Close when all is written. What a client is still sending is read for a while, else it may lose the answer.

        Closing a socket with unread bytes makes the system send a reset, which overtakes the answer.
        """
        self._is_deaf = self._is_closing = True
        if self._has_eof or (self._incoming is None and (self._parser is None or self._parser.is_idle)):
            self._transport.close()
            return
        if self._incoming:
            self._release(self._incoming)
            self._incoming = None
        self._transport.resume_reading()
        self._transport.write_eof()
        self.deadline = self._gateway.now() + (REFUSE_SECONDS if self._is_extra else LINGER_SECONDS)

    def _await_more(self) -> None:
        """Set how long the connection may stay as it is; empty lines before a request do not count as one."""
        limits, now = self._gateway.limits, self._gateway.now()
        if self._is_extra:
            return
        if self._incoming:
            self._in_head = False
            received = self._incoming.body.size
            least = self._body_began + limits.read_timeout_s + received / BYTES_A_SECOND
            self.deadline = min(now + limits.read_timeout_s, least)
        elif self._parser is None or self._parser.is_idle:
            if not self._is_between:
                self._wait_for_head(STOP_SECONDS if self._gateway.is_draining else limits.keep_alive_s)
        elif not self._in_head:
            self._in_head = True
            self.deadline = now + limits.read_timeout_s

    def _wait_for_head(self, seconds: float) -> None:
        self._in_head, self._is_between = False, True
        self.deadline = self._gateway.now() + seconds

    def _is_kept(self, request: Request) -> bool:
        return request.is_kept_alive and not (self._gateway.is_leaving or self._has_eof or self._is_extra)

    def _release(self, exchange: Exchange) -> None:
        exchange.body.close()
        if exchange.is_admitted:
            exchange.is_admitted = False
            self._gateway.application.closed(exchange)

    def _too_large(self) -> Refusal:
        return Refusal(
            413, f"the body is larger than {self._gateway.limits.max_body_bytes} bytes (serve.max_body_bytes)"
        )

    def _pump_file(self) -> None:
        sender, exchange = self._file, self._active
        if sender and exchange and sender.pump():
            self._file = None
            exchange.file_sent(is_whole=sender.is_whole)
