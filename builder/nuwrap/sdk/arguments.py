"""The keyword arguments of `new_function` and `function.run`, for editors and type checkers; `spec` checks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

from typing_extensions import Unpack

__all__ = ["Action", "FunctionFields", "RunFields", "Unpack"]

Action = Literal["job", "serve", "build"]
Named = Sequence[Mapping[str, Any]]
Json = Mapping[str, Any]


class FunctionFields(TypedDict, total=False):
    """Fields of a function beside its project, name and kind."""

    uuid: str
    description: str
    labels: Sequence[str]
    embedded: bool
    code_src: str
    code: str | Callable[..., Any]
    base64: str
    handler: str | Callable[..., Any]
    init_function: str | Callable[..., Any]
    python_version: str
    lang: str
    image: str
    base_image: str
    requirements: Sequence[str]


class RunFields(TypedDict, total=False):
    """Fields of a run, those of its task among them."""

    node_selector: Named
    volumes: Named
    resources: Json
    affinity: Json
    tolerations: Named
    envs: Named
    secrets: Sequence[str]
    profile: str
    replicas: int
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    service_name: str
    instructions: Sequence[str]
    host: Literal["nuwrap", "nuclio"]
    triggers: Json
    workers: int
    concurrency: int
    max_inflight: int
    max_body_bytes: int
    access_log: bool
    port: int
    admin_port: int
    address: str
    timeout_s: float
    grace_s: float
    run_as_user: int
    run_as_group: int
    fs_group: int
    retry_evictions: int
    priority_class: str
    object_labels: Mapping[str, str]
    object_annotations: Mapping[str, str]
    platform: str
    local_execution: bool
    inputs: Json
    parameters: Json
    init_parameters: Json
    output_path: str | PathLike[str]
    python: str | PathLike[str]
    refresh: bool
    refresh_code: bool
    engine: Literal["auto", "docker", "kaniko"]
    push: bool
    destinations: Sequence[str]
    tar_path: str | PathLike[str]
    oci_path: str | PathLike[str]
    rebuild: bool
