"""The values of one run: what `function.run(…)` takes, checked whole and frozen. A field's `on` says who takes it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, field_validator

from nuwrap.errors import SpecError
from nuwrap.spec.affinity import Affinity
from nuwrap.spec.function import Function
from nuwrap.spec.model import Many, Value, check, quote, said
from nuwrap.spec.shapes import (
    LABEL,
    LABEL_FORM,
    LABEL_KEY,
    LABEL_VALUE,
    Env,
    NodeSelector,
    Resources,
    Toleration,
    Volume,
    quantity,
)
from nuwrap_runtime.launch import FIELDS as LAUNCH
from nuwrap_runtime.launch import IDENTIFIER, NAME, NAME_FORM, SECRET_NAME, SERVE_FIELDS, STORE_KEY
from nuwrap_runtime.schema import did_you_mean, faults, is_text, show, value_faults

Action = Literal["job", "serve", "build"]
ACTIONS: tuple[Action, ...] = get_args(Action)
ADDRESSES = ("s3", "http", "https")
INPUT_FORM = (
    "store://project/dataitem|artifact|model/kind/name:id, a path, an address (s3://, http://, https://), or an entity"
)

_HERE_RECORDED = {"local": "recorded", "docker": "recorded"}
_HERE = {"docker": "error", "kubernetes": "error", "nuclio": "error"}
_BOTH: tuple[Action, ...] = ("job", "serve")


def _value(meaning: str, allowed: str, *actions: str, on: Mapping[str, str] | None = None, **more: Any) -> Any:
    """Return a field: the actions that have it (all when none is named), and platforms that do not honour it."""
    extra = {"x-actions": list(actions or ACTIONS), "x-platforms": dict(on or {})}
    return said(meaning, allowed, more.pop("default", None), extra=extra, **more)


def _limit(name: str, *actions: str, schemas: Mapping[str, Mapping[str, Any]] = SERVE_FIELDS) -> Any:
    """Return the field of the launch document's key of that name."""
    schema = schemas[name]
    return _value(str(schema["description"]), _range(schema), *actions)


def _range(schema: Mapping[str, Any]) -> str:
    if "x-allowed" in schema:
        return str(schema["x-allowed"])
    if schema["type"] == "boolean":
        return "true or false"
    if schema["type"] == "string":
        return "one line of plain text"
    most = schema["maximum"]
    number = "seconds" if schema["type"] == "number" else "a whole number"
    return f"{number}, {schema['minimum']} to {most}" if most < 2**53 - 1 else f"{number}, {schema['minimum']} or more"


def _as_launch(name: str, schemas: Mapping[str, Mapping[str, Any]] = SERVE_FIELDS) -> AfterValidator:
    """Return the check that the launch document makes of its key of that name."""

    def check_value(value: Any) -> Any:
        found = faults(value, schemas[name]) if value is not None else []
        if found:
            raise ValueError(found[0].partition(": ")[2])
        return value

    return AfterValidator(check_value)


def _check_json(value: Any) -> Any:
    found = value_faults(value)
    if found:
        where, _, text = found[0].partition(": ")
        raise ValueError(text if where == "document" else f"at {where}: {text}")
    return value


def _check_input(value: Any) -> Any:
    """Return a key, an address or a path as text, an entity as it is."""
    if isinstance(getattr(value, "key", None), str):
        return value
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text or "\0" in text or not is_text(text):
        raise ValueError(f"{quote(text)} is neither a key, a path, an address nor an entity")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme and scheme[1] == "store" and not re.search(STORE_KEY, text):
        raise ValueError(f"{quote(text)} has not the form of a key")
    if scheme and scheme[1].lower() not in ("store", *ADDRESSES):
        raise ValueError(f"{quote(text)} has a scheme that inputs have not")
    return text


def _check_secret(value: Any) -> Any:
    """Refuse what is no name without showing it: somebody may have given the value."""
    if not isinstance(value, str) or not re.search(SECRET_NAME, value) or value.endswith("\n"):
        raise ValueError("is no name of a secret")
    return value


def _refuse_mapping(value: Any) -> Any:
    """Refuse a mapping of names to values without showing the values."""
    if isinstance(value, Mapping):
        raise ValueError("is a mapping, not a list")  # noqa: TRY004 - pydantic takes no other
    return value


def _check_instruction(value: str) -> str:
    if not value.strip() or not is_text(value):
        raise ValueError("is empty" if is_text(value) else f"{quote(value)} is no text")
    if len(value.splitlines()) > 1 or "\n" in value or "\0" in value:
        raise ValueError(f"{quote(value)} has a line break; give each command its own entry, or join them with &&")
    if value.rstrip().endswith("\\"):
        raise ValueError(f"{quote(value)} ends with a backslash, which would take the next line of the Dockerfile in")
    return value


def _as_path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


Argument = Annotated[str, said("", "a Python name", ..., pattern=IDENTIFIER)]
Json = Annotated[Any, AfterValidator(_check_json)]
Labels = dict[
    Annotated[str, said("", "", ..., pattern=LABEL_KEY)], Annotated[str, said("", "", ..., pattern=LABEL_VALUE)]
]
Texts = dict[Annotated[str, said("", "", ..., pattern=LABEL_KEY)], str]
Path = Annotated[str, BeforeValidator(_as_path), _as_launch("output_path", LAUNCH)]
Interpreter = Annotated[str, BeforeValidator(_as_path), _as_launch("python", LAUNCH)]
SecretName = Annotated[Any, AfterValidator(_check_secret)]
Uid = Annotated[int, said("", "", ..., ge=1, le=2**31 - 1)]


class TaskValues(Value):
    """What a version of a function is asked to do, and with what: the fields of a Task."""

    action: Action = said("what is asked for", ", ".join(ACTIONS), ...)
    node_selector: Many[NodeSelector] = _value(
        "labels that a node must have", "a list of {key, value}, each key once", on=_HERE_RECORDED, default=()
    )
    volumes: Many[Volume] = _value(
        "more places in the container's file system", "a list of {volume_type, name, mount_path, spec}",
        on=_HERE_RECORDED, default=(),
    )  # fmt: skip
    resources: Resources | None = _value(
        "processor, memory, GPUs and disk", "{cpu, mem, gpu, disk}, each an amount or {requests, limits}",
        on={"local": "recorded"},
    )  # fmt: skip
    affinity: Affinity | None = _value(
        "where pods may stand, and where it is better", "{node_affinity, pod_affinity, pod_anti_affinity}",
        on=_HERE_RECORDED,
    )  # fmt: skip
    tolerations: Many[Toleration] = _value(
        "taints of nodes that are borne", "a list of {key, operator, value, effect, toleration_seconds}",
        on=_HERE_RECORDED, default=(),
    )  # fmt: skip
    envs: Annotated[Many[Env], BeforeValidator(_refuse_mapping)] = _value(
        "environment variables", "a list of {name, value}, each name once", default=()
    )
    secrets: Annotated[Many[SecretName], BeforeValidator(_refuse_mapping)] = _value(
        "secrets that the function may read", "a list of names, never of values", default=()
    )
    profile: str | None = _value("template of the cluster's administrator", NAME_FORM, on=_HERE_RECORDED, pattern=NAME)
    replicas: Annotated[int, _as_launch("max_inflight")] | None = _value(
        "pods that serve", "a whole number, 1 or more", "serve", on={"local": "recorded", "docker": "recorded"}
    )
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = _value(
        "how the cluster offers the service; ClusterIP by default", "ClusterIP, NodePort, LoadBalancer", "serve",
        on=_HERE_RECORDED,
    )  # fmt: skip
    service_name: str | None = _value(
        "a further, stable name of the service", LABEL_FORM, "serve", on=_HERE_RECORDED, pattern=LABEL
    )
    instructions: Many[Annotated[str, AfterValidator(_check_instruction)]] = _value(
        "commands that the build runs as root, each a RUN line of the Dockerfile", "a list of commands, each one line",
        "build", default=(),
    )  # fmt: skip
    workers: Annotated[int, _as_launch("workers")] | None = _limit("workers", "serve")
    concurrency: Annotated[int, _as_launch("concurrency", LAUNCH)] | None = _limit(
        "concurrency", "serve", schemas={"concurrency": {**LAUNCH["concurrency"]}}
    )
    max_inflight: Annotated[int, _as_launch("max_inflight")] | None = _limit("max_inflight", "serve")
    max_body_bytes: Annotated[int, _as_launch("max_body_bytes")] | None = _limit("max_body_bytes", "serve")
    access_log: bool | None = _limit("access_log", "serve")
    port: Annotated[int, _as_launch("port")] | None = _limit("port", "serve")
    admin_port: Annotated[int, _as_launch("admin_port")] | None = _limit("admin_port", "serve")
    address: Annotated[str, _as_launch("address")] | None = _limit("address", "serve")
    timeout_s: Annotated[float, _as_launch("timeout_s", LAUNCH)] | None = _limit("timeout_s", *_BOTH, schemas=LAUNCH)
    grace_s: Annotated[float, _as_launch("grace_s", LAUNCH)] | None = _limit("grace_s", *_BOTH, schemas=LAUNCH)
    run_as_user: Uid | None = _value("user id of the process", "a whole number, 1 or more", *_BOTH, on=_HERE_RECORDED)
    run_as_group: Uid | None = _value("group id of the process", "a whole number, 1 or more", *_BOTH, on=_HERE_RECORDED)
    fs_group: Uid | None = _value("group id of volumes", "a whole number, 1 or more", *_BOTH, on=_HERE_RECORDED)
    priority_class: str | None = _value("the pods' priority class", "a name", on=_HERE_RECORDED, pattern=NAME)
    object_labels: Labels = _value(
        "more labels on the cluster's objects", "a mapping of label keys to label values", on=_HERE_RECORDED, default={}
    )
    object_annotations: Texts = _value(
        "more annotations on the cluster's objects", "a mapping of keys to text", on=_HERE_RECORDED, default={}
    )


class RunValues(TaskValues):
    """Everything that one run was given, checked; None and empty are not given."""

    platform: str | None = _value("where it runs; this machine by default", NAME_FORM, pattern=NAME)
    local_execution: bool | None = _value("run on this machine", "true or false", *_BOTH)
    inputs: dict[Argument, Annotated[Any, AfterValidator(_check_input)]] = _value(
        "data by argument", INPUT_FORM, *_BOTH, default={}
    )
    parameters: dict[Argument, Json] = _value("values by argument", "a mapping of JSON values", *_BOTH, default={})
    init_parameters: dict[Argument, Json] = _value(
        "values by argument of init_function", "a mapping of JSON values", *_BOTH, default={}
    )
    output_path: Path | None = _value("folder or address that gets outputs and result", "one line of text", "job")
    python: Interpreter | None = _value(
        "interpreter to use instead of one of python_version", "a path, or a name on PATH", *_BOTH, on=_HERE
    )
    refresh: bool | None = _value("resolve the requirements anew", "true or false", *_BOTH)

    @field_validator("secrets")
    @classmethod
    def _merge_secrets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

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
    lines += [text for text in strange.values() if text] + _across(action, known)
    if values is None or lines:
        raise SpecError(f"{origin} is not valid:\n" + "\n".join(f"  {line}" for line in lines))
    return values


def actions_of(name: str) -> tuple[str, ...]:
    """Return the actions that have the field."""
    extra = RunValues.model_fields[name].json_schema_extra
    return tuple(extra.get("x-actions", ACTIONS)) if isinstance(extra, dict) else ACTIONS  # type: ignore[arg-type]


def _strange(name: str, action: Any) -> str:
    """Return why the field cannot be given to a run of that action, "" when it can."""
    if name in RunValues.model_fields:
        owners = actions_of(name)
        wrong = action in ACTIONS and action not in owners
        return f"{name}: belongs to action {' and '.join(owners)}; this is {action}" if wrong else ""
    if name in Function.model_fields:
        return f"{name}: belongs to the function; give it to new_function, or change it with function.update"
    return f"{show(name)[1:-1]}: unknown field{did_you_mean(name, [*RunValues.model_fields])}"


def _across(action: Any, given: Mapping[str, Any]) -> list[str]:
    """Return what does not go together, be the values themselves right or wrong."""
    found = [
        *_repeated(given, "node_selector", "key"),
        *_repeated(given, "envs", "name"),
        *_repeated(given, "volumes", "name"),
        *_repeated(given, "volumes", "mount_path"),
    ]
    inputs, parameters = given.get("inputs"), given.get("parameters")
    if isinstance(inputs, Mapping) and isinstance(parameters, Mapping):
        both = sorted(str(name) for name in inputs if name in parameters)
        found += [f"inputs.{name}: is in parameters too; one name has one value" for name in both]
    for index, env in enumerate(_items(given, "envs")):
        if _get(env, "name") in [one for one in _items(given, "secrets") if isinstance(one, str)]:
            found.append(f"envs[{index}].name: {quote(_get(env, 'name'))} is in secrets too; one name has one value")
        if _get(env, "persist") and action in _BOTH:
            found.append(f"envs[{index}].persist: belongs to action build; this is {action}")
    if given.get("local_execution") is True and given.get("platform", "local") != "local":
        found.append(f"platform: {quote(given['platform'])} and local_execution are both given; keep one")
    if given.get("port") and given.get("port") == given.get("admin_port"):
        found.append(f"admin_port: {quote(given['port'])} is port too; name two ports, or 0 for any free one")
    return found


def _repeated(given: Mapping[str, Any], field: str, key: str) -> list[str]:
    seen: dict[Any, int] = {}
    found = []
    for index, item in enumerate(_items(given, field)):
        value = _get(item, key)
        if isinstance(value, str):
            first = seen.setdefault(value.rstrip("/") if key == "mount_path" else value, index)
            if first != index:
                found.append(f"{field}[{index}].{key}: {quote(value)} is that of {field}[{first}] too; give each once")
    return found


def _items(given: Mapping[str, Any], field: str) -> list[Any]:
    value = given.get(field)
    return list(value) if isinstance(value, (list, tuple)) else []


def _get(item: Any, key: str) -> Any:
    """Return a key of an item as it was given: a mapping in either spelling, or one of our shapes."""
    if not isinstance(item, Mapping):
        return getattr(item, key, None)
    head, *rest = key.split("_")
    return item.get(key, item.get(head + "".join(part.title() for part in rest)))
