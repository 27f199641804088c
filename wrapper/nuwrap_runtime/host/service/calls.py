"""One request on its way through a worker: how the worker's messages become the client's answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Optional

from nuwrap_runtime.host.service.answers import BadHeader
from nuwrap_runtime.host.service.bodies import AnswerFile
from nuwrap_runtime.worker.native import Headers

if TYPE_CHECKING:
    from nuwrap_runtime.host.service.exchange import Exchange
    from nuwrap_runtime.host.service.pool import Pool
    from nuwrap_runtime.host.service.served import Slot

CANCEL_SECONDS = 1.0  # for an async call to end after it was cancelled for its time-out


class Call:
    """A request that waits for a slot, then has one until the worker has answered, its client there or not."""

    __slots__ = (
        "_is_overdue",
        "_is_paused",
        "_pool",
        "_timer",
        "begun",
        "exchange",
        "id",
        "is_abandoned",
        "slot",
        "submitted",
    )

    def __init__(self, pool: Pool, exchange: Exchange, now: float) -> None:
        self._pool = pool
        self._timer: Optional[asyncio.TimerHandle] = None
        self._is_paused = False  # the client is the slow one
        self._is_overdue = False
        self.exchange = exchange
        self.id = exchange.request.id
        self.slot: Optional[Slot] = None
        self.submitted = now
        self.begun = 0.0
        self.is_abandoned = False  # answered by us, or its client gone: what the worker says is not passed on
        exchange.on_gone = self._gone
        exchange.on_flow = self._flow

    def begin(self, slot: Slot, now: float) -> None:
        """Take note of the slot that answers."""
        self.slot = slot
        self.begun = now
        self._arm()

    def whole(
        self, status: int, content_type: str, headers: Headers, body: bytes, file: Optional[tuple[AnswerFile, int]]
    ) -> None:
        """Pass on a whole answer, its body in a file when there is one."""
        self._leave()
        try:
            if file:
                self.exchange.reply_file(status, content_type, headers, file)
            else:
                self.exchange.reply(status, content_type, headers, body)
        except BadHeader as exc:
            self._refuse_header(exc)
        except (OSError, ValueError) as exc:  # no room for its pages, or it was cut off meanwhile
            self._pool.log({"level": "error", "message": f"the function's answer cannot be read: {exc}"}, self.id)
            self.exchange.error(500, "the function's answer cannot be read; its log says more")

    def head(self, status: int, content_type: str, headers: Headers, length: int) -> None:
        """Begin to pass on an answer in chunks."""
        self._arm()
        try:
            if not self.is_abandoned:
                self.exchange.stream(status, content_type, headers, length)
                if self.exchange.is_bodiless:  # an endless stream would keep its worker for nobody
                    self.exchange.end()
                    self._abandon()
        except BadHeader as exc:
            self._refuse_header(exc)
            self._abandon()

    def chunk(self, data: bytes) -> None:
        """Pass on a piece; one of a size that HTTP must show as the end is none."""
        self._arm()
        if not self.is_abandoned:
            self.exchange.chunk(data)

    def end(self, *, is_whole: bool) -> None:
        """Pass on the end of an answer in chunks."""
        self._leave()
        if is_whole:
            self.exchange.end()
        else:
            self.exchange.break_off()

    def withdrawn(self) -> None:
        """Take note that the slot could not take it."""
        self._disarm()
        self.slot = None
        self.begun = 0.0

    def fail(self, status: int, message: str, *, may_retry: bool = False) -> None:
        """Answer in the worker's place, which is over."""
        self._disarm()
        self.slot = None
        self.is_abandoned = True
        self.exchange.error(status, message, may_retry=may_retry)

    def cut(self, message: str) -> None:
        """Answer with 503 in the worker's place, and let the worker end the call; one that nobody hears runs on."""
        slot, was_abandoned = self.slot, self.is_abandoned
        if not was_abandoned:
            self.fail(503, message, may_retry=True)
            if slot:
                slot.cancel(self.id)

    def _leave(self) -> None:
        """Take note that the worker is done with it."""
        self._disarm()
        if self._is_overdue and self.slot:
            self._is_overdue = False
            self.slot.worker.overdue -= 1
        self.slot = None
        self.exchange.body.is_read = True

    def _gone(self) -> None:
        if self.slot is None:
            self._pool.withdraw(self)
        else:
            self._abandon()

    def _abandon(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._arm()
        self.is_abandoned = True
        if self.slot:
            self.slot.cancel(self.id)

    def _flow(self, is_paused: bool) -> None:  # noqa: FBT001 - asyncio's own two calls in one
        if self.slot is None or self.is_abandoned:
            return
        self._is_paused = is_paused
        if is_paused:
            self._disarm()
            self.slot.pause()
        else:
            self._arm()
            self.slot.resume()

    def _arm(self) -> None:
        """Start the call's time anew: a stream has it for each piece. What runs when nobody waits any more runs on."""
        if self.is_abandoned or self._is_paused:
            return
        self._disarm()
        seconds = self._pool.timeout_s
        if seconds and self.slot:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _disarm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        slot = self.slot
        if slot is None:
            return
        self._pool.timed_out(self)
        worker = slot.worker
        if len(worker.slots) == 1:  # a sync function cannot be stopped but with its process
            worker.kill("timed_out")
        else:
            slot.cancel(self.id)
            self._is_overdue = True
            worker.overdue += 1
            self._timer = asyncio.get_running_loop().call_later(CANCEL_SECONDS, worker.kill, "timed_out")
        self.is_abandoned = True
        self.exchange.error(504, f"the function took more than {self._pool.timeout_s:g} s (timeout_s)")

    def _refuse_header(self, exc: BadHeader) -> None:
        self._pool.log({"level": "error", "message": f"the function's answer cannot be sent: {exc}"}, self.id)
        self.exchange.error(500, "the function's answer has a header that cannot be sent; its log says more")
