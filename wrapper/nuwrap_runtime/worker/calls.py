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

_DONE = frozenset({str, bytes, dict, list, tuple, type(None), int, float, bool})


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
        """Return what the function returns; a coroutine's value, a generator as it is.

        A child that the function forked does not come back from here: the answer is its parent's.
        """
        try:
            value = function(*positional, **named)
            if type(value) not in _DONE and inspect.isawaitable(value):
                value = self._run_async(value)
        except BaseException as exc:  # whatever the user's function raises, his forked child ends with it
            self.end_child(exc)
            raise
        self.end_child(None)
        return value

    def consume(self, values: Any, put: Callable[[Any], None]) -> None:
        """Call `put` with each value of a sync or async generator, which is closed when `put` raises."""
        try:
            if inspect.isasyncgen(values):
                self._run_async(self._consume_async(values, put))
            else:
                self._consume_sync(values, put)
        except BaseException as exc:  # as in `call`
            self.end_child(exc)
            raise
        self.end_child(None)

    def _consume_sync(self, values: Any, put: Callable[[Any], None]) -> None:
        try:
            for value in values:
                self.end_child(None)
                put(value)
        finally:
            values.close()

    async def _consume_async(self, values: Any, put: Callable[[Any], None]) -> None:
        try:
            async for value in values:
                self.end_child(None)
                put(value)
        finally:
            await values.aclose()

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

    def cancel(self) -> None:
        """Cancel the coroutine under way. To be called in the event loop."""
        if self._task is not None:
            self._task.cancel()

    @property
    def loop(self) -> Any:
        """The one event loop of this worker, made when first asked for: asyncio costs 25 ms."""
        if self._loop is None:
            import asyncio

            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop

    def _run_async(self, awaitable: Any) -> Any:
        import asyncio

        self._task = self.loop.create_task(outcome(awaitable))
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

    def close(self) -> None:
        """End what the user's code left in the event loop, as `asyncio.run` does: cancel it and let it finish."""
        if self._loop is None:
            return
        import asyncio

        tasks = asyncio.all_tasks(self._loop)
        for one in tasks:
            one.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    def end_child(self, exc: Optional[BaseException]) -> None:
        """End the process as a script that ends so, when it is a child that the user's code forked."""
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


async def outcome(awaitable: Any) -> tuple[Any, Optional[BaseException]]:
    """Return value and exception: raised through the loop it would come with the loop's frames, or as a copy (3.9)."""
    try:
        return await awaitable, None
    except BaseException as exc:  # noqa: BLE001 - the user's function may raise anything; it is raised again outside
        return None, exc
