"""`nuwrap cache ls|clean`: what the host tells of its cache, for a person. The host alone knows what lies there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from nuwrap.cli.show import show_rows, size_text
from nuwrap.cli.terminal import STDERR
from nuwrap.host import ask_host

KINDS = {"sources": "source", "environments": "environment", "trees": "nuwrap"}
WHAT_CHARACTERS = 80


def show_kept(*, as_json: bool) -> int:
    """Print what is kept and return the host's exit code."""
    code, document = _ask(["ls"], as_json=as_json)
    if not document:
        return code
    rows = [
        (KINDS[kind], one["key"][:12], _cut(one["what"]), _day(one), size_text(one["bytes"]))
        for kind in KINDS
        for one in document[kind]
    ]
    summary = f"{size_text(document['bytes'])} in {document['folder']}"
    show_rows(("kind", "key", "what", "last used", "size"), rows, summary)
    return 0


def clean(flags: Sequence[str], *, as_json: bool) -> int:
    """Clean the cache, print what went and return the host's exit code."""
    code, document = _ask(["clean", *flags], as_json=as_json)
    if not document:
        return code
    removed = document["removed"]
    rows = [(one["kind"], one["key"][:12], _cut(one["what"]), size_text(one["bytes"])) for one in removed]
    verb = "would free" if document["dry_run"] else "freed"
    count = f"{len(removed)} thing{'' if len(removed) == 1 else 's'}"
    summary = f"{verb} {size_text(document['bytes'])}, {count}, in {document['folder']}"
    show_rows(("kind", "key", "what", "size"), rows, summary)
    return 0


def _ask(command: Sequence[str], *, as_json: bool) -> tuple[int, Mapping[str, Any]]:
    """Run the host; return its exit code and its answer, which is empty when it was printed or there is none."""
    answer = ask_host(["cache", *command], os.environ, err=(STDERR,))
    if as_json and answer.document:
        print(json.dumps(answer.document, indent=1), flush=True)
        return answer.exit_code, {}
    return answer.exit_code, answer.document


def _day(one: Mapping[str, Any]) -> str:
    return "in use" if one["in_use"] else str(one["used"])[:16].replace("T", " ")


def _cut(text: str) -> str:
    return text if len(text) <= WHAT_CHARACTERS else text[: WHAT_CHARACTERS - 1] + "…"
