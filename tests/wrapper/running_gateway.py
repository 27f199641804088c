"""A gateway in a thread of the test's own process, on a real port, whose application answers what it was asked."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any, Callable, Optional

from running_service import DEADLINE_S, Client

from nuwrap_runtime.host.service.bodies import AnswerFile
from nuwrap_runtime.host.service.exchange import Exchange, Refusal, Refused
from nuwrap_runtime.host.service.gateway import Gateway, HttpLimits, bind
from nuwrap_runtime.host.service.parsers import BadRequest
from nuwrap_runtime.host.service.requests import make_event
from nuwrap_runtime.worker.native import open_body_file


class Echo:
    """An application. `executed` are method and address of all that it got, in their order.

    The address says how it answers: `/hold` waits for `RunningGateway.release`, `/bytes/N` and `/file/N` are N bytes,
    `/stream/N` is N chunks, `/cut/N` a stream that is broken off after N; all others give method, address, length.
    """

    def __init__(self) -> None:
        self.executed: list[tuple[str, str]] = []
        self.events: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.held: list[Exchange] = []
        self.refusal: Optional[Refusal] = None
        self.refusals: list[int] = []
        self.refused_lines: list[tuple[str, str]] = []
        self.statuses: list[int] = []  # of admitted ones; 0 when the client left first
        self.open = 0
        self.most_open = 0

    def admit(self, _exchange: Exchange) -> Optional[Refusal]:
        if self.refusal is None:
            self.open += 1
            self.most_open = max(self.open, self.most_open)
        return self.refusal

    def submit(self, exchange: Exchange) -> None:
        self.executed.append((exchange.request.method, exchange.request.target))
        body, file = exchange.body.take()
        if file is not None:
            body = os.pread(file, exchange.body.size, 0)
        self.bodies.append(body or b"")
        try:
            self.events.append(make_event(exchange.request, body, exchange.body.size))
        except BadRequest as exc:
            exchange.error(exc.status, exc.message)
            return
        if exchange.request.target.startswith("/hold"):
            self.held.append(exchange)
        else:
            answer(exchange)

    def closed(self, exchange: Exchange) -> None:
        self.open -= 1
        self.statuses.append(exchange.status)

    def refused(self, refused: Refused) -> None:
        self.refusals.append(refused.status)
        self.refused_lines.append((refused.method, refused.target))


def answer(exchange: Exchange) -> None:
    """Answer as the address says."""
    _, kind, *rest = [*exchange.request.target.split("/"), ""]
    if kind == "bytes":
        exchange.reply(200, "application/octet-stream", {}, b"x" * int(rest[0]))
    elif kind == "file":
        fd = open_body_file()
        os.truncate(fd, int(rest[0]))
        file = AnswerFile(fd)
        exchange.reply_file(200, "application/octet-stream", {}, (file, int(rest[0])))
        file.drop()
    elif kind in ("stream", "cut"):
        exchange.stream(200, "text/plain", {}, -1)
        for number in range(int(rest[0])):
            exchange.chunk(b"%d\n" % number)
        exchange.end() if kind == "stream" else exchange.break_off()
    elif kind == "status":
        exchange.reply(int(rest[0]), "text/plain", {}, b"body")
    else:
        text = f"{exchange.request.method} {exchange.request.target} {exchange.body.size}"
        exchange.reply(200, "text/plain", {}, text.encode("utf-8", "surrogateescape"))


class RunningGateway:
    """A gateway that listens. Use as a context manager; nothing may have gone wrong in its loop then."""

    def __init__(self, library: str, **limits: Any) -> None:
        self.echo = Echo()
        self.faults: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _loop, context: self.faults.append(repr(context)))
        bound = bind("127.0.0.1", 0, key="port")
        self.place = bound.getsockname()
        self._gateway = self._loop.run_until_complete(self._listen(bound, library, limits))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def _listen(self, bound: Any, library: str, limits: dict[str, Any]) -> Gateway:
        gateway = Gateway(self.echo, HttpLimits(**limits), library=library)
        await gateway.listen(bound)
        return gateway

    def __enter__(self) -> RunningGateway:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_exc: object) -> None:
        self.run(self._gateway.stop_accepting)
        self.run(self._gateway.abort)
        self.until(lambda: not self._gateway.connections)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()
        assert not self.faults, self.faults
        assert self.echo.open == 0

    def run(self, what: Callable[[], Any]) -> Any:
        """Call it in the gateway's thread and return what it gives."""

        async def wrapped() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(wrapped(), self._loop).result(DEADLINE_S)

    def until(self, is_so: Callable[[], Any]) -> Any:
        """Wait until it is so."""
        until = time.monotonic() + DEADLINE_S
        while True:
            found = self.run(is_so)
            if found:
                return found
            assert time.monotonic() < until
            time.sleep(0.005)

    def release(self) -> None:
        """Answer the request that is held; wait for it when there is none yet."""
        self.until(lambda: self.echo.held)
        self.run(lambda: answer(self.echo.held.pop(0)))

    def connections_now(self) -> int:
        """Return how many connections are open; for `until`, which calls it in the gateway's thread."""
        return len(self._gateway.connections)

    def client(self, *, small_window: bool = False) -> Client:
        """Open a connection."""
        return Client(self.place, small_window=small_window)
