"""One event as a job: the handler's value becomes results and output files, the reply says which."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import TYPE_CHECKING, Any, Optional

from nuwrap_runtime.errors import NuwrapError
from nuwrap_runtime.worker.outputs import OutputWriter

if TYPE_CHECKING:
    from nuwrap_runtime.worker.application import Application
    from nuwrap_runtime.worker.event import Event


def answer(application: Application, event: Event) -> dict[str, Any]:
    """Call the handler once and return `{"results", "outputs", "metrics", "failure", "seconds", "warnings"}`.

    A SIGTERM meanwhile is raised in the handler (`Terminated`) and leaves this function: the host knows why.
    """
    document: dict[str, Any] = {"results": {}, "outputs": {}, "seconds": {}}
    begin = time.perf_counter()
    try:
        writer = _writer(application)
        signal.signal(signal.SIGTERM, _terminate)
        value = application.call(event)
        document["seconds"]["handler"] = time.perf_counter() - begin
        _collect(application, writer, value, document)
    except BaseException as exc:  # noqa: BLE001 - the user's handler may raise anything, SystemExit included
        _fail(application, exc, document, begin)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logged = application.journal.read()
    document["outputs"] = {**logged.outputs, **document["outputs"]}
    document["metrics"] = logged.metrics
    document["warnings"] = application.warnings
    return document


def _writer(application: Application) -> OutputWriter:
    spec = application.spec
    names = getattr(application.function, "__nuwrap_outputs__", ())
    return OutputWriter(spec.outputs, spec.root, names, spec.project, application.warn)


def _collect(application: Application, writer: OutputWriter, value: Any, document: dict[str, Any]) -> None:
    begin = time.perf_counter()
    application.phase = "outputs"
    collected = writer.collect(value)
    document["results"], document["outputs"] = collected.results, collected.outputs
    document["seconds"]["outputs"] = time.perf_counter() - begin


def _fail(application: Application, exc: BaseException, document: dict[str, Any], begin: float) -> None:
    from nuwrap_runtime.worker.application import Terminated

    if isinstance(exc, Terminated):
        raise exc
    document["seconds"].setdefault("handler", time.perf_counter() - begin)
    document["failure"] = application.failure(exc).to_document()
    if not isinstance(exc, NuwrapError):
        from nuwrap_runtime.worker.tracebacks import print_traceback

        print_traceback(exc)


def _terminate(_number: int, _frame: Optional[FrameType]) -> None:
    from nuwrap_runtime.worker.application import Terminated

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: the host kills what does not end within the grace
    raise Terminated(143)
