"""`nuwrap show` of a run: what it was given, its states over time, what it left, why it failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nuwrap.cli.listing import line_text, run_document
from nuwrap.cli.moments import moment_text, took_text
from nuwrap.cli.show import cut, show_below, show_failure, show_fields, show_text
from nuwrap.sdk import context
from nuwrap.sdk.runs import SHORT_ID
from nuwrap.store import CONSUMES, LineageRecord, RunRecord
from nuwrap_runtime.result import Failure

_VALUES = {"parameters": "parameter", "init_parameters": "init parameter"}
_GIVEN = ("inputs", *_VALUES)


def whole_run_document(record: RunRecord) -> dict[str, Any]:
    """Return all of the run as plain values: its record, its result document, states and lineage."""
    store = context.current().store
    states = [asdict(one) for one in store.run_states(record.id)]
    lineage = [asdict(one) for one in store.lineage(run=record.id)]
    return {**record.result, **run_document(record), "states": states, "lineage": lineage}


def show_run(record: RunRecord) -> None:
    """Print the run for a person."""
    store = context.current().store
    show_fields(_fields(record))
    states = [(moment_text(one.at), one.state, line_text(one.message)) for one in store.run_states(record.id)]
    show_below(("time", "state", "reason"), states)
    given = _given(record.spec, store.lineage(run=record.id))
    show_below(("name", "kind", "value or path"), [*given, *_left(record)])
    for text in record.result.get("warnings") or ():
        show_text(f"warning: {text}")
    if record.result.get("failure"):
        show_text("")
        show_failure(Failure.from_document(record.result["failure"]))


def _fields(record: RunRecord) -> dict[str, str]:
    result, source = record.result, record.result.get("source") or {}
    return {
        "run": record.id,
        "function": f"{record.project}/{record.function}, version {record.function_id[:SHORT_ID]}",
        "action": f"{record.action} on {record.platform}",
        "state": record.state,
        "reason": "" if result.get("failure") else record.message,
        "took": took_text(record),
        "exit code": "" if record.exit_code is None else str(record.exit_code),
        "attempt": str(record.attempt) if record.attempt > 1 else "",
        "address": str(record.service.get("url") or ""),
        "admin address": str(record.service.get("admin_url") or ""),
        "folder": record.folder,
        "source": str(source.get("code_src") or ""),
        "revision": str(source.get("revision") or ""),
        "python": str(result.get("python") or ""),
    }


def _given(spec: Mapping[str, Any], lineage: Sequence[LineageRecord]) -> list[tuple[str, str, str]]:
    """Return what the run was given; an input by the very version that it has read."""
    keys = {one.name: one.key for one in lineage if one.relation == CONSUMES}
    rows = [(name, "input", str(keys.get(name, given))) for name, given in (spec.get("inputs") or {}).items()]
    for field, kind in _VALUES.items():
        rows += [(name, kind, cut(value)) for name, value in (spec.get(field) or {}).items()]
    return [*rows, *((name, "option", cut(value)) for name, value in spec.items() if name not in _GIVEN)]


def _left(record: RunRecord) -> list[tuple[str, str, str]]:
    rows = [(name, str(one["kind"]), str(one.get("path") or one.get("key"))) for name, one in record.outputs.items()]
    rows += [(name, "result", cut(value)) for name, value in (record.result.get("results") or {}).items()]
    for name, values in (record.result.get("metrics") or {}).items():
        rows.append((name, "metric", cut(values[0] if len(values) == 1 else values)))
    return rows
