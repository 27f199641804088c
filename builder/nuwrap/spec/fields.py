"""The one table of all fields of Function, Task and Run: the models say what is allowed, this file what platforms do.

Nothing is ignored silently: a platform honours a field, records it with a warning, or refuses it.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from nuwrap.errors import SpecError
from nuwrap.spec.function import SOURCES, Function
from nuwrap.spec.model import Value, told
from nuwrap.spec.run_values import ACTIONS, RunValues, TaskValues
from nuwrap_runtime import launch, result
from nuwrap_runtime.schema import did_you_mean

How = Literal["honoured", "recorded", "error"]
PLATFORMS = ("local", "docker", "kubernetes", "nuclio")
SCHEMAS = ("function", "run", "launch", "result")

_CLUSTER: Mapping[str, How] = {"local": "recorded", "docker": "recorded"}
_OWN_LISTENER: Mapping[str, How] = {"nuclio": "recorded"}
# What is not here is honoured everywhere.
_NOT_HONOURED: Mapping[str, Mapping[str, How]] = {
    "access_log": _OWN_LISTENER,
    "address": {"kubernetes": "error", "nuclio": "error"},  # a pod listens on all of its own
    "admin_port": _OWN_LISTENER,
    "affinity": _CLUSTER,
    "base_image": {"local": "recorded"},
    "concurrency": _OWN_LISTENER,
    "fs_group": _CLUSTER,
    "host": _OWN_LISTENER,
    "image": {"local": "recorded"},
    "max_inflight": _OWN_LISTENER,
    "node_selector": _CLUSTER,
    "object_annotations": _CLUSTER,
    "object_labels": _CLUSTER,
    "priority_class": _CLUSTER,
    "profile": _CLUSTER,
    "port": _OWN_LISTENER,
    "replicas": _CLUSTER,
    "resources": {"local": "recorded"},
    "resources.disk": {"docker": "recorded"},  # its volumes have no limit
    "retry_evictions": _CLUSTER,
    "run_as_group": {"local": "recorded"},
    "run_as_user": {"local": "recorded"},
    "service_name": _CLUSTER,
    "service_type": _CLUSTER,
    "tolerations": _CLUSTER,
    "triggers": {"local": "error", "docker": "error", "kubernetes": "error"},  # a function would never be called
    "volumes": {"local": "recorded"},
}
# What a processor on this machine does not honour either; its addresses are ours to choose.
_OWN_HOSTS = ("access_log", "concurrency", "max_inflight")
_REASONS = {
    "local": "'local' runs processes of this machine, as you",
    "docker": "'docker' runs containers of this machine",
    "nuclio": "'nuclio' listens by its own processor",
}


@dataclass(frozen=True)
class Field:
    """A field: who has it, what it is for, its shape and what is allowed, its default, and what each platform does.

    `default` is None where it is left to who runs it, `...` where the field is required.
    """

    entity: Literal["function", "task", "run"]
    name: str
    meaning: str
    shape: str
    allowed: str
    default: Any
    actions: tuple[str, ...]
    platforms: Mapping[str, How]


def _fields(entity: Literal["function", "task", "run"], model: type[Value], without: set[str]) -> Iterator[Field]:
    for name, info in model.model_fields.items():
        if name not in without:
            yield Field(
                entity=entity,
                name=name,
                meaning=info.description or "",
                shape=_shape(info.annotation),
                allowed=told(info, "x-allowed"),
                default=... if info.is_required() else info.default,
                actions=() if entity == "function" else tuple(told(info, "x-actions", ACTIONS)),
                platforms={**dict.fromkeys(PLATFORMS, "honoured"), **_NOT_HONOURED.get(name, {})},
            )


def _shape(annotation: Any) -> str:
    """Return how a person writes a value of that type in Python."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return f"list[{_shape(inner[0])}]"
    if origin in (Annotated, Union, types.UnionType):
        return _shape(inner[0])
    if annotation in (str, int, float, bool):
        return str(annotation.__name__)
    return "str" if origin is Literal or annotation is Any else "dict"


FIELDS: tuple[Field, ...] = (
    *_fields("function", Function, set()),
    *_fields("task", TaskValues, set()),
    *_fields("run", RunValues, set(TaskValues.model_fields)),
)


def platform_notes(function: Function, values: RunValues, platform: str) -> list[str]:
    """Return what a person should hear about the fields that are only recorded: a text for the platform, one for
    Nuclio's processor in its place.

    Raises SpecError with all fields at once that the platform cannot honour. One that the table does not know honours
    everything.
    """
    given = _given(values)
    if values.action != "build":  # which takes both, wherever it is
        given += [name for name in ("image", "base_image") if getattr(function, name)]
    how = {name: _how(name, platform) for name in given}
    refused = [
        f"  {name}: platform {platform!r} cannot honour it; leave it out" for name in given if how[name] == "error"
    ]
    if refused:
        raise SpecError(f"the run does not fit platform {platform!r}:\n" + "\n".join(refused))
    recorded = {platform: [name for name in given if how[name] == "recorded"]}
    if values.host == "nuclio" and platform != "nuclio":
        recorded["nuclio"] = [name for name in given if name in _OWN_HOSTS]
    return [f"recorded, but not used: {', '.join(names)}; {_REASONS[one]}" for one, names in recorded.items() if names]


def _how(name: str, platform: str) -> How:
    """Return what a platform does with a field, or with a part of one: `resources.disk`."""
    rows = (_NOT_HONOURED.get(one, {}) for one in (name, name.partition(".")[0]))
    return next((row[platform] for row in rows if platform in row), "honoured")


def _given(values: RunValues) -> list[str]:
    """Return the names of what was given; of resources all but the GPUs, which decide how many workers there are."""
    names = [name for name in RunValues.model_fields if name in values.model_fields_set and getattr(values, name)]
    if values.replicas == 1:
        names.remove("replicas")
    if "resources" in names and values.resources:
        at = names.index("resources")
        names[at : at + 1] = [f"resources.{key}" for key in values.resources.given() if key != "gpu"]
    return names


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a document: `function`, `run`, `launch` or `result`. Raises SpecError."""
    if name == "launch":
        return dict(launch.SCHEMA)
    if name == "result":
        return dict(result.SCHEMA)
    if name not in SCHEMAS:
        raise SpecError(f"there is no schema {name!r}; allowed: {', '.join(SCHEMAS)}{did_you_mean(name, [*SCHEMAS])}")
    model = Function if name == "function" else RunValues
    schema = _plain(model.model_json_schema())
    if name == "function":
        schema["oneOf"] = [{"required": [source]} for source in SOURCES]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:nuwrap:{name}:v1",
        **schema,
        "title": f"nuwrap {name}",
    }


def _plain(schema: Any, *, is_map: bool = False) -> Any:
    """Return the schema without pydantic's titles and its defaults for what is not given, rules in descriptions."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: one for key, one in schema.items() if is_map or not _is_noise(key, one)}
    if "x-allowed" in kept and not is_map:  # what an editor shows
        kept["description"] = f"{kept['description']}; allowed: {kept.pop('x-allowed')}"
    return {key: _plain(one, is_map=key in ("properties", "$defs") and not is_map) for key, one in kept.items()}


def _is_noise(key: str, value: Any) -> bool:
    return key == "title" or (key == "default" and not value) or (key == "required" and not value)
