"""JSON by the user's own orjson, where he has it, for what it reads and writes as the standard library does.

It differs where nobody looks: a whole number of more than 64 bits becomes a float, NaN becomes null. What may be one of
these is left to the standard library, as is all that it refuses.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG = b"0" * 19  # digits that every 64-bit number has fewer of, or that need a look
_OPT_PASSTHROUGH_DATACLASS, _OPT_PASSTHROUGH_DATETIME = 1 << 11, 1 << 9  # orjson's
_OPTIONS = _OPT_PASSTHROUGH_DATACLASS | _OPT_PASSTHROUGH_DATETIME
_found: list[Any] = []  # orjson or None, once it was looked for: importing it costs 5 ms


def dumps(value: Any, default: Callable[[Any], Any]) -> Optional[str]:
    """Return the value as JSON; None when that is for the standard library. `default` raises what it does not know."""
    orjson = _found[0] if _found else _find()
    if orjson is None:
        return None
    try:
        data = orjson.dumps(value, default, _OPTIONS)
    except Exception:  # noqa: BLE001 - too large a number, a key that is no text, an object
        return None
    return None if b"null" in data else str(data, "utf-8")


def loads(data: bytes) -> Any:
    """Return the value of a JSON text, `UNREAD` when that is for the standard library to read or to refuse."""
    orjson = _found[0] if _found else _find()
    if orjson is None or _LONG in data.translate(_DIGITS):
        return UNREAD
    try:
        return orjson.loads(data)
    except Exception:  # noqa: BLE001 - Infinity, half a character, another encoding, or no JSON at all
        return UNREAD


UNREAD: Any = object()


def _find() -> Any:
    _found.append(None)
    try:
        import orjson

        if _OPTIONS == orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME:
            _found[0] = orjson
    except Exception:  # noqa: BLE001, S110 - none, or a broken one: it is not needed
        pass
    return _found[0]
