"""The history's records as documents, and what a person should hear of what an export leaves out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nuwrap.sdk import context
from nuwrap.spec import export
from nuwrap.spec.function import has_scheme
from nuwrap.store import EntityRecord, FunctionRecord, ProjectRecord, RunRecord

EXTRA = "extra"  # in a version's spec: what another program has exported beside our fields
TEXT_BYTES = 512 * 1024  # of code, and of a run's results, that stand in an export

Document = dict[str, Any]


def function_document(record: FunctionRecord) -> Document:
    """Return the document of a version, with the text of a local Python file as it is now."""
    fields = {name: value for name, value in record.spec.items() if name != EXTRA}
    named = {"project": record.project, "name": record.name, "uuid": record.id}
    return export.function_document(
        {**fields, **named},
        created=record.created,
        updated=record.updated,
        file_text=_file_text(record),
        extra=record.spec.get(EXTRA),
    )


def run_document(record: RunRecord) -> Document:
    """Return the document of a run, without results that are more than a person reads, which is told."""
    fields = {name: getattr(record, name) for name in ("project", "id", "action", "function", "function_id", "task")}
    status = {name: getattr(record, name) for name in ("state", "message", "exit_code", "platform", "attempt")}
    status |= {name: getattr(record, name) for name in ("started", "finished")}
    status |= {name: record.result.get(name) for name in ("metrics", "warnings")}
    status["outputs"] = {name: one["key"] for name, one in record.outputs.items()}
    status["results"] = _results(record)
    status["service"] = {name: url for name, url in record.service.items() if name == "url"}
    updated = record.finished or record.started
    return export.run_document(fields, record.spec, status=status, created=record.created, updated=updated)


def entity_document(record: EntityRecord) -> Document:
    """Return the document of a dataitem, an artifact or a model."""
    return export.entity_document(asdict(record), spec=record.spec, metadata=record.metadata, created=record.created)


def project_document(
    record: ProjectRecord, functions: list[Document], entities: Mapping[str, list[EntityRecord]]
) -> Document:
    """Return the document of a project; `entities` are by the lists of `export.ENTITY_LISTS`."""
    lists = {name: [entity_document(one) for one in found] for name, found in entities.items()}
    return export.project_document(
        asdict(record), functions=functions, entities=lists, created=record.created, updated=record.updated
    )


def tell_of_code(record: FunctionRecord, folder: str) -> None:
    """Say when an export to the folder does not find its code beside it, or had a password in its address."""
    name, code_src = f"function {record.name!r}", str(record.spec.get("code_src", ""))
    if export.without_credentials(code_src) != code_src:
        context.say(f"{name}: its address is exported without credentials; set GIT_TOKEN or the like where it runs")
    source = _local_source(record)
    if not source or os.path.realpath(record.folder) == os.path.realpath(folder):
        return
    there = f"{name}: its code {source!r} lies in {record.folder!r}, the export in {folder!r}"
    if _file_text(record) is None:
        context.say(f"{there}; it can be imported from a file that lies where the code does")
    else:
        context.say(f"{there}; the export has the code's text, and nothing of what that imports from its folder")


def _results(record: RunRecord) -> Mapping[str, Any]:
    results = record.result.get("results") or {}
    size = len(json.dumps(results))
    if size <= TEXT_BYTES:
        return dict(results)
    context.say(f"run {record.id[:8]}: its results, of {size} bytes, are not exported; they are in {record.folder!r}")
    return {}


def _local_source(record: FunctionRecord) -> str:
    """Return a local `code_src`, "" when the code is elsewhere."""
    code_src = str(record.spec.get("code_src", ""))
    return "" if has_scheme(code_src) else code_src


def _file_text(record: FunctionRecord) -> str | None:
    """Return the text of a local Python file, None for what cannot stand in an export: all else, or too much."""
    source = _local_source(record)
    if not source.endswith(".py"):
        return None
    try:
        with open(os.path.join(record.folder, source), "rb") as stream:
            data = stream.read(TEXT_BYTES + 1)
        return data.decode("utf-8") if len(data) <= TEXT_BYTES else None
    except (OSError, UnicodeDecodeError):
        return None
