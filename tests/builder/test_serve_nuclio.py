"""`nuwrap serve --host nuclio`: the same function under Nuclio's own processor, where NUWRAP_PROCESSOR names one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from command_line import Nuwrap, write_function
from serving import Service, call, is_ready, served, started

from nuwrap.errors import PlatformError
from nuwrap.platforms.processor import Processor, find_processor, read_end
from nuwrap_runtime.launch import Launch

ADD = "def f(context, x: int, y: int = 2):\n    context.logger.info_with('adding', x=x)\n    return {'sum': x + y}\n"
HOST = ("--host", "nuclio", "--workers", "1")
FAKE = """#!{python}
import json, sys
print('Processor version:')
print('&version.Info{{Label:"{label}", GitCommit:"", OS:"linux", Arch:"amd64", GoVersion:"go1.22"}}', end='')
sys.exit({code} if "-version" not in sys.argv else 0)
"""


@pytest.fixture
def processor() -> str:
    """The path of a real one."""
    path = os.environ.get("NUWRAP_PROCESSOR") or shutil.which("processor")
    if not path:
        pytest.skip("NOT TESTED: there is no Nuclio processor; name one by NUWRAP_PROCESSOR")
    return path


def fake(folder: Path, *, label: str = "1.14.1", code: int = 0) -> Path:
    """Write a program that answers as a processor, and ends at once where it is to serve."""
    path = folder / "processor"
    path.write_text(FAKE.format(python=sys.executable, label=label, code=code))
    path.chmod(0o755)
    return path


def runs(folder: Path) -> list[Path]:
    return sorted((folder / ".nuwrap/runs").iterdir()) if (folder / ".nuwrap").exists() else []


def result_in(folder: Path) -> Any:
    (run,) = runs(folder)
    return json.loads((run / "result.json").read_text())


# Under the real one.


@pytest.mark.usefixtures("processor")
def test_a_function_is_served_called_and_stopped_as_by_our_own_host(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD, name="added")
    with served(tmp_path, *HOST, "--grace-s", "7", "--max-body-bytes", "1000", "--access-log") as service:
        assert json.loads(call(service.address, {"x": 40})[1]) == {"sum": 42}
        assert json.loads(call(f"{service.address}/?x=1&y=1")[1]) == {"sum": 2}
        assert call(service.address, {"x": "many"})[0] == 422
        assert call(service.address, {"x": "1" * 1000})[0] == 400  # the processor's word for a body that is too large
        assert "RUNNING" in run_nuwrap("ps").stdout
        assert service.stop(signal.SIGINT) == 0, service.err
    assert result_in(tmp_path)["state"] == "STOPPED"
    (run,) = runs(tmp_path)
    trigger = json.loads((run / "processor.json").read_text())["spec"]["triggers"]["http"]
    assert (trigger["numWorkers"], trigger["workerTerminationTimeout"]) == (1, "7s")
    assert not (run / "work").exists()
    assert (tmp_path / "out").read_text().count("\n") == 1
    lines = [json.loads(line) for line in service.err.splitlines() if line.startswith("{")]
    assert [one["address"] for one in lines if one.get("event") == "ready"] == [service.address]
    assert {"message": "adding", "x": 40}.items() <= next(one for one in lines if one.get("x") == 40).items()
    assert service.err.count("recorded, but not used: access_log; 'nuclio' listens by its own processor") == 1
    with pytest.raises(OSError, match="refused"):
        call(service.address)


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"code": "import not_a_module_of_anybody"}, 5, "not_a_module_of_anybody"),
        ({"code": "def f(): pass\ndef i(context): raise ValueError('no luck')", "init_function": "i"}, 6, "no luck"),
        ({"code_src": "git+file:///nowhere/at/all"}, 3, "nowhere"),
    ],
    ids=["import fails", "init raises", "no source"],
)
def test_a_function_that_cannot_start_ends_the_service_with_the_exit_code_of_its_phase(
    run_nuwrap: Nuwrap, tmp_path: Path, fields: dict[str, Any], code: int, said: str
) -> None:
    name = f"broken-{code}"
    write_function(tmp_path, name=name, **fields)
    done = run_nuwrap("serve", ".", "--port", "0", "--admin-port", "0", *HOST)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    (row,) = json.loads(run_nuwrap("ps", "--all", "--function", name, "--json").stdout)
    assert (row["state"], row["exit_code"]) == ("ERROR", code)
    assert said in row["message"]


@pytest.mark.usefixtures("processor")
def test_a_second_stop_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "called")
    code = f"import time\ndef f():\n    open({str(tmp_path / 'called')!r}, 'w').close()\n    time.sleep(600)"
    write_function(tmp_path, code=code)
    with served(tmp_path, *HOST) as service:
        threading.Thread(target=_call_and_forget, args=(service,), daemon=True).start()
        assert (tmp_path / "called").read_text() == ""
        service.process.send_signal(signal.SIGTERM)
        _until(lambda: "Got system signal" in service.err)
        assert service.stop(signal.SIGTERM) == 143, service.err
    assert result_in(tmp_path)["exit_code"] == 143


def _call_and_forget(service: Service) -> None:
    with pytest.raises(OSError, match=r"."):
        call(service.address)


@pytest.mark.usefixtures("processor")
@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: only Linux tells a process of its parent's end")
def test_the_processor_ends_when_the_command_that_serves_is_killed(tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD)
    with served(tmp_path, *HOST) as service:
        service.process.kill()
        _until(lambda: not is_ready(service.admin))


@pytest.mark.usefixtures("processor")
def test_a_call_that_takes_too_long_is_the_processors_408_and_its_worker_is_replaced(tmp_path: Path) -> None:
    write_function(tmp_path, code="import time\ndef f(wait: float):\n    time.sleep(wait)\n    return 'done'")
    with served(tmp_path, *HOST, "--timeout-s", "2") as service:
        assert call(f"{service.address}/?wait=60")[0] == 408
        _until(lambda: call(f"{service.address}/?wait=0") == (200, b"done"))  # 500 while the worker is replaced


@pytest.mark.usefixtures("processor")
def test_a_secret_reaches_the_function_and_no_log(tmp_path: Path) -> None:
    code = (
        "def f(project):\n    text = project.get_secret('TOKEN')\n    print('value', text, flush=True)\n"
        "    return text[::-1]"
    )
    value = "s3cr3t-value"
    write_function(tmp_path, code=code)
    with served(tmp_path, *HOST, "--secret", "TOKEN", TOKEN=value) as service:
        assert call(service.address) == (200, b"eulav-t3rc3s")
        _until(lambda: "value ***" in service.log)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]


@pytest.mark.usefixtures("processor")
def test_a_script_serves_by_the_processor_and_starts_the_run_again_by_it(dh: ModuleType) -> None:
    project = dh.get_or_create_project("under-nuclio")
    version = "PYTHON{}_{}".format(*sys.version_info)
    function = project.new_function("fn", kind="python", code=ADD, handler="f", python_version=version)
    run = function.run("serve", host="nuclio", workers=1)
    for start in (lambda: run, run.resume):
        answer = start().invoke(json={"x": 1})
        assert (answer.json(), answer.headers["Server"]) == ({"sum": 3}, "nuclio")
        assert run.stop().state == "STOPPED"


# Without one.


def test_a_processor_that_is_not_there_is_one_message_that_says_what_it_is(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD)
    (tmp_path / "empty").mkdir()
    done = run_nuwrap("serve", ".", *HOST, PATH=str(tmp_path / "empty"), NUWRAP_PROCESSOR="")
    assert done.returncode == 10
    assert "host 'nuclio' needs Nuclio's processor, and there is none on PATH" in done.stderr
    assert "NUWRAP_PROCESSOR=/path/to/processor" in done.stderr
    assert "Traceback" not in done.stderr
    assert runs(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere/processor", "NUWRAP_PROCESSOR='{}' is no program that can be started"),
        (sys.executable, "is not Nuclio's processor"),
    ],
    ids=["not there", "another program"],
)
def test_what_is_named_and_is_no_processor_is_refused(name: str, said: str) -> None:
    with pytest.raises(PlatformError) as caught:
        find_processor({**os.environ, "NUWRAP_PROCESSOR": name})
    assert said.format(name) in str(caught.value)


@pytest.mark.parametrize(("label", "version"), [("1.14.1", "1.14.1"), ("v1.15.3-amd64", "1.15.3"), ("latest", "")])
def test_the_processors_version_is_asked_for(tmp_path: Path, label: str, version: str) -> None:
    path = fake(tmp_path, label=label)
    assert find_processor({"PATH": str(tmp_path)}) == Processor(str(path), version)


def test_a_port_that_is_taken_is_said_before_there_is_a_run(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code=ADD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ("--port", "0", "--admin-port", port)
        done = run_nuwrap("serve", ".", *HOST, *arguments, NUWRAP_PROCESSOR=str(fake(tmp_path)))
    assert done.returncode == 10, done.stderr
    assert f"port {port} of 127.0.0.1 cannot be had" in done.stderr
    assert "by --admin-port, 0 takes any free one" in done.stderr
    assert runs(tmp_path) == []


@pytest.mark.parametrize("code", [1, 2])
def test_a_processor_that_ends_by_itself_is_exit_10_and_no_failure_of_the_handler(tmp_path: Path, code: int) -> None:
    write_function(tmp_path, code=ADD)
    with started(tmp_path, *HOST, NUWRAP_PROCESSOR=str(fake(tmp_path, code=code))) as service:
        assert service.process.wait() == 10, service.err
    assert result_in(tmp_path)["failure"]["type"] == "ProcessorEnded"


@pytest.mark.parametrize("text", ["", "[]", "not JSON", '{"exit_code": 0, "failure": {}}', '{"exit_code": "x"}'])
def test_what_is_no_refusal_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "refusal.json").write_text(text)
    end = read_end(str(tmp_path), Launch(handler="f", run="r"), 2)
    assert end
    assert (end.exit_code, end.run, end.failure and end.failure.phase) == (10, "r", "platform")


def _until(is_so: Any) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)
