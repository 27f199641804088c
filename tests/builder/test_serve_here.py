"""`nuwrap serve` on this machine, with the real host and real workers: serve, call, stop."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import Nuwrap, write_function
from serving import call, is_ready, served, started

ADD = "def f(x: int, y: int = 2):\n    return {'sum': x + y}\n"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_function_is_served_called_and_stopped_with_exit_code_0(tmp_path: Path, sent: signal.Signals) -> None:
    write_function(tmp_path, code=ADD)
    with served(tmp_path, "--workers", "1") as service:
        assert service.address.startswith("http://127.0.0.1:")
        assert json.loads(call(service.address, {"x": 40})[1]) == {"sum": 42}
        assert json.loads(call(f"{service.address}/?x=1&y=1")[1]) == {"sum": 2}
        assert call(service.address, {"x": "many"})[0] == 422
        assert service.stop(sent) == 0, service.err
    with pytest.raises(OSError, match="refused"):
        call(service.address)


def test_parameters_are_fixed_and_the_rest_comes_with_the_request(tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD)
    with served(tmp_path, "--workers", "1", "-p", "y=5") as service:
        assert json.loads(call(service.address, {"x": 1})[1]) == {"sum": 6}
        assert call(service.address, {"x": 1, "y": 1})[0] == 422


def test_a_function_without_arguments_or_answer_is_served(tmp_path: Path) -> None:
    write_function(tmp_path, code="def f():\n    pass")
    with served(tmp_path, "--workers", "1") as service:
        assert call(service.address) == (200, b"")


def test_a_file_beside_the_function_file_is_served(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/fn.py").write_text("async def f():\n    return __name__")
    write_function(tmp_path, code_src="src/fn.py")
    with served(tmp_path, "--gpu", "1") as service:
        assert call(service.address) == (200, b"src.fn")


def test_a_secret_reaches_the_function_and_no_log(tmp_path: Path) -> None:
    code = (
        "def f(project):\n    text = project.get_secret('TOKEN')\n    print('value', text, flush=True)\n"
        "    return len(text)"
    )
    write_function(tmp_path, code=code)
    value = "s3cr3t-value"
    with served(tmp_path, "--workers", "1", "--secret", "TOKEN", TOKEN=value) as service:
        assert call(service.address) == (200, b"12")
        assert service.stop() == 0
    assert "value ***" in service.log
    left = subprocess.run(["grep", "-r", "s3cr3t", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_a_person_reads_where_it_is_and_that_it_ended(tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD)
    with started(tmp_path, "--workers", "1") as service:
        found: list[str] = []
        while not any(is_ready(one) for one in found):
            assert service.process.poll() is None, service.err
            found = re.findall(r"http://127\.0\.0\.1:\d+", service.err)
            time.sleep(0.05)
        assert service.stop() == 0
    assert "nuwrap  starting 'fn'; Ctrl-C stops it" in service.err
    assert "nuwrap  ended; its log is in .nuwrap/runs/" in service.err
    assert "Traceback" not in service.err
    assert (tmp_path / "out").read_text() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the host is found in /proc")
def test_a_host_that_is_killed_is_told_with_the_signal(tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD)
    with started(tmp_path, "--workers", "1") as service:
        while "serving" not in service.err:
            assert service.process.poll() is None, service.err
            time.sleep(0.05)
        pid = service.process.pid
        (host,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(host), signal.SIGKILL)
        assert service.process.wait() == 137
    assert "nuwrap  ended, killed by SIGKILL (most often by the system, for a lack of memory); its log" in service.err


def test_a_port_that_is_taken_is_said_and_is_exit_10(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_nuwrap("serve", ".", "--port", port, "--admin-port", "0")
    assert done.returncode == 10, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert port in said
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"code": "import not_a_module_of_anybody"}, 5, "not_a_module_of_anybody"),
        ({"code": "def g(): pass"}, 5, "handler"),
        ({"code": "def f(): pass\ndef i(context): raise ValueError('no luck')", "init_function": "i"}, 6, "no luck"),
    ],
    ids=["import fails", "no such handler", "init raises"],
)
def test_a_function_that_cannot_start_ends_the_service_with_one_message(
    run_nuwrap: Nuwrap, tmp_path: Path, fields: dict[str, Any], code: int, said: str
) -> None:
    write_function(tmp_path, **fields)
    done = run_nuwrap("serve", ".", "--port", "0", "--admin-port", "0")
    assert done.returncode == code, done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("nuwrap") and said in line]) == 1, (
        done.stderr
    )


def test_the_first_stop_lets_a_request_end_and_a_second_does_not(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "called")
    code = f"import time\ndef f():\n    open({str(tmp_path / 'called')!r}, 'w').close()\n    time.sleep(600)"
    write_function(tmp_path, code=code)
    with served(tmp_path, "--workers", "1") as service:
        seen: list[object] = []
        caller = threading.Thread(target=_call_and_keep, args=(service.address, seen))
        caller.start()
        assert (tmp_path / "called").read_text() == ""
        service.process.send_signal(signal.SIGINT)
        while is_ready(service.admin):
            time.sleep(0.05)
        assert service.process.poll() is None
        assert service.stop(signal.SIGINT) == 143, service.err
        caller.join()
    assert len(seen) == 1
    assert seen != [200]


def _call_and_keep(address: str, seen: list[object]) -> None:
    try:
        seen.append(call(address)[0])
    except (OSError, http.client.HTTPException) as exc:
        seen.append(exc)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_service_ends_when_the_command_that_serves_it_is_killed(tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD)
    with served(tmp_path, "--workers", "1") as service:
        service.process.kill()
        until = time.monotonic() + 30
        while is_ready(service.admin):
            assert time.monotonic() < until
            time.sleep(0.05)
