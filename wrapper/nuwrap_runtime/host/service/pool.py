"""The workers of a service and the requests that wait for them: who gets which, and what is done when one ends."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import Mapping
from typing import Any, Callable, Optional, Union

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.endings import WorkerEnded
from nuwrap_runtime.host.prepare import Prepared
from nuwrap_runtime.host.process import reap_adopted
from nuwrap_runtime.host.report import Report, counted
from nuwrap_runtime.host.service.calls import Call
from nuwrap_runtime.host.service.exchange import Exchange, Refusal, Refused
from nuwrap_runtime.host.service.metrics import Metrics, PoolState, WorkerState
from nuwrap_runtime.host.service.owner import Owner
from nuwrap_runtime.host.service.parsers import BadRequest
from nuwrap_runtime.host.service.requests import Request, make_event
from nuwrap_runtime.host.service.served import ServedWorker, Slot
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.result import Failure

CLIENT_GONE = 499  # as nginx counts it
FAILED_STARTS = 5  # of one place in a row, with no worker that serves: then the service ends
LONGEST_PAUSE = 30.0  # after starts that failed
USELESS_PAUSE = 1.0  # after workers that started, and ended before they had answered: a request may be the reason
FIRST_PAUSE = 0.25
STOPPING = "the service is stopping"
TIME_OUT = "a time-out"
NOBODY = "no worker is ready: the last ones ended too soon, and one is started again in a moment"
REPLACE_SECONDS = 1.0  # for a replacement to be ready while the service still counts as ready


class Pool(Owner):
    """A service's workers. `on_ready` is called when the first can take calls, `on_failed` when there will be none."""

    def __init__(self, launch: Launch, prepared: Prepared, folder: str, report: Report, metrics: Metrics) -> None:
        self.timeout_s = launch.timeout_s
        self.description: Optional[Mapping[str, Any]] = None
        self.in_flight = 0
        self.on_ready: Callable[[], None] = lambda: None
        self.on_failed: Callable[[WorkerEnded], None] = lambda _end: None
        self.on_quiet: Callable[[], None] = lambda: None
        self._launch = launch
        self._prepared = prepared
        self._folder = folder
        self._report = report
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._workers: dict[int, ServedWorker] = {}
        self._idle: deque[Slot] = deque()
        self._waiting: deque[Call] = deque()
        self._serial = 0
        self.was_connected = False  # some worker came as far as our code
        self.was_ready = False
        self._is_stopping = False
        self._failed_starts: dict[int, int] = {}  # by place, since a worker was ready
        self._useless = 0  # workers in a row that ended without an answer
        self._down_since: Optional[float] = None  # no worker is ready since then
        self._is_held_back = False  # none is ready, and those that are started anew have failed before
        self._last_end = ""

    # An application of the gateway

    def admit(self, exchange: Exchange) -> Optional[Refusal]:
        """See `Application.admit`."""
        if self.in_flight >= self._launch.serve.max_inflight:
            verb = "is" if self.in_flight == 1 else "are"
            text = f"{counted(self.in_flight, 'request')} {verb} under way (serve.max_inflight)"
            return Refusal(429, text, may_retry=True)
        if self._is_stopping or self._is_held_back:
            return Refusal(503, STOPPING if self._is_stopping else NOBODY, may_retry=True)
        self.in_flight += 1
        exchange.began = self._now()
        return None

    def submit(self, exchange: Exchange) -> None:
        """See `Application.submit`."""
        call = Call(self, exchange, self._now())
        exchange.note = call
        if self._is_stopping:  # its body has come after the requests' part of the grace
            call.fail(503, STOPPING, may_retry=True)
            return
        self._waiting.append(call)
        self._hand_out()

    def closed(self, exchange: Exchange) -> None:
        """See `Application.closed`."""
        self.in_flight -= 1
        call, exchange.note = exchange.note, None
        if isinstance(call, Call):  # else it was refused while its body came, which is counted, or its client left
            now = self._now()
            status = exchange.status or CLIENT_GONE
            self._metrics.observe(status, now - exchange.began, (call.begun or now) - call.submitted)
            if exchange.cut_by:
                self._metrics.cut(exchange.cut_by)
            if self._launch.serve.access_log:
                self._log_access(exchange, status, now - exchange.began)
        if not self.in_flight:
            self.on_quiet()

    def refused(self, refused: Refused) -> None:
        """See `Application.refused`."""
        self._metrics.refuse(refused.status)
        if self._launch.serve.access_log and refused.target:
            self._tell_request(refused, refused.status, "refused", complete=True)

    # What a call asks

    def withdraw(self, call: Call) -> None:
        """Take a call back that no worker has seen."""
        try:
            self._waiting.remove(call)
        except ValueError:
            pass

    def timed_out(self, call: Call) -> None:
        """Log that a call took too long."""
        self.log(
            {"level": "error", "message": f"the function took more than {self.timeout_s:g} s (timeout_s)"}, call.id
        )

    # What a worker tells

    def log(self, record: Mapping[str, Any], request_id: str) -> None:
        """See `Owner.log`."""
        self._report.log({**record, "request_id": request_id} if request_id else record)

    def worker_ready(self, worker: ServedWorker) -> None:
        """See `Owner.worker_ready`."""
        self._failed_starts.clear()
        if self.description is None:
            worker.slots[0].ask_description(lambda text: self._described(worker, text))
        else:
            self._take_in(worker)

    def worker_ended(self, worker: ServedWorker, end: WorkerEnded) -> None:
        """See `Owner.worker_ended`."""
        self._workers.pop(worker.number, None)
        self.was_connected = self.was_connected or bool(worker.slots)
        self._idle = deque(slot for slot in self._idle if slot.worker is not worker)
        self._fail_calls(worker, end)
        if self._down_since is None and not self._has_ready():
            self._down_since = self._now()
        self._last_end = TIME_OUT if worker.killed_for == "timed_out" else f"{end.failure.type} in {end.failure.phase}"
        if self._is_stopping:
            if not self._workers:
                self.on_quiet()
            return
        is_start = not worker.is_ready
        if is_start and not self.was_ready:
            self.on_failed(end)
            return
        reason = worker.killed_for or ("start_failed" if is_start else "crashed")
        self._metrics.restart(reason)
        if reason != "timed_out":
            self._report.warn(f"worker {worker.number}: {end.told}")
        self._useless = self._useless + 1 if not worker.answered and reason == "crashed" else 0
        if is_start:
            self._start_failed(worker.number, end)
        else:
            self._start_later(worker.number)

    def slot_free(self, slot: Slot) -> None:
        """See `Owner.slot_free`."""
        if slot.worker.is_usable:
            self._idle.append(slot)
            self._hand_out()

    # What the service asks

    def start(self) -> None:
        """Start the first worker; the others follow when it is ready. Raises PlatformError."""
        self._start(0)

    def reap(self) -> None:
        """Look which processes are over."""
        for worker in list(self._workers.values()):
            worker.look()
        reap_adopted({worker.pid for worker in self._workers.values()})

    @property
    def phase(self) -> str:
        """The phase of the first worker's start."""
        worker = self._workers.get(0)
        return worker.phase if worker else "load"

    @property
    def outage(self) -> tuple[str, str]:
        """The phase and the reason when no worker is ready and none will be in a moment; ("", "") otherwise."""
        if self._down_since is None:
            return "", ""
        if not self._is_held_back and self._now() - self._down_since < REPLACE_SECONDS:
            return "", ""
        phases = {worker.phase for worker in self._workers.values()}
        phase = "start" if not phases else "load" if phases == {"load"} else "init"
        what = "one is being started" if phases else "one is started again after a pause"
        return phase, f"no worker is ready; {what}; the last one ended with {self._last_end}"

    @property
    def seconds(self) -> Mapping[str, float]:
        """What the first worker says that its load and init took."""
        worker = self._workers.get(0)
        return worker.seconds if worker else {}

    @property
    def slots_each(self) -> int:
        """How many event sockets a worker has, 1 until one is ready."""
        return max((len(worker.slots) for worker in self._workers.values()), default=1)

    @property
    def is_empty(self) -> bool:
        """Whether no worker's process is left."""
        return not self._workers

    def state(self, connections: int) -> PoolState:
        """Return what the metrics show of this moment."""
        workers = tuple(
            WorkerState(worker.number, worker.pid, "ready" if worker.is_ready else "starting")
            for worker in self._workers.values()
        )
        busy = sum(slot.call is not None for worker in self._workers.values() for slot in worker.slots)
        return PoolState(busy, len(self._waiting), connections, workers)

    def finish(self) -> None:
        """Let all workers end: no event comes any more."""
        self._is_stopping = True
        for worker in list(self._workers.values()):
            worker.finish()

    def give_up(self, message: str) -> None:
        """Answer every request under way with 503; streams are closed, async calls cancelled."""
        calls = [
            *self._waiting,
            *(slot.call for worker in self._workers.values() for slot in worker.slots if slot.call),
        ]
        self._waiting.clear()
        for call in calls:
            call.cut(message)

    def unfinished(self) -> list[str]:
        """Return what the workers that have not ended yet are at, as what there is to say when they are killed."""
        left = self._workers.values()
        in_call = [one for one in left if any(slot.call for slot in one.slots)]
        at_end = [one for one in left if one.phase == "shutdown"]
        texts = []
        if in_call:
            call = f"{counted(len(in_call), 'worker')} had a call that did not end within the grace (grace_s)"
            texts.append(f"{call}: killed in it, without shutdown(context)")
        if at_end:
            call = f"{counted(len(at_end), 'worker')} had not ended with shutdown(context), or with a thread of the"
            texts.append(f"{call} function's, within the grace (grace_s): killed")
        if len(left) > len(in_call) + len(at_end):
            number = len(left) - len(in_call) - len(at_end)
            texts.append(f"{counted(number, 'worker')} had not ended within the grace (grace_s): killed")
        return texts

    def kill(self) -> None:
        """Kill what is left of the workers."""
        self._is_stopping = True
        for worker in list(self._workers.values()):
            worker.kill("crashed")

    # Inside

    def _hand_out(self) -> None:
        """Bring what waits and who is free together, in the order in which they came."""
        passed_over = 0
        while self._waiting and len(self._idle) > passed_over:
            slot = self._idle.popleft()
            if slot.worker.overdue:
                self._idle.append(slot)
                passed_over += 1
            elif slot.worker.is_usable:
                self._give(self._waiting.popleft(), slot)

    def _give(self, call: Call, slot: Slot) -> None:
        exchange = call.exchange
        body, file = exchange.body.take()
        try:
            event = make_event(exchange.request, body, exchange.body.size, is_in_file=file is not None)
        except BadRequest as exc:
            self._idle.appendleft(slot)
            call.fail(exc.status, exc.message)
            return
        call.begin(slot, self._now())
        try:
            slot.begin(call, event, file)
        except BrokenPipeError:  # nothing of it reached the worker, so another may have it
            call.withdrawn()
            self._waiting.appendleft(call)

    def _fail_calls(self, worker: ServedWorker, end: WorkerEnded) -> None:
        for slot in worker.slots:
            call, slot.call = slot.call, None
            if call is None:
                continue
            if worker.killed_for == "timed_out":
                call.fail(503, "another request made the worker end; this one may be sent again", may_retry=True)
            else:
                call.fail(502, f"the function's process ended before it answered ({end.failure.type})")

    def _described(self, worker: ServedWorker, text: bytes) -> None:
        if worker.is_over:  # the next one is asked
            return
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = {}
        self.description = found if isinstance(found, dict) else {}
        self._take_in(worker)

    def _take_in(self, worker: ServedWorker) -> None:
        self._down_since, self._is_held_back = None, False
        for slot in worker.slots:
            self.slot_free(slot)
        if not self.was_ready:
            self.was_ready = True
            self._check_concurrency(worker)
            self.on_ready()
            for number in range(1, self._launch.serve.workers):
                self._start_or_tell(number)

    def _check_concurrency(self, worker: ServedWorker) -> None:
        asked = self._launch.concurrency
        if len(worker.slots) == 1 and asked not in (1, Launch(handler="").concurrency):
            text = "the handler is no async def, so each worker answers one request at a time; set workers for more"
            self._report.warn(f"concurrency {asked} has no effect: {text}")

    def _start_failed(self, number: int, end: WorkerEnded) -> None:
        failed = self._failed_starts[number] = self._failed_starts.get(number, 0) + 1
        if failed >= FAILED_STARTS and not self._has_ready():
            self.on_failed(end)
        else:
            self._start_later(number)
            if self._is_held_back:
                self._fail_waiting(NOBODY)

    def _start_later(self, number: int) -> None:
        pause = max(_pause(self._failed_starts.get(number, 0), LONGEST_PAUSE), _pause(self._useless - 1, USELESS_PAUSE))
        if not pause:
            self._start_or_tell(number)
            return
        if not self._has_ready() and all(one in self._failed_starts for one in self._workers):
            self._is_held_back = True
        self._report.warn(f"worker {number} is started again in {pause:g} s")
        self._loop.call_later(pause, self._start_or_tell, number)

    def _fail_waiting(self, message: str) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        for call in waiting:
            call.fail(503, message, may_retry=True)

    def _has_ready(self) -> bool:
        return any(worker.is_ready for worker in self._workers.values())

    def _start_or_tell(self, number: int) -> None:
        if self._is_stopping:
            return
        try:
            self._start(number)
        except (PlatformError, OSError) as exc:
            self._report.warn(f"worker {number} cannot be started: {exc}")
            self._metrics.restart("start_failed")
            failure = Failure(phase="load", type=type(exc).__name__, message=str(exc))
            self._start_failed(number, WorkerEnded(failure, PlatformError.exit_code))

    def _start(self, number: int) -> None:
        self._serial += 1
        os.makedirs(self._folder, mode=0o700, exist_ok=True)  # temporary folders are swept
        path = os.path.join(self._folder, f"w{self._serial}")
        self._workers[number] = ServedWorker(number, self._prepared, path, self)

    def _log_access(self, exchange: Exchange, status: int, seconds: float) -> None:
        cut = f", cut off by the {exchange.cut_by}" if exchange.cut_by else ""
        text = f"{seconds * 1000:.1f} ms{cut}"
        complete = not exchange.cut_by and status != CLIENT_GONE
        self._tell_request(exchange.request, status, text, complete=complete, seconds=round(seconds, 6))

    def _tell_request(self, one: Union[Request, Refused], status: int, text: str, **fields: Any) -> None:
        fields = {"method": one.method, "target": one.target, "status": status, **fields, "request_id": one.id}
        self._report.tell("request", f"{one.method} {one.target} {status} {text}", **fields)


def _pause(count: int, longest: float) -> float:
    """Return how long to wait after so many in a row."""
    return min(longest, FIRST_PAUSE * 2.0 ** min(count - 1, 16)) if count > 0 else 0.0
