"""A run's result document as a value. The run is not trusted: size, schema and every path are checked first."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from nuwrap.errors import ResultError
from nuwrap_runtime.result import DOCUMENT_BYTES, SCHEMA, Failure, Result
from nuwrap_runtime.schema import faults

FILE_NAME = "result.json"


def read_result(folder: str, *, has_files: bool = True) -> Result:
    """Return the result that a run left in its folder; keys of a later version are left out. Without `has_files` the
    outputs lie elsewhere, below the same relative paths.

    Raises ResultError when there is none, when it is too large or not of the schema, or when an output's path leaves
    the folder, be it by a link.
    """
    path = os.path.join(folder, FILE_NAME)
    document = _load(path)
    wrong = faults(document, SCHEMA)
    if not wrong:
        outputs = document.get("outputs", {}).items()
        wrong = [line for name, one in outputs for line in _path_faults(folder, name, one, has_files=has_files)]
    if wrong:
        raise ResultError(f"the result {path!r} is not valid:\n" + "\n".join(f"  {line}" for line in wrong))
    known = {key: value for key, value in document.items() if key in Result.__dataclass_fields__}
    failure = Failure.from_document(document["failure"]) if document.get("failure") else None
    return Result(**{**known, "failure": failure})


def _load(path: str) -> Any:
    try:
        with open(path, "rb") as stream:
            data = stream.read(DOCUMENT_BYTES + 1)
    except OSError as exc:
        raise ResultError(f"cannot read the result {path!r}: {exc.strerror}") from exc
    if len(data) > DOCUMENT_BYTES:
        raise ResultError(f"the result {path!r} has more than {DOCUMENT_BYTES} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ResultError(f"the result {path!r} is not JSON: {exc}") from exc


def _path_faults(folder: str, name: str, output: Mapping[str, Any], *, has_files: bool) -> list[str]:
    path = output["path"]
    if not path and output.get("key"):  # an entity that was there before the run: nothing of it lies here
        return []
    where = f"outputs.{name}.path: {path!r}"
    if not path or os.path.isabs(path) or "\0" in path or ".." in path.split("/"):
        return [f"{where} is not a relative path below the run's folder"]
    root, target = os.path.realpath(folder), os.path.realpath(os.path.join(folder, path))
    if target == root or os.path.commonpath([root, target]) != root:
        return [f"{where} leads out of the run's folder, to {target!r}"]
    return [] if os.path.exists(target) or not has_files else [f"{where} does not exist"]
