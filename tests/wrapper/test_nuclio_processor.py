"""What only Nuclio's own processor can show: its stops, its time-outs, its other triggers, files that it sends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable

import pytest
from real_processor import RealProcessor, logs_of
from running_job import is_running, wait_gone
from running_service import Client, request

CODE = """
import os, subprocess, sys, threading, time

def say(text, context):
    os.write(1, f"{text} {context.worker_id}\\n".encode())  # in one piece: another worker writes there too

def init_context(context):
    while os.path.exists("gate"):
        open("begun", "w").close()
        time.sleep(0.005)
    context.platform.set_termination_callback(lambda: say("terminated", context))
    context.platform.set_drain_callback(lambda: say("drained", context))

def f(context, event):
    if event.trigger.kind == "cron":
        open("cron.json", "w").write(event.to_json())
        return context.Response(status_code=0)
    act = event.path.strip("/")
    if act == "large":
        size = int(event.get_field("size"))
        return context.Response(body=(b"%d " % size * size)[:size], content_type="text/css", headers={"X-A": "1"})
    if act == "fail":
        raise KeyError("why")
    if act == "own":
        open("own.txt", "w").write("the function's own file")
        return context.Response(headers={"X-nuclio-filestream-path": os.path.abspath("own.txt"), "X-A": 2}, body="no")
    if act == "sleep":
        open("asleep", "w").close()
        time.sleep(float(event.get_field("s")))
    if act == "children":
        return [os.getpid(), os.fork() or time.sleep(999), subprocess.Popen(["sleep", "999"]).pid]
    if act == "stuck":
        stuck = [subprocess.Popen(["sleep", "999"]).pid, os.getpid()]
        open("stuck", "w").write(f"{stuck[0]} {stuck[1]}\\n")
        time.sleep(999)
    return [os.getpid(), context.worker_id]
"""

Processors = Callable[..., RealProcessor]


@pytest.fixture
def processor(tree: str, tmp_path: Path) -> Iterator[Processors]:
    """Start a processor in a folder of its own; arguments are RealProcessor's."""
    with ExitStack() as stack:

        def start(code: str = CODE, *, gated: bool = False, **options: Any) -> RealProcessor:
            folder = tmp_path / f"processor-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            if gated:
                (folder / "gate").write_text("")
            return stack.enter_context(RealProcessor(tree, folder, code, **options))

        yield start


def own_files() -> set[str]:
    """Return the answers that lie in memory now."""
    folder = Path("/dev/shm")
    return {one.name for one in folder.glob("nuclio-reply-by-nuwrap-*")} if folder.is_dir() else set()


def test_a_stop_takes_no_longer_than_the_processor_itself(processor: Processors) -> None:
    idle, busy = processor(workers=2).ready(), processor().ready()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(busy.call, "GET", "/sleep?s=1")
        busy.until((busy.folder / "asleep").exists)
        workers = [*idle.worker_pids(), *busy.worker_pids()]
        begin = time.monotonic()
        codes = list(pool.map(RealProcessor.stop, (idle, busy)))
        seconds = time.monotonic() - begin
        assert answer.result().status == 200
    assert codes == [0, 0]
    assert seconds < 9.5  # it sleeps 5 s itself; a worker that does not end takes 10 s more
    for pid in workers:
        wait_gone(pid)
    assert idle.log().count("terminated 0") == idle.log().count("terminated 1") == 1
    assert busy.log().count("terminated 0") == 1
    for one in (idle, busy):
        assert "panic" not in one.log()
        assert "Traceback" not in one.log()


def test_a_killed_processor_leaves_nothing_behind(processor: Processors) -> None:
    one, starting = processor(workers=2).ready(), processor(gated=True)
    starting.until((starting.folder / "begun").exists)
    pids = {*one.worker_pids(), *one.call("GET", "/children").json(), *one.call("GET", "/children").json()}
    assert len(pids) >= 4
    pids.update(starting.worker_pids())
    for each in (one, starting):
        each.process.kill()
    for pid in pids:
        wait_gone(pid)


def test_a_time_out_is_a_408_and_another_worker_goes_on_alone(processor: Processors) -> None:
    one = processor(keys={"eventTimeout": "1s"}).ready()
    [first, _] = one.call().json()
    answer = one.call("GET", "/stuck")
    assert (answer.status, json.loads(answer.body)) == (408, {"error": "handler timed out"})
    child, pid = (int(text) for text in (one.folder / "stuck").read_text().split())
    assert pid == first
    [second, worker] = one.until(lambda: (again := one.call()).status == 200 and again.json())
    assert (second != first, worker) == (True, "0")
    for gone in (first, child):
        wait_gone(gone)
    assert one.call("GET", "/large?size=100000").body == (b"100000 " * 100000)[:100000]


@pytest.fixture(scope="module")
def shared(tree: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProcessor]:
    """One processor with two workers and a timer; tests that use it leave it as it was."""
    event = {"body": "tick", "headers": {"x-int": 1, "x-map": {"a": [True]}}}
    cron = {"kind": "cron", "name": "tick", "attributes": {"interval": "500ms", "event": event}}
    folder = tmp_path_factory.mktemp("processor")
    with RealProcessor(tree, folder, CODE, workers=2, triggers={"tick": cron}) as one:
        yield one.ready()


def test_events_of_a_timer_come_with_headers_of_any_type(shared: RealProcessor) -> None:
    text = shared.until(lambda: (shared.folder / "cron.json").exists() and (shared.folder / "cron.json").read_text())
    event = json.loads(text)
    assert event["trigger"] == {"kind": "cron", "name": "tick"}
    assert {name.lower(): value for name, value in event["headers"].items()}["x-int"] == 1
    assert event["body"] == "dGljaw=="
    assert (event["path"], event["fields"]) == ("/", {})


def test_workers_answer_side_by_side(shared: RealProcessor) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = {tuple(one.json()) for one in pool.map(lambda _: shared.call("GET", "/sleep?s=0.3"), range(2))}
    assert {worker for _, worker in found} == {"0", "1"}
    assert {pid for pid, _ in found} <= set(shared.worker_pids())


def test_large_bodies_come_whole_and_their_files_are_gone(shared: RealProcessor) -> None:
    sizes = [65_536, 65_537, 70_000, 1 << 20, 3 * (1 << 20)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda size: shared.call("GET", f"/large?size={size}"), sizes * 4))
    for size, answer in zip(sizes * 4, answers):
        assert answer.body == (b"%d " % size * size)[:size]
        assert (answer.status, answer.header("content-type"), answer.header("x-a")) == (200, "text/css", "1")
        assert not [name for name, _ in answer.headers if "filestream" in name]
        is_whole = answer.header("content-length") == str(size)
        assert is_whole != (answer.header("transfer-encoding") == "chunked")
        assert is_whole == (size <= 65_536)
    shared.until(lambda: not of_workers(shared))


def test_a_file_that_the_function_names_is_sent_and_stays(shared: RealProcessor) -> None:
    answer = shared.call("GET", "/own")
    assert (answer.body, answer.header("x-a")) == (b"the function's own file", "2")
    assert (shared.folder / "own.txt").exists()


def test_every_failure_has_an_id_to_look_for_in_the_log(shared: RealProcessor) -> None:
    answers = [shared.call("GET", "/fail") for _ in range(4)]
    assert [one.status for one in answers] == [500] * 4
    ids = {one.json()["request_id"] for one in answers}
    assert len(ids) == 4
    for one in ids:
        shared.until(lambda one=one: f'"request_id": "{one}"' in shared.log())


def of_workers(processor: RealProcessor) -> list[str]:
    pids = processor.worker_pids()
    return [name for name in own_files() for pid in pids if f"-{pid}-" in name]


@pytest.mark.parametrize("cut", ["head", "hang up"])
def test_a_file_is_gone_too_when_nobody_takes_it(shared: RealProcessor, cut: str) -> None:
    target = f"/large?size={3 * (1 << 20)}"
    if cut == "head":
        assert shared.call("HEAD", target).status == 200
    else:
        with Client(shared.place, small_window=True) as client:
            client.send(request("GET", target))
            assert client.head().status == 200
    shared.until(lambda: not of_workers(shared))
    assert shared.call().status == 200


def test_drained_workers_refuse_at_once_and_go_on(shared: RealProcessor) -> None:
    workers = [pid for pid in shared.worker_pids() if is_running(pid)]
    for pid in workers:
        os.kill(pid, signal.SIGUSR2)
    shared.until(lambda: shared.log().count("drained") >= 2)
    begin = time.monotonic()
    refused = shared.call()
    assert (refused.status, set(refused.json())) == (503, {"error", "request_id"})
    assert time.monotonic() - begin < 5
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    shared.until(lambda: {shared.call().status for _ in range(6)} == {200})


def test_the_client_gets_its_own_records_alone(shared: RealProcessor) -> None:
    assert logs_of(shared.ask("/")) == []
