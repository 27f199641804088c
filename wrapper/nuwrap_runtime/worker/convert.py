"""One value of a request to what a parameter's annotation asks for. Knows no handler: value and type in, value out."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import json
import math
import sys
import types
from collections.abc import Mapping
from typing import Annotated, Any, Callable, Literal, Union, get_args, get_origin

from nuwrap_runtime.schema import show
from nuwrap_runtime.worker.annotations import resolve

UNIONS = (Union, getattr(types, "UnionType", Union))  # `int | None` is one from Python 3.10 on
LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_DIGITS = frozenset("0123456789")


def convert(value: Any, annotation: Any, *, from_query: bool) -> Any:
    """Return the value as the annotation's type; as it came, when the annotation is none that we know.

    `value` is JSON; when `from_query` text, or a list of texts where a name was given more than once. JSON is not
    bent: the string "3" is no int there.
    Raises ValueError with what was found and what is allowed.
    """
    annotation = bare(annotation)
    if annotation in (Any, inspect.Parameter.empty) or isinstance(annotation, str):
        return value
    origin = get_origin(annotation) or annotation
    if origin in UNIONS:
        return _to_union(value, get_args(annotation), from_query=from_query)
    if origin is Literal:
        return _to_choice(value, [(one, one) for one in get_args(annotation)], from_query=from_query)
    if origin in LISTS:
        return _to_list(value, get_args(annotation), from_query=from_query)
    if origin in DICTS:
        return _to_dict(value, get_args(annotation), from_query=from_query)
    return _to_class(value, origin, from_query=from_query)


def bare(annotation: Any) -> Any:
    """Return what `Annotated` and `NewType` stand for."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        else:
            return annotation


def takes_list(annotation: Any) -> bool:
    """Tell whether the annotation is a list's, or a union with one."""
    annotation = bare(annotation)
    origin = get_origin(annotation) or annotation
    return any(takes_list(one) for one in get_args(annotation)) if origin in UNIONS else origin in LISTS


def _to_class(value: Any, kind: Any, *, from_query: bool) -> Any:
    if not isinstance(kind, type):
        return _expect(value, value is None, "null") if kind is None else value
    if kind in _SCALARS:
        of_text, of_json = _SCALARS[kind]
        return of_text(value) if from_query and isinstance(value, str) else of_json(value)
    if kind is type(None):
        return _expect(value, value is None, "null")
    if is_enum(kind):
        return _to_choice(value, _members(kind), from_query=from_query)
    datetime = sys.modules.get("datetime")  # an annotation of its classes can only be there when it is loaded
    if datetime is not None and kind in (datetime.datetime, datetime.date, datetime.time):
        return _to_moment(value, kind)
    return _to_dataclass(value, kind, from_query=from_query) if is_dataclass(kind) else value


def is_dataclass(kind: Any) -> bool:
    """Tell whether it is a class that `dataclasses` made, without importing that."""
    return isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")


@functools.cache
def fields_of(kind: Any) -> tuple[inspect.Parameter, ...]:
    """Return what makes an instance of the dataclass, as parameters whose annotations are types; `Any` for no type."""
    hints = resolve(kind)
    given = inspect.signature(kind).parameters.values()
    named = [one for one in given if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    return tuple(one.replace(annotation=hints.get(one.name, Any)) for one in named)


def _to_dataclass(value: Any, kind: Any, *, from_query: bool) -> Any:
    """Return an instance; its own checks' ValueError counts as a value that does not fit."""
    if from_query and isinstance(value, str):
        value = _parse_json(value, "a JSON object")
    _expect(value, isinstance(value, dict), "an object")
    given = {}
    for one in fields_of(kind):
        if one.name in value:
            given[one.name] = _inside(repr(one.name), value[one.name], one.annotation, from_query=False)
        elif one.default is one.empty:
            raise ValueError(f"{one.name!r} is missing")
    return kind(**given)


def is_enum(kind: Any) -> bool:
    """Tell whether it is an enumeration's class, without importing enum."""
    enum = sys.modules.get("enum")
    return enum is not None and isinstance(kind, enum.EnumMeta)


def _members(kind: Any) -> list[tuple[Any, Any]]:
    """Return the enumeration's members by value, then by name."""
    return [(one.value, one) for one in kind] + list(kind.__members__.items())


def _expect(value: Any, fits: bool, allowed: str) -> Any:  # noqa: FBT001 - reads as "expect value to fit"
    if not fits:
        raise ValueError(f"{_shown(value)} is not {allowed}")
    return value


def _expect_json(value: Any, fits: bool, allowed: str) -> Any:  # noqa: FBT001 - the same
    if not fits and isinstance(value, str):
        raise ValueError(f"{show(value)} is not {allowed} but text; JSON has {allowed} without quotes")
    return _expect(value, fits, allowed)


def _shown(value: Any) -> str:
    """Return the value as its sender spelled it, in JSON; text in single quotes, as messages have it."""
    if isinstance(value, str):
        return show(value)
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return show(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _text_int(text: str) -> int:
    digits = text[1:] if text[:1] in ("-", "+") else text
    _expect(text, bool(digits) and _DIGITS.issuperset(digits), "a whole number")
    _expect(text, len(digits) <= 4000, "a whole number of 4,000 digits at most")
    return int(text)


def _json_int(value: Any) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:  # JSON has one kind of number
        return int(value)
    return int(_expect_json(value, isinstance(value, int) and not isinstance(value, bool), "a whole number"))


def _text_float(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    return float(_expect(text if not math.isfinite(number) else number, math.isfinite(number), "a number"))


def _json_float(value: Any) -> float:
    _expect_json(value, isinstance(value, (int, float)) and not isinstance(value, bool), "a number")
    try:
        return float(value)
    except OverflowError as exc:
        raise ValueError(f"{_shown(value)} is too large for a float") from exc


def _text_bool(text: str) -> bool:
    word = text.lower()
    _expect(text, word in _TRUE + _FALSE, "one of true, false, 1, 0, yes, no, on, off")
    return word in _TRUE


def _json_bool(value: Any) -> bool:
    return bool(_expect_json(value, isinstance(value, bool), "true or false"))


def _json_str(value: Any) -> str:
    return str(_expect(value, isinstance(value, str), "a string"))


_SCALARS: Mapping[type, tuple[Callable[[str], Any], Callable[[Any], Any]]] = {
    str: (str, _json_str),
    int: (_text_int, _json_int),
    float: (_text_float, _json_float),
    bool: (_text_bool, _json_bool),
}


def _to_union(value: Any, members: tuple[Any, ...], *, from_query: bool) -> Any:
    """Return the value as the first member that it fits; JSON of exactly a member's type stays as it is."""
    if value is None and type(None) in members:
        return None
    kinds = [one for one in members if one is not type(None)]
    if not from_query and any(type(value) is one for one in kinds):
        return value
    reasons = []
    for one in kinds:
        try:
            return convert(value, one, from_query=from_query)
        except ValueError as exc:
            reasons.append(str(exc))
    if from_query and type(None) in members and value in ("", "null"):
        return None
    raise ValueError("; ".join(dict.fromkeys(reasons)))


def _to_choice(value: Any, choices: list[tuple[Any, Any]], *, from_query: bool) -> Any:
    for key, choice in choices:
        same = key == value and type(key) is type(value)  # True == 1 in Python, not in JSON
        if same or (from_query and not isinstance(key, str) and _text_of(key) == value):
            return choice
    allowed = ", ".join(dict.fromkeys(_text_of(key) for key, _ in choices))
    raise ValueError(f"{_shown(value)} is none of {allowed}")


def _text_of(choice: Any) -> str:
    if choice is None or isinstance(choice, bool):
        return json.dumps(choice)
    return str(choice)


def _to_list(value: Any, items: tuple[Any, ...], *, from_query: bool) -> list[Any]:
    if from_query and isinstance(value, str):
        if value.startswith("["):
            value, from_query = _parse_json(value, "a list"), False
        else:
            value = value.split(",") if value else []
    _expect(value, isinstance(value, list), "a list")
    kind = items[0] if items else Any
    return [_inside(f"item {index}", one, kind, from_query=from_query) for index, one in enumerate(value)]


def _to_dict(value: Any, items: tuple[Any, ...], *, from_query: bool) -> dict[Any, Any]:
    if from_query and isinstance(value, str):
        value = _parse_json(value, "a JSON object")
    _expect(value, isinstance(value, dict), "an object")
    key_kind, kind = items if len(items) == 2 else (Any, Any)
    return {
        _inside("a key", key, key_kind, from_query=True): _inside(repr(key), one, kind, from_query=False)
        for key, one in value.items()
    }


def _inside(where: str, value: Any, kind: Any, *, from_query: bool) -> Any:
    try:
        return convert(value, kind, from_query=from_query)
    except ValueError as exc:
        raise ValueError(f"{where}: {exc}") from exc


def _parse_json(text: str, allowed: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"{show(text)} is not {allowed}") from exc


def _to_moment(value: Any, kind: Any) -> Any:
    allowed = f"an ISO 8601 {kind.__name__}"
    _expect(value, isinstance(value, str), allowed)
    # Python reads the Z of UTC from 3.11 on only
    text = value[:-1] + "+00:00" if value[-1:] in ("Z", "z") and kind.__name__ != "date" else value
    try:
        return kind.fromisoformat(text)
    except ValueError as exc:
        raise ValueError(f"{show(value)} is not {allowed}, such as {_EXAMPLES[kind.__name__]}") from exc


_EXAMPLES = {"datetime": "2026-01-31T09:30:00Z", "date": "2026-01-31", "time": "09:30:00"}
