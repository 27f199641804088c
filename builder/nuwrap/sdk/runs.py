"""Runs as a person has them: waited for, read, called, stopped. What happens to a run is `nuwrap.runs`' to do."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, overload

from nuwrap.errors import NotFound, NuwrapError, RunFailed, UsageError
from nuwrap.runs import watch
from nuwrap.sdk import context, entities
from nuwrap.sdk.fields import Fields
from nuwrap.store import COMPLETED, CONSUMES, ENDED, RUNNING, LineageRecord, RunRecord
from nuwrap_runtime.schema import did_you_mean

if TYPE_CHECKING:
    from nuwrap.sdk.functions import Function
    from nuwrap.sdk.invoke import Response

READY_SECONDS = 300.0
SHORT_ID = 8


class Run:
    """One run of a function. `state` and `status` are read when they are asked for, until the run has ended."""

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._was_ready = False

    @property
    def id(self) -> str:
        """The run's id; its first 8 characters are enough to name it."""
        return self._record.id

    @property
    def project(self) -> str:
        """Name of the project."""
        return self._record.project

    @property
    def action(self) -> str:
        """What was asked for: job, serve or build."""
        return self._record.action

    @property
    def key(self) -> str:
        """`store://project/run/python+job:run/id`."""
        return f"store://{self.project}/run/python+{self.action}:run/{self.id}"

    @property
    def function(self) -> Function:
        """The version of the function that ran. Raises NotFound when it was deleted."""
        from nuwrap.sdk.functions import get_function

        return get_function(self._record.function, self.project, self._record.function_id)

    @property
    def folder(self) -> str:
        """Absolute folder of the launch document, the log, the result and the outputs."""
        return self._record.folder

    @property
    def state(self) -> str:
        """CREATED, PENDING, RUNNING, COMPLETED, ERROR or STOPPED, as it is now."""
        return self._now().state

    @property
    def url(self) -> str | None:
        """Address of the service, None while there is none."""
        return self._now().service.get("url") or None

    @property
    def spec(self) -> Fields:
        """What the run was given: the fields of `function.run`."""
        empty: dict[str, Any] = {"inputs": {}, "parameters": {}, "init_parameters": {}}
        return Fields({"action": self.action, "function": self._record.function, **empty, **self._record.spec})

    @property
    def status(self) -> Fields:
        """`state`, `message` (why it failed), `results`, `outputs`, `metrics`, `service`, `warnings` and more."""
        one = self._whole()
        given = {name: getattr(one, name) for name in ("state", "message", "exit_code", "platform", "attempt")}
        times = {name: getattr(one, name) for name in ("created", "started", "finished")}
        left = {"results": self.results(), "outputs": self.outputs(as_key=True), "metrics": self.metrics()}
        warnings = list(one.result.get("warnings") or [])
        return Fields({**given, **times, "service": dict(one.service), **left, "warnings": warnings})

    def __repr__(self) -> str:
        try:
            one = self._now()
        except NuwrapError:  # the history is gone or closed: what was known last
            one = self._record
        return f"<Run {one.id[:SHORT_ID]}: {one.action} {one.project}/{one.function} {one.state}{_took(one)}>"

    def _repr_html_(self) -> str:
        from nuwrap.sdk.html import show_run

        return show_run(self._whole(), self.results(), _took(self._record))

    def wait(self, timeout: float | None = None, *, log_info: bool = True, raise_on_error: bool = False) -> Run:
        """Wait until a job has ended, or a service is ready; return this run.

        A job that fails does not raise: its reason is printed, as warnings are (not with `log_info=False`), and is
        `status.message`; with `raise_on_error` it is a RunFailed. Raises PlatformError with phase and reason for a
        service that has ended, or is not ready after `timeout` seconds, 300 by default; TimeoutError for a job that
        goes on longer than `timeout`: without one it is waited for as long as it takes. Ctrl-C leaves the run going.
        """
        if timeout is not None and (isinstance(timeout, bool) or timeout < 0):
            raise UsageError(f"timeout {timeout!r}: allowed: seconds, 0 or more, or None")
        ctx = context.current()
        if self.action == "serve":
            seconds = READY_SECONDS if timeout is None else timeout
            self._record = watch.wait_ready(ctx.store, ctx.home, self._record, timeout_s=seconds)
            self._was_ready = True
            return self
        self._record = watch.wait(ctx.store, ctx.home, self._record, timeout_s=timeout)
        if self._record.state not in ENDED:
            raise TimeoutError(f"{self!r} has not ended after {timeout:g} s; it goes on: wait again, or stop it")
        if log_info:
            self._tell_warnings()
        if self._record.state != COMPLETED and (raise_on_error or log_info):
            self._tell_failure(raise_on_error=raise_on_error)
        return self

    def refresh(self) -> Run:
        """Read the run from the history again."""
        ctx = context.current()
        record = ctx.store.get_run(self.id)
        if record is None:
            raise NotFound(f"run {self.id!r} is not in the history any more")
        self._record = watch.refresh(ctx.store, ctx.home, record)
        return self

    @overload
    def logs(self, follow: Literal[False] = ...) -> str: ...
    @overload
    def logs(self, follow: Literal[True]) -> None: ...
    def logs(self, follow: bool = False) -> str | None:  # noqa: FBT001, FBT002 - a name that users know
        """Return what the run has printed until now; with `follow` print it as it comes, until the run's end."""
        ctx = context.current()
        pieces = watch.follow_log(ctx.store, ctx.home, self._record, follow=follow)
        if not follow:
            return b"".join(pieces).decode("utf-8", "replace")
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for piece in pieces:
            print(decoder.decode(piece), end="", flush=True)
        return None

    def stop(self) -> Run:
        """End the run, and return when it has ended: STOPPED. One that has ended stays as it is."""
        ctx = context.current()
        self._record = watch.stop(ctx.store, ctx.home, self._now())
        return self

    def resume(self) -> Run:
        """Start an ended run again, with what it was given, as a new attempt; what it leaves replaces the old."""
        ctx = context.current()
        self._record = watch.resume(ctx.store, ctx.home, self._now(), say=context.say)
        return self

    def delete(self) -> None:
        """Remove an ended run from the history; its folder stays. Raises StoreError for one that goes on."""
        self._now()
        context.current().store.delete_run(self.id)

    def output(self, output_name: str, as_key: bool = False, as_dict: bool = False) -> Any:  # noqa: FBT001, FBT002 - DigitalHub's
        """Return the output of that name as an entity, its key or a dictionary; None when the run left none."""
        return self.outputs(as_key=as_key, as_dict=as_dict).get(output_name)

    def outputs(self, as_key: bool = False, as_dict: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - DigitalHub's
        """Return the outputs by name: entities, with `as_key` their keys, with `as_dict` dictionaries."""
        keys = {name: one["key"] for name, one in self._whole().outputs.items()}
        return _shown(keys, as_key=as_key, as_dict=as_dict)

    def result(self, result_name: str) -> Any:
        """Return the result of that name; None when the run left none."""
        return self.results().get(result_name)

    def results(self) -> dict[str, Any]:
        """Return the results by name: the JSON values that the function returned."""
        return dict(self._whole().result.get("results") or {})

    def inputs(self, as_key: bool = False, as_dict: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - DigitalHub's
        """Return the inputs by argument, as `outputs` does; a path or an address is an entity of its own."""
        keys = {one.name: one.key for one in self.lineage() if one.relation == CONSUMES}
        return _shown(keys, as_key=as_key, as_dict=as_dict)

    def metrics(self) -> dict[str, list[float]]:
        """Return what the function has logged with `run.log_metric`: each name's values, in order."""
        return {name: list(values) for name, values in (self._whole().result.get("metrics") or {}).items()}

    def lineage(self) -> list[LineageRecord]:
        """Return what the run has read and made: `relation` (consumes, produces), `name`, `key`."""
        return context.current().store.lineage(run=self.id)

    def invoke(self, method: str | None = None, url: str | None = None, **kwargs: Any) -> Response:
        """Call the service, as `requests.request` does with these arguments, and return its response.

        Waits until the service is ready, 300 s at most. Without `method` it is a POST when there is a body (`json`,
        `data`, `files`), else a GET. `url` is used as it is, be there a service or not; one that begins with `/` is a
        path of the service. Without `timeout` it is 10 s to connect and 300 s to answer. Proxies are not used on this
        machine. Raises PlatformError for a service that does not come up or has ended, UsageError for a job.
        """
        from nuwrap.sdk.invoke import invoke

        if (url is None or url.startswith("/")) and self.action == "serve" and not self._is_ready():
            self.wait()
        return invoke(self, method, url, kwargs)

    def export(self, filename: str | os.PathLike[str] | None = None) -> str:
        """Write the run as YAML, `run-ID.yaml` by default, and return the file's absolute path."""
        from nuwrap.sdk.documents import write_run

        return write_run(self._whole(), filename)

    def _is_ready(self) -> bool:
        """Tell a service that this object has seen ready, and that has not ended since."""
        return self._was_ready and self._now().state == RUNNING

    def _now(self) -> RunRecord:
        """Return the record as it is now; one that has ended is not read again."""
        if self._record.state not in ENDED:
            self.refresh()
        return self._record

    def _whole(self) -> RunRecord:
        """Return the record as it is now with its result, which lists of runs leave out."""
        if self._now().state in ENDED and not self._record.result:
            self.refresh()
        return self._record

    def _tell_warnings(self) -> None:
        for text in self._whole().result.get("warnings") or []:
            context.say(f"run {self.id[:SHORT_ID]} of {self._record.function!r}: warning: {text}")

    def _tell_failure(self, *, raise_on_error: bool) -> None:
        one = self._record
        text = f"run {one.id[:SHORT_ID]} of {one.function!r}: {one.state}: {one.message or 'no reason is known'}"
        if raise_on_error:
            raise RunFailed(f"{text}; its log is in {one.folder!r}")
        context.say(f"{text}; run.logs() has all that it printed")


def get_run(identifier: str, project: str | None = None) -> Run:
    """Return a run by id, by the first 8 characters of it or more, or by key. Raises NotFound."""
    id_ = str(identifier).rpartition("/")[2]
    record = context.current().store.get_run(id_) if id_ else None
    if record is None or (project and record.project != project):
        where = f" in project {project!r}" if project else ""
        short = f"; give {SHORT_ID} characters of its id at least" if len(id_) < SHORT_ID else ""
        raise NotFound(f"there is no run {identifier!r}{where}{short}; list_runs() shows what there is")
    return Run(record)


def list_runs(
    project: str | None = None,
    *,
    function: str = "",
    action: str = "",
    states: Iterable[str] = (),
    limit: int | None = None,
) -> list[Run]:
    """Return runs, newest first: of a project, of a function, of an action, in one of the states."""
    if project:
        context.find_project(project)
    wanted = [states] if isinstance(states, str) else list(states)
    known = ["CREATED", "PENDING", "RUNNING", *sorted(ENDED)]
    for state in wanted:
        if state not in known:
            raise UsageError(f"state {state!r}: is none{did_you_mean(state, known)}; allowed: {', '.join(known)}")
    ctx = context.current()
    watch.refresh_all(ctx.store, ctx.home, project or "")
    found = ctx.store.list_runs(project or "", function=function, action=action, states=wanted, limit=limit)
    return [Run(one) for one in found]


def delete_run(identifier: str, project: str | None = None) -> None:
    """Remove an ended run from the history; its folder stays. Raises NotFound."""
    get_run(identifier, project).delete()


def _shown(keys: Mapping[str, str], *, as_key: bool, as_dict: bool) -> dict[str, Any]:
    if as_key and as_dict:
        raise UsageError("as_key and as_dict are both given; allowed: one of them")
    if as_key:
        return dict(keys)
    found = {name: entities.make(entities.find(key)) for name, key in keys.items()}
    return {name: one.to_dict() for name, one in found.items()} if as_dict else found


def _took(record: RunRecord) -> str:
    """Return `, 0.8 s`: how long the run took, or has taken until now."""
    if not record.started:
        return ""
    end = datetime.fromisoformat(record.finished) if record.finished else datetime.now(timezone.utc)
    seconds = (end - datetime.fromisoformat(record.started)).total_seconds()
    return f", {seconds:.1f} s" if seconds < 60 else f", {seconds / 60:.0f} min"
