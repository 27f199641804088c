"""Write `docs/fields.md` and the JSON Schemas of a function and a run from the table that the code checks with.

    python docs/write_fields.py [--check]

With `--check` nothing is written: the exit code is 1 when a file is not what the code says.
"""
# ruff: noqa: INP001 - a script beside the files that it writes, no package

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from nuwrap.spec.fields import FIELDS, Field, json_schema
from nuwrap.spec.model import Value, told
from nuwrap.spec.shapes import Env, NodeSelector, Resources, Toleration, Volume, VolumeSpec

FOLDER = Path(__file__).resolve().parent
HEAD = """\
# Fields

*Written by `docs/write_fields.py` from the table that the code checks with.*

An unknown field is an error that names the nearest known one; all faults of a call or a file are one error. `None`
counts as not given. Where a platform does not honour a field, it says so: **recorded** is one warning for the whole
run, **error** means that the run is not started.
"""
PARTS: Mapping[str, tuple[str, str]] = {
    "function": ("Function", "What `new_function` takes, and a function file has."),
    "task": ("Task", "What `function.run(action, …)` takes for every run of the action."),
    "run": ("Run", "What `function.run(action, …)` takes for one run."),
}
SHAPES: Mapping[str, type[Value]] = {
    "envs": Env,
    "node_selector": NodeSelector,
    "tolerations": Toleration,
    "volumes": Volume,
    "volumes[].spec": VolumeSpec,
    "resources": Resources,
}


def main(argv: list[str]) -> int:
    """Write or check every file and return the exit code."""
    files = {
        "fields.md": render(),
        **{f"schemas/{name}.schema.json": _dump(json_schema(name)) for name in ("function", "run")},
    }
    stale = [name for name, text in files.items() if not _is_current(FOLDER / name, text)]
    if "--check" in argv:
        for name in stale:
            print(f"docs/{name} is not what the code says; run: make schemas", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (FOLDER / name).write_text(files[name], encoding="utf-8")
    return 0


def render() -> str:
    """Return the page."""
    lines = [HEAD]
    for entity, (title, text) in PARTS.items():
        lines += [f"## {title}\n\n{text}\n", *_table([field for field in FIELDS if field.entity == entity]), ""]
    lines.append("## Shapes\n\nKeys in snake_case or as Kubernetes spells them (`size_limit`, `sizeLimit`).\n")
    for name, model in SHAPES.items():
        lines += [f"### `{name}`\n", *_keys(model), ""]
    lines.append("`affinity` is Kubernetes' own (`Affinity` of core/v1), in either spelling.")
    return "\n".join(lines) + "\n"


def _table(fields: list[Field]) -> list[str]:
    rows = [(f"`{one.name}`", one.shape, one.meaning, _allowed(one), _who(one)) for one in fields]
    return _rows(("Field", "Shape", "What it is", "Allowed", "Actions and platforms"), rows)


def _keys(model: type[Value]) -> list[str]:
    rows = [
        (f"`{name}`", info.description or "", told(info, "x-allowed") + ("; required" if info.is_required() else ""))
        for name, info in model.model_fields.items()
    ]
    return _rows(("Key", "What it is", "Allowed"), rows)


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _allowed(field: Field) -> str:
    if field.default is ...:
        return f"{field.allowed}; required"
    return f"{field.allowed}; default `{field.default}`" if field.default else field.allowed


def _who(field: Field) -> str:
    told_of = [", ".join(field.actions)] if field.actions else []
    for how in ("recorded", "error"):
        names = [name for name, one in field.platforms.items() if one == how]
        told_of += [f"{how}: {', '.join(names)}"] if names else []
    return "; ".join(told_of)


def _dump(schema: object) -> str:
    return json.dumps(schema, indent=2) + "\n"


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
