"""Checks of the values inside a run's fields, as types that a field is declared with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from nuwrap.errors import SpecError
from nuwrap.spec.model import Many, quote
from nuwrap.spec.reference import parse_reference
from nuwrap.spec.shapes import LABEL_KEY, LABEL_VALUE, Env
from nuwrap_runtime.launch import FIELDS, IDENTIFIER, NAME, SECRET_NAME, SERVE_FIELDS, STORE_KEY
from nuwrap_runtime.schema import is_text, value_faults

MOST_RETRIES = 100
ADDRESSES = ("s3", "http", "https")
INPUT_FORM = (
    "store://project/dataitem|artifact|model/kind/name:id, a path, an address (s3://, http://, https://), or an entity"
)
OWN_PREFIX = "nuwrap.dev/"
OWN_LABELS = tuple(f"app.kubernetes.io/{name}" for name in ("managed-by", "name", "instance", "part-of"))
_WORTH_SAYING = 65535
_PYDANTIC = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
}
LAUNCH: Mapping[str, Mapping[str, Any]] = {**FIELDS, **SERVE_FIELDS}


def range_text(schema: Mapping[str, Any]) -> str:
    """Return what a key of the launch document may be, in words."""
    if "x-allowed" in schema:
        return str(schema["x-allowed"])
    if schema["type"] in ("boolean", "string"):
        return "true or false" if schema["type"] == "boolean" else "one line of plain text"
    number = "seconds" if schema["type"] == "number" else "a whole number"
    most = schema["maximum"]
    return (
        f"{number}, {schema['minimum']} to {most}"
        if most <= _WORTH_SAYING
        else f"{number}, {schema['minimum']} or more"
    )


def as_launch(name: str) -> Any:
    """Return the bounds that the launch document sets for its key of that name."""
    schema = LAUNCH[name]
    bounds = {_PYDANTIC[key]: value for key, value in schema.items() if key in _PYDANTIC}
    return Field(allow_inf_nan=False, **bounds) if schema["type"] == "number" else Field(**bounds)


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


def _check_image(value: str) -> str:
    try:
        parse_reference(value)
    except SpecError as exc:
        raise ValueError(str(exc)) from exc
    return value


def _as_path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _check_label(key: str) -> str:
    if key in OWN_LABELS:
        raise ValueError(f"{quote(key)} is set by nuwrap, and cannot be taken")
    return _check_prefix(key)


def _check_prefix(key: str) -> str:
    if key.startswith(OWN_PREFIX):
        raise ValueError(f"{quote(key)} is nuwrap's own, as all of {OWN_PREFIX!r}, and cannot be taken")
    return key


_LABEL_NAME = Field(pattern=LABEL_KEY)
Argument = Annotated[str, Field(pattern=IDENTIFIER)]
Json = Annotated[Any, AfterValidator(_check_json)]
Input = Annotated[Any, AfterValidator(_check_input), WithJsonSchema({"type": "string"})]
LabelMap = dict[Annotated[str, _LABEL_NAME, AfterValidator(_check_label)], Annotated[str, Field(pattern=LABEL_VALUE)]]
TextMap = dict[Annotated[str, _LABEL_NAME, AfterValidator(_check_prefix)], str]
Triggers = dict[Annotated[str, Field(pattern=NAME)], Json]
Path = Annotated[str, BeforeValidator(_as_path), as_launch("output_path")]
SecretName = Annotated[Any, AfterValidator(_check_secret), WithJsonSchema({"type": "string", "pattern": SECRET_NAME})]
SecretNames = Annotated[
    Many[SecretName], BeforeValidator(_refuse_mapping), AfterValidator(lambda names: tuple(dict.fromkeys(names)))
]
Envs = Annotated[Many[Env], BeforeValidator(_refuse_mapping)]
Instruction = Annotated[str, AfterValidator(_check_instruction)]
ImageName = Annotated[str, AfterValidator(_check_image)]
Retries = Annotated[int, Field(ge=0, le=MOST_RETRIES)]
Uid = Annotated[int, Field(ge=1, le=2**31 - 1)]
