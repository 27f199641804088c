"""What a function is asked to do once: the values of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class JobTask:
    """One run of a function as a job.

    `inputs` maps an argument to a `store://` key, `entities` such a key to `{"kind": …, "path": …}`. `secrets` are
    names; their values never stand here. `python`, an interpreter's path, wins over the function's `python_version`.
    """

    run: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    entities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    init_parameters: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    timeout_s: float | None = None
    grace_s: float | None = None
    output_path: str = ""
    python: str = ""
    refresh: bool = False
