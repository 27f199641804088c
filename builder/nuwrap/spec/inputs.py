"""`name=VALUE` arguments, and what the text of an input names."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from nuwrap.errors import UsageError
from nuwrap_runtime.launch import IDENTIFIER
from nuwrap_runtime.schema import show

TABLES = (".csv", ".feather", ".json", ".jsonl", ".parquet", ".tsv", ".xlsx")
ADDRESSES = ("s3", "http", "https")
_KEY_FORM = "store://project/dataitem|artifact|model/kind/name:id"


@dataclass(frozen=True)
class Found:
    """What an input's text names: the entity's type and kind, by suffix, and the absolute path or the address."""

    type: str
    kind: str
    path: str


def parse_parameters(items: Iterable[str], *, flag: str) -> dict[str, Any]:
    """Return `{name: value}` of `name=VALUE` texts; a value is JSON where it reads as JSON, else the text itself.

    So `0.5`, `true`, `null`, `[1, 2]` and `{"a": 1}` are what they are in JSON, `007`, `NaN` and `v1` are text, and a
    text that reads as JSON is written with its quotes: `'version="1.10"'`. Raises UsageError.
    """
    return {name: _parse_value(name, text, flag) for name, text in split_pairs(items, flag=flag).items()}


def locate(name: str, text: str, folder: str) -> Found:
    """Return what the text of an input names: a path that exists, a relative one from `folder`, or an address.

    A data file is a table, all else an artifact. Raises UsageError naming argument and forms.
    """
    path = _locate(name, text, folder)
    is_table = _suffix(path) in TABLES and not os.path.isdir(path)
    return Found("dataitem", "table", path) if is_table else Found("artifact", "artifact", path)


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


def _locate(name: str, text: str, folder: str) -> str:
    """Return the absolute path or the address that the text names. Raises UsageError."""
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
