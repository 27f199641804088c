"""What a function logs while it runs: one JSON object a line in the outputs folder, so that a crash loses none."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

FILE = "journal.jsonl"


@dataclass(frozen=True)
class Logged:
    """A journal applied: outputs by the entity's name (the last of a name wins), metrics as lists of values."""

    outputs: dict[str, dict[str, Any]]
    metrics: dict[str, list[float]]


class Journal:
    """Append-only file `journal.jsonl` of `folder`; with folder "" (a service) nothing is kept."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def append(self, entry: dict[str, Any]) -> None:
        """Add the entry; it is the kernel's after the call, whatever becomes of this process."""
        if not self.folder:
            return
        line = json.dumps(entry).encode("ascii") + b"\n"
        os.makedirs(self.folder, exist_ok=True)
        descriptor = os.open(os.path.join(self.folder, FILE), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            while line:  # a large entry may go in parts
                line = line[os.write(descriptor, line) :]
        finally:
            os.close(descriptor)

    def entries(self) -> list[dict[str, Any]]:
        """Return what was added, in order; a line that a crash cut short is left out."""
        try:
            with open(os.path.join(self.folder, FILE), "rb") as stream:
                lines = stream.read().split(b"\n")[:-1] if self.folder else []
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return [one for one in found if isinstance(one, dict)]

    def read(self) -> Logged:
        """Return outputs and metrics as they stand after all entries."""
        outputs: dict[str, dict[str, Any]] = {}
        metrics: dict[str, list[float]] = {}
        for entry in self.entries():
            if "output" in entry:
                outputs[entry["output"]] = {
                    key: entry[key] for key in ("type", "kind", "path", "key", "spec") if entry.get(key)
                }
            elif "metric" in entry:
                kept = [] if entry.get("replace") else metrics.get(entry["metric"], [])
                metrics[entry["metric"]] = kept + entry["values"]
        return Logged(outputs, metrics)
