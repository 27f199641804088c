"""The values of one run: what `function.run(…)` takes, checked whole and frozen. A field's `on` says who takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from nuwrap.errors import SpecError
from nuwrap.spec.affinity import Affinity
from nuwrap.spec.checks import (
    INPUT_FORM,
    LAUNCH,
    MOST_RETRIES,
    Argument,
    Envs,
    ImageName,
    Input,
    Instruction,
    Json,
    LabelMap,
    Path,
    Retries,
    SecretNames,
    TextMap,
    Triggers,
    Uid,
    as_launch,
    range_text,
)
from nuwrap.spec.function import Function
from nuwrap.spec.model import Many, Value, check, said, show_key, told
from nuwrap.spec.quantities import quantity
from nuwrap.spec.shapes import LABEL, LABEL_FORM, LABEL_KEY_FORM, NodeSelector, Resources, Toleration, Volume
from nuwrap.spec.together import find_contradictions
from nuwrap_runtime.launch import NAME, NAME_FORM
from nuwrap_runtime.schema import did_you_mean

Action = Literal["job", "serve", "build"]
ACTIONS: tuple[Action, ...] = get_args(Action)
_ARGUMENTS = {"x-names": "a Python name"}
_LABEL_NAMES = {"x-names": LABEL_KEY_FORM}
_BOTH: tuple[Action, ...] = ("job", "serve")


def _value(meaning: str, allowed: str, *actions: str, default: Any = None, **more: Any) -> Any:
    """Return a field of these actions, of all when none is named."""
    extra = {"x-actions": list(actions or ACTIONS), **more.pop("extra", {})}
    return said(meaning, allowed, default, extra=extra, **more)


def _limit(name: str, *actions: str) -> Any:
    """Return the field that the launch document has by that name."""
    return _value(str(LAUNCH[name]["description"]), range_text(LAUNCH[name]), *actions)


class TaskValues(Value):
    """What a version of a function is asked to do, and with what: the fields of a Task."""

    action: Action = said("what is asked for", ", ".join(ACTIONS), ...)
    node_selector: Many[NodeSelector] = _value(
        "labels that a node must have", "a list of {key, value}, each key once", default=()
    )
    volumes: Many[Volume] = _value(
        "more places in the container's file system",
        "a list of {volume_type, name, mount_path, spec}",
        default=(),
    )
    resources: Resources | None = _value(
        "processor, memory, GPUs (with any, one worker is the default) and disk",
        "{cpu, mem, gpu, disk}, each an amount or {requests, limits}",
    )
    affinity: Affinity | None = _value(
        "where pods may stand, and where it is better",
        "{node_affinity, pod_affinity, pod_anti_affinity}",
    )
    tolerations: Many[Toleration] = _value(
        "taints of nodes that are borne",
        "a list of {key, operator, value, effect, toleration_seconds}",
        default=(),
    )
    envs: Envs = _value("environment variables", "a list of {name, value}, each name once", default=())
    secrets: SecretNames = _value("secrets that the function may read", "a list of names, never of values", default=())
    profile: str | None = _value("template of the cluster's administrator", NAME_FORM, pattern=NAME)
    replicas: Annotated[int, as_launch("max_inflight")] | None = _value(
        "pods that serve", "a whole number, 1 or more", "serve"
    )
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = _value(
        "how the cluster offers the service; ClusterIP by default",
        "ClusterIP, NodePort, LoadBalancer",
        "serve",
    )
    service_name: str | None = _value("a further, stable name of the service", LABEL_FORM, "serve", pattern=LABEL)
    instructions: Many[Instruction] = _value(
        "commands that the build runs as root, each a RUN line of the Dockerfile",
        "a list of commands, each one line",
        "build",
        default=(),
    )
    host: Literal["nuwrap", "nuclio"] | None = _value(
        "who takes the requests: nuwrap's own host, or Nuclio's processor", "nuwrap, nuclio; nuwrap by default", "serve"
    )
    triggers: Triggers = _value(
        "what calls the function beside HTTP, as in Nuclio's function.yaml",
        "a mapping of names to {kind, attributes, …}",
        "serve",
        default={},
        extra={"x-names": NAME_FORM},
    )
    workers: Annotated[int, as_launch("workers")] | None = _limit("workers", "serve")
    concurrency: Annotated[int, as_launch("concurrency")] | None = _limit("concurrency", "serve")
    max_inflight: Annotated[int, as_launch("max_inflight")] | None = _limit("max_inflight", "serve")
    max_body_bytes: Annotated[int, as_launch("max_body_bytes")] | None = _limit("max_body_bytes", "serve")
    access_log: bool | None = _limit("access_log", "serve")
    port: Annotated[int, as_launch("port")] | None = _limit("port", "serve")
    admin_port: Annotated[int, as_launch("admin_port")] | None = _limit("admin_port", "serve")
    address: Annotated[str, as_launch("address")] | None = _limit("address", "serve")
    timeout_s: Annotated[float, as_launch("timeout_s")] | None = _value(
        "longest time of one call, or of the build; none by default", range_text(LAUNCH["timeout_s"])
    )
    grace_s: Annotated[float, as_launch("grace_s")] | None = _limit("grace_s", *_BOTH)
    run_as_user: Uid | None = _value("user id of the process", "a whole number, 1 or more", *_BOTH)
    run_as_group: Uid | None = _value("group id of the process", "a whole number, 1 or more", *_BOTH)
    fs_group: Uid | None = _value("group id of volumes", "a whole number, 1 or more", *_BOTH)
    retry_evictions: Retries | None = _value(
        "further pods, one after the other, of a job whose pod the cluster took: evicted, preempted, its node lost",
        f"a whole number, 0 to {MOST_RETRIES}; 0 by default",
        "job",
    )
    priority_class: str | None = _value("the pods' priority class", "a name", pattern=NAME)
    object_labels: LabelMap = _value(
        "more labels on the cluster's objects",
        "a mapping of label keys to label values",
        default={},
        extra=_LABEL_NAMES,
    )
    object_annotations: TextMap = _value(
        "more annotations on the cluster's objects", "a mapping of keys to text", default={}, extra=_LABEL_NAMES
    )


class RunValues(TaskValues):
    """Everything that one run was given, checked; None and empty are not given."""

    platform: str | None = _value("where it runs; this machine by default", NAME_FORM, pattern=NAME)
    local_execution: bool | None = _value("run on this machine", "true or false", *_BOTH)
    inputs: dict[Argument, Input] = _value("data by argument", INPUT_FORM, *_BOTH, default={}, extra=_ARGUMENTS)
    parameters: dict[Argument, Json] = _value(
        "values by argument", "a mapping of JSON values", *_BOTH, default={}, extra=_ARGUMENTS
    )
    init_parameters: dict[Argument, Json] = _value(
        "values by argument of init_function", "a mapping of JSON values", *_BOTH, default={}, extra=_ARGUMENTS
    )
    output_path: Path | None = _value("folder or address that gets outputs and result", "one line of text", "job")
    python: Path | None = _value(
        "interpreter to use instead of one of python_version", "a path, or a name on PATH", *_BOTH
    )
    refresh: bool | None = _value("resolve the requirements anew", "true or false", *_BOTH)
    refresh_code: bool | None = _value("fetch the code though the image has it", "true or false", *_BOTH)
    engine: Literal["auto", "docker", "kaniko"] | None = _value(
        "what builds the image; the setting build.engine by default", "auto, docker, kaniko", "build"
    )
    push: bool | None = _value(
        "send the image to its registry; by default where the setting build.registry names one",
        "true or false",
        "build",
    )
    destinations: Many[ImageName] = _value(
        "further names that the image gets, and is pushed to", "a list of container images", "build", default=()
    )
    tar_path: Path | None = _value("file that gets the image, as `docker save` writes it", "one line of text", "build")
    oci_path: Path | None = _value("folder that gets the image, as an OCI layout", "one line of text", "build")
    rebuild: bool | None = _value("build anew, without what is kept of earlier builds", "true or false", "build")

    @property
    def gpu(self) -> int:
        """How many GPUs one replica gets."""
        amount = self.resources.gpu if self.resources else None
        return int(quantity(amount.requests or amount.limits or "0")) if amount else 0

    def given(self) -> dict[str, Any]:
        """Return what was given, as JSON values that `make_run_values` takes again; without the action."""
        found = self.model_dump(mode="json", exclude_unset=True, exclude={"action", "inputs"})
        keys = {name: value if isinstance(value, str) else value.key for name, value in self.inputs.items()}
        return {**found, "inputs": keys} if keys else found


def make_run_values(action: Any, fields: Mapping[str, Any], *, origin: str = "function.run") -> RunValues:
    """Return the checked values of one run; a field that is None counts as not given.

    Raises SpecError with all faults at once, one a line: unknown fields, those of another action or of the function,
    and each wrong value with its path and what is allowed.
    """
    given = {name: value for name, value in fields.items() if value is not None and name != "action"}
    strange = {name: _strange(name, action) for name in given}
    known = {name: value for name, value in given.items() if not strange[name]}
    values, lines = check(RunValues, {"action": action, **known} if action else known)
    lines += [text for text in strange.values() if text] + find_contradictions(action, known)
    if values is None or lines:
        raise SpecError(f"{origin} is not valid:\n" + "\n".join(f"  {line}" for line in lines))
    return values


def _strange(name: str, action: Any) -> str:
    """Return why the field cannot be given to a run of that action, "" when it can."""
    if name in RunValues.model_fields:
        owners = told(RunValues.model_fields[name], "x-actions", ACTIONS)
        wrong = action in ACTIONS and action not in owners
        return f"{name}: belongs to action {' and '.join(owners)}; this is {action}" if wrong else ""
    if name in Function.model_fields:
        return f"{name}: belongs to the function; give it to new_function, or change it with function.update"
    return f"{show_key(name)}: unknown field{did_you_mean(name, [*RunValues.model_fields])}"
