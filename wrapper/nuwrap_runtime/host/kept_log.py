"""A run's whole log beside its outputs: platforms turn theirs over, and then give the newest of it alone.

<output_path>/log/000001.log   what the run has printed, in order, secrets masked; a part is written once
<output_path>/log/000002.log   …
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Optional

from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.host import process
from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.log_keeper import Keeper, Parts, clear_parts, hidden
from nuwrap_runtime.host.outputs import Upload
from nuwrap_runtime.host.report import Report, counted
from nuwrap_runtime.host.results import Destination
from nuwrap_runtime.host.workspace import undisturbed
from nuwrap_runtime.result_lines import LOG_BEGINS, LOG_ENDS, LOG_FOLDER, VARIABLE

END_SECONDS: Final = 30.0  # for what still holds the run's output when its processes are over
STREAMS: Final = (1, 2)


class KeptLog:
    """What this process and its children print between `begin` and `finish`. Both outputs become one, in order."""

    def __init__(self, destination: Destination, report: Report, environ: Mapping[str, str]) -> None:
        self._destination, self._report = destination, report
        self._is_told = environ.get(VARIABLE) == "1"
        self._folder = os.path.join(destination.folder, LOG_FOLDER)
        self._upload: Optional[Upload] = None
        self._before: list[int] = []
        self._pid = self._answer = 0

    def begin(self, upload: Optional[Upload]) -> None:
        """Print to a process that keeps it from now on; `upload` is the way to an address. Raises OSError."""
        os.makedirs(self._folder, exist_ok=True)
        clear_parts(self._folder)
        self._upload = upload
        self._mark(LOG_BEGINS)
        parts = Parts(self._folder, hidden(self._report.secrets))
        source, printed = os.pipe()
        self._answer, answering = os.pipe()
        release = process.hold_stops()
        try:
            self._pid = os.fork()
            if not self._pid:
                _be_keeper(Keeper(source, STREAMS[0], parts, self._store if upload else None), answering, printed)
            process.SPARED.add(self._pid)
            _flush()
            self._before = [os.dup(number) for number in STREAMS]
            for number in STREAMS:
                os.dup2(printed, number)
        finally:
            for number in (source, printed, answering):
                os.close(number)
            release()

    def finish(self) -> None:
        """Print as before, and see that the parts are where they belong. Not kept is a warning, never a failure."""
        if not self._before:
            return
        begin = time.perf_counter()
        with undisturbed():
            told = self._end()
        self._report.phase = "log"
        fault = str(told.get("fault", "")) if told else "the process that kept it was killed"
        fault = fault or self._store_rest(told["waiting"])
        with undisturbed():
            self._tell_end(told, fault, time.perf_counter() - begin)

    def _tell_end(self, told: Mapping[str, Any], fault: str, seconds: float) -> None:
        if told:  # last, as lines that are printed faster than they are read are lost
            self._mark(LOG_ENDS.format(told["lines"], told["printed"]))
        place = shown(f"{self._destination.address or self._destination.folder + '/'}{LOG_FOLDER}/")
        if fault:
            self._report.warn(f"not all of the log is at {place}: {fault}")
            return
        detail = f"{counted(told['lines'], 'line')}, {told['bytes'] / 1_000_000:.1f} MB, at {place}"
        self._report.line("log", seconds, detail)

    def _end(self) -> dict[str, Any]:
        """Give the outputs back, wait for the keeper and return its answer, {} where it has none."""
        _flush()
        for number, before in zip(STREAMS, self._before):
            os.dup2(before, number)
            os.close(before)
        self._before = []
        told: dict[str, Any] = {}
        if select.select([self._answer], [], [], END_SECONDS)[0]:
            with os.fdopen(self._answer, "rb") as answer, suppress(ValueError):
                told = json.loads(answer.read())
        process.SPARED.discard(self._pid)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        return told

    def _store(self, names: Sequence[str]) -> None:
        if self._upload:
            self._upload.store_log([f"{LOG_FOLDER}/{name}" for name in names])

    def _store_rest(self, names: Sequence[str]) -> str:
        """Store what the keeper has not; return why that is not possible."""
        if self._upload is None or not names:
            return ""
        try:
            self._store(names)
        except (NuwrapError, OSError) as exc:
            return f"{exc}; the rest is kept in {self._folder!r}"
        for name in names:
            os.unlink(os.path.join(self._folder, name))
        return ""

    def _mark(self, text: str) -> None:
        """Print the line where all that is kept goes to, so that it keeps its place among it."""
        if self._is_told:
            with suppress(OSError):  # nobody listens
                os.write(STREAMS[0], f"{text}\n".encode())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _be_keeper(keeper: Keeper, answering: int, printed: int) -> None:
    code = 1
    try:
        os.setsid()  # a stop of the terminal is not for it: it ends when all is printed
        for number in process.STOPS:
            signal.signal(number, signal.SIG_IGN)
        os.close(printed)
        os.write(answering, json.dumps(keeper.run()).encode())
        code = 0
    finally:
        os._exit(code)
