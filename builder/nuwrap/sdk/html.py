"""A run as a notebook shows it: a small table, every value escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from nuwrap.store import RunRecord

VALUE_CHARACTERS = 200


def show_run(record: RunRecord, results: Mapping[str, Any], took: str) -> str:
    """Return the table of a run: what it is, how it went, what it left."""
    rows = {
        "run": record.id,
        "function": f"{record.project}/{record.function}",
        "action": f"{record.action} on {record.platform}",
        "state": record.state + took,
        "reason": record.message,
        "address": record.service.get("url", ""),
        **{f"result {name}": json.dumps(value, ensure_ascii=False) for name, value in results.items()},
        **{f"output {name}": str(one.get("key", "")) for name, one in record.outputs.items()},
        "folder": record.folder,
    }
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(_short(text))}</td></tr>" for name, text in rows.items() if text
    )
    return f"<table>{cells}</table>"


def _short(text: str) -> str:
    return text if len(text) <= VALUE_CHARACTERS else text[:VALUE_CHARACTERS] + "…"
