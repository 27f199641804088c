"""What a worker tells the one who started it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nuwrap_runtime.host.endings import WorkerEnded

if TYPE_CHECKING:
    from nuwrap_runtime.host.service.served import ServedWorker, Slot


class Owner:
    """Who started a worker. Methods are called by the event loop alone."""

    def worker_ready(self, worker: ServedWorker) -> None:
        """All of its slots can take calls."""

    def worker_ended(self, worker: ServedWorker, end: WorkerEnded) -> None:
        """Its process is over, its group killed, its calls still to be answered."""

    def slot_free(self, slot: Slot) -> None:
        """The slot's call is answered."""

    def log(self, record: Mapping[str, Any], request_id: str) -> None:
        """A log record came; `request_id` is that of the call under way, "" outside."""
