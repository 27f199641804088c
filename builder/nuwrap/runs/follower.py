"""The process that follows remote runs: a thread for each, one watch of a namespace for all."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import closing, suppress
from types import FrameType
from typing import Final

from nuwrap.command import hide_environment, stop_threads
from nuwrap.errors import NuwrapError
from nuwrap.platforms import share_watches
from nuwrap.platforms.run_folder import open_log
from nuwrap.runs import alive, followers, supervisor
from nuwrap.store import Store, open_store

FILES: Final = 65536
LOOK_S: Final = 0.5
IDLE_S: Final = 5.0  # from the last run's end to this process's
HAND_OVER_S: Final = 10.0
STOP_S: Final = 20.0  # for what is half submitted
STACK_BYTES: Final = 1024 * 1024


def main(home: str, name: str, listener: str) -> int:
    """Follow what is handed over until nothing is left; a SIGTERM leaves the runs as they are, in the cluster."""
    hide_environment()
    raise_file_limit()
    threading.stack_size(STACK_BYTES)
    share_watches()
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    with socket.socket(fileno=int(listener)) as waiting, closing(open_store(home)) as store:
        waiting.settimeout(0)
        os.set_inheritable(waiting.fileno(), False)  # noqa: FBT003 - not for a log-in's program
        Follower(home, name, store).take(waiting, stopped)
    return 0


def raise_file_limit() -> None:
    """Let this process open as many files as it may: a run needs a handful."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Follower:
    """The runs that are followed here."""

    def __init__(self, home: str, name: str, store: Store) -> None:
        self._home, self._name, self._store = home, name, store
        self._start_at = os.getcwd()  # that folder may be gone later
        self._threads: list[threading.Thread] = []

    def take(self, waiting: socket.socket, stopped: threading.Event) -> None:
        """Take runs over and follow them; return when there was none for a while, or after a stop."""
        idle_since = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(waiting, selectors.EVENT_READ)
            while not stopped.is_set():
                if selector.select(LOOK_S):
                    self._accept(waiting)
                self._threads = [one for one in self._threads if one.is_alive()]
                if self._threads:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > IDLE_S and self._is_done(waiting):
                    return
        with followers.exclusive(self._home, self._name):
            followers.forget(self._home, self._name)
        stop_threads(signal.SIGTERM)
        until = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _is_done(self, waiting: socket.socket) -> bool:
        """Tell whether nothing came meanwhile, and nothing can come any more."""
        with followers.exclusive(self._home, self._name, waits=False) as is_alone:
            if not is_alone or self._accept(waiting):
                return False
            followers.forget(self._home, self._name)
            return True

    def _accept(self, waiting: socket.socket) -> bool:
        try:
            connection, _address = waiting.accept()
        except BlockingIOError:
            return False
        with connection:
            connection.settimeout(HAND_OVER_S)
            try:
                run, held = followers.receive(connection)
            except (
                OSError,
                ValueError,
            ):  # who handed it over was killed, and the lock is gone
                return True
        alive.add_process(held, "supervisor", os.getpid())
        thread = threading.Thread(target=self._follow, args=(run, held), daemon=True)
        self._threads.append(thread)
        thread.start()
        return True

    def _follow(self, run: str, held: int) -> None:
        try:
            supervisor.supervise(self._store, self._home, run, held, self._start_at)
        except (NuwrapError, OSError) as exc:  # the history, or the run's folder; who asks next for the run says so too
            self._tell(run, str(exc))
        except Exception:  # noqa: BLE001 - a fault of ours, which belongs into this run's log and ends no other's following
            self._tell(run, traceback.format_exc())
        finally:
            alive.release(self._home, run, held)

    def _tell(self, run: str, text: str) -> None:
        """Write into the run's log why it is not followed; where that cannot be, to this process's, another run's."""
        line = f"nuwrap: run {run}: {text}\n"
        with suppress(NuwrapError, OSError):
            record = self._store.get_run(run)
            if record:
                with open_log(record.folder) as log:
                    os.write(log, line.encode())
                return
        sys.stderr.write(line)
