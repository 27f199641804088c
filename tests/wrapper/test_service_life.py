"""A service from its start to its end: what it tells at every step, what it ends with, and what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from running_job import is_running, wait_gone
from running_service import HELLO, CutOff, RunningService, request

from nuwrap_runtime.host.service.serve import CONTAINER_MARKS

FULL = 'nuwrap_workers{state="ready"} %d.0'
WAIT = """
import os, pathlib, time

def wait_for(path):
    path = pathlib.Path(path)
    while not path.exists():
        time.sleep(0.005)

def put(path, text="x"):
    path = pathlib.Path(path)
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)
"""


@pytest.fixture
def short_folder():
    """A folder for temporary files whose path is short enough for sockets."""
    folder = tempfile.mkdtemp(prefix="nt-", dir="/tmp")
    yield folder
    shutil.rmtree(folder)


def is_full(running, workers):
    return FULL % workers in running.admin_page("/metrics").body.decode()


def errors(running):
    """Return what the host said was wrong at its end."""
    return [one["message"] for one in told(running) if one["event"] == "error"]


def told(running):
    """Return the host's own lines; a worker's traceback stands between them as it is."""
    return [json.loads(line) for line in running.stderr().split("\n") if line.startswith("{")]


def refuses(place):
    with socket.socket() as peer:
        return peer.connect_ex(place) != 0


# The start


def mute_source(stack, _folder):
    mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # never says a word
    return {"code_src": f"git+http://127.0.0.1:{mute.getsockname()[1]}/r.git"}


def slow_requirement(_stack, folder):
    (folder / "slow").mkdir()
    (folder / "slow/setup.py").write_text("import time\ntime.sleep(600)\n")
    return {"code": HELLO, "requirements": [f"slow @ {(folder / 'slow').as_uri()}"]}


STARTS = {
    "source": mute_source,
    "requirements": slow_requirement,
    "load": lambda _stack, _folder: {"code": "import time\ntime.sleep(600)\n" + HELLO},
    "init": lambda _stack, _folder: {
        "code": "import time\ndef init(context):\n    time.sleep(600)\n" + HELLO,
        "init_function": "init",
    },
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("phase", STARTS)
def test_start_under_way_shows_its_phase_and_ends_with_143(service, tmp_path, short_folder, phase, number):
    with ExitStack() as stack:
        keys = STARTS[phase](stack, tmp_path)
        running = service(wait=False, env={"TMPDIR": short_folder}, timeout_s=0.01, **keys)
        page = running.until(lambda: [page for page in [running.admin_page("/ready")] if page.json()["phase"] == phase])
        assert page[0].status == 503
        assert page[0].json()["reason"]
        assert running.admin_page("/live").status == 200
        assert refuses(running.place)
        children = running.worker_pids()
        assert running.stop(number) == 143
    for pid in children:
        wait_gone(pid)
    assert os.listdir(short_folder) == []
    assert len(errors(running)) == 1


RAISES = "raise ValueError('no')\n"
FAULTS = {
    "load": (5, RAISES + HELLO, {}),
    "no handler": (5, "g = 1\n", {}),
    "init": (6, f"def init(context):\n    {RAISES}" + HELLO, {"init_function": "init"}),
    "init that exits": (6, "import sys\ndef init(context):\n    sys.exit(0)\n" + HELLO, {"init_function": "init"}),
    "fixed parameter that it has not": (7, HELLO, {"binding": "names", "parameters": {"x": 1}}),
    "an end without a word": (9, "import os\nos._exit(0)\n", {}),
    "a kill": (137, "import os\nos.kill(os.getpid(), 9)\n", {}),
    "source": (3, "", {"code_src": "/nowhere/at/all.py"}),
    "interpreter": (10, HELLO, {"python": "/nowhere/python3"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_a_start_is_told_once_and_is_the_exit_code(service, short_folder, fault):
    code, text, keys = FAULTS[fault]
    running = service(text, wait=False, serve={"workers": 4}, env={"TMPDIR": short_folder}, **keys)
    assert running.process.wait(60) == code, running.stderr()
    assert len(errors(running)) == 1, running.stderr()
    assert os.listdir(short_folder) == []


@pytest.mark.parametrize("key", ["port", "admin_port"])
def test_taken_port_is_named_with_what_to_set(tree, tmp_path, key):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with RunningService(tree, tmp_path, HELLO, {"serve": {key: port}}) as running:
            assert running.process.wait(60) == 10
    (message,) = errors(running)
    assert f"port {port} of 127.0.0.1" in message
    assert f"serve.{key}" in message
    assert running.stdout() == ""


def test_address_of_another_machine_is_told_as_the_address_s_fault(tree, tmp_path):
    with RunningService(tree, tmp_path, HELLO, {"serve": {"address": "192.0.2.1"}}) as running:
        assert running.process.wait(60) == 10
    (message,) = errors(running)
    assert "address '192.0.2.1' cannot be listened on: it is none of this machine's" in message
    assert "--address" in message


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
@pytest.mark.parametrize("is_container", [True, False], ids=["container", "local"])
def test_only_a_container_listens_to_other_machines_by_default(service, is_container):
    if not is_container and any(map(os.path.exists, CONTAINER_MARKS)):
        pytest.skip("NOT TESTED, the address of a local service: this machine is a container")
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"} if is_container else {}
    running = service(HELLO, serve={"address": None}, env=env)
    for _, port in (running.place, running.admin):
        assert refuses(("127.0.0.2", port)) is not is_container
    assert (running.place[0], running.ask().body) == ("127.0.0.1", b"hello")


def test_a_pod_does_not_tell_addresses_that_lead_to_it_from_nowhere_else(service):
    here, pod = (
        service(HELLO),
        service(HELLO, env={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, serve={"address": "127.0.0.1"}),
    )
    assert here.await_log(event="ready")["message"] == f"serving function at http://127.0.0.1:{here.place[1]}"
    assert pod.await_log(event="ready")["message"] == f"serving function on port {pod.place[1]}"


def test_a_pod_that_ends_takes_what_still_comes_but_not_for_ever(service):
    running = service(HELLO, env={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, serve={"address": "127.0.0.1"})
    with running.client() as kept, running.client() as idle:
        assert kept.ask(request()).header("connection") != "close"
        running.process.send_signal(signal.SIGTERM)
        running.await_log(event="stopping")
        assert running.admin_page("/ready").status == 503
        assert kept.ask(request()).header("connection") == "close"
        began, answered = time.monotonic(), 0
        with suppress(ConnectionError, CutOff):
            while time.monotonic() - began < 60:
                assert running.ask().body == b"hello"
                answered += 1
                time.sleep(0.1)
        assert answered > 20
        assert 10 < time.monotonic() - began < 60
        assert idle.is_closed()
    assert running.process.wait(60) == 0, running.stderr()


def test_init_runs_once_in_each_worker_and_has_no_time_limit(service, tmp_path):
    code = WAIT + (
        "def init(context, folder):\n"
        "    wait_for(folder + '/go')\n"
        "    put(f'{folder}/init-{os.getpid()}-{time.monotonic_ns()}')\n"
        "def f(context, event):\n"
        "    return str(os.getpid())\n"
    )
    keys = {"init_function": "init", "init_parameters": {"folder": str(tmp_path)}, "timeout_s": 0.05}
    running = service(code, wait=False, serve={"workers": 3, "read_timeout_s": 0.1}, **keys)
    running.until(lambda: running.admin_page("/ready").json().get("phase") == "init")
    pid = running.worker_pids()
    running.until(lambda: running.admin_page("/ready").json()["seconds"] > 0.3)
    assert running.worker_pids() == pid
    (tmp_path / "go").touch()
    running.ready().until(lambda: is_full(running, 3))
    inits = [path.name.split("-")[1] for path in tmp_path.glob("init-*")]
    assert sorted(inits) == sorted(map(str, running.worker_pids()))


# The workers


MEET = WAIT + (
    "FOLDER = {folder!r}\n"
    "def f(context, event):\n"
    "    put(f'{{FOLDER}}/{{event.path[1:]}}')\n"
    "    wait_for(FOLDER + '/a')\n"
    "    wait_for(FOLDER + '/b')\n"
    "    return f'{{context.worker_id}} {{os.getpid()}}'\n"
)


def test_workers_run_at_the_same_time_and_have_numbers(service, tmp_path):
    running = service(MEET.format(folder=str(tmp_path)), serve={"workers": 2})
    running.until(lambda: is_full(running, 2))
    with running.client() as one, running.client() as other:
        one.send(request(target="/a"))
        other.send(request(target="/b"))
        answers = [peer.answer().body.decode().split() for peer in (one, other)]
    assert sorted(number for number, _ in answers) == ["0", "1"]
    assert sorted(int(pid) for _, pid in answers) == sorted(running.worker_pids())


EXITS = "import os\ndef f(context, event):\n    return os._exit(1) if event.path == '/x' else {}\n"


def test_replacement_has_its_predecessors_number_and_is_counted_with_the_reason(service):
    running = service(EXITS.format("str(context.worker_id)"), serve={"workers": 2})
    running.until(lambda: is_full(running, 2))
    for _ in range(3):
        assert running.ask(request(target="/x")).status == 502
        running.until(lambda: is_full(running, 2))
        with running.client() as client:
            assert {client.ask(request()).body for _ in range(4)} == {b"0", b"1"}
    page = running.admin_page("/metrics").body.decode()
    assert 'nuwrap_worker_restarts_total{reason="crashed"} 3.0' in page
    assert 'nuwrap_worker_restarts_total{reason="timed_out"} 0.0' in page


REMOVES_ITSELF = """
import os, signal
def f(context, event):
    if event.path == "/x":
        os.unlink(__file__)
        os.kill(os.getpid(), signal.SIGKILL)
    return "here"
"""


def test_service_whose_workers_cannot_start_any_more_ends_with_the_fault(service, short_folder):
    running = service(REMOVES_ITSELF, serve={"workers": 2}, env={"TMPDIR": short_folder})
    running.until(lambda: is_full(running, 2))
    assert running.ask(request(target="/x")).status == 502
    assert running.ask().body == b"here"  # the other goes on, however often the first cannot be started
    os.kill(next(pid for pid in running.worker_pids() if is_running(pid)), signal.SIGKILL)
    running.until(lambda: is_full(running, 0))
    assert running.ask().status == 503
    assert running.process.wait(60) == 5, running.stderr()
    assert len(errors(running)) == 1
    assert "main" in errors(running)[0]
    assert os.listdir(short_folder) == []


def test_service_whose_interpreter_is_gone_ends_with_10(service, tmp_path):
    python = tmp_path / "python3"
    python.symlink_to(os.path.realpath(sys.executable))
    running = service(HELLO, python=str(python))
    python.unlink()
    os.kill(running.worker_pids()[0], signal.SIGKILL)
    assert running.process.wait(60) == 10, running.stderr()
    assert str(python) in errors(running)[-1]


def test_fault_that_heals_leaves_a_service_of_full_size(service, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    code = f"import os, pathlib\npathlib.Path({str(flag)!r}).read_text()\ndef f(context, event):\n    return 'here'\n"
    running = service(code, serve={"workers": 8})
    running.until(lambda: is_full(running, 8))
    flag.unlink()
    for pid in running.worker_pids():
        os.kill(pid, signal.SIGKILL)
    running.until(lambda: running.metric("nuwrap_worker_restarts_total") >= 16)
    assert running.ask().status == 503
    assert running.admin_page("/live").status == 200
    flag.touch()
    running.until(lambda: is_full(running, 8))
    assert running.ask().body == b"here"


ENDS_ALWAYS = "import os\ndef f(context, event):\n    os._exit(3)\n"


def is_said_to_be_ready(running):
    """What both pages of the second port say, where they say the same."""
    page, metric = running.admin_page("/ready"), running.metric("nuwrap_ready")
    return {(200, 1.0): True, (503, 0.0): False}.get((page.status, metric))


def test_service_whose_workers_end_with_each_request_is_not_ready_while_none_is_there(service):
    running = service(ENDS_ALWAYS)
    found = running.until(
        lambda: running.ask() and [one for one in [running.admin_page("/ready")] if one.status == 503]
    )
    page = found[0].json()
    assert page["phase"] in ("start", "load")
    assert "the last one ended with WorkerExited in handler" in page["reason"]
    assert page["ready"] is False
    running.until(lambda: is_said_to_be_ready(running) is True)  # the next one is there, and nobody asks


def test_service_whose_workers_cannot_start_says_so_refuses_at_once_and_is_ready_again(service, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    code = WAIT + (
        f"def init(context):\n"
        f"    if not os.path.exists({str(flag)!r}):\n"
        f"        put({str(tmp_path / 'failed')!r})\n"
        f"        raise ValueError('the secret is 42')\n"
        f"    while os.path.exists({str(tmp_path / 'hold')!r}):\n"
        f"        time.sleep(0.005)\n"
        f"def f(context, event):\n    return 'here'\n"
    )
    running = service(code, init_function="init", serve={"workers": 2})
    running.until(lambda: is_full(running, 2))
    flag.unlink()
    for pid in running.worker_pids():
        os.kill(pid, signal.SIGKILL)
    running.until(lambda: is_said_to_be_ready(running) is False)
    (tmp_path / "hold").touch()
    flag.touch()
    running.until(lambda: running.admin_page("/ready").json()["phase"] == "init")  # one is starting, and it takes long
    page = running.admin_page("/ready").json()
    assert "ValueError in init" in page["reason"]
    assert "42" not in page["reason"]
    answer = running.ask()
    assert (answer.status, answer.header("retry-after")) == (503, "1")
    (tmp_path / "hold").unlink()
    running.until(lambda: is_said_to_be_ready(running))
    assert running.ask().body == b"here"


def test_replacement_that_takes_long_is_told_and_requests_wait_for_it(service, tmp_path):
    hold = tmp_path / "hold"
    code = WAIT + (
        f"while os.path.exists({str(hold)!r}):\n    time.sleep(0.005)\ndef f(context, event):\n    return 'here'\n"
    )
    running = service(code)
    hold.touch()
    os.kill(running.worker_pids()[0], signal.SIGKILL)
    running.until(lambda: running.metric("nuwrap_worker_restarts_total") == 1)
    with running.client() as client:
        client.send(request())
        running.until(lambda: is_said_to_be_ready(running) is False)
        assert running.admin_page("/ready").json()["phase"] == "load"
        hold.unlink()
        assert client.answer().body == b"here"
    assert is_said_to_be_ready(running)


@pytest.mark.parametrize(("prefix", "concurrency", "is_told"), [("", 4, True), ("", 1, False), ("async ", 4, False)])
def test_concurrency_that_a_sync_function_cannot_have_is_told(service, prefix, concurrency, is_told):
    running = service(prefix + HELLO, concurrency=concurrency, serve={"workers": 2})
    running.until(lambda: is_full(running, 2))
    warnings = [one["message"] for one in told(running) if one["event"] == "warning"]
    assert [f"concurrency {concurrency} has no effect" in one for one in warnings] == [True] * is_told


def test_sockets_folder_that_was_swept_does_not_end_the_service(service, short_folder):
    running = service(EXITS.format("'here'"), env={"TMPDIR": short_folder})
    for folder in Path(short_folder).glob("nw-*"):
        shutil.rmtree(folder)
    assert running.ask(request(target="/x")).status == 502
    assert running.ask().body == b"here"


# The end


ENDS = WAIT + (
    "FOLDER = {folder!r}\n"
    "def f(context, event):\n"
    "    put(FOLDER + '/begun')\n"
    "    wait_for(FOLDER + '/go')\n"
    "    put(FOLDER + '/answered')\n"
    "    return 'done'\n"
    "def shutdown(context):\n"
    "    put(f'{{FOLDER}}/shutdown-{{context.worker_id}}', str(os.path.exists(FOLDER + '/answered')))\n"
)


@contextmanager
def asked(running, folder):
    """A client whose request is under way."""
    with running.client() as client:
        client.send(request())
        running.until((folder / "begun").exists)
        yield client


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_lets_requests_end_then_the_function_and_exits_with_0(service, tmp_path, number):
    running = service(ENDS.format(folder=str(tmp_path)), serve={"workers": 2}, grace_s=600)
    running.until(lambda: is_full(running, 2))
    with asked(running, tmp_path) as client:
        running.process.send_signal(number)
        page = running.until(lambda: [page for page in [running.admin_page("/ready")] if page.status == 503])
        assert page[0].json()["phase"] == "stopping"
        running.until(lambda: refuses(running.place))
        assert running.admin_page("/live").status == 200
        assert running.admin_page("/metrics").status == 200
        assert not list(tmp_path.glob("shutdown-*"))
        (tmp_path / "go").touch()
        assert client.answer().body == b"done"
        assert client.is_closed()
    assert running.process.wait(60) == 0, running.stderr()
    assert [path.read_text() for path in tmp_path.glob("shutdown-*")] == ["True", "True"]
    assert not errors(running)


def test_request_that_outlasts_the_grace_gets_503(service, tmp_path):
    running = service(ENDS.format(folder=str(tmp_path)), grace_s=1)
    with asked(running, tmp_path) as client:
        running.process.send_signal(signal.SIGTERM)
        answer = client.answer()
    assert (answer.status, answer.header("retry-after")) == (503, "1")
    assert running.process.wait(60) == 0
    assert not list(tmp_path.glob("shutdown-*"))


def test_second_signal_ends_at_once_with_143(service, tmp_path, short_folder):
    running = service(ENDS.format(folder=str(tmp_path)), grace_s=600, env={"TMPDIR": short_folder})
    workers = running.worker_pids()
    with asked(running, tmp_path) as client:
        running.process.send_signal(signal.SIGTERM)
        running.await_log(event="stopping")
        assert running.stop() == 143
        assert client.answer().status == 503
        assert client.is_closed()
    for pid in workers:
        wait_gone(pid)
    assert os.listdir(short_folder) == []
    assert not any("grace" in one["message"] for one in told(running) if one["event"] == "warning")


def test_functions_own_end_is_cut_after_the_grace(service):
    code = "import time\ndef f(context, event): return 1\ndef shutdown(context): time.sleep(600)\n"
    running = service(code, grace_s=1)
    workers = running.worker_pids()
    assert running.stop() == 0
    (warning,) = [one["message"] for one in told(running) if one["event"] == "warning"]
    assert warning.startswith("1 worker had not ended with shutdown(context)")
    assert not any(is_running(pid) for pid in workers)


NOTES = WAIT + (
    "import asyncio\n"
    "FOLDER = {folder!r}\n"
    "class Noted:\n"
    "    def __enter__(self):\n"
    "        put(FOLDER + '/begun')\n"
    "    def __exit__(self, kind, *_):\n"
    "        put(FOLDER + '/closed', kind.__name__ if kind else '')\n"
    "def shutdown(context):\n"
    "    put(FOLDER + '/shutdown')\n"
)
OPEN = {
    "generator": """
def items():
    with Noted():
        while True:
            yield 'x'
            time.sleep(0.01)
def f(context, event):
    return items()
""",
    "async generator in a Response": """
async def items():
    with Noted():
        yield 'data: 1'
        await asyncio.sleep(600)
def f(context, event):
    return context.Response(body=items(), content_type='text/event-stream')
""",
    "async generator": """
async def f(context, event):
    with Noted():
        yield 'x'
        await asyncio.sleep(600)
""",
    "async call": """
async def f(context, event):
    with Noted():
        await asyncio.sleep(600)
""",
}


def warnings(running):
    return [one["message"] for one in told(running) if one["event"] == "warning"]


@pytest.mark.parametrize("kind", OPEN)
def test_stream_and_async_call_that_are_cut_are_closed_and_shutdown_follows(service, tmp_path, kind):
    running = service(NOTES.format(folder=str(tmp_path)) + OPEN[kind], grace_s=5)
    with asked(running, tmp_path) as client:
        assert running.stop() == 0, running.stderr()
        assert b"\r\n0\r\n" not in client.rest()
    assert (tmp_path / "closed").read_text() == ("GeneratorExit" if kind == "generator" else "CancelledError")
    assert (tmp_path / "shutdown").exists()
    assert warnings(running) == ["1 request under way after 4 s, the requests' part of grace_s: cut"]
    assert not errors(running)


def test_client_that_leaves_an_async_generator_that_waits_in_a_sync_worker_ends_it(service, tmp_path):
    running = service(NOTES.format(folder=str(tmp_path)) + OPEN["async generator in a Response"])
    with asked(running, tmp_path):
        pass
    running.until((tmp_path / "closed").exists)
    assert (tmp_path / "closed").read_text() == "CancelledError"
    with asked(running, tmp_path) as client:  # the worker goes on
        assert client.head().status == 200


def test_sync_call_that_outlasts_the_grace_is_told_as_what_it_is(service, tmp_path):
    running = service(ENDS.format(folder=str(tmp_path)), grace_s=1)
    with asked(running, tmp_path):
        assert running.stop() == 0
    assert warnings(running) == [
        "1 request under way after 0.8 s, the requests' part of grace_s: cut",
        "1 worker had a call that did not end within the grace (grace_s): killed in it, without shutdown(context)",
    ]
    assert not list(tmp_path.glob("shutdown-*"))


def test_idle_function_without_shutdown_is_no_warning_whatever_the_grace(service):
    for grace in (0, 10):
        running = service(HELLO, grace_s=grace)
        assert running.stop() == 0
        assert warnings(running) == []


def test_functions_own_end_that_raises_is_logged_and_no_fault(service):
    running = service("def f(context, event): return 1\ndef shutdown(context): raise ValueError('at the end')\n")
    assert running.stop() == 0
    assert any("at the end" in one["message"] for one in told(running) if one["event"] == "log"), running.stderr()


def test_replacement_in_its_init_does_not_hold_up_the_stop(service, tmp_path):
    code = WAIT + (
        f"def init(context):\n"
        f"    while os.path.exists({str(tmp_path / 'hold')!r}):\n"
        f"        time.sleep(0.01)\n"
        f"def f(context, event): return 1\n"
    )
    running = service(code, init_function="init", grace_s=600)
    (tmp_path / "hold").touch()
    os.kill(running.worker_pids()[0], signal.SIGKILL)
    running.until(lambda: 'nuwrap_workers{state="starting"} 1.0' in running.admin_page("/metrics").body.decode())
    assert running.stop() == 0


def test_stop_at_any_moment_of_the_start_leaves_nothing(service, tree, tmp_path):
    text, keys = WAIT + HELLO, {"serve": {"workers": 2}}
    begin = time.perf_counter()
    service(text, **keys)
    whole = time.perf_counter() - begin
    for part in range(12):  # the moments are not exact, and need not be: any of them must do
        folder, temporary = tmp_path / f"start-{part}", tempfile.mkdtemp(prefix="nt-", dir="/tmp")
        folder.mkdir()
        with RunningService(tree, folder, text, {**keys, "env": {"TMPDIR": temporary}}) as running:
            time.sleep(whole * part / 12)
            children = running.worker_pids()
            code = running.stop()
            assert code in (143, 0, -signal.SIGTERM), running.stderr()  # the last: before it was ours
        for pid in children:
            wait_gone(pid)
        assert os.listdir(temporary) == [], (code, running.stderr())
        os.rmdir(temporary)


@pytest.mark.parametrize("is_ready", [True, False])
def test_stops_one_upon_the_other_leave_nothing(service, short_folder, is_ready):
    code = "import time\n" + ("" if is_ready else "time.sleep(600)\n") + HELLO
    running = service(code, wait=is_ready, env={"TMPDIR": short_folder})
    while running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.0002)
    assert running.process.returncode == 143, running.stderr()
    assert os.listdir(short_folder) == []
