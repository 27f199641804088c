"""Workers and hosts that die under load: each request has one answer, whole or visibly broken, and none runs twice."""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from running_job import is_running, wait_gone
from running_service import DEADLINE_S, request

CLIENTS = 8
LARGE = 40_000  # times the number's digits: more than what goes inside a message
CODE = """
import os, resource, signal, sys, threading, time

def daemon():
    if os.fork():
        return os.wait()
    os.setsid()
    if not os.fork():
        note(f"daemon {os.getpid()}")
        time.sleep(600)
    os._exit(0)

def exhaust():
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, before[1]))
    try:
        return len(bytes(1 << 31))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

def leave_without_files():
    os.closerange(0, 256)
    time.sleep(600)

FAULTS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "_exit": lambda: os._exit(3),
    "exit": lambda: sys.exit(3),
    "thread": lambda: (threading.Thread(target=os._exit, args=(0,)).start(), time.sleep(600)),
    "no files": lambda: os.closerange(0, 256),
    "no files, endless": leave_without_files,
    "memory": exhaust,
    "daemon": daemon,
}

def note(text):
    place = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(place, f"{text}\\n".encode())
    os.close(place)

def pieces(number):
    for _ in range(3):
        yield f"{number};"

def f(context, event):
    number, _, what = event.path[1:].partition("/")
    note(number)
    if what == "stream":
        return pieces(number)
    if what == "large":
        return number * LARGE
    FAULTS.get(what.replace("%20", " "), lambda: None)()
    return number
"""
ASYNC_CODE = CODE.replace("def f(", "async def f(").replace("    note(number)", "    note(number); import asyncio")
ASYNC_CODE = ASYNC_CODE.replace("    FAULTS", "    await asyncio.sleep(0.005)\n    FAULTS")
KINDS = {"": "{}", "stream": "{0};{0};{0};", "large": "{}" * LARGE}
MIXED = ("", "", "", "stream", "", "large")


class Load:
    """Clients that send numbered requests, each on a connection that it keeps, and check every answer.

    `outcomes` has a status for each request that was sent; "broken" where the connection ended instead, "refused"
    where there was none.
    """

    def __init__(self, place, *, faults=None, kinds=MIXED, total=1_000_000):
        self.outcomes = {}
        self.wrong = []
        self._place = place
        self._faults = faults or {}
        self._kinds = kinds
        self._numbers = itertools.count(1)
        self._total = total
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for one in self._threads:
            one.start()

    def stop(self):
        """Let each client end with the answer it waits for."""
        self._is_over.set()
        return self.join()

    def join(self):
        """Wait until all clients are through, and return the outcomes; no answer was another's."""
        for one in self._threads:
            one.join(DEADLINE_S)
            assert not one.is_alive(), "a request hangs"
        assert not self.wrong, self.wrong[:5]
        return self.outcomes

    def _run(self):
        connection = http.client.HTTPConnection(*self._place, timeout=DEADLINE_S)
        with closing(connection):
            while not self._is_over.is_set():
                number = next(self._numbers)
                if number > self._total:
                    return
                try:
                    self.outcomes[number] = self._ask(connection, number)
                except ConnectionRefusedError:
                    self.outcomes[number] = "refused"
                    time.sleep(0.01)
                except TimeoutError:
                    self.wrong.append((number, "no answer"))
                except (OSError, http.client.HTTPException):
                    connection.close()
                    self.outcomes[number] = "broken"

    def _ask(self, connection, number):
        kind = self._faults.get(number) or self._kinds[number % len(self._kinds)]
        connection.request("GET", f"/{number}/{kind.replace(' ', '%20')}", headers={"X-Request-ID": f"n{number}"})
        response = connection.getresponse()
        body = response.read().decode()
        if response.status == 200:
            is_right = body == KINDS.get(kind, "{}").format(*[number] * LARGE)
        else:
            is_right = f'"request_id": "n{number}"' in body
        if not is_right or response.headers["X-Request-ID"] != f"n{number}":
            self.wrong.append((number, response.status, response.headers.items(), body[:200]))
        return response.status


class Watched:
    """A service of two workers, with places of its own for all that it might leave behind."""

    def __init__(self, service, folder, code=CODE, **keys):
        self.notes = folder / "notes"
        self.notes.touch()
        self.mark = uuid.uuid4().hex
        self.folder = Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp"))  # short: sockets are in it
        text = code.replace("NOTES", repr(str(self.notes))).replace("LARGE", str(LARGE))
        env = {"TMPDIR": str(self.folder), "NUWRAP_TEST_MARK": self.mark}
        self.service = service(text, serve={"workers": 2}, env=env, **keys)
        self.await_full()
        self.files = self.open_files()

    def load(self, **options):
        return Load(self.service.place, **options)

    def open_files(self):
        """Count what the host has open; of files of bodies it keeps one for each worker, and four for uploads."""
        links = []
        for one in os.scandir(f"/proc/{self.service.process.pid}/fd"):
            try:
                links.append(os.readlink(one.path))
            except FileNotFoundError:  # closed meanwhile
                pass
        bodies = sum("nuwrap-body" in link for link in links)
        return len(links) - min(bodies, 6)

    def executed(self):
        """Return the numbers of all requests that a worker has begun with; none is there twice."""
        found = [int(line) for line in self.notes.read_text().split("\n") if line.isdigit()]
        assert len(found) == len(set(found)), "a request was executed twice"
        return set(found)

    def await_full(self):
        """Wait until the pool has its size, and no process is left of those that were there before."""
        self.service.until(lambda: 'nuwrap_workers{state="ready"} 2.0' in self.metrics())
        self.service.until(lambda: len([pid for pid in self.service.worker_pids() if is_running(pid)]) == 2)
        self.service.until(lambda: len(self.service.worker_pids()) == 2)  # no zombie either

    def metrics(self):
        return self.service.admin_page("/metrics").body.decode()

    def check_goes_on(self):
        """See that the service is as it was at first: it answers, with all workers, and has no file open too many."""
        self.await_full()
        assert self.service.ask(request(target="/7000000")).body == b"7000000"
        self.service.until(lambda: self.open_files() <= self.files)

    def check_is_clean(self):
        """See that after its end no process and no file of it is left."""
        until = time.monotonic() + DEADLINE_S
        while self.processes():
            assert time.monotonic() < until, self.processes()
            time.sleep(0.01)
        assert os.listdir(self.folder) == []
        os.rmdir(self.folder)
        assert not [name for name in os.listdir("/dev/shm") if name.startswith("nuwrap")]

    def processes(self):
        """Return what runs with this service's environment."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if self.mark.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(int(pid))
            except OSError:
                continue
        return found

    def end(self):
        """Stop it in order."""
        assert self.service.stop() == 0, self.service.stderr()
        self.check_is_clean()
        assert "fault of nuwrap" not in self.service.stderr()


@pytest.fixture
def watched(service, tmp_path):
    made = []

    def watch(**keys):
        made.append(Watched(service, tmp_path, **keys))
        return made[-1]

    yield watch
    for one in made:
        shutil.rmtree(one.folder, ignore_errors=True)


def test_workers_killed_again_and_again_lose_one_request_each(watched):
    one = watched()
    load, kills, until = one.load(), 0, time.monotonic() + 2.5
    while time.monotonic() < until:
        time.sleep(0.12)
        for pid in one.service.worker_pids()[:1]:
            os.kill(pid, signal.SIGKILL)
            kills += 1
    outcomes = load.stop()
    executed = one.executed()
    lost = [number for number, status in outcomes.items() if status in (502, "broken")]
    assert set(outcomes.values()) <= {200, 502, 503, "broken"}  # broken: a stream that had begun
    assert len(lost) <= kills
    assert all(number in executed for number, status in outcomes.items() if status == 200)
    assert not [number for number, status in outcomes.items() if status == 503 and number in executed]
    assert executed <= set(outcomes)
    assert one.service.metric("nuwrap_worker_restarts_total") <= kills
    one.check_goes_on()
    one.end()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("kill", 502),
        ("_exit", 502),
        ("thread", 502),
        ("exit", 500),
        ("no files", 502),
        ("no files, endless", 502),
        ("memory", 500),
        ("daemon", 200),
    ],
)
def test_fault_of_one_request_is_no_other_requests(watched, fault, status):
    one = watched()
    faults = dict.fromkeys((50, 200, 350), fault)
    outcomes = one.load(faults=faults, total=500).join()
    assert {number: outcomes.pop(number) for number in faults} == dict.fromkeys(faults, status)
    assert set(outcomes.values()) == {200}, one.service.stderr()
    assert one.executed() == {*outcomes, *faults}
    assert one.service.metric("nuwrap_worker_restarts_total") == (3 if status == 502 else 0)
    if fault != "daemon":
        one.check_goes_on()
    one.end()


def test_worker_of_an_async_function_that_dies_loses_what_it_had(watched):
    one = watched(code=ASYNC_CODE, concurrency=4)
    faults = dict.fromkeys((50, 200, 350), "kill")
    outcomes = one.load(faults=faults, total=500).join()
    assert {outcomes[number] for number in faults} == {502}
    assert set(outcomes.values()) <= {200, 502, "broken"}
    assert sum(status != 200 for status in outcomes.values()) <= 3 * 4
    assert one.executed() <= set(outcomes)
    one.check_goes_on()
    one.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("code", [CODE, ASYNC_CODE], ids=["sync", "async"])
def test_stop_under_load_answers_all_that_a_worker_has_begun(watched, number, code):
    one = watched(code=code)
    load = one.load()
    one.service.until(lambda: len(load.outcomes) > 100)
    assert one.service.stop(number) == 0
    outcomes = load.stop()
    assert set(outcomes.values()) <= {200, "broken", "refused"}
    assert one.executed() == {number for number, status in outcomes.items() if status == 200}
    one.check_is_clean()


def test_host_killed_under_load_takes_its_workers_with_it(watched):
    one = watched()
    load = one.load()
    one.service.until(lambda: len(load.outcomes) > 100)
    workers = one.service.worker_pids()
    one.service.process.kill()
    for pid in workers:
        wait_gone(pid)
    assert set(load.stop().values()) <= {200, "broken", "refused"}
    assert len(one.executed()) > 100
    assert one.processes() == []


def test_workers_killed_during_the_stop_are_not_missed(watched):
    one = watched(grace_s=600)
    load = one.load()
    one.service.until(lambda: len(load.outcomes) > 100)
    one.service.process.send_signal(signal.SIGTERM)
    for pid in one.service.worker_pids():
        os.kill(pid, signal.SIGKILL)
    assert one.service.process.wait(DEADLINE_S) == 0, one.service.stderr()
    assert set(load.stop().values()) <= {200, 502, 503, "broken", "refused"}
    one.executed()
    one.check_is_clean()


def test_worker_that_the_kernel_kills_for_its_memory_loses_one_request(service, memory_group):
    code = (
        "import os\ndef f(context, event):\n    if event.path == '/grow':\n"
        f"        open({memory_group.entrance!r}, 'w').write(str(os.getpid()))\n        kept = []\n"
        "        while True: kept.append(bytes(b'x' * (1 << 20)))\n    return 'ok'\n"
    )
    one = service(code, serve={"workers": 2})
    assert one.ask(request(target="/grow")).status == 502
    assert [one.ask().body for _ in range(20)] == [b"ok"] * 20
    one.until(lambda: one.metric("nuwrap_worker_restarts_total") == 1)
    assert "ran out of memory" in one.stderr()
    assert one.stop() == 0
