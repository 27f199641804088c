"""The user's function, loaded: init, calls, and what they become, for one worker."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, NoReturn, Optional

from nuwrap_runtime.decorator import declared_outputs
from nuwrap_runtime.worker import binding, files, loader, replies
from nuwrap_runtime.worker.calls import Caller
from nuwrap_runtime.worker.context import Context, Logger
from nuwrap_runtime.worker.event import Event, TriggerInfo
from nuwrap_runtime.worker.spec import WorkerSpec

if TYPE_CHECKING:
    from nuwrap_runtime.entities import Project, Run
    from nuwrap_runtime.result import Failure


class Application:
    """Everything a worker knows of the user's function."""

    def __init__(self, spec: WorkerSpec, options: Mapping[str, str], logger: Logger) -> None:
        self.spec = spec
        self.logger = logger
        self.phase = "load"
        self.warnings: list[str] = []
        self.caller = Caller()
        self.context = Context(
            logger=logger.copy(),  # the level that the user sets is not ours
            trigger=TriggerInfo(options.get("trigger-kind", "http"), options.get("trigger-name", "http")),
            worker_id=options.get("worker-id", "0"),
            root=spec.root,
            find_entities=self.find_entities,
        )
        self.function: Callable[..., Any] = _not_loaded
        self._init: Optional[Callable[..., Any]] = None
        self._binding: Optional[binding.Binding] = None
        self._values: dict[str, Any] = {}
        self.returns = replies.NUCLIO
        self._is_plain = False  # called as plain Nuclio calls it, with nothing to bind
        self._entities: Optional[tuple[Project, Run]] = None

    def find_entities(self) -> tuple[Project, Run]:
        """Return project and run, made when the function first asks: importing them costs 2 ms."""
        if self._entities is None:
            from nuwrap_runtime import entities

            journal = entities.Journal(self.spec.outputs)
            self._entities = entities.Project(self.spec, journal), entities.Run(self.spec, journal)
        return self._entities

    def warn(self, text: str) -> None:
        """Log a warning and keep it for the result."""
        self.warnings.append(text)
        self.logger.warning(text)

    def failure(self, exc: BaseException) -> Failure:
        """Return the exception as a failure of the phase under way."""
        from nuwrap_runtime.worker.tracebacks import failure_of

        return failure_of(exc, self.phase, self.spec.root)

    def load(self) -> None:
        """Import the modules of handler and init function and decide how their arguments are bound."""
        self.phase = "load"
        spec = self.spec
        make = spec.mode != "check"
        self.function = loader.load_callable(
            spec.handler, default_module=spec.default_module, root=spec.root, make_instance=make
        )
        self.context.user_function = self.function
        self._init = self._load_init()
        if not make:
            return
        self._binding = binding.plan_binding(self.function, spec)
        self._values = dict(spec.parameters)
        if spec.inputs:
            project = self.find_entities()[0]
            self._values.update((name, project.entity(key)) for name, key in spec.inputs.items())
        self.returns = self._plan_returns(is_named=not self._binding.leading)
        self._is_plain = self._binding.leading == ("context", "event") and not self._binding.slots and not self._values

    def _plan_returns(self, *, is_named: bool) -> replies.Returns:
        """Return what decides how values are sent; names that Nuclio does not know change nothing of its replies."""
        if not is_named:
            return replies.NUCLIO
        names = [one if isinstance(one, str) else str(one["name"]) for one in declared_outputs(self.function)]
        return replies.Returns(is_named, tuple(names), files.own_folders(self.spec.root))

    def _load_init(self) -> Optional[Callable[..., Any]]:
        """Return `init_function`, else plain Nuclio's `init_context` beside the handler, when there is one."""
        spec = self.spec
        module = spec.handler.rpartition(":")[0] or spec.default_module
        if spec.init_function:
            return loader.load_callable(spec.init_function, default_module=module, root=spec.root, what="init_function")
        return self._beside_handler("init_context")

    def _beside_handler(self, name: str) -> Optional[Callable[..., Any]]:
        """Return what plain Nuclio finds by its name: in the module that defines the function, else the handler's."""
        module = self.spec.handler.rpartition(":")[0] or self.spec.default_module
        for one in (getattr(self.function, "__module__", ""), module):
            found = getattr(sys.modules.get(one), name, None)
            if callable(found):
                return found  # type: ignore[no-any-return]  # a user's module is untyped
        return None

    @property
    def has_init(self) -> bool:
        """Whether there is something to call before the first event."""
        return self._init is not None

    def init(self) -> None:
        """Call the init function, if there is one; `init_context` gets the context alone."""
        self.phase = "init"
        if self._init is None:
            return
        if self.spec.init_function:
            named = binding.init_arguments(self._init, self.context, self.spec.init_parameters)
            self.caller.call(self._init, (), named)
        else:
            self.caller.call(self._init, (self.context,), {})

    def shut_down(self) -> None:
        """Call the `shutdown(context)` beside the handler, if there is one; what it raises is logged."""
        self.phase = "shutdown"
        try:
            found = self._beside_handler("shutdown")
            if found is not None:
                self.logger.debug_with("shutdown begins", nuwrap_phase="shutdown")  # for the host, as that of init
                self.caller.call(found, (self.context,), {})
            self.caller.close()
        except BaseException as exc:  # noqa: BLE001 - the user's function may raise anything
            from nuwrap_runtime.worker.tracebacks import log_exception

            log_exception(self.logger, exc)

    def call(self, event: Event) -> Any:
        """Return what the handler returns for the event; a coroutine's value, a generator as it is."""
        positional, named = self.arguments(event)
        return self.caller.call(self.function, positional, named)

    def arguments(self, event: Event) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the named arguments of one call. Raises Unprocessable."""
        self.phase = "handler"
        if self._is_plain:
            return [self.context, event], {}
        if self._binding is None:
            raise RuntimeError("the function is called before it is loaded")
        return self._binding.arguments(_Injected(self, event), self._values, event)


class _Injected(dict[str, Any]):
    """What the reserved names give, project and run made when one of them is asked for."""

    def __init__(self, application: Application, event: Event) -> None:
        super().__init__(context=application.context, event=event)
        self._application = application

    def __missing__(self, name: str) -> Any:
        project, run = self._application.find_entities()
        return run if name == "run" else project


def _not_loaded(*_args: Any, **_named: Any) -> NoReturn:
    raise RuntimeError("the function is not loaded yet")
