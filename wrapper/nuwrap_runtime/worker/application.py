"""The user's function, loaded: init, calls, and what they become, for one worker."""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, Callable, NoReturn, Optional

from nuwrap_runtime import entities
from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.result import Failure
from nuwrap_runtime.worker import binding, loader, protocol, replies
from nuwrap_runtime.worker.connection import Connection
from nuwrap_runtime.worker.context import Context, Logger
from nuwrap_runtime.worker.event import Event, TriggerInfo
from nuwrap_runtime.worker.spec import WorkerSpec


class Terminated(SystemExit):
    """SIGTERM, raised where the user's code is, so that his `finally` and `with` blocks run."""


class Application:
    """Everything a worker knows of the user's function."""

    def __init__(self, spec: WorkerSpec, options: Mapping[str, str], logger: Logger) -> None:
        self.spec = spec
        self.logger = logger
        self.phase = "load"
        self.warnings: list[str] = []
        journal = entities.Journal(spec.outputs)
        self.project = entities.Project(spec, journal)
        self.run = entities.Run(spec, journal)
        self.journal = journal
        self.context = Context(
            logger=logger,
            trigger=TriggerInfo(options.get("trigger-kind", "http"), options.get("trigger-name", "http")),
            worker_id=options.get("worker-id", "0"),
            project=self.project,
            run=self.run,
            root=spec.root,
        )
        self.function: Callable[..., Any] = _not_loaded
        self._binding: Optional[binding.Binding] = None
        self._values: Mapping[str, Any] = {}
        self._loop: Any = None

    def warn(self, text: str) -> None:
        """Log a warning and keep it for the result."""
        self.warnings.append(text)
        self.logger.warning(text)

    def failure(self, exc: BaseException) -> Failure:
        """Return the exception as a failure of the phase under way."""
        if isinstance(exc, NuwrapError):
            return Failure(phase=exc.phase, type=type(exc).__name__, message=str(exc))
        from nuwrap_runtime.worker.tracebacks import failure_of

        return failure_of(exc, self.phase, self.spec.root)

    def load(self) -> None:
        """Import the handler's module and decide how its arguments are bound."""
        self.phase = "load"
        spec = self.spec
        self.function = loader.load_callable(spec.handler, default_module=spec.default_module, root=spec.root)
        self.context.user_function = self.function
        if spec.mode == "check":
            return
        self._binding = binding.plan_binding(self.function, spec)
        self._values = {
            **spec.parameters,
            **{name: self.project.entity(key) for name, key in spec.inputs.items()},
        }

    def init(self) -> None:
        """Call `init_function`, or plain Nuclio's `init_context(context)` of the handler's module when there is one."""
        self.phase = "init"
        if self.spec.init_function:
            function = self._load_init(self.spec.init_function)
            self._finish(function(**binding.init_arguments(function, self.context, self.spec.init_parameters)))
            return
        module = sys.modules.get(getattr(self.function, "__module__", ""), None)
        plain = getattr(module, "init_context", None)
        if plain is not None:
            self._finish(plain(self.context))

    def _load_init(self, reference: str) -> Callable[..., Any]:
        module = self.spec.handler.rpartition(":")[0] or self.spec.default_module
        return loader.load_callable(reference, default_module=module, root=self.spec.root, what="init_function")

    def serve(self, connection: Connection, unpack: Callable[..., Any]) -> None:
        """Answer every frame with exactly one reply, until the host closes the socket."""
        pid = os.getpid()
        for frame in connection.frames():
            begin = time.perf_counter()
            try:
                message = unpack(frame, raw=False, unicode_errors="surrogateescape")
                answer = self._answer(message)
            except Exception as exc:  # noqa: BLE001 - a frame that is no event must not shift later answers
                self.logger.error(f"an event could not be answered: {exc}")
                answer = replies.error_reply(500, "the event could not be answered", "")
            if os.getpid() != pid:  # a child that the user's code forked came back here: the answer is its parent's
                os._exit(0)
            metric = json.dumps({"duration": max(time.perf_counter() - begin, 1e-9)}).encode("ascii")
            connection.send(protocol.encode_line(protocol.METRIC, metric) + protocol.encode_reply(answer))

    def _answer(self, message: Any) -> protocol.Reply:
        if not isinstance(message, dict):
            return replies.error_reply(501, "batches of events are not supported", "")
        event = Event(message)
        if self.spec.mode == "check":
            return _json_reply(binding.describe(self.function, self.spec))
        if self.spec.mode == "job":
            from nuwrap_runtime.worker import job

            return _json_reply(job.answer(self, event))
        return self._answer_event(event)

    def _answer_event(self, event: Event) -> protocol.Reply:
        request = str(event.id or "")
        try:
            return replies.to_reply(self.call(event), request)
        except binding.Unprocessable as exc:
            return replies.error_reply(422, str(exc), request)
        except Exception as exc:  # noqa: BLE001 - the user's handler may raise anything
            return self._exception_reply(exc, request)
        except SystemExit as exc:
            return self._exception_reply(exc, request)

    def _exception_reply(self, exc: BaseException, request: str) -> protocol.Reply:
        from nuwrap_runtime.worker.tracebacks import print_traceback

        print_traceback(exc)
        return replies.exception_reply(exc, request)

    def call(self, event: Event) -> Any:
        """Return what the handler returns for the event; a generator's values come as a list."""
        self.phase = "handler"
        injected = {"project": self.project, "run": self.run, "context": self.context, "event": event}
        if self._binding is None:
            raise RuntimeError("the function is called before it is loaded")
        positional, named = self._binding.arguments(injected, self._values, event)
        return self._finish(self.function(*positional, **named))

    def _finish(self, value: Any) -> Any:
        """Run what the call left to be run: a coroutine, a generator."""
        if inspect.isgenerator(value):
            return list(value)
        if inspect.isasyncgen(value):
            return self._run_async(_collect(value))
        return self._run_async(value) if inspect.isawaitable(value) else value

    def _run_async(self, awaitable: Any) -> Any:
        """Run in this worker's own loop: what init_function opened in it stays usable."""
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(_await(awaitable))
        if self.spec.mode == "job":
            self._loop.add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            return self._loop.run_until_complete(task)
        except asyncio.CancelledError as exc:
            raise Terminated(143) from exc


async def _await(awaitable: Any) -> Any:
    return await awaitable


async def _collect(values: Any) -> list[Any]:
    return [value async for value in values]


def _json_reply(document: Mapping[str, Any]) -> protocol.Reply:
    return protocol.Reply(json.dumps(document), content_type="application/json")


def _not_loaded(*_args: Any, **_named: Any) -> NoReturn:
    raise RuntimeError("the function is not loaded yet")
