"""What a service's function returned, or raised, as a reply; the forms are nuclio-sdk's, without importing it.

Source: nuclio/nuclio-sdk-py nuclio_sdk/response.py, json_encoder.py, exceptions.py (0.6). Different on purpose: None
is an empty body (there: the text "None"); a numpy value or a date in JSON is a number, a list or ISO 8601, a
Response's list is JSON, a figure a PNG (there: Python's repr); Flask's tuple of three, or an object that only its
address describes, is an error. A function that gets its arguments by name never has a repr sent.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from nuwrap_runtime.errors import OutputsError
from nuwrap_runtime.schema import show
from nuwrap_runtime.worker import fast_json, files
from nuwrap_runtime.worker.protocol import Reply

TEXT, JSON = "text/plain", "application/json"


class ReplyError(ValueError):
    """A value that no client could read. The text is for the function's author: it is logged, without frames."""

    def __init__(self, text: str) -> None:
        super().__init__(f"what the function returned cannot be sent: {text}")


@dataclass(frozen=True)
class Returns:
    """What of a function decides how its values are sent.

    `is_named`: it gets its arguments by name, so no Nuclio user wrote it. `outputs` are the names that `@handler` gave.
    `folders` are those that a returned Path may lie in, by what people call them.
    """

    is_named: bool = False
    outputs: tuple[str, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)


NUCLIO = Returns()


def to_reply(value: Any, event_id: str = "", returns: Returns = NUCLIO) -> Reply:
    """Return the reply for what the handler returned; a generator is for `streams`. Raises ReplyError."""
    if type(value) is dict or type(value) is list:
        return Reply(encode_json(value, returns), content_type=JSON, event_id=event_id)
    if isinstance(value, tuple):
        return _from_tuple(value, event_id, returns)
    _refuse_objects(value)
    if is_response(value):
        return _from_response(value, event_id, returns)
    body, content_type = _content(value, returns) or _text(value, returns)
    return Reply(body, content_type=content_type, event_id=event_id)


def _from_tuple(value: tuple[Any, ...], event_id: str, returns: Returns) -> Reply:
    """Return the reply of named outputs, else of (status, body)."""
    if returns.is_named and len(value) == len(returns.outputs) >= 2:
        return to_reply(dict(zip(returns.outputs, value)), event_id, returns)
    if len(value) != 2:
        if returns.is_named or _is_flask(value):
            raise ReplyError(f"a tuple of {len(value)}; return (status, body), a list, or {_RESPONSE}")
        return Reply(str(value), content_type=TEXT, event_id=event_id)
    if not _is_int(value[0]):
        order = f"write {value[1]}, {show(value[0])}" if _is_int(value[1]) else "return a list to send both values"
        kind = type(value[0]).__name__
        raise ReplyError(f"a two-tuple is (status, body); {show(value[0])} is {kind}, no HTTP status; {order}")
    body, content_type = _content(value[1], returns) or (encode_json(value[1], returns), JSON)
    return Reply(body, check_status(value[0]), content_type, event_id=event_id)


def _is_flask(value: tuple[Any, ...]) -> bool:
    """Tell whether it looks like (body, status, headers), which Flask takes and no Nuclio user writes."""
    return len(value) == 3 and _is_int(value[1]) and isinstance(value[2], Mapping)


_RESPONSE = "context.Response(body=…, status_code=…, headers={…}), also as nuclio_sdk.Response"


def encode_text(text: str) -> bytes:
    """Return the text as UTF-8; a byte that came as half a character (PEP 383) as it was. Raises ReplyError."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ReplyError("text with half a character (a lone surrogate); return bytes") from None


def error_reply(status: int, message: str, request_id: str) -> Reply:
    """Return a JSON reply that says what went wrong, and the id under which the log has more."""
    text = json.dumps({"error": message, "request_id": request_id})
    return Reply(text, status, JSON, event_id=request_id)


def exception_reply(exc: BaseException, request_id: str) -> Reply:
    """Return nuclio-sdk's `ExceptionWithResponse` as what it carries, any other exception as 500 without its text.

    The text may hold what is not the client's to see (a path, a key, a row); the log has it.
    """
    if isinstance(exc, ReplyError):
        return error_reply(500, "the function returned what cannot be sent; its log says more", request_id)
    if not _carries_response(exc):
        return error_reply(500, "the function raised an exception; its log says more", request_id)
    try:
        return _from_response(exc, request_id, NUCLIO)
    except ValueError:
        return error_reply(500, "the function raised an exception whose response is not valid", request_id)


def is_answer(exc: BaseException) -> bool:
    """Tell whether the exception carries a response that can be sent: the function means it, and nothing failed."""
    if not _carries_response(exc):
        return False
    try:
        _from_response(exc, "", NUCLIO)
    except Exception:  # noqa: BLE001 - what it carries may be anything
        return False
    return True


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


def _from_response(response: Any, event_id: str, returns: Returns) -> Reply:
    body, content_type = _content(response.body, returns) or _text(response.body, returns)
    given = str(response.content_type or TEXT)
    is_better = content_type != TEXT and given == TEXT  # than the default that a Response has
    if not is_better and (content_type != JSON or "json" in given):  # such as application/problem+json
        content_type = given
    return Reply(
        body,
        check_status(response.status_code),
        content_type,
        dict(getattr(response, "headers", None) or {}),
        str(getattr(response, "event_id", None) or event_id),
    )


def check_status(status: Any) -> int:
    """Return the status; 0 stays, the processor makes it 200. Raises ReplyError."""
    if not _is_int(status):
        raise ReplyError(f"the status {show(status)} is {type(status).__name__}, no HTTP status; allowed: {_STATUSES}")
    if status != 0 and not 200 <= status <= 999:
        raise ReplyError(f"{int(status)} is no HTTP status of an answer; allowed: {_STATUSES}")
    return int(status)


_STATUSES = "a whole number from 200 to 999, or 0 for 200"


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _content(value: Any, returns: Returns) -> Optional[tuple[Any, str]]:
    """Return body and content type of what has a form of its own, None for what is sent as its text or as JSON."""
    if value is None:
        return "", TEXT
    if isinstance(value, str):
        return str.__str__(value), TEXT  # the text of a member of a string enumeration, not its name
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), TEXT
    if isinstance(value, (dict, list)):
        return encode_json(value, returns), JSON
    _refuse_objects(value)
    if files.form_of(value) == files.FIGURE:
        return _picture(value), "image/png"
    return _named_content(value, returns) if returns.is_named else None


def _named_content(value: Any, returns: Returns) -> Optional[tuple[Any, str]]:
    """Return the same of what Nuclio sends as its text or repr."""
    if isinstance(value, os.PathLike):
        return _file(value, returns)
    if _is_array(value):
        return encode_json(value, returns), JSON
    if _is_member(value):
        return _content(value.value, returns) or _text(value.value, returns)
    return None


def _text(value: Any, returns: Returns) -> tuple[str, str]:
    """Return the value's own text; a class that has none of its own is refused, as nobody means its repr."""
    if isinstance(value, (int, float)):
        return str(value), TEXT
    plain = _plain(value) if returns.is_named else None
    if plain is not None:
        return str(plain), TEXT
    kind: Any = type(value)
    has_repr = kind.__repr__ is not object.__repr__
    if kind.__str__ is object.__str__ and (returns.is_named or not has_repr):
        raise ReplyError(_refusal(value))
    return str(value), TEXT


def _refusal(value: Any, where: str = "") -> str:
    from nuwrap_runtime.worker.plain import way_out

    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    how = way_out(value)
    if where and files.form_of(value) in (files.BYTES, files.FILE, files.FIGURE):
        how = "return it as the whole answer"
    return f"{name}{where}; {how or f'return text, bytes, a dict or a list, or {_RESPONSE}'}"


def _picture(value: Any) -> bytes:
    import io

    stream = io.BytesIO()
    try:
        files.figure_of(value).savefig(stream, format="png")
    except Exception as exc:  # noqa: BLE001 - a library's writer may raise anything
        raise ReplyError(f"the figure cannot be written as PNG: {type(exc).__name__}: {exc}") from None
    return stream.getvalue()


def _file(value: Any, returns: Returns) -> tuple[bytes, str]:
    """Return a file's bytes, and the content type that its suffix tells."""
    import mimetypes

    try:
        with open(files.check_inside(value, returns.folders, "path"), "rb") as stream:
            data = stream.read()
    except OutputsError as exc:
        raise ReplyError(str(exc).partition(": ")[2]) from None
    except OSError as exc:
        raise ReplyError(str(exc)) from None
    kind, encoding = mimetypes.guess_type(os.fspath(value))
    if encoding:
        kind = "application/gzip" if encoding == "gzip" else None
    return data, kind or "application/octet-stream"


def encode_item(value: Any) -> str:
    """Return one line of JSON for what a generator yields. Raises ReplyError for what is nothing JSON has."""
    _refuse_objects(value)
    scalar = getattr(sys.modules.get("numpy"), "generic", ())
    if not isinstance(value, (dict, list, tuple, int, float)) and not isinstance(value, scalar):
        raise ReplyError(f"a {type(value).__name__} was yielded; yield text, bytes, or what JSON has")
    return encode_json(value, NUCLIO)


def _refuse_objects(value: Any) -> None:
    if files.is_entity(value):
        raise ReplyError(f"an entity ({value!r}); return its key, or its file's bytes")
    if files.form_of(value) == files.FRAME:
        name = type(value).__name__
        raise ReplyError(f"a {name}; return df.to_dict('records') (pandas) or df.to_dicts() (polars)")


def encode_json(value: Any, returns: Returns) -> str:
    """Return JSON with NaN and the infinities as strings, as nuclio-sdk writes them. Raises ReplyError."""
    text = fast_json.dumps(value, _plain_or_raise)
    return _encode_exactly(value, returns) if text is None else text


def _plain_or_raise(value: Any) -> Any:
    """Return what JSON has for what orjson does not know. Raises TypeError for what json knows better."""
    plain = None if isinstance(value, (tuple, float)) else _plain(value)
    if plain is None:
        raise TypeError("not plain")
    return plain


def _encode_exactly(value: Any, returns: Returns) -> str:
    fallback, encoder = (_refuse, _STRICT) if returns.is_named else (_fallback, _ENCODER)
    try:
        try:
            return encoder.encode(value)
        except _NotPlain:
            raise
        except ValueError:  # not finite, or in a circle: then the second attempt does not end well either
            return json.dumps(_finite(value), default=lambda one: _finite(fallback(one)))
    except _NotPlain as exc:
        reason = _refusal(exc.value, _where(value, exc.value))
    except RecursionError:
        reason = "the value contains itself, or is nested too deeply for JSON"
    except TypeError as exc:  # a key that JSON has not
        reason = f"as JSON: {exc}"
    raise ReplyError(reason)  # here, where no frame of the encoder is part of it


class _NotPlain(ValueError):
    """Inside of a value there is this one, which JSON has not."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def _where(value: Any, wanted: Any) -> str:
    try:
        place = _place(value, wanted)
    except RecursionError:  # of what comes after it, which nobody looked at
        place = ""
    return f" at {place}" if place else " inside"


def _place(value: Any, wanted: Any) -> str:
    """Return where in the value the wanted one is, as `['a'][0]`; "" when it is not found."""
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, (list, tuple)):
        pairs = enumerate(value)
    for key, one in pairs:
        if one is wanted:
            return f"[{show(key)}]"
        found = _place(one, wanted)
        if found:
            return f"[{show(key)}]{found}"
    return ""


def _refuse(value: Any) -> Any:
    plain = _plain(value)
    if plain is None:
        raise _NotPlain(value)
    return plain


def _fallback(value: Any) -> Any:
    plain = _plain(value)
    if plain is not None:
        return plain
    try:
        return value.__log__()  # nuclio-sdk asks for it first
    except Exception:  # noqa: BLE001 - a user's object may raise anything
        return repr(value)


def _plain(value: Any) -> Any:
    """Return what JSON has for a numpy value, a date, a UUID, a member of an enumeration; None for all else."""
    if _is_array(value):
        return value.tolist()
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        plain = value.item()
        return plain if isinstance(plain, (bool, int, float)) else str(value)
    datetime = sys.modules.get("datetime")
    if datetime is not None and isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    uuid = sys.modules.get("uuid")
    if uuid is not None and isinstance(value, uuid.UUID):
        return str(value)
    return value.value if _is_member(value) else None


def _is_member(value: Any) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and isinstance(value, enum.Enum)


def _is_array(value: Any) -> bool:
    kind = getattr(sys.modules.get("numpy"), "ndarray", None)
    return kind is not None and isinstance(value, kind)


_ENCODER = json.JSONEncoder(allow_nan=False, default=_fallback)
_STRICT = json.JSONEncoder(allow_nan=False, default=_refuse)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {_finite(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
