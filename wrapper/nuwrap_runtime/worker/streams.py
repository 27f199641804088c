"""A generator's values as one answer: what its head is, and what each value is in it. Sends nothing, calls nothing."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, Optional

from nuwrap_runtime.worker import replies
from nuwrap_runtime.worker.protocol import Reply

NDJSON = "application/x-ndjson"
_PLAIN = frozenset({str, bytes, dict, list, type(None), int, float, bool})


class Stream:
    """What a handler yields; `response` is the Response whose body the generator is, None when there is none."""

    def __init__(self, values: Any, *, response: Any = None, status: int = 200) -> None:
        self.values = values
        self.is_async = inspect.isasyncgen(values)
        self._response = response
        self._status = status
        self.head: Optional[Reply] = None

    def chunk(self, item: Any) -> Optional[bytes]:
        """Return the bytes of one item, None for None. The first one decides the head.

        Raises TypeError or ValueError for what no client could read.
        """
        if item is None:
            return None
        is_response = replies.is_response(item)
        data, is_json = _bytes_of(item.body if is_response else item)
        if self.head is None:
            self.head = self._head(self._response if self._response or not is_response else item, is_json=is_json)
        return data

    def whole(self, body: bytes, event_id: str = "") -> Reply:
        """Return the answer in one, also of a generator that gave nothing."""
        head = self.head or self._head(self._response, is_json=False)
        return replace(head, body=body, event_id=head.event_id or event_id)

    def _head(self, response: Any, *, is_json: bool) -> Reply:
        own = NDJSON if is_json else replies.TEXT
        if response is None:
            return Reply(status=self._status, content_type=own)
        given = str(response.content_type or replies.TEXT)
        return Reply(
            status=replies.check_status(response.status_code),
            content_type=own if given == replies.TEXT else given,
            headers=dict(getattr(response, "headers", None) or {}),
            event_id=str(getattr(response, "event_id", None) or ""),
        )


def find_stream(value: Any) -> Optional[Stream]:
    """Return the stream that a returned value is, or that the body of a Response or of (status, body) is."""
    if type(value) in _PLAIN:
        return None
    if _is_generator(value):
        return Stream(value)
    if isinstance(value, tuple) and len(value) == 2 and _is_generator(value[1]):
        return Stream(value[1], status=replies.check_status(value[0]))
    if replies.is_response(value) and _is_generator(value.body):
        return Stream(value.body, response=value)
    return None


def _is_generator(value: Any) -> bool:
    return inspect.isgenerator(value) or inspect.isasyncgen(value)


def _bytes_of(item: Any) -> tuple[bytes, bool]:
    """Return an item's bytes, and whether they are a line of JSON."""
    if isinstance(item, str):
        return replies.encode_text(str.__str__(item)), False
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item), False
    if item is None:  # of a Response that has no body
        return b"", False
    return replies.encode_item(item).encode("ascii") + b"\n", True
