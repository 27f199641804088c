"""A job's result as plain JSON: what a value becomes, and what it cannot be. Writes nothing."""

from __future__ import annotations

import math
import sys
from typing import Any, Optional

from nuwrap_runtime.errors import OutputsError
from nuwrap_runtime.worker.files import form_of, is_entity

RESULT_BYTES = 8 * 1024 * 1024
DEPTH = 100
_INTEGER_BITS = 14_000  # below 4,300 digits, where Python refuses to read and write an int as text


class Budget:
    """How much of the results' 8 MiB is left, so that a value that JSON would blow up is noticed on the way."""

    def __init__(self) -> None:
        self.left = RESULT_BYTES

    def take(self, size: int, name: str) -> None:
        """Raise OutputsError when results are larger than all of them may be."""
        self.left -= size
        if self.left < 0:
            raise OutputsError(
                f"output {name!r}: results of more than {RESULT_BYTES >> 20} MiB in all; return the value as a data "
                "frame, as bytes or as the Path of a file, which become output files"
            )


def to_plain(value: Any, name: str, budget: Budget) -> Any:
    """Return the value as JSON has it: NaN and infinities as strings, numpy scalars and subclasses as plain ones.

    Raises OutputsError that names the output, the place in it, the type and how to return it.
    """
    try:
        return _Walk(name, budget).plain(value, "", ())
    except RecursionError as exc:
        raise OutputsError(f"output {name!r}: is nested too deeply; return at most {DEPTH} levels") from exc


class _Walk:
    def __init__(self, name: str, budget: Budget) -> None:
        self.name = name
        self.budget = budget

    def plain(self, value: Any, where: str, above: tuple[int, ...]) -> Any:
        """Return the plain value; `above` are the ids of the containers around it."""
        if isinstance(value, (dict, list, tuple)):
            return self._container(value, where, above)
        scalar = plain_scalar(value)
        if scalar is None and value is not None:
            raise OutputsError(f"output {self.name!r}{where}: {refusal(value, is_inside=bool(where))}")
        if isinstance(scalar, int) and scalar.bit_length() > _INTEGER_BITS:
            raise OutputsError(
                f"output {self.name!r}{where}: an int of {scalar.bit_length()} bits is more than JSON readers take; "
                "return hex(value)"
            )
        self.budget.take(_size(scalar), self.name)
        return scalar

    def _container(self, value: Any, where: str, above: tuple[int, ...]) -> Any:
        if id(value) in above:
            raise OutputsError(f"output {self.name!r}{where}: the value contains itself; break the loop")
        if len(above) >= DEPTH:
            raise OutputsError(f"output {self.name!r}: is nested too deeply; return at most {DEPTH} levels")
        self.budget.take(2, self.name)
        inside = (*above, id(value))
        if isinstance(value, dict):
            return self._mapping(value, where, inside)
        return [self.plain(one, f"{where}[{index}]", inside) for index, one in enumerate(value)]

    def _mapping(self, value: dict[Any, Any], where: str, above: tuple[int, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, one in value.items():
            text = self._key(key, where)
            if text in found:
                raise OutputsError(
                    f"output {self.name!r}{where}: two keys become {text!r} in JSON, where keys are text; rename one"
                )
            self.budget.take(_size(text), self.name)
            found[text] = self.plain(one, f"{where}[{text!r}]" if len(text) <= 80 else f"{where}[…]", above)
        return found

    def _key(self, key: Any, where: str) -> str:
        plain = plain_scalar(key)
        if key is None or isinstance(plain, bool):
            return {None: "null", True: "true", False: "false"}[plain]
        if plain is None:
            raise OutputsError(
                f"output {self.name!r}{where}: key {key!r} is {type(key).__name__}; JSON takes str, int, float, bool "
                "and None as keys, so use str(key)"
            )
        return str(self.plain(plain, f"{where} key", ()))


def plain_scalar(value: Any) -> Any:
    """Return the plain str, bool, int or float that the value is; None for all else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return _finite(float.__float__(value))
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, getattr(numpy, "generic", ())):
        return None
    for kind, convert in ((numpy.bool_, bool), (numpy.integer, int), (numpy.floating, float)):
        if isinstance(value, kind) and not type(value).__name__.startswith("timedelta"):
            return plain_scalar(convert(value))
    return None


def _finite(number: float) -> Any:
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _size(scalar: Any) -> int:
    """Return about as many bytes as the scalar has in JSON, never more."""
    return len(scalar) + 3 if isinstance(scalar, str) else 2


def refusal(value: Any, *, is_inside: bool) -> str:
    """Return why the value is no result and how to return it."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    how = way_out(value)
    if is_inside and (form_of(value) or is_entity(value)):
        how = "return it as an item of its own, beside the others in a tuple"
    return f"{name} cannot be returned as it is; {how or _ANYTHING}"


_ANYTHING = (
    "return str, int, float, bool, a dict or list of them, a data frame, bytes, the Path of a file, a matplotlib "
    "figure or an entity; a pickle is written only for @handler(outputs=[{'name': …, 'kind': 'pickle'}])"
)
_BY_NAME = {
    "ndarray": "return value.tolist(), or a data frame",
    "set": "return sorted(value) or list(value)",
    "frozenset": "return sorted(value) or list(value)",
    "datetime": "return value.isoformat()",
    "date": "return value.isoformat()",
    "time": "return value.isoformat()",
    "Timestamp": "return value.isoformat()",
    "datetime64": "return str(value)",
    "timedelta64": "return str(value)",
    "timedelta": "return value.total_seconds()",
    "Decimal": "return str(value) or float(value)",
    "UUID": "return str(value)",
    "complex": "return [value.real, value.imag]",
    "NAType": "return None",
    "NaTType": "return None",
    "generator": "return list(value)",
    "range": "return list(value)",
    "mappingproxy": "return dict(value)",
    "Index": "return value.tolist()",
}


def way_out(value: Any) -> Optional[str]:
    """Return how to return a value of this type instead, None when we know no way."""
    kind = type(value)
    if kind.__name__ in _BY_NAME:
        return _BY_NAME[kind.__name__]
    if hasattr(kind, "__dataclass_fields__"):
        return "return dataclasses.asdict(value)"
    if hasattr(value, "__array__") and hasattr(value, "tolist"):
        return _BY_NAME["ndarray"]
    enum = sys.modules.get("enum")
    return "return value.value" if enum is not None and isinstance(value, enum.Enum) else None
