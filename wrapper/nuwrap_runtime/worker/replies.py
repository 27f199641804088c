"""What a service's function returned, or raised, as a reply; the forms are nuclio-sdk's, without importing it.

Source: nuclio/nuclio-sdk-py nuclio_sdk/response.py, json_encoder.py, exceptions.py (0.6). Different on purpose: None
is an empty body (there: the text "None"), a numpy scalar in JSON is a number (there: its repr), a Response's list is
JSON (there: Python's repr).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from nuwrap_runtime.worker import files
from nuwrap_runtime.worker.protocol import Reply

TEXT, JSON = "text/plain", "application/json"


def to_reply(value: Any, event_id: str = "") -> Reply:
    """Return the reply for what the handler returned; a generator is for `streams`.

    Raises TypeError or ValueError for what no client could read: a data frame, an entity, a status that is none, a
    value that contains itself. The message is for the function's author.
    """
    if type(value) is dict or type(value) is list:
        return Reply(_encode_json(value), content_type=JSON, event_id=event_id)
    if isinstance(value, tuple) and len(value) == 2:
        body, content_type = _body(value[1])
        if not isinstance(value[1], (str, bytes, bytearray, memoryview, type(None))):
            body, content_type = _encode_json(value[1]), JSON
        return Reply(body, check_status(value[0]), content_type, event_id=event_id)
    _refuse_objects(value)
    if is_response(value):
        return _from_response(value, event_id)
    body, content_type = _body(value)
    return Reply(body, content_type=content_type, event_id=event_id)


def error_reply(status: int, message: str, request_id: str) -> Reply:
    """Return a JSON reply that says what went wrong, and the id under which the log has more."""
    text = json.dumps({"error": message, "request_id": request_id})
    return Reply(text, status, JSON, event_id=request_id)


def exception_reply(exc: BaseException, request_id: str) -> Reply:
    """Return nuclio-sdk's `ExceptionWithResponse` as what it carries, any other exception as 500 without its text.

    The text may hold what is not the client's to see (a path, a key, a row); the log has it.
    """
    if not _carries_response(exc):
        return error_reply(500, "the function raised an exception; its log says more", request_id)
    try:
        return _from_response(exc, request_id)
    except (TypeError, ValueError):
        return error_reply(500, "the function raised an exception whose response is not valid", request_id)


def _carries_response(exc: BaseException) -> bool:
    return any(
        one.__name__ == "ExceptionWithResponse" and one.__module__.partition(".")[0] == "nuclio_sdk"
        for one in type(exc).__mro__
    )


def is_response(value: Any) -> bool:
    """Tell whether the value has what nuclio_sdk.Response has."""
    return not isinstance(value, type) and all(
        hasattr(value, name) for name in ("body", "status_code", "headers", "content_type")
    )


def _from_response(response: Any, event_id: str) -> Reply:
    text, content_type = _body(response.body)
    if content_type != JSON:
        content_type = str(response.content_type or TEXT)
    elif "json" in str(response.content_type):  # such as application/problem+json
        content_type = str(response.content_type)
    return Reply(
        text,
        check_status(response.status_code),
        content_type,
        dict(getattr(response, "headers", None) or {}),
        str(getattr(response, "event_id", None) or event_id),
    )


def check_status(status: Any) -> int:
    """Return the status; 0 stays, the processor makes it 200."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(
            f"a two-tuple is (status, body); {status!r} is {type(status).__name__}, no HTTP status; "
            "return a list to send both values"
        )
    if status != 0 and not 200 <= status <= 999:
        raise ValueError(f"{int(status)} is no HTTP status of an answer; allowed: 200 to 999, or 0 for 200")
    return int(status)


def _body(value: Any) -> tuple[Any, str]:
    """Return body and content type of anything but a tuple with a status and a Response."""
    if value is None:
        return "", TEXT
    if isinstance(value, str):
        return str.__str__(value), TEXT  # the text of a member of a string enumeration, not its name
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), TEXT
    if isinstance(value, (dict, list)):
        return _encode_json(value), JSON
    _refuse_objects(value)
    return str(value), TEXT


def encode_item(value: Any) -> str:
    """Return one line of JSON for what a generator yields. Raises TypeError for what is nothing JSON has."""
    _refuse_objects(value)
    scalar = getattr(sys.modules.get("numpy"), "generic", ())
    if not isinstance(value, (dict, list, tuple, int, float)) and not isinstance(value, scalar):
        raise TypeError(f"a {type(value).__name__} was yielded; yield text, bytes, or what JSON has")
    return _encode_json(value)


def _refuse_objects(value: Any) -> None:
    if files.is_entity(value):
        raise TypeError(f"a service cannot answer with an entity ({value!r}); return its key, or its file's bytes")
    if files.form_of(value) == files.FRAME:
        raise TypeError(
            f"a service cannot answer with a {type(value).__name__}; return df.to_dict('records') (pandas) or "
            "df.to_dicts() (polars)"
        )


def _encode_json(value: Any) -> str:
    """Return JSON with NaN and the infinities as strings, as nuclio-sdk writes them."""
    try:
        try:
            return _ENCODER.encode(value)
        except ValueError:  # not finite, or in a circle: then the second attempt does not end well either
            return json.dumps(_finite(value), default=lambda one: _finite(_fallback(one)))
    except RecursionError as exc:
        raise ValueError("the returned value contains itself, or is nested too deeply for JSON") from exc


def _fallback(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        plain = value.item()
        return plain if isinstance(plain, (bool, int, float)) else str(value)
    try:
        return value.__log__()  # nuclio-sdk asks for it first
    except Exception:  # noqa: BLE001 - a user's object may raise anything
        return repr(value)


_ENCODER = json.JSONEncoder(allow_nan=False, default=_fallback)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {_finite(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
