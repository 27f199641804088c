"""`nuwrap-host serve`: prepare, start the workers, serve until a stop, and end in order."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, Optional

from nuwrap_runtime import __version__
from nuwrap_runtime.errors import NuwrapError, Stopped
from nuwrap_runtime.host import image
from nuwrap_runtime.host.endings import WorkerEnded
from nuwrap_runtime.host.interpreter import probe
from nuwrap_runtime.host.prepare import Prepared, hold
from nuwrap_runtime.host.process import STOPS, hold_stops, kill_orphans
from nuwrap_runtime.host.report import Report, counted
from nuwrap_runtime.host.service.admin import Status, admin_page, document_of
from nuwrap_runtime.host.service.bodies import KEPT_FILES
from nuwrap_runtime.host.service.docs_page import commands
from nuwrap_runtime.host.service.exchange import Exchange, Refusal, Refused
from nuwrap_runtime.host.service.gateway import (
    LINGER_SECONDS,
    Gateway,
    HttpLimits,
    bind,
    fit,
    fit_side_port,
    open_files,
    url_of,
)
from nuwrap_runtime.host.service.metrics import Metrics, PoolState
from nuwrap_runtime.host.service.pool import STOPPING, Pool
from nuwrap_runtime.host.service.preparing import Preparing
from nuwrap_runtime.host.service.run_folder import RunFolder
from nuwrap_runtime.host.workers import allowed_files, raise_file_limit
from nuwrap_runtime.host.workspace import open_workspace, socket_folder
from nuwrap_runtime.launch import LEAVE_SECONDS, Launch
from nuwrap_runtime.result import Failure

ADMIN_CONNECTIONS = 256
ADMIN_BODY = 64 * 1024
SHUTDOWN_SHARE = 0.2  # of the grace, for what the function does at its end
KILL_SECONDS = 5.0
QUIET_SECONDS = 3.0
NEVER = float("inf")
REASONS: Mapping[str, str] = {
    "launch": "the service is starting",
    "source": "the code is being fetched",
    "inputs": "the inputs are being fetched",
    "requirements": "the requirements are being installed",
    "start": "a worker is being started",
    "load": "the function is being loaded",
    "init": "init_function is running",
    "stopping": "the service is stopping",
}
CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
POD_MARK = "KUBERNETES_SERVICE_HOST"


def serve(launch: Launch, environ: Mapping[str, str], report: Report) -> int:
    """Serve the function until SIGTERM or SIGINT and return the exit code: 0 after a clean end.

    Raises NuwrapError for what ends it before it was ready.
    """
    run_folder = RunFolder(launch, environ, report)
    try:
        code, failure = _serve(launch, environ, report, run_folder)
    except NuwrapError as exc:
        run_folder.tell_end(exc.exit_code, Failure(exc.phase, type(exc).__name__, str(exc)))
        raise
    run_folder.tell_end(code, failure)
    return code


def _serve(
    launch: Launch, environ: Mapping[str, str], report: Report, run_folder: RunFolder
) -> tuple[int, Optional[Failure]]:
    """Serve to the end; return the exit code, and the failure of the worker that has made it the end."""
    address = launch.serve.address or default_address(environ)
    release_stops = hold_stops()  # until the event loop takes them: raised anywhere they would leave files behind
    with open_workspace(environ) as workspace, socket_folder() as folder:
        bound = bind(address, launch.serve.port, key="port")
        with bound, bind(address, launch.serve.admin_port, key="admin_port") as admin:
            preparing = Preparing(launch, workspace, environ, report, release_stops=release_stops)
            service = Service(launch, folder, report, (bound, admin), is_pod=POD_MARK in environ)
            run_folder.tell_addresses(*service.addresses)
            try:
                code = asyncio.run(service.run(preparing, release_stops))
                return code, service.failure
            finally:
                kill_orphans()


def default_address(environ: Mapping[str, str]) -> str:
    """Return where to listen when nothing says it: in a container everywhere, else on this machine alone."""
    is_container = POD_MARK in environ or any(os.path.exists(mark) for mark in CONTAINER_MARKS)
    is_container = is_container or image.is_built(environ)  # not every runtime leaves a mark
    return "0.0.0.0" if is_container else "127.0.0.1"  # noqa: S104 - a container's port is published by who runs it


class Service:
    """One service from its two bound ports to its end. All of it runs in one event loop."""

    def __init__(
        self,
        launch: Launch,
        folder: str,
        report: Report,
        sockets: tuple[socket.socket, socket.socket],
        *,
        is_pod: bool = False,
    ) -> None:
        self._is_pod = is_pod  # its own addresses lead to it from nowhere else
        self._launch = launch
        self._folder = folder
        self._report = report
        self._socket, self._admin_socket = sockets
        self._address, self._admin_address = map(url_of, sockets)
        self._metrics = Metrics({"version": __version__, "function": launch.function, "project": launch.project})
        self._pool: Optional[Pool] = None
        self._gateway: Optional[Gateway] = None
        self._phase = self._shown = "launch"
        self._since = time.monotonic()
        self._preparing: Optional[Preparing] = None
        self._failed: Optional[WorkerEnded] = None
        self._stops = 0
        self._is_ready = False
        self._admin_files = 0  # most that the second port's connections take
        self._changed: asyncio.Event

    @property
    def addresses(self) -> tuple[str, str]:
        """URLs of the service and of its second port."""
        return self._address, self._admin_address

    @property
    def failure(self) -> Optional[Failure]:
        """How the last worker ended, when no further one could be started."""
        return self._failed.failure if self._failed else None

    async def run(self, preparing: Preparing, release_stops: Callable[[], None]) -> int:
        """Run from preparing to the end; return the exit code. Stops are kept back before and after."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._tell_fault)
        self._changed = asyncio.Event()
        for number in STOPS:
            loop.add_signal_handler(number, self._stop)
        self._preparing = preparing
        release_stops()
        try:
            return await self._run(preparing)
        finally:
            hold_stops()

    async def _run(self, preparing: Preparing) -> int:
        limits = fit_side_port(self._limits(ADMIN_CONNECTIONS, ADMIN_BODY), allowed_files())
        self._admin_files = limits.files
        admin = Gateway(AdminPages(self.status), limits, warn=self._report.warn)
        await admin.listen(self._admin_socket)
        self._announce()
        try:
            prepared = await preparing.wait()
        finally:
            self._preparing = None
        hold(prepared.python)  # the child that prepared it holds it no more
        code = await self._serve(prepared)
        admin.abort()
        return code

    def status(self) -> Status:
        """Return what the second port tells."""
        phase, reason = self._outage()
        if not reason:
            phase = self._phase
            if self._preparing:
                phase = self._preparing.phase
            elif self._pool and phase == "start":
                phase = self._pool.phase
        self._show(phase)
        return Status(
            is_ready=self._is_ready and not reason,
            phase=phase,
            reason=reason or REASONS.get(phase, ""),
            seconds=round(time.monotonic() - self._since, 3),
            description=self._pool.description if self._pool else None,
            metrics=self._scrape,
            function=self._launch.function,
            project=self._launch.project,
            address=self._address,
            version=__version__,
        )

    def _outage(self) -> tuple[str, str]:
        """Phase and reason of a service that was ready and has no worker now; ("", "") for any other."""
        return self._pool.outage if self._pool and self._is_ready else ("", "")

    async def _serve(self, prepared: Prepared) -> int:
        loop = asyncio.get_running_loop()
        allowed, taken = raise_file_limit(), open_files()
        self._enter("start")
        self._report.phase = "load"
        pool = self._pool = Pool(self._launch, prepared, self._folder, self._report, self._metrics)
        pool.on_ready, pool.on_failed, pool.on_quiet = self._changed.set, self._fail, self._changed.set
        loop.add_signal_handler(signal.SIGCHLD, pool.reap)
        gateway = self._gateway = Gateway(
            pool, self._limits(self._launch.serve.max_connections), warn=self._report.warn
        )
        began = time.perf_counter()
        pool.start()
        try:
            await self._until(lambda: pool.was_ready)
            if self._failed:
                return self._tell_end(self._failed, prepared)
            if self._stops:
                raise Stopped("stopped by a signal before the service was ready")
            self._report.add_seconds(self._start_seconds(time.perf_counter() - began))
            gateway.limits = self._fitted(gateway.limits, allowed, taken + pool.slots_each * self._launch.serve.workers)
            await gateway.listen(self._socket)
            self._become_ready()
            await self._until(lambda: False)
            if self._failed:
                pool.give_up("no worker can be started")
                return self._tell_end(self._failed, prepared)
            return await self._drain(gateway, pool)
        finally:
            self._is_ready = False
            gateway.abort()
            pool.kill()
            await self._gone(pool)

    async def _drain(self, gateway: Gateway, pool: Pool) -> int:
        """End in order: no new connections, the requests under way, the function's own end."""
        self._is_ready = False
        self._enter("stopping")
        grace = self._launch.grace_s
        if self._is_pod and grace:
            await self._await_quiet(gateway)
        under_way = counted(pool.in_flight, "request")
        self._report.tell("stopping", f"stopping; up to {grace:g} s for {under_way} under way")
        began = time.monotonic()
        gateway.stop_accepting()
        share = grace * (1 - SHUTDOWN_SHARE)
        await asyncio.sleep(min(LINGER_SECONDS, share))
        await self._until(lambda: not pool.in_flight, began + share - time.monotonic(), is_stop=True)
        if pool.in_flight and self._stops == 1:
            under_way = counted(pool.in_flight, "request")
            self._report.warn(f"{under_way} under way after {share:g} s, the requests' part of grace_s: cut")
        pool.give_up(STOPPING)
        self._check_second_stop()
        pool.finish()
        left = max(0.0, began + grace - time.monotonic())
        await self._until(lambda: pool.is_empty, left, is_stop=True)
        self._check_second_stop()
        for text in pool.unfinished() if grace else ():  # without a grace nobody has asked for an end in order
            self._report.warn(text)
        self._report.line("total", self._report.total(), "stopped")
        return 0

    async def _await_quiet(self, gateway: Gateway) -> None:
        """Take what still comes: the nodes of a cluster hear of a pod's end one after the other, later than it does."""
        self._report.tell("stopping", f"stopping once no new connection has come for {QUIET_SECONDS:g} s")
        gateway.begin_to_leave()
        latest = gateway.now() + LEAVE_SECONDS
        while self._stops == 1 and not self._failed:
            left = min(gateway.came + QUIET_SECONDS, latest) - gateway.now()
            if left <= 0:
                return
            await self._until(lambda: False, left, is_stop=True)
        self._check_second_stop()

    async def _until(self, is_so: Callable[[], bool], seconds: float = NEVER, *, is_stop: bool = False) -> None:
        """Wait until it is so, the service failed, or was stopped (during a stop: once more), or for the seconds."""
        deadline = time.monotonic() + seconds
        while not (is_so() or self._failed or self._stops > int(is_stop)):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), None if left == NEVER else left)
            except asyncio.TimeoutError:
                return

    def _check_second_stop(self) -> None:
        if self._stops > 1:
            raise Stopped("stopped at once by a second signal")

    async def _gone(self, pool: Pool) -> None:
        """Wait for killed workers to be over, a moment at most: nothing but the kernel can hold them."""
        until = time.monotonic() + KILL_SECONDS
        while not pool.is_empty and time.monotonic() < until:
            pool.reap()
            await asyncio.sleep(0.005)

    def _become_ready(self) -> None:
        self._is_ready = True
        self._enter("ready")
        self._report.phase = "ready"
        gc.collect()
        gc.freeze()  # what is here stays: the collector need not look at it with every thousandth request
        address, admin = self._address, self._admin_address
        at = f"on port {self._socket.getsockname()[1]}" if self._is_pod else f"at {address}"
        message = f"serving {self._launch.function} {at}"
        document = document_of(self.status())
        if not (self._report.is_json or self._is_pod):
            message += f"\ndocs {admin}/docs, metrics {admin}/metrics"
            message += f"\n{next(iter(commands(document).values()))}" if document else ""
        told = {"address": address, "admin": admin, "seconds": self._report.total()}
        self._report.tell("ready", message, **told)

    def _start_seconds(self, whole: float) -> dict[str, float]:
        """Return the first worker's seconds of load and init, and as `start` what the interpreter itself took."""
        told = dict(self._pool.seconds) if self._pool else {}
        return {"start": max(0.0, whole - sum(told.values())), **told}

    def _tell_end(self, end: WorkerEnded, prepared: Prepared) -> int:
        """Say why there is no service; return the exit code."""
        self._enter("failed")
        if end.failure.type in ("WorkerExited", "WorkerKilled") and self._pool and not self._pool.was_connected:
            probe(prepared.python, "", prepared.environ)  # raises PlatformError when it is no Python of ours
        self._report.error(end.told)
        return end.exit_code

    def _fail(self, end: WorkerEnded) -> None:
        self._failed = end
        self._changed.set()

    def _stop(self) -> None:
        self._stops += 1
        if self._preparing:
            self._preparing.stop()
        self._changed.set()

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._show(phase)

    def _show(self, phase: str) -> None:
        """Count the seconds of a phase from when it is first seen."""
        if phase != self._shown:
            self._shown, self._since = phase, time.monotonic()

    def _limits(self, connections: int, body: int = 0) -> HttpLimits:
        serve = self._launch.serve
        return HttpLimits(connections, body or serve.max_body_bytes, serve.read_timeout_s, serve.keep_alive_s)

    def _fitted(self, limits: HttpLimits, allowed: int, taken: int) -> HttpLimits:
        """Return the limits lowered to what the limit on open files leaves, with a warning when that is less."""
        serve = self._launch.serve
        taken += 2 * serve.workers + self._admin_files + KEPT_FILES  # a worker has a listener and its answer's file
        fitted = fit(limits, allowed, taken, serve.max_inflight)
        most = fitted.max_connections
        if most < limits.max_connections:
            self._report.warn(
                f"at most {counted(most, 'connection')}, not {limits.max_connections} (serve.max_connections): this "
                f"process may open {allowed} files (ulimit -n), and workers, bodies and the second port need their "
                "share; raise that limit, or set serve.max_connections lower"
            )
        return fitted

    def _scrape(self) -> bytes:
        connections = len(self._gateway.connections) if self._gateway else 0
        state = self._pool.state(connections) if self._pool else PoolState()
        return self._metrics.render(replace(state, is_ready=self._is_ready and not self._outage()[1]))

    def _announce(self) -> None:
        """Tell the addresses: to a machine by one line of standard output, the first."""
        if self._report.is_json:
            told = {"event": "listening", "address": self._address, "admin": self._admin_address}
            print(json.dumps({**told, "function": self._launch.function, "run": self._launch.run}), flush=True)

    def _tell_fault(self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Log what no request should cause: one connection ends by it, the service goes on."""
        exc = context.get("exception")
        lines = traceback.format_exception(type(exc), exc, exc.__traceback__) if exc else []
        self._report.error(f"a fault of nuwrap: {context.get('message', '')}\n{''.join(lines)}".rstrip())


class AdminPages:
    """The second port as an application."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def admit(self, _exchange: Exchange) -> Optional[Refusal]:
        """See `Application.admit`."""
        return None

    def submit(self, exchange: Exchange) -> None:
        """See `Application.submit`."""
        page = admin_page(exchange.request.method, exchange.request.target, self._status())
        exchange.reply(page.status, page.content_type, page.headers, page.body)

    def closed(self, _exchange: Exchange) -> None:
        """See `Application.closed`."""

    def refused(self, _refused: Refused) -> None:
        """See `Application.refused`."""
