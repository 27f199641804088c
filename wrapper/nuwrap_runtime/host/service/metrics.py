"""What the service counts, and its text for Prometheus. Knows no socket and no worker: numbers in, text out.

`prometheus_client` belongs to this file. It is imported at the first scrape alone (4 to 6 MB, 20 to 50 ms): a service
that nobody scrapes does without.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

CRASHED, TIMED_OUT, START_FAILED = "crashed", "timed_out", "start_failed"
REASONS = (CRASHED, TIMED_OUT, START_FAILED)
CUT_BY = ("client", "service")
STARTING, READY = "starting", "ready"

# Seconds; Prometheus' defaults, and three below them: a small function answers within a millisecond.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class WorkerState(NamedTuple):
    """One worker process: its number in the pool, its process id (0: none yet), `starting` or `ready`."""

    number: int
    pid: int
    state: str


@dataclass(frozen=True)
class PoolState:
    """What is so at this moment: requests that workers have, that wait for one, open connections, the workers."""

    in_flight: int = 0
    waiting: int = 0
    connections: int = 0
    workers: tuple[WorkerState, ...] = ()
    is_ready: bool = False


class Histogram:
    """How often a time fell into each bucket; the last one is +Inf."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def cumulated(self) -> list[tuple[str, float]]:
        """Return (upper bound, how many are not above it), the form Prometheus wants."""
        found, count = [], 0
        for bound, number in zip((*map(str, BUCKETS), "+Inf"), self.counts):
            count += number
            found.append((bound, float(count)))
        return found


class Metrics:
    """The counters of one service, from its start on. One thread writes and reads them.

    `info` are the labels of nuwrap_info: version, function, project.
    """

    __slots__ = ("_codes", "_cut", "_duration", "_queue", "_restarts", "info")

    def __init__(self, info: Mapping[str, str] = MappingProxyType({})) -> None:
        self.info = dict(info)
        self._codes: dict[int, int] = {}
        self._cut = dict.fromkeys(CUT_BY, 0)
        self._restarts = dict.fromkeys(REASONS, 0)
        self._duration = Histogram()
        self._queue = Histogram()

    def observe(self, status: int, seconds: float, queued_s: float) -> None:
        """Count a request that was answered: its status, all its time, the part of it before a worker had it."""
        self._codes[status] = self._codes.get(status, 0) + 1
        duration, queue = self._duration, self._queue  # written out: each call would cost as much as the work
        duration.counts[bisect_left(BUCKETS, seconds)] += 1
        duration.total += seconds
        queue.counts[bisect_left(BUCKETS, queued_s)] += 1
        queue.total += queued_s

    def refuse(self, status: int) -> None:
        """Count what was answered without a worker; it took no time that says anything."""
        self._codes[status] = self._codes.get(status, 0) + 1

    def cut(self, by: str) -> None:
        """Count an answer that had begun and did not come to its end; `by` is one of CUT_BY."""
        self._cut[by] += 1

    def restart(self, reason: str) -> None:
        """Count a worker that is replaced; `reason` is one of REASONS."""
        self._restarts[reason] += 1

    def render(self, state: PoolState) -> bytes:
        """Return the text of one scrape. Reads the memory of the processes now, where the system tells it."""
        from prometheus_client import generate_latest

        return generate_latest(_Scrape([*self._of_requests(), *self._of_now(state)]))

    def _of_requests(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        requests = CounterMetricFamily("nuwrap_requests", "Requests answered, by status.", labels=["code"])
        for status, count in sorted(self._codes.items()):
            requests.add_metric([str(status)], count)
        yield requests
        cut = CounterMetricFamily("nuwrap_requests_cut", "Answers that began and broke off.", labels=["by"])
        for name, count in self._cut.items():
            cut.add_metric([name], count)
        yield cut
        restarts = CounterMetricFamily("nuwrap_worker_restarts", "Workers replaced, by reason.", labels=["reason"])
        for reason, count in self._restarts.items():
            restarts.add_metric([reason], count)
        yield restarts
        for name, help_text, histogram in (
            ("nuwrap_request_duration_seconds", "From a request's head to the end of its answer.", self._duration),
            ("nuwrap_queue_wait_seconds", "Part of it that the request waited for a free worker.", self._queue),
        ):
            yield HistogramMetricFamily(name, help_text, histogram.cumulated(), histogram.total)

    def _of_now(self, state: PoolState) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        yield GaugeMetricFamily("nuwrap_requests_in_flight", "Requests that workers have.", state.in_flight)
        yield GaugeMetricFamily("nuwrap_requests_waiting", "Requests that wait for a free worker.", state.waiting)
        yield GaugeMetricFamily("nuwrap_connections", "Open connections of clients.", state.connections)
        yield GaugeMetricFamily("nuwrap_ready", "1 when the service is ready, as /ready says.", int(state.is_ready))
        workers = GaugeMetricFamily("nuwrap_workers", "Worker processes, by state.", labels=["state"])
        for name in (STARTING, READY):
            workers.add_metric([name], sum(one.state == name for one in state.workers))
        yield workers
        yield from _memory(state.workers)
        info = {name: _text(value) for name, value in self.info.items()}
        yield InfoMetricFamily("nuwrap", "What runs here; always 1.", info)


class _Scrape:
    """Families as `generate_latest` takes them: no registry, so nothing of the library's own is among them."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _memory(workers: Sequence[WorkerState]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    own = resident_bytes(os.getpid())
    if own is None:
        return
    yield GaugeMetricFamily("nuwrap_host_resident_memory_bytes", "Resident memory of the host's process.", own)
    name, help_text = "nuwrap_worker_resident_memory_bytes", "Resident memory of the worker's process, its children not"
    family = GaugeMetricFamily(name, f"{help_text} counted.", labels=["worker"])
    for worker in workers:
        size = resident_bytes(worker.pid)
        if size is not None:
            family.add_metric([str(worker.number)], size)
    yield family


def resident_bytes(pid: int) -> Optional[int]:
    """Return the resident memory of a process; None when it is gone, or where there is no /proc (macOS)."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _text(value: str) -> str:
    """Return the text without half characters, which have no UTF-8."""
    return value.encode("utf-8", "replace").decode("utf-8")
