"""Outputs after the end: the run's folder goes to the address of `output_path`, by a child process that ends.

<output_path>/.run           the run's id; written before anything else, and so the proof that we may write
<output_path>/outputs/…      the files
<output_path>/result.json    last: a folder without it is of a run that is under way, or was killed
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nuwrap_runtime.errors import NuwrapError, OutputsError
from nuwrap_runtime.host import credentials
from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.children import Job, call_child
from nuwrap_runtime.host.network import with_network
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.results import RESULT, Destination
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.result import Result

BEGIN_SECONDS: Final = 120.0
LOG_SECONDS: Final = 120.0
RESULT_SECONDS: Final = 60.0  # a stop that comes meanwhile waits: the result is small, and says how the run ended


@dataclass(frozen=True)
class Upload:
    """The way of one run's outputs to an address."""

    launch: Launch
    destination: Destination
    report: Report
    environ: Mapping[str, str] = field(repr=False)

    def begin(self) -> None:
        """Make the address this run's: what an earlier start of the same run left there goes. Raises OutputsError."""
        self._ask({"do": "begin", "run": self.launch.run}, BEGIN_SECONDS, "the time for a run's mark")

    def store_outputs(self, result: Result) -> None:
        """Upload the files that the result names. Raises OutputsError, Stopped."""
        paths = [str(output["path"]) for output in result.outputs.values() if output["path"]]
        if not paths:
            return
        try:
            with self.report.timed("store") as detail:
                seconds = self.launch.limits.output_seconds
                told = self._ask({"do": "store", "paths": paths}, seconds, "limits.output_seconds")
                files = f"{len(paths)} output{'s' if len(paths) != 1 else ''}"
                detail.append(f"{files}, {told['bytes'] / 1_000_000:.1f} MB, at {shown(self.destination.address)}")
        except NuwrapError:
            if result.exit_code:  # the failure that the result tells will be the first one, not this one
                self.report.warn(f"not all outputs are at {shown(self.destination.address)}")
            raise

    def store_log(self, paths: Sequence[str]) -> None:
        """Upload parts of the log. Raises OutputsError."""
        self._ask({"do": "store", "paths": list(paths)}, LOG_SECONDS, "the time for a part of the log")

    def store_result(self) -> None:
        """Upload the result document. Raises OutputsError."""
        self._ask({"do": "store", "paths": [RESULT]}, RESULT_SECONDS, "the time for a result")

    def _ask(self, request: Mapping[str, Any], seconds: float, seconds_key: str) -> dict[str, Any]:
        os.makedirs(self.destination.folder, exist_ok=True)
        job = Job(
            "store-outputs",
            {
                **request,
                "address": self.destination.address,
                "folder": self.destination.folder,
                "seconds": seconds,
                "seconds_key": seconds_key,
                "ca": self.launch.network.ca,
                "proxies": dict(self.launch.network.proxies),
            },
            seconds,
            seconds_key,
            lambda reason: OutputsError(f"storing at {shown(self.destination.address)!r} {reason}"),
        )
        environ = with_network(credentials.data_environment(self.environ), self.launch.network)
        return call_child(job, environ, self.report)
