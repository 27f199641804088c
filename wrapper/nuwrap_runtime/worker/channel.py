"""An event socket of `nuwrap/1` on an asyncio loop: messages in by a callback, messages out without blocking.

Any thread may send; all else happens in the loop's. A child that the user's code forked neither reads nor writes.
"""

from __future__ import annotations

import _socket as socket
import _thread
import os
import select
from collections import deque
from typing import Any, Callable, Optional, Union

from nuwrap_runtime.worker.link import ANCILLARY_BYTES, CLOEXEC, SEND_FLAGS, Inbox, rights
from nuwrap_runtime.worker.protocol import ProtocolError

HELD_BYTES = 4 * 1024 * 1024  # of log records while the host does not read; then the logging thread waits for it


class Channel:
    """One socket. `on_message` gets what the host sends, `on_end` is called once it sends no more."""

    def __init__(self, loop: Any, peer: socket.socket, inbox: Inbox, view: memoryview) -> None:
        self.is_open = True
        self.is_lost = False
        self.fault: Optional[ProtocolError] = None
        self._loop = loop
        self._socket = peer
        self._fd = peer.fileno()
        self._inbox = inbox
        self._view = view
        self._pid = os.getpid()
        self._owner = _thread.get_ident()
        self._lock = _thread.RLock()  # a signal handler may log while its own thread sends
        self._queue: deque[tuple[Union[bytes, memoryview], int]] = deque()
        self._held = 0
        self._is_watched = False
        self._drained: Any = None
        self._on_message: Callable[[Any], None] = lambda _: None
        self._on_end: Callable[[], None] = lambda: None

    def listen(self, on_message: Callable[[Any], None], on_end: Callable[[], None]) -> None:
        """Begin to read."""
        self._on_message, self._on_end = on_message, on_end
        self._socket.setblocking(False)  # noqa: FBT003 - it takes no name
        self._loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        if os.getpid() != self._pid:
            return
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into([self._view], ANCILLARY_BYTES, CLOEXEC)
            messages = self._inbox.feed(self._view[:size], ancillary) if size else []
        except BlockingIOError:
            return
        except ProtocolError as exc:
            self.fault, size = exc, 0
        except OSError:  # it went with messages of ours unread
            size = 0
        if not size:
            self._end()
            return
        for one in messages:
            self._on_message(one)

    def _end(self) -> None:
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._fd)
            self._on_end()

    def send(self, data: bytes, file: int = -1) -> None:
        """Write one message as far as the socket takes it, keep the rest; closes the descriptor once it is sent."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._queue.append((data, file))
            self._held += len(data)
            if len(self._queue) == 1:
                self._flush()
            if self._queue and not self._is_watched:
                self._watch()

    def send_log(self, data: bytes) -> None:
        """Write one message; waits while much is kept already."""
        self.send(data)
        if self._held > HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Wait until all that is kept is written, or the host is gone."""
        while self._queue and os.getpid() == self._pid:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(1000)
            with self._lock:
                self._flush()

    async def drain(self) -> None:
        """Return once all is written, or the host is gone."""
        while self._queue:
            self._drained = self._loop.create_future()
            await self._drained

    def _flush(self) -> None:
        while self._queue:
            data, file = self._queue[0]
            try:
                ancillary = [rights(file)] if file >= 0 else []
                sent = self._socket.sendmsg([data], ancillary, SEND_FLAGS)
            except BlockingIOError:
                return
            except OSError:
                self._lose()
                return
            self._held -= sent
            if file >= 0:
                os.close(file)
            if sent == len(data):
                self._queue.popleft()
            else:
                self._queue[0] = (memoryview(data)[sent:], -1)

    def _lose(self) -> None:
        """Drop what nobody will read."""
        self.is_lost = True
        for _, file in self._queue:
            if file >= 0:
                os.close(file)
        self._queue.clear()
        self._held = 0
        self._loop.call_soon_threadsafe(self._end)  # a descriptor that the user's code closed tells no end

    def _watch(self) -> None:
        self._is_watched = True
        if _thread.get_ident() == self._owner:
            self._loop.add_writer(self._fd, self._write)
        else:
            self._loop.call_soon_threadsafe(self._loop.add_writer, self._fd, self._write)

    def _write(self) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._flush()
            if self._queue:
                return
            self._loop.remove_writer(self._fd)
            self._is_watched = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
