"""Run a launch once: prepare, start the worker, ask it one event, write down how it ended."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Optional

from nuwrap_runtime.errors import NuwrapError, OutputsError, PlatformError, Stopped
from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.endings import EXIT_CODES, WorkerEnded
from nuwrap_runtime.host.interpreter import probe
from nuwrap_runtime.host.kept_log import KeptLog
from nuwrap_runtime.host.outputs import Upload
from nuwrap_runtime.host.prepare import Prepared, prepare
from nuwrap_runtime.host.report import Report, datetime_now
from nuwrap_runtime.host.results import (
    OUTPUTS,
    RESULT,
    Destination,
    find_destination,
    open_outputs,
    print_result,
    write_result,
)
from nuwrap_runtime.host.workers import TimedOut, Worker
from nuwrap_runtime.host.workspace import open_workspace, socket_folder, undisturbed
from nuwrap_runtime.journal import Journal
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.result import API, COMPLETED, ERROR, SCHEMA, STOPPED, Failure, Result
from nuwrap_runtime.schema import faults
from nuwrap_runtime.worker.protocol import ProtocolError, Reply, make_event

SHOWN_CHARACTERS = 200  # of a result; the whole is in the document


@dataclass(frozen=True)
class Outcome:
    """How the worker's part went: the exit code, and the answer's document (results, outputs, failure …)."""

    exit_code: int
    document: Mapping[str, Any] = field(default_factory=dict)
    failure: Optional[Failure] = None


def run_job(launch: Launch, environ: Mapping[str, str], report: Report) -> int:
    """Run the launch to its end and return the exit code; the result document is written whatever happens."""
    started = datetime_now()
    destination = find_destination(launch, environ)
    open_outputs(destination.folder, launch.run)  # what is another run's stays as it is: no result is written there
    kept = KeptLog(destination, report, environ)
    try:
        return _run(_Run(launch, destination, kept, started), environ, report)
    finally:
        kept.finish()


@dataclass(frozen=True)
class _Run:
    launch: Launch
    destination: Destination
    log: KeptLog
    started: str


def _run(run: _Run, environ: Mapping[str, str], report: Report) -> int:
    launch, destination, folder = run.launch, run.destination, run.destination.folder
    upload: Optional[Upload] = None  # once the address is this run's
    prepared: Optional[Prepared] = None
    try:
        if destination.address:
            asked = Upload(launch, destination, report, environ)
            asked.begin()
            upload = asked
        if launch.keep_log:
            run.log.begin(upload)
        with open_workspace(environ) as workspace:
            prepared = prepare(launch, workspace, environ, report, mode="job", outputs=os.path.join(folder, OUTPUTS))
            outcome = _call(launch, prepared, report)
    except NuwrapError as exc:
        report.error(str(exc))
        outcome = Outcome(exc.exit_code, failure=Failure(exc.phase, type(exc).__name__, str(exc)))
    except OSError as exc:  # a full disk, a folder that was taken away: the run's result says so too
        report.error(f"{report.phase}: {exc}")
        outcome = Outcome(PlatformError.exit_code, failure=Failure(report.phase, type(exc).__name__, str(exc)))
    except Exception as exc:  # noqa: BLE001 - a fault of ours, or what the user's code made of our files: a result all the same
        report.error(f"{report.phase}: {traceback.format_exc()}")
        outcome = Outcome(PlatformError.exit_code, failure=Failure(report.phase, type(exc).__name__, str(exc)))
    with undisturbed():
        result = _result(launch, outcome, prepared, report, started=run.started, folder=folder)
    if upload:
        result = _store(upload, result)
    run.log.finish()
    with undisturbed():
        result = replace(result, finished=datetime_now(), warnings=report.warnings)
        result = replace(result, seconds={**report.seconds, "total": report.total()})
        is_written = write_result(folder, result, report)
        if upload and is_written:
            result, is_written = _tell(upload, result)
        if is_written:
            if not launch.output_path:  # nobody has said where results go, and a container's folder may go with it
                _show_results(result, report)
            shown_at = destination.address if upload else destination.folder_shown
            report.line("total", report.total(), f"{result.state}, {os.path.join(shown_at, RESULT)}")
        print_result(result, environ, report)
    return result.exit_code if is_written or result.exit_code else PlatformError.exit_code


def _show_results(result: Result, report: Report) -> None:
    for name, value in result.results.items():
        text = json.dumps(value, ensure_ascii=False)
        short = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
        report.tell("result", f"{'result':<13}{'':10}  {name} = {short}", name=name)


def _store(upload: Upload, result: Result) -> Result:
    """Upload the outputs; return the result, now that this is known too."""
    try:
        upload.store_outputs(result)
    except (NuwrapError, OSError) as exc:
        return _unstored(upload, result, exc)
    return result


def _tell(upload: Upload, result: Result) -> tuple[Result, bool]:
    """Upload the result document; return the result, which here says so when that failed, and whether it is there."""
    try:
        upload.store_result()
    except (NuwrapError, OSError) as exc:
        failed = _unstored(upload, result, exc)
        write_result(upload.destination.folder, failed, upload.report)
        return failed, False
    return result, True


def _unstored(upload: Upload, result: Result, exc: Exception) -> Result:
    """Tell that something is not at the address; an earlier failure stays the result's."""
    message = f"{exc}; all is kept in {upload.destination.folder!r}"
    upload.report.error(message)
    if result.exit_code:
        return result
    known = exc if isinstance(exc, NuwrapError) else OutputsError(str(exc))
    state = STOPPED if isinstance(exc, Stopped) else ERROR
    failure = Failure(known.phase, type(known).__name__, message)
    return replace(result, state=state, exit_code=known.exit_code, failure=failure)


def _call(launch: Launch, prepared: Prepared, report: Report) -> Outcome:
    """Start the worker, ask it the one event, and end it."""
    with socket_folder() as folder:
        report.phase = "load"
        worker = Worker(prepared, folder, on_log=report.log)
        try:
            report.add_seconds(_start_seconds(worker))
            report.phase = "handler"
            reply = worker.ask(make_event(trigger=("job", "job")), timeout_s=launch.timeout_s)
            outcome = _answered(reply, report)
            worker.finish(launch.grace_s)
        except WorkerEnded as exc:
            if not worker.is_connected:
                probe(prepared.python, "", prepared.environ)  # raises PlatformError when it is no Python of ours
            report.error(exc.failure.message)
            return Outcome(exc.exit_code, failure=exc.failure)
        except TimedOut:
            return _timed_out(launch, worker, report)
        except Stopped:
            report.note(f"stopping; up to {launch.grace_s:g} s for the function to end")
            worker.terminate(launch.grace_s)
            raise
        except (
            ProtocolError,
            ValueError,
            TypeError,
            KeyError,
            RecursionError,
        ) as exc:  # by the user's code, on our socket
            raise OutputsError(f"the worker's answer cannot be read: {exc}") from exc
        finally:
            worker.close()
        return outcome


def _start_seconds(worker: Worker) -> dict[str, float]:
    """Return the worker's seconds of load and init, and as `start` what the interpreter itself took."""
    begin = time.perf_counter()
    told = dict(worker.wait_started())
    return {"start": max(0.0, time.perf_counter() - begin - sum(told.values())), **told}


def _answered(reply: Reply, report: Report) -> Outcome:
    document = json.loads(reply.body, parse_constant=_refuse)
    wrong = faults({"api": API, "state": COMPLETED, "exit_code": 0, **document}, SCHEMA) if reply.status == 200 else []
    if reply.status != 200 or wrong:
        raise OutputsError(f"the worker's answer is none: {'; '.join(wrong) or document['error']}")
    report.add_seconds(document.get("seconds", {}))
    report.warnings += document.get("warnings", [])
    found = document.get("failure")
    if not found:
        return Outcome(0, document)
    failure = Failure.from_document(found)
    report.error(f"{failure.type}: {failure.message}")
    return Outcome(EXIT_CODES.get(failure.phase, 1), document, failure)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _timed_out(launch: Launch, worker: Worker, report: Report) -> Outcome:
    message = f"the handler took more than {launch.timeout_s:g} s (timeout_s)"
    report.error(message)
    worker.terminate(launch.grace_s)
    return Outcome(124, failure=Failure("handler", "TimedOut", message))


def _result(
    launch: Launch, outcome: Outcome, prepared: Optional[Prepared], report: Report, *, started: str, folder: str
) -> Result:
    document = outcome.document or _logged(folder, report)
    found = document.get("outputs", {})
    lost = _misplaced(folder, found)
    if lost:
        message = f"no file of theirs is in the outputs folder: {', '.join(lost)}; it was moved or replaced"
        report.error(message)
        if not outcome.exit_code:
            outcome = Outcome(OutputsError.exit_code, document, Failure("outputs", "OutputsError", message))
    outputs = {name: _located(output) for name, output in found.items() if name not in lost}
    is_stopped = outcome.failure is not None and outcome.failure.phase == Stopped.phase
    result = Result(
        state=STOPPED if is_stopped else ERROR if outcome.exit_code else COMPLETED,
        exit_code=outcome.exit_code,
        project=launch.project,
        function=launch.function,
        run=launch.run,
        outputs=outputs,
        results=document.get("results", {}),
        metrics=document.get("metrics", {}),
        failure=outcome.failure,
        seconds={**report.seconds, "total": report.total()},
        started=started,
        finished=datetime_now(),
        warnings=report.warnings,
    )
    if not prepared:
        return result
    source = {"code_src": shown(launch.code_src), "revision": prepared.revision}
    return replace(
        result, source=source, inputs=prepared.inputs, requirements=prepared.requirements, python=prepared.python
    )


def _logged(folder: str, report: Report) -> Mapping[str, Any]:
    """Return what the function logged before its process ended without an answer; `journal.jsonl` has it.

    The function can write that file too, so it is checked like an answer.
    """
    try:
        logged = Journal(os.path.join(folder, OUTPUTS)).read()
        document = {"outputs": logged.outputs, "metrics": logged.metrics}
        if logged.bad:
            report.warn(f"{logged.bad} lines of the function's journal are none of ours and left out")
        wrong = faults({"api": API, "state": ERROR, "exit_code": 1, **document}, SCHEMA)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        wrong = [str(exc)]
    if wrong:
        report.warn(f"what the function logged cannot be read: {'; '.join(wrong)}")
        return {}
    return document


def _located(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return the output with its path from the result's folder; an entity that was there before has its key alone."""
    return {**output, "path": f"{OUTPUTS}/{output['path']}" if output["path"] else ""}


def _misplaced(folder: str, outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of outputs that are no file in the outputs folder: by a path, or put in its place by a link."""
    wrong = []
    for name, output in outputs.items():
        path = os.path.join(folder, OUTPUTS, output["path"])
        is_file = os.path.basename(output["path"]) == output["path"] and os.path.isfile(path)
        if output["path"] and (not is_file or os.path.islink(path)):
            wrong.append(name)
    return wrong
