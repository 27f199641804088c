"""What a function logs while it runs: one JSON object a line in the outputs folder, so that a crash loses none."""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass
from typing import Any, Optional

FILE = "journal.jsonl"
DEPTH = 100  # most levels of an output's spec
_TEXTS = ("type", "kind", "path", "key")
_PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe without another end is no reason to wait


@dataclass(frozen=True)
class Logged:
    """A journal applied: outputs by the entity's name (the last of a name wins), metrics as lists of values.

    `bad` is the number of whole lines that are no entry and were left out.
    """

    outputs: dict[str, dict[str, Any]]
    metrics: dict[str, list[float]]
    bad: int = 0


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
        descriptor = os.open(os.path.join(self.folder, FILE), os.O_WRONLY | os.O_CREAT | os.O_APPEND | _PLAIN, 0o644)
        try:
            while line:  # a large entry may go in parts
                line = line[os.write(descriptor, line) :]
        finally:
            os.close(descriptor)

    def entries(self) -> list[dict[str, Any]]:
        """Return what was added, in order; what is no entry, a line that a crash cut short too, is left out."""
        return self._parse()[0]

    def read(self) -> Logged:
        """Return outputs and metrics as they stand after all entries. Raises OSError for what is no plain file."""
        outputs: dict[str, dict[str, Any]] = {}
        metrics: dict[str, list[float]] = {}
        entries, bad = self._parse()
        for entry in entries:
            if "output" in entry:
                outputs[entry["output"]] = {key: entry[key] for key in (*_TEXTS, "spec") if entry.get(key)}
            else:
                kept = metrics.setdefault(entry["metric"], [])
                kept[:] = [*([] if entry.get("replace") else kept), *entry["values"]]
        return Logged(outputs, metrics, bad)

    def _parse(self) -> tuple[list[dict[str, Any]], int]:
        """Return the entries, and how many whole lines are none."""
        try:
            lines = _read(os.path.join(self.folder, FILE)).split(b"\n")[:-1] if self.folder else []
        except FileNotFoundError:
            return [], 0
        found = [one for one in map(_entry, lines) if one is not None]
        return found, len(lines) - len(found)


def _read(path: str) -> bytes:
    """Return the file's content: the function can put a link or a pipe in its place, to be followed or waited for."""
    with open(os.open(path, os.O_RDONLY | _PLAIN), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(f"{path!r} is no plain file")
        return stream.read()


def _entry(line: bytes) -> Optional[dict[str, Any]]:
    """Return the line's entry, None when it is none that `append` was given: the function can write here too."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    return entry if _is_output(entry) or _is_metric(entry) else None


def _is_output(entry: dict[str, Any]) -> bool:
    name, path, spec = entry.get("output"), entry.get("path", ""), entry.get("spec", {})
    if not isinstance(name, str) or not all(isinstance(entry.get(key, ""), str) for key in _TEXTS):
        return False
    is_plain = os.path.basename(path) == path and path not in (os.curdir, os.pardir) and "\0" not in path
    return is_plain and isinstance(spec, dict) and _is_shallow(spec)


def _is_metric(entry: dict[str, Any]) -> bool:
    values = entry.get("values")
    if "output" in entry or not isinstance(entry.get("metric"), str) or not isinstance(values, list):
        return False
    return all(type(one) is int or (type(one) is float and math.isfinite(one)) for one in values)


def _is_shallow(value: Any) -> bool:
    """Tell whether all who walk through the value by recursion, JSON's writer too, come to its end."""
    level = [value]
    for _ in range(DEPTH):
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        level = [one for one in level if isinstance(one, (dict, list))]
        if not level:
            return True
    return False
