"""One event as a job: the handler's value becomes results and output files, the reply says which."""

from __future__ import annotations

import time
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

from nuwrap_runtime.decorator import declared_outputs
from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.worker.calls import Terminated
from nuwrap_runtime.worker.outputs import OutputWriter

if TYPE_CHECKING:
    from nuwrap_runtime.worker.application import Application
    from nuwrap_runtime.worker.event import Event


def answer(application: Application, event: Event) -> dict[str, Any]:
    """Call the handler once and return `{"results", "outputs", "metrics", "failure", "seconds", "warnings"}`.

    A SIGTERM meanwhile is raised in the handler (`Terminated`) and leaves this function: the host knows why.
    """
    document: dict[str, Any] = {"results": {}, "outputs": {}, "metrics": {}, "seconds": {}}
    try:
        _run(application, event, document)
    except Terminated:
        raise
    except BaseException as exc:  # noqa: BLE001 - the user's handler may raise anything, SystemExit included
        document["failure"] = application.failure(exc).to_document()
        if not isinstance(exc, NuwrapError):
            from nuwrap_runtime.worker.tracebacks import print_traceback

            print_traceback(exc)
    try:
        _add_logged(application, document)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as exc:  # the user's code can write there too
        document.setdefault("failure", {"phase": "outputs", "type": type(exc).__name__, "message": str(exc)})
    document["warnings"] = application.warnings
    return document


def _run(application: Application, event: Event, document: dict[str, Any]) -> None:
    spec = application.spec
    names = declared_outputs(application.function)
    writer = OutputWriter(spec.outputs, spec.root, names, spec.project, application.warn, keeps_files=spec.keep_outputs)
    begin = time.perf_counter()
    try:
        value = _whole(application, application.call(event))
    finally:
        handled = time.perf_counter()
        document["seconds"]["handler"] = handled - begin
    application.phase = "outputs"
    collected = writer.collect(value)
    document["results"], document["outputs"] = collected.results, collected.outputs
    document["seconds"]["outputs"] = time.perf_counter() - handled


def _whole(application: Application, value: Any) -> Any:
    """Return a generator's values as a list, any other value as it is."""
    if not isinstance(value, (GeneratorType, AsyncGeneratorType)):
        return value
    values: list[Any] = []
    application.caller.consume(value, values.append)
    return values


def _add_logged(application: Application, document: dict[str, Any]) -> None:
    """Add what the function logged; what it returned wins where both have a name."""
    from nuwrap_runtime.journal import Journal  # also when no entity was made here: a child may have logged

    logged = Journal(application.spec.outputs).read()
    document["outputs"] = {**logged.outputs, **document["outputs"]}
    document["metrics"] = logged.metrics
    if logged.bad:
        application.warn(f"{logged.bad} lines of the journal in the outputs folder are no entries and are left out")
