"""Who runs a run: this process, for a person on a terminal, or one of its own that outlives the caller."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any

from nuwrap.builds import attending
from nuwrap.command import Command, hide_environment, own_program, start_detached
from nuwrap.errors import NotFound, NuwrapError
from nuwrap.platforms import REMOTE, GoesOn, Screen, get_platform, goes_on_there
from nuwrap.platforms import Placed as PlacedHere
from nuwrap.platforms.run_folder import LOG, open_log
from nuwrap.runs import alive, collect
from nuwrap.runs.followers import hand_over
from nuwrap.runs.whole_log import complete, fetch_left
from nuwrap.store import ERROR, PENDING, RUNNING, STOPPED, RunRecord, Store, open_store
from nuwrap.store.secrets import Secrets

if TYPE_CHECKING:
    from nuwrap.runs.order import Placed

ADDRESSES = "service.json"  # the host writes it when both ports are bound
LOOK_SECONDS = 0.02
LATE_SECONDS = 1.0  # of a service that has an address, for a better one
STOPPED_CODE = 143


def start(home: str, placed: Placed) -> RunRecord:
    """Start the run in a process of its own and return its record. Raises PlatformError; the run has ended then."""
    record, held = placed.record, placed.held
    try:
        if goes_on_there(record.platform, record.action):
            hand_over(home, record.id, held, placed.here)
        else:
            _launch(home, record, placed.here, held)
    except BaseException as exc:
        with closing(open_store(home)) as store:
            _end(store, record, ERROR, f"platform: {exc}")
        alive.release(home, record.id, held)
        raise
    return record


def follow(home: str, record: RunRecord) -> None:
    """Let a process of its own follow a remote run that nobody here follows; one that is followed stays so.

    Raises PlatformError when it cannot be started.
    """
    try:
        held = alive.take(home, record.id)
    except NuwrapError:
        return
    try:
        os.makedirs(record.folder, mode=0o700, exist_ok=True)
        hand_over(home, record.id, held, PlacedHere(record.folder, os.getcwd(), dict(os.environ)))
    except BaseException:
        alive.release(home, record.id, held)
        raise


def _launch(home: str, record: RunRecord, here: PlacedHere, held: int) -> None:
    """Start the supervisor's process, which has the lock then. Raises PlatformError."""
    # Until the supervisor takes a stop itself one ends it: the lock goes, and who asks next sees a run of nobody.
    argv = own_program(__name__, home, record.id, str(held), is_bare=True)
    command = Command(argv, here.environ, cwd=here.start, keep_open=(held,))
    pid = start_detached(command, log=os.path.join(record.folder, LOG))
    alive.add_process(held, "supervisor", pid)
    os.close(held)


def attend(store: Store, home: str, placed: Placed, screen: Screen) -> tuple[int, RunRecord]:
    """Run the run in this process, printing to the screen; return its exit code and its record. It has ended then.

    Raises GoesOn for a remote one that has not: it is left as it is.
    """
    alive.add_process(placed.held, "supervisor", os.getpid())
    try:
        code = _attend(store, placed.record, placed.here, placed.held, placed.secrets, screen) or 0
        return code, _finish(store, placed.record, code, screen)
    except GoesOn:
        raise
    except NuwrapError as exc:
        _end(store, placed.record, ERROR, f"{exc.phase}: {exc}")
        raise
    except BaseException:  # a stop from before the host was there to take it
        _end(store, placed.record, STOPPED, "stopped before it began")
        raise
    finally:
        alive.release(home, placed.record.id, placed.held)


def main(home: str, run: str, held: str) -> int:
    """Be the supervisor of a run; what it has to say itself goes to standard error, which is the run's log."""
    hide_environment()
    lock = int(held)
    os.set_inheritable(lock, False)  # noqa: FBT003 - the function's own children shall not keep the run alive
    signal.signal(signal.SIGTERM, _raise_stop)
    with closing(open_store(home)) as store:
        try:
            return supervise(store, home, run, lock, os.getcwd())
        except (NuwrapError, OSError) as exc:  # the next who asks for the run ends it in the history
            print(f"nuwrap: {exc}", file=sys.stderr)
            return getattr(exc, "exit_code", 10)
        finally:
            alive.release(home, run, lock)


def supervise(store: Store, home: str, run: str, held: int, start_at: str) -> int:
    """Be with a run to its end, and return an exit code: of what became of it here, where that goes on elsewhere.

    `start_at` is the folder that its process starts in. Raises NuwrapError, OSError where the history cannot be used.
    """
    record = store.get_run(run)
    if not record:
        return 0
    here = PlacedHere(record.folder, start_at, dict(os.environ))
    try:
        secrets = _read_secrets(home, record)
        code = _attend(store, record, here, held, secrets, Screen(is_detached=True))
    except GoesOn as exc:
        return exc.exit_code
    except NuwrapError as exc:
        _end(store, record, ERROR, f"{exc.phase}: {exc}")
        return exc.exit_code
    except _Stop:
        if not goes_on_there(record.platform, record.action):
            _end(store, record, STOPPED, "stopped before it began")
        return STOPPED_CODE
    if code is None:
        return 0
    if not goes_on_there(record.platform, record.action):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is over; what it has left is kept
    _finish(store, record, code, Screen(is_detached=True))
    return 0


def _read_secrets(home: str, record: RunRecord) -> dict[str, str]:
    """Return the run's secrets; of what a cluster does those that are here, as it has its own. Raises NotFound."""
    kept, found = Secrets(home), {}
    for name in record.spec.get("secrets", ()):
        try:
            found[name] = kept.get(record.project, name)
        except NotFound:
            if record.platform not in REMOTE:
                raise
    return found


class _Stop(BaseException):
    """A stop that came while no host was there to take it."""


def _raise_stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stop


def _attend(
    store: Store, record: RunRecord, here: PlacedHere, held: int, secrets: Mapping[str, str], screen: Screen
) -> int | None:
    """Run the host to its end and return its exit code, None for a remote run that goes on; the history hears when it
    has begun.
    """
    has_ended = threading.Event()

    def begin(pid: int) -> None:
        alive.add_process(held, "host", pid)
        if record.action == "serve":
            threading.Thread(target=_tell_addresses, args=(store, record, has_ended), daemon=True).start()
        else:
            with suppress(NuwrapError):  # it runs, be that written down or not
                store.change_run(record.id, RUNNING)

    def wait(reason: str) -> None:
        with suppress(NuwrapError):
            store.change_run(record.id, PENDING, reason)

    # The host holds the lock too: a job goes on when its supervisor is killed, and so does the run.
    shown = replace(
        screen,
        on_start=begin,
        on_wait=wait,
        keep_open=(*screen.keep_open, held),
        fetch_left=lambda name: fetch_left(record, name),
    )
    try:
        if record.action == "build":
            return attending.attend(here, secrets=secrets, screen=shown)
        return get_platform(record.platform).attend(here, record.action, secrets=secrets, screen=shown)
    finally:
        has_ended.set()


def _tell_addresses(store: Store, record: RunRecord, has_ended: threading.Event) -> None:
    """Enter RUNNING when the service listens, and its address, which a cluster may give later, or replace."""
    path = os.path.join(record.folder, ADDRESSES)
    known: dict[str, Any] = {}
    while not has_ended.wait(LATE_SECONDS if known.get("address") else LOOK_SECONDS):
        with suppress(FileNotFoundError), open(path, encoding="utf-8") as stream:
            told = json.load(stream)
            if told == known:
                continue
            known, more = told, told.get("more", {})
            service = {"url": told["address"], "admin_url": told["admin"], **more}
            waits_for = more.get("waits_for", "")
            with suppress(NuwrapError):  # it serves, be that written down or not
                store.change_run(record.id, RUNNING, waits_for, service=service)
            if told["address"] and not waits_for:
                return


def _finish(store: Store, record: RunRecord, code: int, screen: Screen) -> RunRecord:
    def say(text: str) -> None:
        with open_log(record.folder) as log:
            screen.tell(text, log)

    try:
        complete(record, say)
        return collect.finish(store, record, code)
    except NotFound:  # deleted meanwhile, with its project
        return record


def _end(store: Store, record: RunRecord, state: str, message: str) -> None:
    """End a run of which nothing is left."""
    with suppress(NuwrapError):  # who asks next ends it
        code = STOPPED_CODE if state == STOPPED else 10
        store.finish_run(record.id, state, message, exit_code=code, outputs={}, result={})
