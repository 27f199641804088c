"""An event socket of `nuwrap/1` as a sync worker sees it: messages in, descriptors with them; messages out."""

from __future__ import annotations

import _socket as socket
import _thread
import json
import os
import struct
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any, Callable

from nuwrap_runtime.worker import native, protocol
from nuwrap_runtime.worker.connection import READ_BYTES, Connection

_INT = struct.calcsize("i")
ANCILLARY_BYTES = socket.CMSG_SPACE(_INT * 4)
CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # macOS has none
SEND_FLAGS: int = getattr(socket, "MSG_NOSIGNAL", 0)  # the user's code may have set SIGPIPE back to what ends us
LOG_CHARACTERS = 100_000  # of a record that is longer than one message may be


class Lost(OSError):
    """The host's end of the socket is gone: no answer reaches anybody."""


class Unreadable(str):
    """Why a frame is no event."""

    __slots__ = ()


class Inbox:
    """From bytes and descriptors to messages, a body that came in a file read into its event. Owns the descriptors."""

    def __init__(self, unpack: Callable[..., Any]) -> None:
        self._unpack = unpack
        self._decoder = protocol.FrameDecoder()
        self._files: deque[int] = deque()

    def feed(self, data: memoryview, ancillary: list[tuple[int, int, bytes]]) -> list[Any]:
        """Return the messages that are whole now: a map, or what else a frame held, or Unreadable.

        Raises ProtocolError for what is no frame.
        """
        if ancillary:
            self._files.extend(descriptors(ancillary))
        messages = [self._message(frame) for frame in self._decoder.feed(data)]
        if self._files and self._decoder.is_empty:  # of frames that did not say that they bring one
            self.close()
        return messages

    def close(self) -> None:
        """Close the descriptors that no message took."""
        while self._files:
            os.close(self._files.popleft())

    def _message(self, frame: protocol.Data) -> Any:
        try:
            message = self._unpack(
                frame, raw=False, unicode_errors="surrogateescape", strict_map_key=False, timestamp=3
            )
            if type(message) is dict and native.SIZE in message:
                message["body"] = self._read_body(message[native.SIZE])
        except Exception as exc:  # noqa: BLE001 - a frame that is no event must not shift later answers
            return Unreadable(f"{type(exc).__name__}: {exc}")
        return message

    def _read_body(self, size: int) -> bytes:
        file = self._files.popleft()
        try:
            parts, done = [], 0
            while done < size:
                parts.append(os.pread(file, size - done, done))
                if not parts[-1]:
                    raise ValueError(f"the body's file ends after {done} bytes of {size}")
                done += len(parts[-1])
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            os.close(file)


def descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors that came with a message; no program that the user starts inherits them."""
    found: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found += struct.unpack(f"{len(data) // _INT}i", data[: len(data) // _INT * _INT])
    if not CLOEXEC:
        for one in found:
            os.set_inheritable(one, False)  # noqa: FBT003 - it takes no name
    return found


class Link(Connection):
    """The event socket of a sync worker, one call at a time."""

    def __init__(self, peer: socket.socket, unpack: Callable[..., Any]) -> None:
        super().__init__(peer)
        self._inbox = Inbox(unpack)
        self._view = memoryview(bytearray(READ_BYTES))
        self._waiting: deque[Any] = deque()
        self._is_open = True
        self._owner = _thread.get_ident()  # the thread that calls the function
        self.route = self._send_log

    def messages(self) -> Iterator[Any]:
        """Yield what the host sends until it closes its end."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if not self._is_open or os.getpid() != self._pid:
                return
            self._receive(CLOEXEC)

    @property
    def is_open(self) -> bool:
        """Whether the host may still send something."""
        return self._is_open

    def is_cancelled(self, event_id: Any) -> bool:
        """Tell whether the host wants no answer to this event any more, without waiting for word of it."""
        while self._is_open and self._receive(CLOEXEC | socket.MSG_DONTWAIT):
            pass
        if not self._waiting:
            return False
        orders = [one for one in self._waiting if type(one) is dict and native.CANCEL in one]
        self._waiting = deque(one for one in self._waiting if type(one) is not dict or native.CANCEL not in one)
        return any(one[native.CANCEL] == event_id for one in orders)

    def _receive(self, flags: int) -> bool:
        """Take in what there is; False when there is nothing and `flags` say not to wait."""
        try:
            size, ancillary, _, _ = self.socket.recvmsg_into([self._view], ANCILLARY_BYTES, flags)
        except BlockingIOError:
            return False
        except ConnectionResetError:  # it went with messages of ours unread
            size, ancillary = 0, []
        if size:
            self._waiting.extend(self._inbox.feed(self._view[:size], ancillary))
        else:
            self._is_open = False
        return True

    def send_log(self, record: bytes) -> None:
        """Write one log record, given as JSON; in a child that the user's code forked to standard error instead."""
        self.route(record)

    def _send_log(self, record: bytes) -> None:
        if os.getpid() == self._pid:
            kind = protocol.LOG if _thread.get_ident() == self._owner else native.STRAY
            self.send(native.encode_message(kind, fitting_record(record)))
        elif sys.stderr:
            sys.stderr.write(record.decode("ascii") + "\n")

    def _write(self, data: bytes, file: int) -> None:
        """Write one message, the descriptor with its first byte. Raises Lost."""
        try:
            if file >= 0:
                data = data[self.socket.sendmsg([data], [rights(file)], SEND_FLAGS) :]
            self.socket.sendall(data, SEND_FLAGS)
        except OSError as exc:
            raise Lost(*exc.args) from exc


def rights(file: int) -> tuple[int, int, bytes]:
    """Return the ancillary data that sends a descriptor."""
    return (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file))


def fitting_record(record: bytes) -> bytes:
    """Return the record, its text cut and its fields dropped when no message takes it whole."""
    if len(record) < native.MESSAGE_BYTES:
        return record
    whole = json.loads(record)
    text = f"{whole['message'][:LOG_CHARACTERS]}… (cut: the record has {len(record)} bytes)"
    return json.dumps({**whole, "message": text, "with": {}}).encode("ascii")
