"""Services through the SDK: started, called, stopped; and how `run.invoke` makes its request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from sdk_functions import VERSION, completed, make

import nuwrap
import nuwrap_runtime
from nuwrap.errors import PlatformError, UsageError

ANSWERS = """
def answer(context, event):
    kinds = {
        "/dict": {"a": 1},
        "/str": "text",
        "/pair": (201, {"a": 1}),
        "/bytes": b"\\x00\\xff",
        "/none": None,
    }
    if event.path == "/raise":
        raise ValueError("the reason stays here")
    if event.path in kinds:
        return kinds[event.path]
    body = event.body if isinstance(event.body, dict) else (event.body or b"").decode()
    return {"method": event.method, "path": event.path, "body": body}
"""


@pytest.fixture
def service(dh: Any) -> Iterator[Any]:
    run = make(dh, ANSWERS, "answer").run("serve")
    yield run
    assert run.stop().state == "STOPPED"


def test_invoke_waits_and_calls_as_it_is_told(service: Any) -> None:
    assert service.invoke().json() == {"method": "GET", "path": "/", "body": ""}
    assert service.state == "RUNNING"
    assert service.invoke(json={"a": 1}).json() == {"method": "POST", "path": "/", "body": {"a": 1}}
    assert service.invoke(data=b"x").json()["method"] == "POST"
    assert service.invoke(files={"f": b"x"}).json()["method"] == "POST"
    assert service.invoke(method="PUT", data=b"").json()["method"] == "PUT"
    assert service.invoke("DELETE").json()["method"] == "DELETE"
    assert service.invoke(url="/items/1").json()["path"] == "/items/1"
    assert service.invoke(url=f"{service.url}/x", params={"q": 1}).json()["path"] == "/x"


def test_values_become_replies_and_an_error_is_not_the_last(service: Any) -> None:
    def ask(path: str) -> tuple[int, str, bytes]:
        reply = service.invoke(url=path)
        kind = reply.headers.get("content-type", "").split(";")[0]
        # a user's own orjson writes no spaces
        return reply.status_code, kind, reply.content.replace(b": ", b":")

    assert ask("/dict") == (200, "application/json", b'{"a":1}')
    assert ask("/str") == (200, "text/plain", b"text")
    assert ask("/pair") == (201, "application/json", b'{"a":1}')
    assert ask("/bytes")[::2] == (200, b"\x00\xff")
    assert ask("/none")[::2] == (200, b"")
    status, kind, body = ask("/raise")
    assert (status, kind, b"the reason" in body) == (500, "application/json", False)
    assert ask("/str")[0] == 200
    deadline = time.monotonic() + 30
    while "the reason stays here" not in service.logs():  # which its own process writes
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_proxy_has_no_part_in_a_call_on_this_machine(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert service.invoke(url="/str").text == "text"


def test_an_address_is_called_as_it_is_be_there_a_service_or_not(dh: Any) -> None:
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    done = completed(dh, "def f():\n    return 1\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        assert done.invoke(url=f"http://127.0.0.1:{server.server_port}/other").status_code == 204
        server.shutdown()
        thread.join()
    assert seen == ["/other"]
    with pytest.raises(UsageError, match=r"is no service.*function\.run\('serve'\)"):
        done.invoke()


def test_a_service_is_ready_when_init_has_ended(dh: Any) -> None:
    code = "import time\ndef init(context):\n    time.sleep(1)\n    context.user_data.ready = True\n"
    code += "def f(context, event):\n    return str(context.user_data.ready)\n"
    began = time.monotonic()
    run = make(dh, code, init_function="init").run("serve", wait=True)
    try:
        assert time.monotonic() - began > 1
        assert run.state == "RUNNING"
        assert run.invoke(timeout=5).text == "True"
    finally:
        run.stop()


def test_a_service_that_does_not_come_up_says_why(dh: Any) -> None:
    run = make(dh, "def init(context):\n    raise ValueError('no model')\n" + ANSWERS, "answer", init_function="init")
    began = run.run("serve")
    with pytest.raises(PlatformError, match=r"(?s)init.*no model"):
        began.invoke()
    assert (began.state, began.status.exit_code) == ("ERROR", 6)
    with pytest.raises(PlatformError, match="no model"):
        began.wait()


def test_a_service_that_was_stopped_cannot_be_called(dh: Any) -> None:
    run = make(dh, ANSWERS, "answer").run("serve", wait=True)
    run.stop()
    with pytest.raises((PlatformError, UsageError), match="STOPPED"):
        run.invoke()


def test_a_stop_lets_a_request_end(dh: Any) -> None:
    code = "import time\ndef f(context, event):\n    time.sleep(1)\n    return 'late'\n"
    run = make(dh, code).run("serve", wait=True)
    replies: list[str] = []
    asking = threading.Thread(target=lambda: replies.append(run.invoke().text))
    asking.start()
    time.sleep(0.4)
    assert run.stop().state == "STOPPED"
    asking.join()
    assert replies == ["late"]


def test_a_service_goes_on_when_its_script_has_ended(dh: Any) -> None:
    places = [str(Path(str(module.__file__)).parent.parent) for module in (nuwrap, nuwrap_runtime)]
    Path("script.py").write_text(
        f"import sys\nsys.path[:0] = {places!r}\nimport nuwrap as dh\n"
        f"function = dh.new_function('p', 'fn', 'python', code={ANSWERS!r}, handler='answer',"
        f" python_version={VERSION!r})\nprint(function.run('serve').id)\n"
    )
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=True, timeout=60)
    run = dh.get_run(done.stdout.strip())
    try:
        assert run.invoke(url="/str").text == "text"
        assert [one.id for one in dh.list_runs("p", states=["RUNNING"])] == [run.id]
    finally:
        assert run.stop().state == "STOPPED"
    with pytest.raises(requests.ConnectionError):
        run.invoke(url=str(run.status.service["url"]))


def test_two_processes_make_one_project(dh: Any) -> None:
    places = [str(Path(str(module.__file__)).parent.parent) for module in (nuwrap, nuwrap_runtime)]
    code = (
        f"import sys; sys.path[:0] = {places!r}; import nuwrap as dh; dh.new_secret('both', 'K', 'v'); sys.stdin.read()"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [one.communicate("", timeout=60)[1] for one in started]
    assert [one.returncode for one in started] == [0, 0]
    assert sorted(told) == ["", "nuwrap: project 'both' is new\n"]
    assert [one.name for one in dh.list_projects()] == ["both"]


def test_a_child_process_opens_the_history_anew(dh: Any) -> None:
    dh.get_or_create_project("p")
    child = os.fork()
    if not child:
        os._exit(0 if [one.name for one in dh.list_projects()] == ["p"] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert [one.name for one in dh.list_projects()] == ["p"]


def test_ctrl_c_while_a_local_job_is_waited_for_stops_it(dh: Any) -> None:
    function = make(dh, "import time\ndef f():\n    time.sleep(60)\n")
    timer = threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        function.run("job", local_execution=True)
    timer.join()
    [run] = dh.list_runs()
    assert run.state == "STOPPED"
