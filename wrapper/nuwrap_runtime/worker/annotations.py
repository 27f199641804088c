"""Annotations of a user's function as types, also where they are text; what cannot be resolved counts as none."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any, Callable, Union, get_type_hints

# Instances of these packages' classes cannot come out of a request's JSON or query.
_BEYOND_JSON = frozenset({"nuwrap_runtime", "digitalhub", "nuclio_sdk", "pandas", "polars"})


def resolve(function: Callable[..., Any]) -> dict[str, Any]:
    """Return each annotated parameter's type; one that names nothing known is left out."""
    target = plain_function(inspect.unwrap(function))
    target = getattr(target, "__func__", target)
    try:
        return get_type_hints(target, include_extras=True)
    except Exception:  # noqa: BLE001 - evaluating a user's annotation may raise anything
        raw: Mapping[str, Any] = getattr(target, "__annotations__", {})
        scope = getattr(target, "__globals__", None) or vars(sys.modules.get(target.__module__, sys))
        found = {name: _evaluate(one, scope) for name, one in raw.items()}
        return {name: one for name, one in found.items() if one is not inspect.Parameter.empty}


def plain_function(function: Any) -> Any:
    """Return the function behind a partial, a class or a callable object; anything else as it is."""
    while hasattr(function, "func") and hasattr(function, "keywords"):  # functools.partial, without importing it
        function = function.func
    if isinstance(function, type):
        return vars(function).get("__init__", function)
    return function if inspect.isroutine(function) else type(function).__call__


def kind_of(function: Any) -> str:
    """Return `sync`, `async`, `generator` or `asyncgen`, by the function behind a partial or a callable object."""
    inner = plain_function(function)
    if inspect.isasyncgenfunction(inner):
        return "asyncgen"
    if inspect.iscoroutinefunction(inner):
        return "async"
    return "generator" if inspect.isgeneratorfunction(inner) else "sync"


def _evaluate(annotation: Any, scope: Mapping[str, Any]) -> Any:
    """Return the type, `Parameter.empty` when it cannot be had. `X | None` works on 3.9 too, as Union."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(scope))  # noqa: S307 - the user's own annotation, as typing.get_type_hints does
    except Exception:  # noqa: BLE001 - the same
        parts = annotation.split("|")
    members = [_evaluate(part.strip(), scope) for part in parts] if len(parts) > 1 else []
    if not members or inspect.Parameter.empty in members:
        return inspect.Parameter.empty
    return Union[tuple(members)]


def annotation_name(annotation: Any) -> str:
    """Return the last part of the annotation's name: `Event` for `nuclio_sdk.Event`, as a class or as text."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return str(text).strip("'\" ").rpartition(".")[2]


def is_beyond_json(annotation: Any) -> bool:
    """Tell whether only nuwrap could provide such a value: an entity, a context, a data frame."""
    return isinstance(annotation, type) and annotation.__module__.partition(".")[0] in _BEYOND_JSON
