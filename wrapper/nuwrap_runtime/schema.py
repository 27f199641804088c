"""Check a JSON value against a schema literal and say every fault at once. Imports nothing of ours.

The vocabulary is the part of JSON Schema 2020-12 that our documents use, so the same literal is published for
editors. The `jsonschema` package is not used here: it needs a compiled dependency, and this must run from a pure
tree on every Python and cost a start nothing (docs/decisions/0002).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Callable

Schema = Mapping[str, Any]

DEPTH = 100
DIGITS = 4000  # Python reads and writes whole numbers of 4,300

_PLAIN_NAME = re.compile(r"[\w$:/.+-]{1,200}\Z")
_NAMES = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def faults(value: Any, schema: Schema, path: str = "") -> list[str]:
    """List what is wrong with `value`, each as `path: found …; allowed: …`; an empty list means that it is valid."""
    wrong = _type_fault(value, schema.get("type"))
    if wrong:
        return [_line(path, wrong, schema)]
    found = [_line(path, text, schema) for check in _CHECKS for text in check(value, schema)]
    if isinstance(value, dict):
        found += _object_faults(value, schema, path)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            found += faults(item, schema["items"], f"{path}[{index}]")
    return found


def value_faults(value: Any, path: str = "", depth: int = 0) -> list[str]:
    """List what keeps `value` from being JSON that every reader takes: other types, NaN, half characters, depth.

    Tuples pass as lists. A list of faults stops at the depth that it complains of.
    """
    where = path or "document"
    if isinstance(value, str):
        return [f"{where}: {show(value)} has half a character (a lone surrogate)"] if not is_text(value) else []
    if value is None or isinstance(value, int):
        return [f"{where}: has more than {DIGITS} digits"] if value and value.bit_length() > DIGITS * 3.32 else []
    if isinstance(value, float):
        return [] if math.isfinite(value) else [f"{where}: {show(value)} is not a number that JSON has"]
    if not isinstance(value, (dict, list, tuple)):
        return [f"{where}: {show(value)} is a {type(value).__name__}; allowed: values that JSON has"]
    if depth >= DEPTH:
        return [f"{where}: is nested more than {DEPTH} levels deep"]
    if isinstance(value, dict):
        return [fault for name, item in value.items() for fault in _member_faults(name, item, path, depth)]
    return [fault for i, item in enumerate(value) for fault in value_faults(item, f"{path}[{i}]", depth + 1)]


def is_text(text: str) -> bool:
    """Tell whether the text can be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def did_you_mean(name: str, known: list[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, else an empty string."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def show(value: Any) -> str:
    """Return the value as an error message quotes it: one line, cut at 80 characters, never an error of its own."""
    try:
        text = repr(value[:80] + "..." if isinstance(value, str) and len(value) > 80 else value)
    except (RecursionError, ValueError):  # too deep, or a whole number of more digits than Python writes
        return f"this {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _member_faults(name: Any, item: Any, path: str, depth: int) -> list[str]:
    where = _join(path, str(name))
    wrong = [] if isinstance(name, str) and is_text(name) else [f"{where}: {show(name)} as a name is not text"]
    return wrong + value_faults(item, where, depth + 1)


def _line(path: str, wrong: str, schema: Schema) -> str:
    allowed = schema.get("x-allowed")
    return f"{path or 'document'}: {wrong}" + (f"; allowed: {allowed}" if allowed else "")


def _type_fault(value: Any, expected: Any) -> str:
    kinds = [expected] if isinstance(expected, str) else list(expected or ())
    if not kinds or any(_is(value, kind) for kind in kinds):
        return ""
    allowed = " or ".join(_NAMES[kind] for kind in kinds)
    return f"null is not {allowed}; leave it out instead" if value is None else f"{show(value)} is not {allowed}"


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    if kind == "number":
        return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    python: Any = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict, "null": type(None)}
    return isinstance(value, python[kind])


def _enum(value: Any, schema: Schema) -> list[str]:
    if "enum" not in schema or value in schema["enum"]:
        return []
    choices = ", ".join(str(one) for one in schema["enum"])
    near = did_you_mean(value, schema["enum"]) if isinstance(value, str) else ""
    return [f"{show(value)} is none of {choices}{near}"]


def _pattern(value: Any, schema: Schema) -> list[str]:
    if "pattern" not in schema or not isinstance(value, str):
        return []
    if re.search(schema["pattern"], value) and not value.endswith("\n"):  # Python's `$` lets one line break pass
        return []
    return [f"{show(value)} has not the form {schema.get('x-form', schema['pattern'])}"]


def _bounds(value: Any, schema: Schema) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return []
    if "minimum" in schema and value < schema["minimum"]:
        return [f"{show(value)} is less than {schema['minimum']}"]
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        return [f"{show(value)} is not more than {schema['exclusiveMinimum']}"]
    if "maximum" in schema and value > schema["maximum"]:
        return [f"{show(value)} is more than {schema['maximum']}"]
    return []


def _size(value: Any, schema: Schema) -> list[str]:
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        return ["is empty"]
    if isinstance(value, str) and len(value) > schema.get("maxLength", math.inf):
        return [f"has {len(value)} characters, {schema['maxLength']} at most"]
    if isinstance(value, list) and len(value) > schema.get("maxItems", math.inf):
        return [f"has {len(value)} entries, {schema['maxItems']} at most"]
    return []


_CHECKS: tuple[Callable[[Any, Schema], list[str]], ...] = (_enum, _pattern, _bounds, _size)


def _object_faults(value: dict[str, Any], schema: Schema, path: str) -> list[str]:
    known: Mapping[str, Schema] = schema.get("properties", {})
    other = schema.get("additionalProperties", True)
    found = [f"{_join(path, name)}: is missing" for name in schema.get("required", ()) if name not in value]
    for name, item in value.items():
        where = _join(path, str(name))
        if "propertyNames" in schema:
            found += [f"{fault} (as a name)" for fault in faults(name, schema["propertyNames"], where)]
        if name in known:
            found += faults(item, known[name], where)
        elif other is False:
            found.append(f"{where}: unknown key{did_you_mean(str(name), list(known))}")
        elif isinstance(other, dict):
            found += faults(item, other, where)
    return found


def _join(path: str, name: str) -> str:
    if not _PLAIN_NAME.match(name):  # a line break or an escape sequence in a key must not shape our message
        return f"{path}[{show(name)}]"
    return f"{path}.{name}" if path else name
