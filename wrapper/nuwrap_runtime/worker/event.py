"""The event as the user's handler gets it: nuclio-sdk's Event by its attributes, without importing the SDK."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Optional


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
        if is_json(self.content_type) and isinstance(self.body, bytes):
            self.body = _parse_json(self.body)

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

    def get_header(self, header_key: str) -> Optional[Any]:
        """Return the header's value whatever its case, None when there is none."""
        wanted = header_key.lower()
        return next((value for name, value in self.headers.items() if str(name).lower() == wanted), None)

    def get_field(self, name: str, default: Any = None) -> Any:
        """Return a query argument's value."""
        return self.fields.get(name, default)


def is_json(content_type: Any) -> bool:
    """Tell whether the content type is JSON, with or without a charset."""
    return isinstance(content_type, str) and content_type.partition(";")[0].strip().lower() == "application/json"


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        if sys.stderr:
            print(f"the event's body is no JSON, so it stays bytes: {exc}", file=sys.stderr)
        return body
