"""What `check` prints of a function: its signature as JSON. Calls nothing of the user's."""

from __future__ import annotations

import inspect
import os
from typing import Any, Callable

from nuwrap_runtime.decorator import declared_outputs
from nuwrap_runtime.schema import show
from nuwrap_runtime.worker.annotations import kind_of, plain_function
from nuwrap_runtime.worker.spec import WorkerSpec


def describe_function(function: Callable[..., Any], spec: WorkerSpec, binding: str) -> dict[str, Any]:
    """Return name, place, kind, parameters and outputs; "" or [] for what the function does not tell."""
    code = _code_of(function)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        signature = inspect.Signature()
    doc = (inspect.getdoc(function) or "").strip()
    return {
        "name": getattr(function, "__name__", type(function).__name__),
        "module": getattr(function, "__module__", None) or "",
        "file": _relative(code.co_filename, spec.root) if code else "",
        "line": code.co_firstlineno if code else 0,
        "kind": kind_of(function),
        "doc": doc.splitlines()[0] if doc else "",
        "parameters": [_parameter(one) for one in signature.parameters.values()],
        "returns": _annotation(signature.return_annotation),
        "outputs": list(declared_outputs(function)),
        "binding": binding,
    }


def _code_of(function: Any) -> Any:
    inner = plain_function(inspect.unwrap(function))
    return getattr(getattr(inner, "__func__", inner), "__code__", None)


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    has_default = parameter.default is not inspect.Parameter.empty
    variadic = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        "name": parameter.name,
        "kind": parameter.kind.name.lower(),
        "annotation": _annotation(parameter.annotation),
        "default": show(parameter.default) if has_default else None,
        "required": not has_default and not variadic,
    }


def _annotation(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _relative(filename: str, root: str) -> str:
    inside = filename.startswith(os.path.join(root, ""))
    return os.path.relpath(filename, root) if inside else filename
