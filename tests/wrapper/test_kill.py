"""The host is killed with SIGKILL at every phase: the worker ends too, and the next start works."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest
from running_job import DEADLINE_S, wait_gone

MARK = """
import atexit, os, pathlib, time
def mark(context=None):
    pathlib.Path(MARKER).write_text(str(os.getpid()))
    time.sleep(600 if WAITS else 0)
class Slow(os.PathLike):
    def __fspath__(self):
        mark()
        return "main.py"
"""
PHASES = {
    "load": "mark()\ndef f(): return 1\n",
    "init": "def f(): return 1\n",
    "handler": "def f():\n    mark()\n    return 1\n",
    "async handler": "async def f():\n    mark()\n    return 1\n",
    "outputs": "def f(): return (1, Slow())\n",
    "exit": "def f():\n    atexit.register(mark)\n    return 1\n",
}


@pytest.fixture
def places(tmp_path):
    """What two starts share: work folder, cache and output folder, as a pod that is started again does."""
    env = {"NUWRAP_WORK": str(tmp_path / "work"), "NUWRAP_CACHE": str(tmp_path / "cache")}
    return {"env": env, "output_path": str(tmp_path / "out"), "run": "r1"}


@pytest.mark.parametrize("phase", PHASES)
def test_worker_ends_with_its_host_and_the_next_start_works(job, run_job, tmp_path, places, phase):
    marker = tmp_path / "mark"
    code = MARK.replace("MARKER", repr(str(marker))) + PHASES[phase]
    keys = {**places, **({"init_function": "mark"} if phase == "init" else {})}
    running = job(code.replace("WAITS", "True"), **keys)
    worker = int(running.await_file(marker))
    running.process.kill()
    wait_gone(worker)
    marker.unlink()
    assert not (tmp_path / "out" / "result.json").exists()
    done = run_job(code.replace("WAITS", "False"), **keys)
    assert (done.code, done.value) == (0, 1), done.stderr


def wait_for(condition):
    """Wait until the condition gives something; return it."""
    until = time.monotonic() + DEADLINE_S
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < until
        time.sleep(0.01)


def test_fetch_under_way_ends_with_its_host_and_leaves_the_next_starts_code_alone(job, run_job, places):
    mute = socket.create_server(("127.0.0.1", 0))  # takes a connection and never says a word
    with mute:
        address = f"git+http://127.0.0.1:{mute.getsockname()[1]}/r.git"
        running = job(code_src=address, **places)
        peer, _ = mute.accept()
        (child,) = children_of(running.process.pid)
        running.process.kill()
        wait_gone(child)
        done = run_job("def f(): return 3", **places)
        peer.close()
    assert (done.code, done.value) == (0, 3), done.stderr


def test_install_under_way_ends_with_its_host_and_the_next_start_installs(job, run_job, tmp_path, places):
    project = tmp_path / "slow"
    project.mkdir()
    slow = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)\n"
    (project / "setup.py").write_text(slow + "from setuptools import setup\nsetup(name='slow', version='1')\n")
    keys = {**places, "requirements": [f"slow @ {project.as_uri()}"]}
    running = job("def f(): return 4", **keys)
    children = wait_for(lambda: "resolving" in running.stderr() and children_of(running.process.pid))
    running.process.kill()
    for child in children:
        wait_gone(child)
    (tmp_path / "go").touch()
    done = run_job("def f(): return 4", **keys)
    assert (done.code, done.value) == (0, 4), done.stderr


@pytest.mark.parametrize(
    "early", ["out/.run", "out/outputs", "work", "work/source", "work/record.json", "work/worker.json"]
)
def test_host_killed_as_soon_as_a_file_appears_leaves_what_the_next_start_can_use(
    job, run_job, tmp_path, places, early
):
    running = job("def f(): return 1", **places)
    while not (tmp_path / early).exists():
        assert running.process.poll() is None
    running.process.kill()
    running.process.wait()
    done = run_job("def f(): return 2", **places)
    assert (done.code, done.value) == (0, 2), done.stderr


def test_host_killed_at_any_moment_leaves_what_the_next_start_can_use(job, run_job, places):
    begin = time.perf_counter()
    assert run_job("def f(): return 0", **places).code == 0
    whole = time.perf_counter() - begin
    for part in range(10):  # the moments are not exact, and need not be: any of them must do
        running = job("def f(): return 1", **places)
        time.sleep(whole * part / 10)
        running.process.kill()
        running.process.wait()
    assert run_job("def f(): return 2", **places).value == 2


def test_worker_that_never_reached_its_host_ends(job, tmp_path, places):
    running = job("def f(): return 1", **places)
    while not (tmp_path / "work" / "worker.json").exists():
        assert running.process.poll() is None
    running.process.send_signal(signal.SIGSTOP)
    children = children_of(running.process.pid)
    running.process.kill()
    running.process.wait()
    for child in children:
        wait_gone(child)


def children_of(pid):
    """Return the process's children."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as stream:
                parent = int(stream.read().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            continue
        if parent == pid:
            found.append(int(name))
    return found
