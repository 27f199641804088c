"""What an OpenAPI document needs to know of a function: JSON Schemas of what a request gives and what comes back.

The schemas say what `convert` takes. Imported only when a host asks; calls nothing of the user's.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Mapping
from typing import Any, Callable, Literal, Optional, get_args, get_origin

from nuwrap_runtime.worker import convert
from nuwrap_runtime.worker.annotations import resolve
from nuwrap_runtime.worker.binding import RESERVED, binding_form
from nuwrap_runtime.worker.describe import describe_function
from nuwrap_runtime.worker.spec import WorkerSpec

Schema = dict[str, Any]

_SCALARS: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    None: "null",
}
_MOMENTS = {"datetime": "date-time", "date": "date", "time": "time"}
_NO_DEFAULT = object()


def describe_service(function: Callable[..., Any], spec: WorkerSpec) -> dict[str, Any]:
    """Return what `describe_function` does, the parameters as a request gives them.

    Each has a `schema`, and a `default` where it has one that JSON can say. `fixed` are the names that the run gives,
    `has_any` tells of `**kwargs`, `text` is the whole docstring, `returns_schema` that of the return annotation.
    """
    form = binding_form(function, spec)
    hints = resolve(function)
    fixed = sorted({*spec.parameters, *spec.inputs})
    named = _signature(function).parameters.values() if form == "names" else ()
    free = [one for one in named if one.name not in {*fixed, *RESERVED}]
    return {
        **describe_function(function, spec, form),
        "text": (inspect.getdoc(function) or "").strip(),
        "parameters": [_parameter(one, hints) for one in free],
        "fixed": fixed,
        "has_any": any(one.kind is inspect.Parameter.VAR_KEYWORD for one in free),
        "returns_schema": schema_of(hints.get("return", Any)),
    }


def schema_of(annotation: Any, above: tuple[Any, ...] = ()) -> Schema:
    """Return the JSON Schema of what the annotation takes; {} for one that we know nothing of.

    `above` are the dataclasses around it: one that holds itself is any object there.
    """
    annotation = convert.bare(annotation)
    origin, members = get_origin(annotation) or annotation, get_args(annotation)
    if origin in convert.UNIONS:
        return _any_of([schema_of(one, above) for one in members])
    if origin is Literal:
        return _choices([_plain(one) for one in members])
    if origin in convert.LISTS:
        return {"type": "array", **({"items": schema_of(members[0], above)} if members else {})}
    if origin in convert.DICTS:
        inner = {"additionalProperties": schema_of(members[1], above)} if len(members) == 2 else {}
        return {"type": "object", **inner}
    if convert.is_dataclass(origin):
        return {"type": "object"} if origin in above else _members_schema(origin, (*above, origin))
    return _class_schema(origin)


def _members_schema(kind: Any, above: tuple[Any, ...]) -> Schema:
    found: Schema = {"type": "object", "properties": {}}
    required = []
    for one in convert.fields_of(kind):
        schema = schema_of(one.annotation, above)
        default = _NO_DEFAULT if one.default is one.empty else _plain(one.default)
        found["properties"][one.name] = schema if default is _NO_DEFAULT else {**schema, "default": default}
        required += [one.name] if one.default is one.empty else []
    return {**found, "required": required} if required else found


def _class_schema(kind: Any) -> Schema:
    if kind is None or (isinstance(kind, type) and kind in _SCALARS):
        return {"type": _SCALARS[kind]}
    if not isinstance(kind, type):
        return {}
    if convert.is_enum(kind):
        return _enum_schema(kind)
    if getattr(sys.modules.get("datetime"), kind.__name__, None) is kind and kind.__name__ in _MOMENTS:
        return {"type": "string", "format": _MOMENTS[kind.__name__]}
    return {}


def _enum_schema(kind: Any) -> Schema:
    """Return the members' values; their names where a value is nothing that JSON has."""
    values = [_plain(one.value) for one in kind]
    return _choices(list(kind.__members__) if _NO_DEFAULT in values else values)


def _any_of(schemas: list[Schema]) -> Schema:
    different = [one for index, one in enumerate(schemas) if one not in schemas[:index]]
    if {} in different:
        return {}
    return different[0] if len(different) == 1 else {"anyOf": different}


def _choices(values: list[Any]) -> Schema:
    known = [one for one in values if one is not _NO_DEFAULT]
    return {"enum": known} if known else {}


def _parameter(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": parameter.name,
        "kind": parameter.kind.name.lower(),
        "schema": schema_of(hints.get(parameter.name, Any)),
        "required": False,
    }
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        return found
    if parameter.default is inspect.Parameter.empty:
        return {**found, "required": True}
    default = _plain(parameter.default)
    return found if default is _NO_DEFAULT else {**found, "default": default}


def _plain(value: Any) -> Any:
    """Return the value as JSON has it, `_NO_DEFAULT` when that would be another one."""
    if convert.is_enum(type(value)):
        return _plain(value.value)
    datetime = sys.modules.get("datetime")
    if datetime is not None and isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if value is None or isinstance(value, (str, int, float, list, dict)):
        text = _json(value)
        return _NO_DEFAULT if text is None else json.loads(text)
    return _NO_DEFAULT


def _json(value: Any) -> Optional[str]:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return inspect.Signature()
