"""Files that get one body after the other: no byte of one is ever seen in another."""

from __future__ import annotations

import http.client
import os
import threading
from pathlib import Path
from typing import Callable

import pytest
from running_service import RunningService, request

from nuwrap_runtime.host.service.bodies import AnswerFile, Body
from nuwrap_runtime.worker.native import INLINE_BYTES, KEPT_BYTES, open_body_file

FILL = """
import os, time
def f(context, event):
    if event.path == "/echo":
        return bytes(event.body)
    if event.path == "/fd":
        return str(sum("memfd" in os.readlink("/proc/self/fd/" + n) for n in os.listdir("/proc/self/fd")
                       if os.path.islink("/proc/self/fd/" + n)))
    return event.get_field("c").encode() * int(event.get_field("n"))
"""


def fill(char: str, count: int) -> bytes:
    return request(target=f"/?c={char}&n={count}")


def test_an_answer_that_a_slow_client_is_reading_is_not_written_over(service: Callable[..., RunningService]) -> None:
    served = service(FILL)
    size = 3_500_000
    with served.client(small_window=True) as slow:
        slow.send(fill("s", size))
        slow.head()
        for char in "abcdef":
            assert served.ask(fill(char, size)).body == char.encode() * size
        while len(slow.data) < size:
            slow.data += slow.socket.recv(1 << 18)
        assert slow.data == b"s" * size


def test_answers_of_every_size_are_right_one_after_the_other(service: Callable[..., RunningService]) -> None:
    served = service(FILL)
    sizes = [INLINE_BYTES + 1, 500_000, 100_000, KEPT_BYTES, KEPT_BYTES + 1, 200_000, 10, 70_000, 3_000_000, 80_000]
    with served.client() as client:
        for number, size in enumerate(sizes):
            char = chr(ord("a") + number)
            assert client.ask(fill(char, size)).body == char.encode() * size, size


def test_bodies_are_right_with_many_clients_at_once(service: Callable[..., RunningService]) -> None:
    served = service(FILL, serve={"workers": 2})
    wrong: list[str] = []

    def send(number: int) -> None:
        connection = http.client.HTTPConnection(*served.place)
        for turn in range(25):
            body = bytes([number, turn]) * (40_000 + 5_000 * ((number * 7 + turn) % 11))
            connection.request("POST", "/echo", body, {"Content-Type": "application/octet-stream"})
            if connection.getresponse().read() != body:
                wrong.append(f"client {number}, turn {turn}")
        connection.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors by /proc")
def test_a_worker_and_its_host_keep_a_few_files_however_many_answers(service: Callable[..., RunningService]) -> None:
    served = service(FILL)
    for char in "abcdefghij" * 3:
        body = char.encode() * 300_000
        answer = served.call("POST", "/echo", body, {"Content-Type": "application/octet-stream"})
        assert answer.body == body
    assert int(served.ask(request(target="/fd")).body) <= 2
    links = [os.readlink(one) for one in Path(f"/proc/{served.process.pid}/fd").iterdir() if one.is_symlink()]
    assert sum("memfd" in one for one in links) <= 6


def test_an_answer_whose_file_the_worker_cuts_off_is_no_end_of_the_host() -> None:
    fd = open_body_file()
    os.write(fd, b"x" * 100_000)
    file = AnswerFile(os.dup(fd))
    file.begin(100_000)
    os.truncate(fd, 0)
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="Bad address"):
        file.send(writing, 0, 4096)
    assert file.read(0, 4096) == b""
    file.drop()
    file.done()
    for one in (fd, reading, writing):
        os.close(one)


def test_a_body_that_no_worker_has_read_gives_its_file_to_nobody() -> None:
    unread = Body()
    unread.add(b"x" * (INLINE_BYTES + 1))
    gone = unread.take()[1] or -1
    unread.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(gone)
    body = Body()
    body.add(b"x" * (INLINE_BYTES + 1))
    file, body.is_read = body.take()[1], True
    body.close()
    again = Body()
    again.add(b"y" * (INLINE_BYTES + 1))
    kept = again.take()[1]
    assert kept == file
    assert os.pread(kept or -1, INLINE_BYTES + 1, 0) == b"y" * (INLINE_BYTES + 1)
    again.close()
