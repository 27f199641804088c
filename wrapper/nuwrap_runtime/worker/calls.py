"""Calling the user's code: what a call leaves to be run is run, a child that it forked ends, a stop reaches it."""

from __future__ import annotations

import _thread
import inspect
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Callable, Optional

from nuwrap_runtime.worker.protocol import WAKE


class Terminated(SystemExit):
    """SIGTERM, raised where the user's code is, so that his `finally` and `with` blocks run."""


class Caller:
    """One worker's calls, all in one event loop: what init_function opened in it stays usable."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop: Any = None
        self._task: Any = None
        self._is_stopping = False
        self._masks: dict[int, Any] = {}

    def call(self, function: Callable[..., Any], positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """Return what the function returns; a coroutine's value, a generator's values as a list.

        A child that the function forked does not come back from here: the answer is its parent's.
        """
        try:
            value = self._finish(function(*positional, **named))
        except BaseException as exc:  # whatever the user's function raises, his forked child ends with it
            self._end_child(exc)
            raise
        self._end_child(None)
        return value

    def await_stop(self) -> None:
        """Make SIGTERM reach the user's code from now on; a child that he forks it ends as ever."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(WAKE, _wake)
        os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._forget_stop)

    def _hold(self) -> None:
        """Keep SIGTERM back while a fork is under way: it would find our handler in the child, and then none."""
        self._masks[_thread.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _release(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(_thread.get_ident()))

    def _forget_stop(self) -> None:
        if signal.getsignal(signal.SIGTERM) == self._stop:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._release()

    def _stop(self, _number: int, _frame: Optional[FrameType]) -> None:
        """Cancel the coroutine under way, else raise Terminated.

        Once: the host kills what does not end within the grace.
        """
        if self._is_stopping:
            return
        self._is_stopping = True
        if self._task is None:
            raise Terminated(143)
        self._loop.call_soon_threadsafe(self._task.cancel)

    def _finish(self, value: Any) -> Any:
        if inspect.isgenerator(value):
            return list(value)
        if inspect.isasyncgen(value):
            return self._run_async(_collect(value))
        return self._run_async(value) if inspect.isawaitable(value) else value

    def _run_async(self, awaitable: Any) -> Any:
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(_outcome(awaitable))
        try:
            value, exc = self._loop.run_until_complete(self._task)
        except asyncio.CancelledError as cancelled:  # before its first step
            value, exc = None, cancelled
        finally:
            self._task = None
        if isinstance(exc, asyncio.CancelledError) and self._is_stopping:
            raise Terminated(143) from exc
        if exc is not None:
            raise exc
        return value

    def _end_child(self, exc: Optional[BaseException]) -> None:
        if os.getpid() == self._pid:
            return
        from nuwrap_runtime.worker.tracebacks import exit_code, print_traceback

        if exc is not None and not isinstance(exc, SystemExit):
            print_traceback(exc)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # closed, or set to None, by the user's code
                pass
        os._exit(exit_code(exc))


def _wake(_number: int, _frame: Optional[FrameType]) -> None:
    """Nothing: that the signal came has ended a system call, so that a due handler of another runs."""


async def _outcome(awaitable: Any) -> tuple[Any, Optional[BaseException]]:
    """Return value and exception: raised through the loop it would come with the loop's frames, or as a copy (3.9)."""
    try:
        return await awaitable, None
    except BaseException as exc:  # noqa: BLE001 - the user's function may raise anything; it is raised again outside
        return None, exc


async def _collect(values: Any) -> list[Any]:
    return [value async for value in values]
