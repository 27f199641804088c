"""Large answers by files in memory: whole, private, gone when they should be; by the socket where they cannot be."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from scripted_processor import ScriptedProcessor, WorkerGone, content_of

from nuwrap_runtime.worker.nuclio import memory

Workers = Callable[..., ScriptedProcessor]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="NOT TESTED: files in memory are Linux's")

CODE = """
def f(context, event):
    size, kind = int(event.get_field("size")), event.path.strip("/")
    text = ("%d " % size * size)[:size]
    if kind == "own":
        return context.Response(body=text, headers={"x-Nuclio-Filestream-Path": "/own"})
    if kind == "error":
        return context.Response(body=text, status_code=500, headers={"X-A": [1, 2]}, content_type="text/css")
    return {"text": text, "bytes": text.encode(), "json": {"a": text}, "list": [text], "wide": "\\u00fc" * size}[kind]
"""
ASYNC = CODE.replace("def f(", "async def f(")
KINDS = ["text", "bytes", "json", "list", "wide", "error"]
LIMIT = 64 * 1024


def expected(kind: str, size: int) -> bytes:
    text = (f"{size} " * size)[:size]
    if kind in ("json", "list"):
        return json.dumps({"a": text} if kind == "json" else [text]).encode()
    return ("ü" * size if kind == "wide" else text).encode()


def path_of(reply: Any) -> str:
    return str(reply.headers.get("X-nuclio-filestream-path", ""))


@pytest.mark.parametrize("code", [CODE, ASYNC], ids=["sync", "async"])
def test_a_large_body_is_a_private_file_that_the_processor_deletes(worker: Workers, code: str) -> None:
    peer = worker(code).start()
    seen = set()
    for kind in KINDS:
        reply = peer.ask(path=f"/{kind}", fields={"size": "100000"})
        path = path_of(reply)
        status = os.stat(path)
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, os.getuid())
        assert reply.headers["X-nuclio-filestream-delete-after-send"] == "true"
        assert (reply.body, reply.status) == ("", 500 if kind == "error" else 200)
        assert content_of(reply) == expected(kind, 100_000)
        seen.add(path)
    assert reply.headers["X-A"] == "1, 2"
    assert len(seen) == len(KINDS)
    assert not any(os.path.exists(path) for path in seen)


@pytest.mark.parametrize("kind", ["text", "bytes"])
def test_a_body_of_up_to_64_kib_stands_in_its_line(worker: Workers, kind: str) -> None:
    peer = worker(CODE).start()
    for size, is_file in ((LIMIT, False), (LIMIT + 1, True)):
        reply = peer.ask(path=f"/{kind}", fields={"size": str(size)})
        assert bool(path_of(reply)) == is_file
        assert content_of(reply) == expected(kind, size)


def test_a_file_that_the_function_names_itself_is_the_answer(worker: Workers) -> None:
    reply = worker(CODE).start().ask(path="/own", fields={"size": "100000"})
    assert reply.headers == {"x-Nuclio-Filestream-Path": "/own"}
    assert reply.body == expected("text", 100_000).decode()


@pytest.mark.parametrize(
    "options",
    [{"env": {"NUWRAP_NUCLIO_FILES": "no"}}, {"trigger": ("kafka-cluster", "k")}],
    ids=["switched off", "another trigger"],
)
def test_there_are_no_files_where_nobody_sends_them(worker: Workers, options: Any) -> None:
    peer = worker(CODE, **options).start()
    for kind in KINDS:
        reply = peer.ask(path=f"/{kind}", fields={"size": "100000"})
        assert not path_of(reply)
        assert content_of(reply) == expected(kind, 100_000)


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))


@pytest.mark.parametrize("code", [CODE, ASYNC], ids=["sync", "async"])
def test_a_body_that_has_no_room_in_memory_goes_through_the_socket(worker: Workers, code: str) -> None:
    peer = worker(code, preexec_fn=limit_files).start()
    for kind in KINDS:
        reply = peer.ask(path=f"/{kind}", fields={"size": "100000"})
        assert not path_of(reply)
        assert content_of(reply) == expected(kind, 100_000)
    assert path_of(reply := peer.ask(path="/text", fields={"size": "70000"}))
    assert content_of(reply) == expected("text", 70_000)
    assert not [one for one in os.listdir(memory.FOLDER) if f"-{peer.process.pid}-" in one and "reply" in one]
    assert peer.logs() == []


def test_a_folder_without_room_is_no_fault(worker: Workers, tmp_path: Path) -> None:
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("NOT TESTED: a full /dev/shm needs root, and unshare")
    script = tmp_path / "python"
    mount = 'mount -t tmpfs -o size=96k tmpfs /dev/shm && exec "$@"'
    script.write_text(f"#!/bin/sh\nexec unshare -m sh -c '{mount}' sh {sys.executable} \"$@\"\n")
    script.chmod(0o755)
    peer = worker(CODE, python=str(script))
    try:
        peer.start()
    except WorkerGone:
        pytest.skip(f"NOT TESTED: a full /dev/shm, as there are no mount namespaces here: {peer.stderr()[:200]}")
    for _ in range(3):
        reply = peer.ask(path="/bytes", fields={"size": "200000"})
        assert content_of(reply) == expected("bytes", 200_000)
        assert not path_of(reply)


def gone_pid() -> int:
    """Return the id of a process that is no more."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_what_a_killed_worker_left_is_removed_by_the_next_one(worker: Workers) -> None:
    prefix = memory.prefix_of("reply")
    left, kept = f"{prefix}{gone_pid()}-1", f"{prefix}{os.getpid()}-x"
    elsewhere = f"nuclio-reply-by-nuwrap-1-{gone_pid()}-1"  # of another container's ids
    try:
        for name in (left, kept, elsewhere):
            os.close(memory.create(name))
        worker(CODE).start()
        there = set(os.listdir(memory.FOLDER))
        assert left not in there
        assert {kept, elsewhere} <= there
    finally:
        for name in (left, kept, elsewhere):
            memory.remove(os.path.join(memory.FOLDER, name))
