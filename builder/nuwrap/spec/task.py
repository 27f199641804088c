"""What a function is asked to do: the values of a job, and those of a service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """The values that each run of a function has.

    `inputs` maps an argument to a `store://` key, `entities` such a key to `{"kind": …, "path": …}`. `secrets` are
    names; their values never stand here. `python`, an interpreter's path, wins over the function's `python_version`.
    None leaves a value to its default.
    """

    run: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    entities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    init_parameters: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    timeout_s: float | None = None
    grace_s: float | None = None
    python: str = ""
    refresh: bool = False
    refresh_code: bool = False


@dataclass(frozen=True)
class JobTask(Task):
    """One run of a function as a job."""

    output_path: str = ""


@dataclass(frozen=True)
class ServeValues:
    """Addresses and limits of a service: the names of the launch document's `serve`, and its `concurrency`.

    `gpu` is how many GPUs the function uses: with any, one worker is the default, as each worker takes memory of
    them. None leaves a value to its default.
    """

    port: int | None = None
    admin_port: int | None = None
    address: str | None = None
    workers: int | None = None
    gpu: int = 0
    max_inflight: int | None = None
    max_body_bytes: int | None = None
    access_log: bool = False
    concurrency: int | None = None


@dataclass(frozen=True)
class ServeTask(ServeValues, Task):
    """One run of a function as a service; inputs and parameters are the same for every request."""
