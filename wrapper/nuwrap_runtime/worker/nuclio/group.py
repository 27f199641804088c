"""The worker's process group: what the function has started ends with the worker, however that ends."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import NoReturn

from nuwrap_runtime.worker.nuclio import memory

GRACE_SECONDS = 1.0  # for a child to end by itself


class Group:
    """The group that this process leads, if it can. `place` is the same for a worker that is started in its stead."""

    def __init__(self, place: str) -> None:
        self._pid = os.getpid()
        self._rest = re.sub(r"[^\w-]", "_", f"{os.getppid()}-{place}")[:150]
        self._prefix = memory.prefix_of("worker")
        self._is_own = False

    def lead(self) -> None:
        """Lead it, so that a Ctrl-C is the processor's; end what a killed worker before this one has left."""
        try:
            os.setpgid(0, 0)
        except OSError:  # a session's leader cannot, and need not
            pass
        self._is_own = os.getpgid(0) == self._pid
        self._end_former()
        if self._is_own:
            try:
                os.close(memory.create(f"{self._prefix}{self._pid}-{self._rest}"))
            except OSError:  # no such folder, or no room
                pass

    def end(self) -> None:
        """End all others of the group, by force those that do not want to; this process goes on, outside of it."""
        if not self._is_own or os.getpid() != self._pid:
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(self._pid, signal.SIGTERM)
        memory.remove(os.path.join(memory.FOLDER, f"{self._prefix}{self._pid}-{self._rest}"))
        try:
            os.setpgid(0, os.getpgid(os.getppid()))
        except OSError:  # it leads a session, or its parent is in another
            return
        until = time.monotonic() + GRACE_SECONDS
        while self._has_members():
            if time.monotonic() > until:
                os.killpg(self._pid, signal.SIGKILL)
                return
            time.sleep(0.01)

    def kill(self, code: int) -> NoReturn:
        """End all of it at once, this process with `code` when it is not the leader."""
        if self._is_own and os.getpgid(0) == self._pid:
            os.killpg(self._pid, signal.SIGKILL)
        os._exit(code)

    def _has_members(self) -> bool:
        try:
            while os.waitpid(-self._pid, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        try:
            os.killpg(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _end_former(self) -> None:
        """End the group of a worker that was killed (eventTimeout): the processor ends that process alone."""
        for pid, rest, path in memory.left_files(self._prefix):
            processor = rest.partition("-")[0]
            if rest == self._rest:
                try:
                    os.killpg(pid, signal.SIGKILL)
                except OSError:  # nobody is left of it
                    pass
                memory.remove(path)
            elif processor.isdigit() and memory.is_gone(int(processor)):
                memory.remove(path)
