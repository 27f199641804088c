"""A generator's values as lines: `c`, `b`, `e` for a processor that reads them (1.15), else joined in one reply."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Callable

from nuwrap_runtime.worker.nuclio.lines import CHUNK, END, Lines
from nuwrap_runtime.worker.protocol import encode_line
from nuwrap_runtime.worker.streams import Stream

BROKEN = b"\n[nuwrap: the answer broke off here]\n"


class StreamLines:
    """One stream. `item` is called with each value; `end` gives the last bytes."""

    def __init__(self, lines: Lines, stream: Stream, request: str, send: Callable[[bytes], None]) -> None:
        self._lines = lines
        self._stream = stream
        self._request = request
        self._send = send
        self.is_begun = False

    def item(self, value: object) -> None:
        """Send one value. Raises ReplyError for what no client could read."""
        data = self._stream.chunk(value)
        if data is None or self._stream.head is None:
            return
        if self.is_begun:
            if data:
                self._send(encode_line(CHUNK, base64.b64encode(data)))
            return
        head = replace(self._stream.head, body=data, event_id=self._stream.head.event_id or self._request)
        line = self._lines.head(head)
        self.is_begun = True
        self._send(line)

    def end(self) -> bytes:
        """Return the last line; of a stream of nothing the whole answer."""
        return encode_line(END) if self.is_begun else self._lines.reply(self._stream.whole(b"", self._request))

    def broken(self) -> bytes:
        """Return the last lines of a stream that raised: the protocol has no word for it, so its text says so."""
        return encode_line(CHUNK, base64.b64encode(BROKEN)) + encode_line(END)


class JoinedLines:
    """The same of a processor that reads whole answers alone."""

    is_begun = False

    def __init__(self, lines: Lines, stream: Stream, request: str) -> None:
        self._lines = lines
        self._stream = stream
        self._request = request
        self._parts: list[bytes] = []

    def item(self, value: object) -> None:
        """Keep one value. Raises ReplyError for what no client could read."""
        self._parts.append(self._stream.chunk(value) or b"")

    def end(self) -> bytes:
        """Return the whole answer."""
        return self._lines.reply(self._stream.whole(b"".join(self._parts), self._request))

    def broken(self) -> bytes:
        """Never asked for: nothing was sent yet."""
        return b""
