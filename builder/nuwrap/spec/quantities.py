"""Kubernetes' quantities: `500m`, `1.5Gi`, `1e3`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from nuwrap.spec.model import quote

# Source: apimachinery's resource.Quantity; a sign is left out, as nothing here may be negative.
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([EPTGMK]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_LARGEST = 2**63 - 1


def quantity(text: str) -> Decimal:
    """Return the number that a Kubernetes quantity stands for: `1.5Gi` is 1610612736. Raises ValueError."""
    found = _QUANTITY.fullmatch(text)
    if not found or len(text) > 64:
        raise ValueError(f"{quote(text)} is no quantity{_suggest_unit(text)}" if text else "is empty")
    number, unit = Decimal(found[1]), found[2] or ""
    if unit.endswith("i"):
        number *= 1024 ** ("KMGTPE".index(unit[0]) + 1)
    elif unit:
        number = number.scaleb(_POWERS[unit] if unit in _POWERS else int(unit[1:]))
    if number > _LARGEST:
        raise ValueError(f"{quote(text)} is more than Kubernetes can count")
    return number


def _suggest_unit(text: str) -> str:
    found = re.fullmatch(r"([0-9.]+) ?([kKmMgGtT])(i?)[bB]?", text)
    if not found:
        return ""
    return f"; did you mean '{found[1]}{found[2].upper()}i'?"


def as_text(value: Any) -> Any:
    """Take a number as it is written: `cpu: 2`, `cpu: 0.5`."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def count_bytes(text: str) -> Decimal:
    """Return the bytes of a quantity; a part of one, as the much-seen `512m`, is refused. Raises ValueError."""
    number = quantity(text)
    if text[-1] in "num":
        raise ValueError(f"{quote(text)} is {number.normalize():f} bytes{_suggest_unit(text)}")
    return number


def count_gpus(text: str) -> Decimal:
    """Return the GPUs of a quantity, a whole number. Raises ValueError."""
    number = quantity(text)
    if number != number.to_integral_value():
        raise ValueError(f"{quote(text)} is a part of a GPU")
    return number
