"""The worker spec: what the protocol has no words for, one JSON file from a host to its worker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

API = "nuwrap/worker/v1"


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker is to load and how it answers.

    `root` is the source root and becomes the working directory. `inputs` maps an argument to a `store://` key,
    `entities` such a key to `{"kind": …, "path": local path or address}`. `mode` is `job` (one event, its reply's body
    is the result), `event`, or `check` (load only; each event is answered with the signature). `pythonpath` is the
    user's PYTHONPATH, held back by the host so that a `types.py` in it cannot break the interpreter's start.
    `outputs` is the folder that gets a job's output files; without `keep_outputs` there may be none.
    """

    root: str
    handler: str
    default_module: str = "main"
    mode: str = "event"
    binding: str = "auto"
    init_function: str = ""
    init_parameters: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    entities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outputs: str = ""
    keep_outputs: bool = True
    project: str = "default"
    function: str = "function"
    run: str = ""
    secrets: str = ""
    reply_form: str = "nuclio"
    concurrency: int = 1
    pythonpath: Optional[str] = None

    def dump(self) -> str:
        """Return the JSON text that `read_spec` reads, ASCII alone: a path may hold bytes that are no UTF-8."""
        return json.dumps({"api": API, **asdict(self)})


def read_spec(path: str) -> WorkerSpec:
    """Return the spec in the file. Raises ValueError when it is not one of this version, OSError when unreadable."""
    with open(path, encoding="utf-8") as stream:
        document = json.load(stream)
    if not isinstance(document, dict) or document.pop("api", None) != API:
        raise ValueError(f"{path!r} is no worker spec of version {API!r}")
    unknown = sorted(set(document) - set(WorkerSpec.__dataclass_fields__))
    if unknown:
        raise ValueError(f"worker spec {path!r} has unknown keys: {', '.join(unknown)}")
    missing = sorted({"root", "handler"} - set(document))
    if missing:
        raise ValueError(f"worker spec {path!r} lacks {', '.join(missing)}")
    return WorkerSpec(**document)
