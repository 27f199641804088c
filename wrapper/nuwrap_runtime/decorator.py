"""`@handler(outputs=[…])`: names for what a function returns. Marks the function, never wraps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, TypeVar, Union, overload

Function = TypeVar("Function", bound=Callable[..., Any])
Output = Union[str, Mapping[str, Any]]

ATTRIBUTE = "__nuwrap_outputs__"
_FORM = "a name, or {'name': …, 'kind': …, 'spec_kwargs': {…}}"


@overload
def handler(function: Function, *, outputs: Optional[Sequence[Output]] = None) -> Function: ...


@overload
def handler(
    function: Optional[Sequence[Output]] = None, *, outputs: Optional[Sequence[Output]] = None
) -> Callable[[Function], Function]: ...


def handler(function: Any = None, *, outputs: Optional[Sequence[Output]] = None) -> Any:
    """Return the same function, its outputs' names kept with it; `@handler` and `@handler(["a"])` do too.

    An output is a name or `{"name", "kind", "spec_kwargs"}`. Raises TypeError when `outputs` is anything else.
    """
    if callable(function):
        return _mark(function, _parse(outputs))
    if function is not None and outputs is not None:
        raise TypeError(f"@handler: outputs are given twice, as {function!r} and as {outputs!r}; give one list")
    names = _parse(function if outputs is None else outputs)
    return lambda target: _mark(target, names)


def declared_outputs(function: Any) -> tuple[Output, ...]:
    """Return what `@handler` kept with the function, or with the `__call__` of an object; () without it."""
    found = getattr(function, ATTRIBUTE, None)
    if found is None and callable(function):
        found = getattr(type(function).__call__, ATTRIBUTE, None)
    return tuple(found or ())


def _mark(function: Any, names: tuple[Output, ...]) -> Any:
    target = getattr(function, "__func__", function)  # a staticmethod hides its own attributes from its class
    if not callable(target):
        raise TypeError(f"@handler decorates a function; {function!r} is {type(function).__name__}")
    try:
        setattr(target, ATTRIBUTE, names)
    except (AttributeError, TypeError) as exc:
        raise TypeError(f"@handler cannot mark {function!r}: write a function that calls it") from exc
    return function


def _parse(outputs: Any) -> tuple[Output, ...]:
    if outputs is None:
        return ()
    if not isinstance(outputs, (list, tuple)):
        raise TypeError(f"@handler: outputs {outputs!r} is {type(outputs).__name__}; give a list of names")
    parsed = tuple(_parse_one(one) for one in outputs)
    names = [one if isinstance(one, str) else one["name"] for one in parsed]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TypeError(f"@handler: output {twice[0]!r} is named twice; each output needs a name of its own")
    return parsed


def _parse_one(output: Any) -> Output:
    name = output.get("name") if isinstance(output, Mapping) else output
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"@handler: output {output!r} is not {_FORM}")
    if isinstance(output, str):
        return output
    unknown = sorted(str(key) for key in output if key not in ("name", "kind", "spec_kwargs"))
    if unknown:
        raise TypeError(f"@handler: output {name!r} has the unknown key {unknown[0]!r}; allowed: {_FORM}")
    _check_types(name, output)
    return dict(output)


def _check_types(name: str, output: Mapping[str, Any]) -> None:
    if not isinstance(output.get("kind"), (str, type(None))):
        raise TypeError(f"@handler: kind of output {name!r} is {output['kind']!r}; give it as text, such as 'table'")
    if not isinstance(output.get("spec_kwargs"), (Mapping, type(None))):
        raise TypeError(f"@handler: spec_kwargs of output {name!r} is {output['spec_kwargs']!r}; give a mapping")
