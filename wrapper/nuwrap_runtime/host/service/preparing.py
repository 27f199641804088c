"""`prepare` in a child process: meanwhile the second port answers, and what preparing needs leaves with the child."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Callable, NoReturn, Optional

from nuwrap_runtime import errors
from nuwrap_runtime.errors import NuwrapError, PlatformError, Stopped
from nuwrap_runtime.host.prepare import Prepared, prepare
from nuwrap_runtime.host.process import adopt_orphans, die_with_parent, kill_orphans
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.workspace import Workspace
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.worker.native import FORM
from nuwrap_runtime.worker.spec import WorkerSpec

READ_BYTES = 64 * 1024


class Preparing:
    """A child process that prepares, forked before the event loop begins; it tells phases and the outcome by a pipe.

    It is forked while stops are kept back; in the child `release_stops` lets them through.
    """

    def __init__(
        self,
        launch: Launch,
        workspace: Workspace,
        environ: Mapping[str, str],
        report: Report,
        *,
        release_stops: Callable[[], None],
    ) -> None:
        reading, writing = os.pipe()
        die = die_with_parent()
        self.phase = "launch"
        self._outcome: dict[str, Any] = {}
        self._rest = b""
        self._is_stopped = False
        self._pipe = reading
        self._pid = os.fork()
        if not self._pid:
            if die:
                die()
            os.close(reading)
            _prepare(launch, workspace, environ, report, pipe=writing, release_stops=release_stops)
        os.close(writing)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._pid

    async def wait(self) -> Prepared:
        """Return what the child prepared. Raises the NuwrapError that it ended with."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(self._pipe, self._read, over)
        try:
            await over.wait()
        finally:
            loop.remove_reader(self._pipe)
            os.close(self._pipe)
            os.waitpid(self._pid, 0)
        if self._is_stopped and not self._outcome:  # a second stop came while the child told of the first
            raise Stopped("stopped by a signal before the service was ready")
        return _outcome(self._outcome)

    def stop(self) -> None:
        """Let the child end; `wait` raises Stopped then."""
        self._is_stopped = True
        os.kill(self._pid, signal.SIGTERM)

    def _read(self, over: asyncio.Event) -> None:
        data = os.read(self._pipe, READ_BYTES)
        if not data:
            over.set()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            self.phase = told.get("phase", self.phase)
            self._outcome = told if "phase" not in told else self._outcome


def _outcome(told: Mapping[str, Any]) -> Prepared:
    if "error" in told:
        raise getattr(errors, told["error"])(told["message"])
    if "prepared" not in told:
        raise PlatformError("preparing the function ended without a word; it was killed, or ran out of memory")
    values = dict(told["prepared"])
    values["spec"] = WorkerSpec(**values["spec"])
    values["requirements"] = tuple(values["requirements"])
    return Prepared(**values)


def _prepare(
    launch: Launch,
    workspace: Workspace,
    environ: Mapping[str, str],
    report: Report,
    *,
    pipe: int,
    release_stops: Callable[[], None],
) -> NoReturn:
    """Prepare, tell how it went, and end: the body of the child."""
    adopt_orphans()
    report.on_phase = lambda phase: _tell(pipe, {"phase": phase})
    error: Optional[NuwrapError] = None
    try:
        release_stops()
        prepared = prepare(launch, workspace, environ, report, mode="event", reply_form=FORM)
        _tell(pipe, {"prepared": {**asdict(prepared), "environ": dict(prepared.environ)}})
    except NuwrapError as exc:
        error = exc
    except BaseException as exc:  # noqa: BLE001 - the child must end here whatever happens
        error = PlatformError(f"{report.phase}: {exc}" if isinstance(exc, OSError) else traceback.format_exc())
    try:
        if error:
            _tell(pipe, {"error": type(error).__name__, "message": str(error)})
        if isinstance(error, Stopped):
            kill_orphans()
    finally:
        os._exit(0)


def _tell(pipe: int, document: Mapping[str, Any]) -> None:
    data = memoryview(json.dumps(document).encode("ascii") + b"\n")
    while data:
        data = data[os.write(pipe, data) :]
