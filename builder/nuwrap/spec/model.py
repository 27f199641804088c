"""What our pydantic models share: fields that say what they are for, and faults as lines that a person understands."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from nuwrap.spec.requirements import hide_credentials
from nuwrap_runtime.schema import did_you_mean, show

KEY_CHARACTERS = 80
KEYS_LISTED = 8
_TYPES = {
    "string_type": "a string",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number that JSON has",
}
_BOUNDS = {
    "greater_than_equal": ("less than", "ge"),
    "greater_than": ("not more than", "gt"),
    "less_than_equal": ("more than", "le"),
}

T = TypeVar("T")
Many = Annotated[tuple[T, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]


class Value(BaseModel):
    """A checked value that does not change. Faults are read with `check`, not from pydantic's own text."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Shape(Value):
    """A value inside another one: takes its keys in snake_case and as Kubernetes spells them; null is not given."""

    model_config = ConfigDict(alias_generator=AliasGenerator(serialization_alias=to_camel))

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        found: dict[str, Any] = {}
        for key, one in value.items():
            name = cls._spell(str(key))
            if one is None:
                continue
            if name in found and found[name] != one:
                raise ValueError(f"{name} and {to_camel(name)} are both given, with different values; keep one")
            found[name] = one
        return found

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Let an editor take both spellings."""
        schema: dict[str, Any] = handler.resolve_ref_schema(handler(core_schema))
        known = schema.get("properties", {})
        schema["properties"] = {**known, **{to_camel(name): one for name, one in known.items()}}
        schema["required"] = [name for name in schema.get("required", []) if "_" not in name]
        return schema

    @classmethod
    def _spell(cls, key: str) -> str:
        snake = re.sub(r"(?<=[a-z])[A-Z]", lambda letter: "_" + letter[0].lower(), key)
        return snake if snake in cls.model_fields else key

    def to_kubernetes(self) -> dict[str, Any]:
        """Return the value as Kubernetes spells it, without what was not given."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


def said(
    meaning: str, allowed: str, default: Any = None, *, extra: Mapping[str, Any] | None = None, **more: Any
) -> Any:
    """Return a field: what it is for, and what is allowed, which stands in errors too. `...` as default: required.

    `more` is pydantic's own.
    """
    return Field(default, description=meaning, json_schema_extra={"x-allowed": allowed, **(extra or {})}, **more)


def check(
    model: type[T], given: Mapping[str, Any], *, paths: Mapping[str, str] | None = None
) -> tuple[T | None, list[str]]:
    """Return the value of the given fields, or None and its faults, one a line: path, value, what is allowed.

    A fault of the whole stands at the path "" of `paths`.
    """
    try:
        return model.model_validate(given), []  # type: ignore[attr-defined]
    except ValidationError as exc:
        return None, [_line(error, model, paths or {}) for error in exc.errors(include_url=False)]


def told(field: FieldInfo, key: str, default: Any = "") -> Any:
    """Return what a field's author said of it: `x-allowed`, `x-names`, `x-actions`."""
    extra = field.json_schema_extra
    return extra.get(key, default) if isinstance(extra, dict) else default


def show_key(key: Any) -> str:
    """Return a file's key as a message names it: as it is when it is short and plain text, else quoted and escaped."""
    text = str(key)
    return text if text.isprintable() and len(text) <= KEY_CHARACTERS else show(text)


def quote(value: Any) -> str:
    """Return the value as a message shows it; an address that would be cut may lose the `@` that tells a password."""
    if isinstance(value, str):
        return show(hide_credentials(value))
    text = show(value)
    return f"this {type(value).__name__}" if "//" in text else text


def _line(error: Any, model: Any, paths: Mapping[str, str]) -> str:
    is_name = "[key]" in error["loc"]
    loc = [str(part) if is_name else part for part in error["loc"] if part != "[key]"]
    where = paths.get(str(loc[0]), show_key(loc[0])) + _tail(loc[1:]) if loc else paths.get("", "")
    fields = list(_fields_along(model, loc))
    if error["type"] == "extra_forbidden":
        names = _names(model, loc[:-1])
        listed = f"; allowed: {', '.join(names)}" if len(names) <= KEYS_LISTED else ""
        return f"{where}: unknown key{did_you_mean(str(loc[-1]), names)}{listed}"
    text = _problem(error)
    rule = next((rule for rule in (told(field, "x-allowed") for field in reversed(fields)) if rule), "")
    if is_name:
        text, rule = f"{text} for a name", told(fields[-1], "x-names")
    return f"{where}: {text}" + (f"; allowed: {rule}" if rule and "; allowed: " not in text else "")


def _problem(error: Any) -> str:
    kind, value = error["type"], error["input"]
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "literal_error":
        near = did_you_mean(value, re.findall(r"'([^']*)'", error["ctx"]["expected"])) if isinstance(value, str) else ""
        return f"{quote(value)} is none of these{near}"
    if kind == "string_pattern_mismatch":
        return f"{quote(value)} has not the right form" if value else "is empty"
    if kind == "string_too_short":
        return "is empty"
    if kind == "string_too_long":
        return f"has {len(value)} characters, {error['ctx']['max_length']} at most"
    if kind in _BOUNDS:
        words, limit = _BOUNDS[kind]
        return f"{quote(value)} is {words} {float(error['ctx'][limit]):.16g}"
    return f"{quote(value)} is not {_TYPES[kind]}" if kind in _TYPES else f"{quote(value)} cannot be taken"


def _tail(parts: Sequence[Any]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{show_key(part)}" for part in parts)


def _fields_along(model: Any, loc: Sequence[Any]) -> Iterator[FieldInfo]:
    for part in loc:
        field = model.model_fields.get(part) if model else None
        if field is None and not isinstance(part, int):
            return
        if field:
            yield field
            model = _model_in(field.annotation)


def _names(model: Any, loc: Sequence[Any]) -> list[str]:
    """Return the keys that the mapping at this place may have."""
    *_, last = (model, *(_model_in(field.annotation) for field in _fields_along(model, loc)))
    return list(last.model_fields) if last else []


def _model_in(annotation: Any) -> type[Value] | None:
    """Return our model within an annotation: of `Many[Volume]`, `Volume`."""
    if isinstance(annotation, type) and issubclass(annotation, Value):
        return annotation
    if get_origin(annotation) in (tuple, dict, Annotated, Union, types.UnionType):
        found = (_model_in(one) for one in get_args(annotation))
        return next((one for one in found if one), None)
    return None
