"""What a service leaves for who started it: addresses in `$NUWRAP_RUN_FOLDER`, its end there and for Kubernetes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Optional

from nuwrap_runtime.host.report import Report, datetime_now
from nuwrap_runtime.host.results import tell_result, write_result
from nuwrap_runtime.host.workspace import undisturbed, write_whole
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.result import ERROR, STOPPED, Failure, Result

ADDRESSES = "service.json"
STOPPED_CODES = (0, 143)


class RunFolder:
    """The folder; without one Kubernetes alone is told. One that takes nothing is a warning: the service goes on."""

    def __init__(self, launch: Launch, environ: Mapping[str, str], report: Report) -> None:
        self._launch = launch
        self._report = report
        self._path = environ.get("NUWRAP_RUN_FOLDER", "")
        self._started = datetime_now()

    def tell_addresses(self, address: str, admin: str) -> None:
        """Write `service.json`: `{"address", "admin"}`, both as URLs."""
        if not self._path:
            return
        try:
            write_whole(os.path.join(self._path, ADDRESSES), json.dumps({"address": address, "admin": admin}))
        except OSError as exc:
            self._report.warn(f"the addresses cannot be written to {self._path!r}: {exc.strerror}")

    def tell_end(self, exit_code: int, failure: Optional[Failure]) -> None:
        """Tell it as a job does: STOPPED when it ended as it was asked to, else ERROR with the failure."""
        with undisturbed():
            result = Result(
                state=STOPPED if exit_code in STOPPED_CODES else ERROR,
                exit_code=exit_code,
                project=self._launch.project,
                function=self._launch.function,
                run=self._launch.run,
                failure=failure,
                seconds={**self._report.seconds, "total": self._report.total()},
                started=self._started,
                finished=datetime_now(),
                warnings=self._report.warnings,
            )
            if self._path:
                write_result(self._path, result, self._report)
            else:
                tell_result(result, self._report)
