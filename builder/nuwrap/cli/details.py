"""`nuwrap show`: all that the history knows of one thing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nuwrap.cli.finding import find_thing, read_run, settle_runs
from nuwrap.cli.listing import RUN_HEADINGS, function_document, labels_text, project_document, run_row, source_text
from nuwrap.cli.moments import moment_text
from nuwrap.cli.run_details import show_run, whole_run_document
from nuwrap.cli.show import cut, show_below, show_fields, show_text, size_text
from nuwrap.sdk import context
from nuwrap.sdk.entities import Artifact, Dataitem, Model, versions_of
from nuwrap.sdk.functions import Function
from nuwrap.sdk.projects import Project
from nuwrap.sdk.runs import SHORT_ID, Run

LATEST_RUNS = 5
CODE_LINES = 20


def show_thing(text: str, project: str, *, as_json: bool) -> int:
    """Print a run, a function, a project, or stored data. Raises NotFound, UsageError."""
    thing = find_thing(text, project)
    if isinstance(thing, Run):
        record = read_run(thing)
        _print(whole_run_document(record)) if as_json else show_run(record)
    elif isinstance(thing, Function):
        _print(_whole_function(thing)) if as_json else _show_function(thing)
    elif isinstance(thing, Project):
        _print(_whole_project(thing)) if as_json else _show_project(thing)
    else:
        _print(_whole_entity(thing)) if as_json else _show_entity(thing)
    return 0


def _whole_function(function: Function) -> dict[str, Any]:
    versions = [{"id": one.id, "key": one.key, "created": one.metadata.created} for one in function.versions()]
    return {**function_document(function), "versions": versions}


def _show_function(function: Function) -> None:
    about, fields = function.metadata, dict(function.spec)
    plain = {name: value for name, value in fields.items() if value and name not in ("code", "base64", "code_src")}
    show_fields(
        {
            "function": f"{function.project}/{function.name}",
            "version": function.id,
            "description": about.description,
            "labels": labels_text(about.labels),
            "changed": moment_text(about.updated),
            "source": source_text(fields),
            **_texts(plain),
        }
    )
    if fields["code"]:
        show_text("\n" + _first_lines(fields["code"]))
    versions = function.versions()
    rows = [(one.id, moment_text(one.metadata.created), one.handler, source_text(one.spec)) for one in versions]
    show_below(("version", "created", "handler", "source"), rows if len(rows) > 1 else ())
    settle_runs(function.project)
    runs = context.current().store.list_runs(function.project, function=function.name, limit=LATEST_RUNS)
    show_below(RUN_HEADINGS, [run_row(one) for one in runs])


def _first_lines(code: str) -> str:
    lines = code.rstrip("\n").split("\n")
    shown = [f"    {line}" for line in lines[:CODE_LINES]]
    if len(lines) > CODE_LINES:
        shown.append(f"    … {len(lines) - CODE_LINES} more lines; --json has all")
    return "\n".join(shown)


def _whole_project(project: Project) -> dict[str, Any]:
    return {**project_document(project), "functions": [function_document(one) for one in project.list_functions()]}


def _show_project(project: Project) -> None:
    about = project.metadata
    show_fields(
        {
            "project": project.name,
            "description": about.description,
            "labels": labels_text(about.labels),
            "created": moment_text(about.created),
        }
    )
    functions = project.list_functions()
    show_below(("function", "handler", "source"), [(one.name, one.handler, source_text(one.spec)) for one in functions])


def _whole_entity(entity: Dataitem | Artifact | Model) -> dict[str, Any]:
    return {**entity.to_dict(), "lineage": [asdict(one) for one in entity.lineage()]}


def _show_entity(entity: Dataitem | Artifact | Model) -> None:
    about, spec = dict(entity.metadata), dict(entity.spec)
    named = {name: about.pop(name, None) for name in ("project", "name", "created", "description", "labels")}
    show_fields(
        {
            entity.type: f"{entity.project}/{entity.name}",
            "kind": entity.kind,
            "key": entity.key,
            "path": entity.path,
            "size": _size(entity.path),
            "description": str(named["description"] or ""),
            "labels": labels_text(named["labels"]),
            "created": moment_text(str(named["created"] or "")),
            **_texts({name: value for name, value in {**spec, **about}.items() if name != "path"}),
        }
    )
    rows = [(one.relation, one.run[:SHORT_ID], _function_of(one.run), one.name) for one in entity.lineage()]
    show_below(("relation", "run", "function", "as"), rows)
    versions = versions_of(entity.type, entity.name, entity.project)
    others = [(one.id, moment_text(one.metadata.created), one.path) for one in versions]
    show_below(("version", "created", "path"), others if len(others) > 1 else ())


def _function_of(run: str) -> str:
    record = context.current().store.get_run(run)
    return f"{record.project}/{record.function}" if record else "(deleted)"


def _size(path: str) -> str:
    if "://" in path:
        return ""
    if os.path.isdir(path):
        return "folder"
    return size_text(os.path.getsize(path)) if os.path.exists(path) else "is not there any more"


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else cut(value) for name, value in values.items()}


def _print(document: Mapping[str, Any]) -> None:
    print(json.dumps(document, indent=1), flush=True)
