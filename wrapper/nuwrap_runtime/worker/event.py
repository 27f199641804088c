"""The event as the user's handler gets it: nuclio-sdk's Event by its attributes, without importing the SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional

from nuwrap_runtime.worker import fast_json


class TriggerInfo:
    """Kind and name of what sent the event."""

    __slots__ = ("kind", "name")

    def __init__(self, kind: str = "", name: str = "") -> None:
        self.kind = kind
        self.name = name


class Event:
    """One event. Source of the attributes: nuclio/nuclio-sdk-py nuclio_sdk/event.py (0.6)."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        trigger = message.get("trigger") or {}
        self.body: Any = message.get("body")
        self.content_type = message.get("content_type")
        self.trigger = TriggerInfo(trigger.get("kind", ""), trigger.get("name", ""))
        self.fields: Mapping[str, Any] = message.get("fields") or {}
        self.headers: Mapping[str, Any] = message.get("headers") or {}
        self.id = message.get("id")
        self.method = message.get("method")
        self.path = message.get("path") or "/"
        self.size = message.get("size")
        self._timestamp = message.get("timestamp")
        self.url = message.get("url")
        self.shard_id = message.get("shard_id")
        self.num_shards = message.get("num_shards")
        self.type = message.get("type")
        self.type_version = message.get("type_version")
        self.version = message.get("version")
        self.offset = message.get("offset") or 0
        self.topic = message.get("topic")
        self.last_in_batch = False
        self._body_fault = ""
        if isinstance(self.body, bytes) and is_json(self.content_type):
            self.body, self._body_fault = _parse_json(self.body)

    @property
    def timestamp(self) -> Any:
        """The moment of the event, as naive UTC; the epoch when what came is no moment at all.

        A CloudEvent without a time carries Go's zero time, which is before year 1 of Python's calendar in some zones.
        """
        import datetime

        epoch = datetime.datetime(1970, 1, 1)  # naive UTC, as nuclio-sdk gives it
        try:
            return epoch + datetime.timedelta(seconds=float(self._timestamp or 0))
        except (OverflowError, TypeError, ValueError):
            return epoch

    @property
    def body_fault(self) -> str:
        """Why a body that is sent as JSON is none, and so stays bytes; "" for any other."""
        return self._body_fault

    def get_header(self, header_key: str) -> Optional[Any]:
        """Return the header's value whatever its case, None when there is none."""
        wanted = header_key.lower()
        return next((value for name, value in self.headers.items() if _lower(name) == wanted), None)

    def get_field(self, name: str, default: Any = None) -> Any:
        """Return a query argument's value; as bytes where the processor leaves texts undecoded."""
        if name in self.fields:
            return self.fields[name]
        return self.fields.get(name.encode("utf-8", "surrogateescape"), default)  # type: ignore[call-overload]

    def to_json(self) -> str:
        """Return the event as nuclio-sdk writes it: bytes as base64, the moment as text."""
        import base64

        found = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        if isinstance(self.body, bytes):
            found["body"] = base64.b64encode(self.body).decode("ascii")
        found.update(trigger={"kind": self.trigger.kind, "name": self.trigger.name}, timestamp=str(self.timestamp))
        return json.dumps(_texts(found), default=str)

    def compile_explicit_ack_message(self) -> dict[str, Any]:
        """Return what tells a stream trigger that this event is done."""
        where = {"topic": self.topic or self.path, "partition": self.shard_id, "offset": self.offset}
        return {"kind": "streamMessageAck", "attributes": where}

    def __repr__(self) -> str:
        return self.to_json()


def _texts(value: Any) -> Any:
    """Return the value with text where the processor has left bytes, as keys too."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_texts(key): _texts(one) for key, one in value.items()}
    return [_texts(one) for one in value] if isinstance(value, list) else value


def _lower(name: Any) -> str:
    return (name.decode("latin-1") if isinstance(name, bytes) else str(name)).lower()


def is_json(content_type: Any) -> bool:
    """Tell whether the content type is JSON, with or without a charset."""
    if isinstance(content_type, bytes):  # of a processor that wants its texts undecoded
        content_type = content_type.decode("latin-1")
    return isinstance(content_type, str) and content_type.partition(";")[0].strip().lower() == "application/json"


def repeated_fields(event: Event) -> dict[str, list[str]]:
    """Return the values of each query argument that is given more than once.

    A Nuclio processor sends the last of them and no address to find the others in: there it is {}.
    """
    query = str(event.url or "").partition("?")[2].partition("#")[0]
    if "&" not in query:
        return {}
    from urllib.parse import parse_qsl  # 3 ms that few services need

    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape"):
        found.setdefault(name, []).append(value)
    return {name: values for name, values in found.items() if len(values) > 1}


def _parse_json(body: bytes) -> tuple[Any, str]:
    """Return the value, or the bytes and why they are none. No body is no fault."""
    value = fast_json.loads(body)
    if value is not fast_json.UNREAD:
        return value, ""
    try:
        return (json.loads(body) if body else body), ""
    except json.JSONDecodeError as exc:
        return body, f"{exc.msg} at line {exc.lineno}, column {exc.colno}"
    except UnicodeDecodeError as exc:
        return body, f"the byte at position {exc.start} is no {exc.encoding}"
    except RecursionError:
        return body, "it is nested too deeply"
    except ValueError:  # Python reads whole numbers of 4,300 digits
        return body, "a number in it has too many digits"
