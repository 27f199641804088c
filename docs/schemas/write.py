"""Write the published JSON Schemas from the literals that the code checks with.

    python docs/schemas/write.py [--check]

With `--check` nothing is written: the exit code is 1 when a file is not what the code says.
"""
# ruff: noqa: INP001 - a script beside the files that it writes, no package

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent.parent / "wrapper"))

from nuwrap_runtime import launch, result  # noqa: E402 - of this checkout, whatever is installed

SCHEMAS = {"launch.v1.json": launch.SCHEMA, "result.v1.json": result.SCHEMA}


def main(argv: list[str]) -> int:
    """Write or check every schema and return the exit code."""
    stale = [name for name, schema in SCHEMAS.items() if not is_current(FOLDER / name, render(schema))]
    if "--check" in argv:
        for name in stale:
            print(f"docs/schemas/{name} is not what the code says; run: make schemas", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (FOLDER / name).write_text(render(SCHEMAS[name]), encoding="utf-8")
    return 0


def render(schema: object) -> str:
    return json.dumps(schema, indent=2) + "\n"


def is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
