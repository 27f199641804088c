"""`nuwrap invoke`: a request as it was typed, to a real service; its answer as it is."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import Nuwrap, clean_environment, nuwrap_argv
from kept import add_ended, open_history, read_terminal
from sdk_functions import VERSION

import nuwrap
from nuwrap.sdk import context

CODE = """
import os, time

def answer(context, event):
    if event.path == "/bytes":
        return b"\\x00\\xff\\r\\n\\x1b[2J"
    if event.path == "/missing":
        return 404, "not here"
    if event.path == "/slow":
        time.sleep(30)
    if event.path == "/stream":
        return stream()
    if event.path == "/die":
        return die()
    if event.path == "/size":
        return str(len(event.body or b""))
    body = event.body.decode() if isinstance(event.body, bytes) else event.body or ""
    sent = {name.lower(): value for name, value in event.headers.items()}
    told = {"kind": sent.get("content-type", ""), "x": sent.get("x-one", "")}
    return {"method": event.method, "path": event.path, "args": event.fields, "body": body, **told}

def die():
    yield b"half"
    os._exit(1)

def stream():
    yield b"one\\n"
    time.sleep(30)
    yield b"two\\n"
"""


@dataclass(frozen=True)
class Service:
    """A service that runs, the home folder whose history has it, the folder that it was started from."""

    id: str
    home: str
    folder: Path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUWRAP_HOME", str(folder / "home"))
        patch.chdir(folder)
        function = nuwrap.new_function("p", "greet", "python", code=CODE, handler="answer", python_version=VERSION)
        run = function.run("serve", wait=True, workers=3, grace_s=0.1)
        try:
            yield Service(run.id, str(folder / "home"), folder)
        finally:
            run.stop()
            context.close()


@pytest.fixture
def invoke(run_nuwrap: Nuwrap, service: Service) -> Nuwrap:
    return partial(run_nuwrap, "invoke", NUWRAP_HOME=service.home)


def answer(done: Any) -> Any:
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def start(service: Service, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    environ = clean_environment({"NUWRAP_HOME": service.home})
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen(nuwrap_argv(["invoke", *arguments]), env=environ, cwd=service.folder, **given)


def test_a_call_is_what_was_typed(invoke: Nuwrap, service: Service) -> None:
    assert answer(invoke("greet")) == {
        "method": "GET", "path": "/", "args": {}, "body": "", "kind": "", "x": "",
    }  # fmt: skip
    assert answer(invoke(service.id[:8], "items?limit=3&name=a%20b"))["args"] == {"limit": "3", "name": "a b"}
    assert answer(invoke("p/greet", "/items"))["path"] == "/items"
    sent = answer(invoke("greet", "--json", '{"name": "shell"}'))
    assert (sent["method"], sent["body"], sent["kind"]) == ("POST", {"name": "shell"}, "application/json")
    sent = answer(invoke("greet", "--data", "plain é", "-X", "PUT", "-H", "X-One: a: b", "-H", "x-one:c"))
    assert (sent["method"], sent["body"], sent["x"]) == ("PUT", "plain é", "a: b, c")
    sent = answer(invoke("greet", "--json", "[1]", "-H", "content-type: text/plain"))
    assert (sent["body"], sent["kind"]) == ("[1]", "text/plain")
    assert answer(invoke("greet", "-X", "DELETE"))["method"] == "DELETE"


def test_a_body_may_come_from_a_file_or_standard_input(invoke: Nuwrap, service: Service, tmp_path: Path) -> None:
    (tmp_path / "body.bin").write_bytes(b"\x00" * 3_000_000)
    assert invoke("greet", "/size", "--data", "@body.bin").stdout == "3000000"
    (tmp_path / "empty").touch()
    assert answer(invoke("greet", "--data", "@empty"))["method"] == "POST"
    process = start(service, "greet", "/size", "--data", "@-", stdin=subprocess.PIPE)
    assert process.communicate(b"12345")[0] == b"5"
    assert answer(invoke("greet", "--json", '"@-"'))["body"] == "@-"
    done = invoke("greet", "--data", "@nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'@nowhere': cannot be read: No such file" in done.stderr


def test_the_answer_is_byte_for_byte_in_a_pipe_and_harmless_on_a_terminal(service: Service) -> None:
    body, told = start(service, "greet", "/bytes").communicate()
    assert (body, told) == (b"\x00\xff\r\n\x1b[2J", b"")
    shown = read_terminal(Path(service.home), "invoke", "greet", "/bytes")
    assert shown == "\\x00\ufffd\n\\x1b[2J\n"


def test_a_refusal_is_exit_code_1_with_its_status(invoke: Nuwrap) -> None:
    done = invoke("greet", "/missing")
    assert (done.returncode, done.stdout) == (1, "not here")
    assert done.stderr.startswith("nuwrap: http://127.0.0.1:")
    assert done.stderr.endswith("/missing answered 404 Not Found\n")


def test_an_answer_is_printed_while_it_comes(service: Service) -> None:
    process = start(service, "greet", "/stream")
    assert process.stdout
    assert process.stdout.readline() == b"one\n"
    process.kill()
    process.communicate()


def test_a_call_that_takes_too_long_is_exit_code_124(invoke: Nuwrap) -> None:
    done = invoke("greet", "/slow", "--timeout-s", "0.3")
    assert (done.returncode, done.stdout) == (124, "")
    assert "no answer from http://127.0.0.1:" in done.stderr
    assert "after 0.3 s" in done.stderr


def test_an_answer_that_breaks_off_is_exit_code_10(invoke: Nuwrap) -> None:
    done = invoke("greet", "/die")
    assert (done.returncode, done.stdout) == (10, "half")
    assert done.stderr.startswith("nuwrap: the answer of http://127.0.0.1:")
    assert "broke off; `nuwrap logs " in done.stderr


def test_a_full_disk_is_not_taken_for_the_services_fault(service: Service) -> None:
    with Path("/dev/full").open("wb") as full:
        _, told = start(service, "greet", stdout=full).communicate()
    assert told == b"nuwrap: [Errno 28] No space left on device\n"


def test_an_interrupted_call_is_exit_code_130(service: Service) -> None:
    process = start(service, "greet", "/stream")
    assert process.stdout
    assert process.stdout.readline() == b"one\n"
    process.send_signal(signal.SIGINT)
    rest, told = process.communicate()
    assert (rest, told, process.returncode) == (b"", b"", 130)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("greet", "--json", "{name: 1}"), "--json '{name: 1}': is no JSON"),
        (("greet", "--json", "1", "--data", "x"), "--json and --data are both given"),
        (("greet", "-H", "no colon"), "-H 'no colon': is no header"),
        (("greet", "-H", ": x"), "is no header"),
        (("greet", "-H", "X-One: a\nb"), "is no header"),
        (("greet", "-H", "X-One: \u20ac"), "is no header"),
        (("greet", "-X", "BAD METHOD"), "-X 'BAD METHOD': is no method"),
        (("greet", "http://127.0.0.1:1/"), "is an address"),
        (("greet", "--timeout-s", "0"), "--timeout-s"),
        (("nobody",), "there is no run 'nobody'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_sent_is_said_before(invoke: Nuwrap, arguments: tuple[str, ...], told: str) -> None:
    done = invoke(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_name_means_a_service_before_later_jobs(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    with open_history(tmp_path) as store:
        add_ended(store, 1, "no", action="serve")
        add_ended(store, 2)
    home = str(tmp_path / "home")
    done = run_nuwrap("invoke", "f", NUWRAP_HOME=home)
    assert (done.returncode, done.stdout) == (10, "")
    assert "run 00000001 of 'f' is no service any more: ERROR: no" in done.stderr
    done = run_nuwrap("invoke", "00000002", NUWRAP_HOME=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no service; `nuwrap ps` lists those that run" in done.stderr
