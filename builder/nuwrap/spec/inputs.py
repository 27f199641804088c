"""`name=VALUE` arguments: parameters become JSON values, inputs become `store://` keys with their entities."""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from nuwrap.errors import UsageError
from nuwrap_runtime.launch import IDENTIFIER, STORE_KEY
from nuwrap_runtime.schema import show

TABLES = (".csv", ".feather", ".json", ".jsonl", ".parquet", ".tsv", ".xlsx")
ADDRESSES = ("s3", "http", "https")
_KEY_FORM = "store://project/dataitem|artifact|model/kind/name:id"


@dataclass(frozen=True)
class Inputs:
    """`keys` maps an argument to its `store://` key, `entities` such a key to `{"kind": …, "path": …}`."""

    keys: Mapping[str, str]
    entities: Mapping[str, Mapping[str, Any]]


def parse_parameters(items: Iterable[str], *, flag: str) -> dict[str, Any]:
    """Return `{name: value}` of `name=VALUE` texts; a value is JSON where it reads as JSON, else the text itself.

    So `0.5`, `true`, `null`, `[1, 2]` and `{"a": 1}` are what they are in JSON, `007`, `NaN` and `v1` are text, and a
    text that reads as JSON is written with its quotes: `'version="1.10"'`. Raises UsageError.
    """
    return {name: _parse_value(name, text, flag) for name, text in split_pairs(items, flag=flag).items()}


def resolve_inputs(
    items: Iterable[str], *, flag: str, project: str, known: Mapping[str, Mapping[str, Any]], folder: str
) -> Inputs:
    """Return keys and entities of `name=VALUE` texts.

    A value is a `store://` key of `known`, a path that exists (a relative one from `folder`), or an s3 or http
    address; the last two become an entity of their own, a table by suffix, else an artifact. Raises UsageError.
    """
    keys, entities = {}, {}
    for name, text in split_pairs(items, flag=flag).items():
        if text.startswith("store://"):
            key, entity = text, _known_entity(name, text, known)
        else:
            path = _locate(name, text, folder)
            kind = "table" if _suffix(path) in TABLES and not os.path.isdir(path) else "artifact"
            entity = {"kind": kind, "path": path}
            key = f"store://{project}/{'dataitem' if kind == 'table' else 'artifact'}/{kind}/{name}:{uuid.uuid4()}"
        keys[name], entities[key] = key, entity
    return Inputs(keys, entities)


def split_pairs(items: Iterable[str], *, flag: str, form: str = IDENTIFIER) -> dict[str, str]:
    """Return `{name: text}` of `name=TEXT` arguments. Raises UsageError for another form or a name given twice."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not re.fullmatch(form, name):
            raise UsageError(
                f"{flag} {show(item)} has not the form name=VALUE; allowed: a Python name, '=', and the value"
            )
        if name in found:
            raise UsageError(f"{flag} {name!r} is given twice; one name has one value")
        _check_text(flag, name, text)
        found[name] = text
    return found


def _parse_value(name: str, text: str, flag: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except ValueError:
        return text
    except RecursionError as exc:
        raise UsageError(f"{flag} {name!r}: the value is nested too deeply") from exc
    _check_text(flag, name, json.dumps(value, ensure_ascii=False))
    return value


def _check_text(flag: str, name: str, text: str) -> None:
    """Raise UsageError for what no UTF-8 file can hold: bytes of another encoding, half a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise UsageError(f"{flag} {name!r}: the value is not UTF-8 text ({exc.reason})") from exc


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _known_entity(name: str, key: str, known: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    if not re.search(STORE_KEY, key):
        raise UsageError(f"input {name!r}: {key!r} has not the form {_KEY_FORM}")
    if key not in known:
        there = f"known are {', '.join(known)}" if known else "none is known on this machine"
        raise UsageError(f"input {name!r}: there is no entity {key!r}; {there}. Give a path or an address instead")
    return known[key]


def _locate(name: str, text: str, folder: str) -> str:
    """Return the absolute path or the address that the text names. Raises UsageError naming argument and forms."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://.", text)
    if scheme and scheme.group(1).lower() in ADDRESSES:
        return text
    path = os.path.abspath(os.path.join(folder, os.path.expanduser(text)))
    if text and not scheme and "\0" not in text and os.path.exists(path):
        return path
    raise UsageError(
        f"input {name!r}: {show(text)} is no entity and nothing of that name is in {folder!r}; allowed: a key "
        f"({_KEY_FORM}), or a path that exists or an address ({', '.join(one + '://' for one in ADDRESSES)})"
    )


def _suffix(path: str) -> str:
    return os.path.splitext(re.split(r"[?#]", path)[0] if "://" in path else path)[1].lower()
