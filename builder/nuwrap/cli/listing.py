"""`nuwrap ps` and `nuwrap ls`: what runs and ran, and what the history keeps, as a table or as plain documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nuwrap.cli.finding import GOING_ON, settle_runs, take_over
from nuwrap.cli.moments import moment_text, short_moment_text, took_text
from nuwrap.cli.show import show_rows
from nuwrap.errors import UsageError
from nuwrap.sdk import context
from nuwrap.sdk.entities import TYPES, make
from nuwrap.sdk.functions import Function, list_functions
from nuwrap.sdk.projects import Project, get_project, list_projects
from nuwrap.sdk.runs import SHORT_ID
from nuwrap.sdk.secrets import list_secrets
from nuwrap.spec.function import SOURCES
from nuwrap.store import ENDED, RunRecord

TEXT_CHARACTERS = 100
ENDED_RUNS = 20  # that `ps --all` shows
RUN_HEADINGS = ("run", "function", "action", "state", "started", "took", "address or reason")


@dataclass(frozen=True)
class Which:
    """Which things a list has."""

    project: str = ""
    label: str = ""
    limit: int | None = None
    platform: str = ""


@dataclass(frozen=True)
class Table:
    """What is listed: for people, and as documents for programs."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    documents: Sequence[Mapping[str, Any]]


def show_runs(which: Which, *, function: str, states: Sequence[str], with_ended: bool, as_json: bool) -> int:
    """Print the runs that go on, with `with_ended` also the newest that have ended; `states` names states instead.

    Of a platform that keeps runs by itself those of others are there too, and in the history from then on.
    """
    if which.platform:
        take_over(which.platform, which.project)
    wanted = set(states) or {*GOING_ON, *(ENDED if with_ended else ())}
    settle_runs(which.project)
    store = context.current().store
    going_on, ended = wanted - ENDED, wanted & ENDED
    limit = ENDED_RUNS if which.limit is None else which.limit
    found = store.list_runs(which.project, function=function, states=going_on) if going_on else []
    more = store.list_runs(which.project, function=function, states=ended, limit=limit + 1) if ended else []
    both = [one for one in (*found, *more[:limit]) if which.platform in ("", one.platform)]
    shown = sorted(both, key=lambda one: one.created, reverse=True)
    summary = f"{len(shown)} run{'' if len(shown) == 1 else 's'}"
    if len(more) > limit:
        summary += f", the newest {limit} of those that have ended; --limit N shows more"
    elif not (shown or ended):
        summary = "no run goes on; `nuwrap ps --all` lists those that have ended"
    return _print(_runs_table(shown), summary, as_json=as_json)


def show_list(kind: str, which: Which, *, as_json: bool) -> int:
    """Print what the history has of a kind, newest first. Raises NotFound for a project that is not there."""
    table = KINDS[kind](which)
    if which.limit is not None:
        table = Table(table.headings, table.rows[: which.limit], table.documents[: which.limit])
    noun = kind.removesuffix("s") if len(table.rows) == 1 else kind
    return _print(table, f"{len(table.rows)} {noun}", as_json=as_json)


def run_row(record: RunRecord) -> tuple[str, ...]:
    """Return a run as one row below `RUN_HEADINGS`."""
    last = str(record.service.get("url") or "") if record.state in GOING_ON else ""
    started = short_moment_text(record.started or record.created)
    name = f"{record.project}/{record.function}"
    return (
        record.id[:SHORT_ID],
        name,
        record.action,
        record.state,
        started,
        took_text(record),
        last or line_text(record.message),
    )


def run_document(record: RunRecord) -> dict[str, Any]:
    """Return the run as plain values, without what it has returned."""
    document = asdict(record)
    del document["result"]
    key = f"store://{record.project}/run/python+{record.action}:run/{record.id}"
    return {"key": key, **document}


def project_document(project: Project) -> dict[str, Any]:
    """Return the project as plain values, without what is in it."""
    about = project.metadata
    return {"key": project.key, **{name: about[name] for name in about if name != "project"}}


def function_document(function: Function) -> dict[str, Any]:
    """Return the version as plain values, all fields named."""
    project, name, kind = function.project, function.name, function.kind
    named = {"project": project, "name": name, "kind": kind, "id": function.id, "key": function.key}
    return {**named, "metadata": dict(function.metadata), "spec": dict(function.spec)}


def source_text(fields: Mapping[str, Any]) -> str:
    """Return where a function's code is, for a person: an address, a path, or that it stands in the function."""
    return str(fields.get("code_src") or "") or next((name for name in SOURCES if fields.get(name)), "")


def line_text(text: str) -> str:
    """Return the first line, cut."""
    line = text.partition("\n")[0]
    return line if len(line) <= TEXT_CHARACTERS else line[: TEXT_CHARACTERS - 1] + "…"


def labels_text(labels: Any) -> str:
    """Return the labels in one line."""
    return ", ".join(map(str, labels or ()))


def _print(table: Table, summary: str, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(table.documents, indent=1), flush=True)
    else:
        show_rows(table.headings, table.rows, summary)
    return 0


def _projects(which: Which) -> Table:
    _refuse(which, "project", "projects")
    found = [one for one in list_projects() if not which.label or which.label in one.metadata.labels]
    rows = []
    for one in found:
        about = one.metadata
        rows.append((one.name, line_text(about.description), labels_text(about.labels), moment_text(about.created)))
    return Table(("project", "description", "labels", "created"), rows, [project_document(one) for one in found])


def _functions(which: Which) -> Table:
    found = [one for name in _owners(which) for one in list_functions(name, label=which.label)]
    rows = []
    for one in found:
        fields, about = one.spec, one.metadata
        name = f"{one.project}/{one.name}"
        more = (fields.handler, source_text(fields), labels_text(about.labels), moment_text(about.updated))
        rows.append((name, one.id[:SHORT_ID], *more))
    headings = ("function", "version", "handler", "source", "labels", "changed")
    return Table(headings, rows, [function_document(one) for one in found])


def _runs(which: Which) -> Table:
    _refuse(which, "label", "runs")
    settle_runs(which.project)
    return _runs_table(context.current().store.list_runs(which.project, limit=which.limit))


def _runs_table(found: Sequence[RunRecord]) -> Table:
    return Table(RUN_HEADINGS, [run_row(one) for one in found], [run_document(one) for one in found])


def _entities(type_: str) -> Callable[[Which], Table]:
    def lister(which: Which) -> Table:
        store = context.current().store
        found = [one for name in _owners(which) for one in store.list_entities(name, type_, label=which.label)]
        rows = [
            (
                f"{one.project}/{one.name}",
                one.kind,
                one.id[:SHORT_ID],
                one.path,
                labels_text(one.metadata.get("labels")),
                moment_text(one.created),
            )
            for one in found
        ]
        headings = (type_, "kind", "version", "path", "labels", "created")
        return Table(headings, rows, [make(one).to_dict() for one in found])

    return lister


def _secrets(which: Which) -> Table:
    _refuse(which, "label", "secrets")
    found = [one for name in _owners(which) for one in list_secrets(name)]
    documents = [{"project": one.project, "name": one.name, "key": one.key} for one in found]
    return Table(("secret", "project"), [(one.name, one.project) for one in found], documents)


def _owners(which: Which) -> list[str]:
    return [get_project(which.project).name] if which.project else [one.name for one in list_projects()]


def _refuse(which: Which, name: str, kind: str) -> None:
    if getattr(which, name):
        raise UsageError(f"--{name} {getattr(which, name)!r}: {kind} have no {name}; leave it out")


KINDS: Mapping[str, Callable[[Which], Table]] = {
    "projects": _projects,
    "functions": _functions,
    "runs": _runs,
    **{f"{type_}s": _entities(type_) for type_ in TYPES},
    "secrets": _secrets,
}
