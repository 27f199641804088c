"""What becomes of a run that was started: asked for, waited for, followed, stopped, started again.

A run whose processes are all gone without a word is ended by whoever asks for it next; a remote one goes on without
them, and is followed again by whoever waits for it.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

from nuwrap.errors import NuwrapError, PlatformError
from nuwrap.platforms import REMOTE, get_remote, goes_on_there
from nuwrap.platforms.run_folder import LOG
from nuwrap.runs import alive, collect, remote, supervisor
from nuwrap.runs.whole_log import log_path
from nuwrap.store import CREATED, ENDED, PENDING, RUNNING, RunRecord, Store

POLL_SECONDS = 0.01, 0.1  # between two looks, at first and of who has waited for long
FOLLOW_SECONDS = 5.0  # between two looks at who follows a remote run
PATIENCE = 50  # pauses are a fiftieth of what was waited for: nobody notices that
READ_BYTES = 64 * 1024
READY_TIMEOUT_S = 2.0
STOP_SPARE_S = 15.0  # beyond the grace that a run has
REMOTE_SPARE_S = 120.0  # a node that is busy takes its time
SHORT_ID = 8
STOPPED_CODE = 143


def refresh(store: Store, home: str, record: RunRecord, *, lost_code: int | None = None) -> RunRecord:
    """Return the run as it is now; one that nobody runs any more has ended.

    `lost_code` is how it ended where its processes went without a word, if that is known.
    """
    now = store.get_run(record.id) or record
    if now.state in ENDED or alive.is_held(home, record.id):
        return now
    now = store.get_run(record.id) or record  # it may have ended between the two looks
    if now.state in ENDED:
        return now
    if goes_on_there(now.platform, now.action):
        try:
            return remote.catch_up(store, home, now)
        except NuwrapError as exc:
            return replace(now, message=f"as it was known last; {exc}")
    elsewhere = _remove_lost(now)
    ended = collect.finish(store, now, lost_code, elsewhere=elsewhere)
    alive.clear(home, record.id)
    return ended


def _remove_lost(record: RunRecord) -> str:
    """Remove what a build that nobody drives any more has left in a cluster, and say so; "" where that is nothing."""
    if record.action != "build" or record.platform not in REMOTE:
        return ""
    from nuwrap.builds.lost import remove_lost

    return remove_lost(record.folder, os.environ)


def refresh_all(store: Store, home: str, project: str = "") -> None:
    """Bring all runs of the history that have not ended, or those of a project, to what they are now.

    A platform that does not answer is asked once.
    """
    silent: set[str] = set()
    for record in store.list_runs(project, states=(CREATED, PENDING, RUNNING)):
        if not goes_on_there(record.platform, record.action):
            refresh(store, home, record)
        elif record.platform not in silent and not alive.is_held(home, record.id):
            try:
                remote.catch_up(store, home, record)
            except NuwrapError:
                silent.add(record.platform)


def wait(store: Store, home: str, record: RunRecord, *, timeout_s: float | None) -> RunRecord:
    """Return the run when it has ended, or as it is after `timeout_s`."""
    now = record
    for now in _followed(store, home, record, timeout_s):
        if now.state in ENDED:
            break
    return now


def wait_ready(store: Store, home: str, record: RunRecord, *, timeout_s: float) -> RunRecord:
    """Return the service's run when it answers. Raises PlatformError when it has ended, or is not ready in time."""
    name = f"run {record.id[:SHORT_ID]} of {record.function!r}"
    phase = "it has not begun"
    for now in _followed(store, home, record, timeout_s):
        if now.state in ENDED:
            reason = f": {now.message}" if now.message else ""
            where = f"its log is in {now.folder!r}"
            raise PlatformError(f"{name} is no service any more: {now.state}{reason}; {where}")
        admin = now.service.get("admin_url")
        phase = _outage(admin) if admin else now.message or phase
        if admin and not (phase or now.service.get("url")):
            phase = "no address leads to it yet"
        if not phase:
            return now
    raise PlatformError(
        f"{name} is not ready after {timeout_s:g} s: {phase}. It goes on: wait again, see its log, or stop it"
    )


def follow_log(store: Store, home: str, record: RunRecord, *, follow: bool) -> Iterator[bytes]:
    """Yield what the run has printed until now, with `follow` until its end."""
    path, at = os.path.join(record.folder, LOG), 0
    for now in _followed(store, home, record, None) if follow else (record,):
        if not at and now.state in ENDED:
            path = log_path(record.folder)
        for piece in _read_from(path, at):
            at += len(piece)
            yield piece
        if now.state in ENDED:
            return


def stop(store: Store, home: str, record: RunRecord) -> RunRecord:
    """End the run and return it. A service has its grace; what does not end then is killed."""
    record = refresh(store, home, record)
    if record.state in ENDED:
        return record
    if goes_on_there(record.platform, record.action):
        return _stop_remote(store, home, record)
    record = _ask_to_end(store, home, record)
    if record.state not in ENDED:
        for role in ("supervisor", "host"):
            alive.kill(home, record.id, role, signal.SIGKILL)
        record = wait(store, home, record, timeout_s=STOP_SPARE_S)
    if record.state not in ENDED:
        raise PlatformError(f"run {record.id!r} does not end, not even when it is killed; see `ps -ef`")
    return record


def _followed(store: Store, home: str, record: RunRecord, timeout_s: float | None) -> Iterator[RunRecord]:
    """Yield the run as it is now, again and again; a remote one is followed again where who did that was killed."""
    next_at = 0.0
    for _ in _looks(timeout_s):
        if time.monotonic() >= next_at:
            _keep_following(store, home, record)
            next_at = time.monotonic() + FOLLOW_SECONDS
        record = refresh(store, home, record)
        yield record


def _keep_following(store: Store, home: str, record: RunRecord) -> None:
    """See that a remote run that goes on is followed here."""
    if goes_on_there(record.platform, record.action):
        record = refresh(store, home, record)
        if record.state not in ENDED and not alive.is_held(home, record.id):
            supervisor.follow(home, record)


def _stop_remote(store: Store, home: str, record: RunRecord) -> RunRecord:
    get_remote(record.platform).stop(record.folder)
    record = wait(store, home, record, timeout_s=_grace(record) + REMOTE_SPARE_S)
    if record.state not in ENDED:
        raise PlatformError(
            f"run {record.id!r} was asked to end and has not yet; see `nuwrap logs {record.id[:SHORT_ID]}` and the "
            "cluster's own tools"
        )
    return record


def _ask_to_end(store: Store, home: str, record: RunRecord) -> RunRecord:
    """Send the stop, to the host too where the supervisor dies before it has handed it on; wait for the end."""
    told: set[str] = set()
    for _ in _looks(_grace(record) + STOP_SPARE_S):
        # A supervisor that was only just being started is ended by the stop before it can say so.
        record = refresh(store, home, record, lost_code=STOPPED_CODE if told else None)
        if record.state in ENDED:
            break
        role = alive.who_runs(home, record.id)
        if role not in told:
            alive.kill(home, record.id, role, signal.SIGTERM)
            told.add(role)
    return record


def resume(store: Store, home: str, record: RunRecord, *, say: Callable[[str], None]) -> RunRecord:
    """Start an ended run again with what it was given, in a folder of its own. Raises StoreError for one that goes on.

    Raises NotFound when its function's version was deleted.
    """
    from nuwrap.runs.again import start_again

    return start_again(store, home, refresh(store, home, record), say=say)


def _looks(timeout_s: float | None) -> Iterator[None]:
    """Yield at once, then after pauses that grow, and once more at the end of the time."""
    began = time.monotonic()
    while True:
        yield
        waited = time.monotonic() - began
        left = POLL_SECONDS[1] if timeout_s is None else timeout_s - waited
        if left <= 0:
            return
        time.sleep(min(left, max(POLL_SECONDS[0], min(POLL_SECONDS[1], waited / PATIENCE))))


def _outage(admin_url: str) -> str:
    """Return why the service is not ready, as its second port tells it; "" when it is."""
    parts = urlsplit(admin_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=READY_TIMEOUT_S)
    try:
        connection.request("GET", "/ready")
        reply = connection.getresponse()
        told = json.loads(reply.read(READ_BYTES))
    except (OSError, ValueError, http.client.HTTPException) as exc:
        return f"{admin_url}/ready does not answer ({exc!r})"
    finally:
        connection.close()
    return "" if reply.status == 200 else str(told.get("reason") or told.get("phase") or f"status {reply.status}")


def _read_from(path: str, at: int) -> Iterator[bytes]:
    with suppress(FileNotFoundError), open(path, "rb") as stream:  # it has not begun, or its folder was removed
        stream.seek(at)
        while piece := stream.read(READ_BYTES):
            yield piece


def _grace(record: RunRecord) -> float:
    grace = record.spec.get("grace_s")
    return float(grace) if isinstance(grace, (int, float)) else 30.0
