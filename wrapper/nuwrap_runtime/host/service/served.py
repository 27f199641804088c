"""One worker of a service: its process and its event sockets, driven by the event loop.

A slot is one event socket and answers one call at a time; a sync function has one, an async one several.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
import stat
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, Optional, cast

from nuwrap_runtime.host import endings
from nuwrap_runtime.host.prepare import Prepared
from nuwrap_runtime.host.process import has_ended, kill_group
from nuwrap_runtime.host.service.bodies import AnswerFile
from nuwrap_runtime.host.service.owner import Owner
from nuwrap_runtime.host.workers import start_worker
from nuwrap_runtime.result import SCHEMA, Failure
from nuwrap_runtime.schema import faults
from nuwrap_runtime.worker import msgpack, native, protocol
from nuwrap_runtime.worker.protocol import ProtocolError

if TYPE_CHECKING:
    from nuwrap_runtime.host.service.calls import Call

READ_BYTES = 256 * 1024
DESCRIPTOR = array.array("i").itemsize
ANCILLARY_BYTES = socket.CMSG_SPACE(DESCRIPTOR)
END_SECONDS = 2.0  # from the end of its socket to the end of the process
FILES = 8  # most that may have come and are not named yet; one is what a worker of ours sends
SOCKETS = 1024  # most that a worker may ask for: launch.concurrency's largest value

_pack: Callable[..., bytes]
_pack, _unpack = msgpack.load()


class ServedWorker:
    """A worker process from its start to the end of its group. `number` is its place in the service."""

    def __init__(self, number: int, prepared: Prepared, path: str, owner: Owner) -> None:
        """Start the process; `path` gets its socket. Raises PlatformError."""
        self.number = number
        self.owner = owner
        self.phase = "load"
        self.slots: list[Slot] = []
        self.is_ready = False
        self.is_over = False
        self.is_usable = True  # until its end is in sight: then no call is given to it any more
        self.overdue = 0  # calls that were answered for their time-out, and are still in it: it gets no new one
        self.answered = 0
        self.killed_for = ""
        self.seconds: Mapping[str, float] = {}
        self._failure: Optional[Failure] = None
        self._traceback = ""
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._wanted = 1
        self._is_draining = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(SOCKETS)
        self._listener.settimeout(0)
        self._loop.add_reader(self._listener, self._accept)
        try:
            self._process = start_worker(prepared, {"event": path}, number=number)
        except BaseException:
            self._close_listener()
            raise

    @property
    def pid(self) -> int:
        """The process id, which is the group's too."""
        return self._process.pid

    def look(self) -> None:
        """Act when the process is over: what it sent before is taken first."""
        if not self.is_over and not self._is_draining and has_ended(self._process):
            self.is_usable = False
            self._is_draining = True
            for slot in self.slots:
                slot.drain()
            self._end(is_lost=False)

    def kill(self, reason: str) -> None:
        """Kill its group; `look` sees the end. `reason` is `timed_out` or `crashed`."""
        if not self.is_over:
            self.killed_for = self.killed_for or reason
            self.is_usable = False
            kill_group(self.pid)

    def finish(self) -> None:
        """Tell it that there are no more events: it ends by itself."""
        if not self.is_ready and not self.is_over:  # it has nothing to end, and its init may take long
            kill_group(self.pid)
        for slot in self.slots:
            slot.finish()

    def started(self, payload: bytes) -> None:
        """Take note of the worker's own word that it can be called."""
        told = json.loads(payload)
        seconds, sockets = told.get("seconds", {}), told.get("sockets", 1)
        if type(sockets) is not int or not 1 <= sockets <= SOCKETS or faults(seconds, SCHEMA["properties"]["seconds"]):
            raise ProtocolError(f"the worker's start is none: {payload[:80]!r}")
        self.seconds, self._wanted = seconds, sockets
        self.phase = "handler"
        self._accept()

    def take_log(self, payload: bytes, request_id: str) -> None:
        """Take a record of the user's, or what the worker tells of its own start."""
        try:
            record = json.loads(payload)
        except (ValueError, RecursionError):
            return
        if not isinstance(record, dict):  # written by the user's code, on our socket
            return
        fields = record.get("with")
        told = fields.get("nuwrap_failure") if isinstance(fields, dict) else None
        phase = fields.get("nuwrap_phase") if isinstance(fields, dict) else None
        if (self.phase, phase) in (("load", "init"), ("handler", "shutdown")):
            self.phase = str(phase)
        elif isinstance(told, dict) and not faults(told, SCHEMA["properties"]["failure"]):
            self._failure = Failure.from_document(told)
            self._traceback = str(fields.get("traceback", "")) if isinstance(fields, dict) else ""
        else:
            self.owner.log(record, request_id)

    def lost(self) -> None:
        """Act when a socket ended: the process ends too, or is made to."""
        if self.is_over or self._is_draining:
            return
        self.is_usable = False
        if has_ended(self._process):
            self.look()
        elif not self.killed_for:
            self._loop.call_later(END_SECONDS, self._make_end)

    def broken(self, exc: Exception) -> None:
        """Kill a worker whose messages cannot be followed: the user's code wrote on our socket."""
        self.owner.log({"level": "error", "message": f"a worker is ended: {exc}"}, "")
        self.kill("crashed")

    def _make_end(self) -> None:
        if not self.is_over:
            self._end(is_lost=not has_ended(self._process))

    def _end(self, *, is_lost: bool) -> None:
        self.is_over = True
        kill_group(self.pid)
        code = self._process.wait()
        self._close_listener()
        for slot in self.slots:
            slot.close()
        end = endings.lost(self.phase) if is_lost else endings.ended(self.phase, code, self._failure)
        self.owner.worker_ended(self, replace(end, traceback=self._traceback))

    def _accept(self) -> None:
        while len(self.slots) < self._wanted:
            try:
                peer = self._listener.accept()[0]
            except (BlockingIOError, InterruptedError):
                return
            self.slots.append(Slot(self, peer))
        if self.phase == "handler" and not self.is_ready:
            self.is_ready = True
            self._close_listener()
            self.owner.worker_ready(self)

    def _close_listener(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            if os.path.lexists(self._path):  # the temporary folder is not ours alone
                os.unlink(self._path)


class Slot:
    """One event socket of a worker and the call that it answers."""

    def __init__(self, worker: ServedWorker, peer: socket.socket) -> None:
        peer.settimeout(0)
        self.worker = worker
        self.call: Optional[Call] = None
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._decoder = protocol.FrameDecoder()
        self._files: list[int] = []
        self._out: deque[tuple[memoryview, Optional[int]]] = deque()
        self._on_answer: Optional[Callable[[bytes], None]] = None
        self._is_reading = False
        self._is_begun = False  # the head of the answer has come
        self._is_freed = False
        self._kept: Optional[AnswerFile] = None  # the last file that came, for the worker to write again
        self._is_offered = False
        self._is_broken = False  # nothing that it says counts any more
        self._has_lost_file = False  # one came when this process could open no more
        self.resume()

    def begin(self, call: Call, event: Mapping[str, Any], file: Optional[int]) -> None:
        """Send the event. Raises BrokenPipeError when nothing of it reached the worker, which is over then."""
        self.call = call
        self._is_begun = False
        self._is_offered = self._kept is not None and not self._kept.is_busy
        try:
            self._send({**event, native.KEPT: True} if self._is_offered else event, file)
        except OSError as exc:
            self.call = None
            self.worker.is_usable = False
            self._loop.call_soon(self.worker.lost)
            raise BrokenPipeError from exc

    def ask_description(self, on_answer: Callable[[bytes], None]) -> None:
        """Ask for the function's description; its JSON comes to `on_answer`, b"" when the worker ends first."""
        self._on_answer = on_answer
        try:
            self._send({native.DESCRIBE: True}, None)
        except OSError:
            pass  # its end is seen by `look`

    def cancel(self, event_id: str) -> None:
        """Tell the worker that nobody waits for the answer any more, and hear it out all the same."""
        self.resume()
        try:
            self._send({native.CANCEL: event_id}, None)
        except OSError:
            pass

    def pause(self) -> None:
        """Hear no more, so that the worker waits with what it sends."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._peer)

    def resume(self) -> None:
        """Hear the worker again."""
        if not (self._is_reading or self._is_broken) and self._peer.fileno() >= 0:
            self._is_reading = True
            self._loop.add_reader(self._peer, self._readable)

    def finish(self) -> None:
        """End the sending side: the worker takes it as the end of events."""
        try:
            self._peer.shutdown(socket.SHUT_WR)
        except OSError:  # it went first
            pass

    def drain(self) -> None:
        """Take what the worker sent before it ended."""
        while not self._is_broken and self._peer.fileno() >= 0 and self._read():
            pass

    def close(self) -> None:
        """Let go of the socket and of what came with it."""
        self.pause()
        if self._out:
            self._loop.remove_writer(self._peer)
        self._peer.close()
        for fd in (*self._files, *(file for _, file in self._out if file is not None)):
            os.close(fd)
        self._files.clear()
        self._out.clear()
        self._drop_kept()
        if self._on_answer:
            self._on_answer(b"")

    def _readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        """Take what is there; False when there is nothing more, now or ever."""
        try:
            data, ancillary, flags, _ = self._peer.recvmsg(READ_BYTES, ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data, ancillary, flags = b"", [], 0
        self._has_lost_file = self._has_lost_file or bool(flags & socket.MSG_CTRUNC)
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._files += array.array("i", raw[: len(raw) - len(raw) % DESCRIPTOR])
        if not data:
            self.pause()
            self.worker.lost()
            return False
        try:
            for message in self._decoder.feed(data):
                self._take(bytes(message[:1]), bytes(message[1:]))
            if self._decoder.missing > native.MESSAGE_BYTES:
                raise ProtocolError(f"a message of more than {native.MESSAGE_BYTES} bytes")
            if len(self._files) > FILES:
                raise ProtocolError("files that no answer names")
        except (ProtocolError, ValueError, TypeError, AttributeError, RecursionError) as exc:  # by the user's code
            self._is_broken = True
            self.pause()
            self.worker.broken(exc)
            return False
        if self._is_freed:  # not before: what came with an answer is no answer to a call that begins after it
            self._is_freed = False
            self.worker.owner.slot_free(self)
        return True

    def _take(self, kind: bytes, payload: bytes) -> None:
        call = self.call
        if kind == protocol.LOG:
            self.worker.take_log(payload, call.id if call else "")
        elif kind == native.STRAY:
            self.worker.take_log(payload, "")
        elif kind == protocol.START and not self.worker.is_ready:
            self.worker.started(payload)
        elif self._on_answer and kind == protocol.REPLY:
            answer, self._on_answer = self._on_answer, None
            answer(native.check_reply(unpack(payload))[3] or self._take_file(0).read(0, READ_BYTES))
        elif call is None:
            raise ProtocolError(f"a message {kind!r} that nobody asked for")
        elif self._is_begun and kind == native.CHUNK:
            call.chunk(payload)
        elif self._is_begun and kind in (native.END, native.BROKEN):
            call.end(is_whole=kind == native.END)
            self._free()
        elif not self._is_begun and kind == protocol.REPLY:
            self._whole(call, payload)
            self._free()
        elif not self._is_begun and kind == native.HEAD:
            self._head(call, payload)
        else:
            raise ProtocolError(f"a message {kind!r} out of its turn")

    def _whole(self, call: Call, payload: bytes) -> None:
        status, content_type, headers, body, size = native.check_reply(unpack(payload))
        _check_status(status)
        if body is not None:
            call.whole(status, content_type, headers, body, None)
            return
        if self._has_lost_file and not self._files:  # its worker keeps that one now, and not what is here
            self._has_lost_file = False
            self._drop_kept()
            call.fail(503, "the host has too many files open to take the function's answer", may_retry=True)
            return
        file = self._take_file(size)
        call.whole(status, content_type, headers, b"", (file, size))
        if file is not self._kept:
            file.drop()

    def _head(self, call: Call, payload: bytes) -> None:
        status, content_type, headers, length = native.check_head(unpack(payload))
        _check_status(status)
        self._is_begun = True
        call.head(status, content_type, headers, length)

    def _take_file(self, size: int) -> AnswerFile:
        """Return the answer's file: the one that came with it, else the kept one that the worker was offered."""
        if not self._files and not (self._is_offered and self._kept):
            raise ProtocolError("the worker's reply names a file, and none came")
        if self._files:
            file = AnswerFile(self._take_descriptor())
            if size <= native.KEPT_BYTES and len(self.worker.slots) == 1:  # one for each worker, not for each socket
                self._drop_kept()
                self._kept = file
        else:
            file = cast("AnswerFile", self._kept)
        if file.size < size:
            if file is not self._kept:
                file.drop()
            raise ProtocolError(f"the file of the worker's reply has not the {size} bytes that it names")
        return file

    def _drop_kept(self) -> None:
        if self._kept:
            self._kept.drop()
            self._kept = None

    def _take_descriptor(self) -> int:
        fd = self._files.pop(0)
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # reading any other could wait for ever
            os.close(fd)
            raise ProtocolError("the file of the worker's reply is no regular file")
        return fd

    def _free(self) -> None:
        """Take note that the call is answered; a file that came and was not named is none of its answer."""
        self.call = None
        self.worker.answered += 1
        while self._files:
            os.close(self._files.pop())
        self.resume()  # its client may have been the slow one; the next call's is another
        self._is_freed = True

    def _send(self, document: Mapping[str, Any], file: Optional[int]) -> None:
        frame = memoryview(protocol.encode_frame(_pack(document, unicode_errors="surrogateescape")))
        if self._out:
            self._out.append((frame, None if file is None else os.dup(file)))
            return
        sent = self._send_some(frame, file)
        if sent < len(frame):
            rest = None if sent or file is None else os.dup(file)
            self._out.append((frame[sent:], rest))
            self._loop.add_writer(self._peer, self._send_more)

    def _send_more(self) -> None:
        while self._out:
            frame, file = self._out[0]
            try:
                sent = self._send_some(frame, file)
            except OSError:  # it is over; `look` sees it
                self._loop.remove_writer(self._peer)
                return
            if file is not None and sent:
                os.close(file)
                file = None
            if sent < len(frame):
                self._out[0] = (frame[sent:], file)
                return
            self._out.popleft()
        self._loop.remove_writer(self._peer)

    def _send_some(self, frame: memoryview, file: Optional[int]) -> int:
        try:
            if file is None:
                return self._peer.send(frame)
            rights = array.array("i", [file])
            return self._peer.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except (BlockingIOError, InterruptedError):
            return 0


def _check_status(status: int) -> None:
    if 0 < status < 200:
        raise ProtocolError(f"{status} is no status of an answer")


def unpack(payload: bytes) -> Any:
    """Return what a worker packed; lists and maps of the size that its message can hold."""
    return _unpack(payload, raw=False, unicode_errors="surrogateescape")
