"""Platform `docker`: services in real containers, found at ports of this machine."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from container_images import left_of, own_images
from container_runs import Runner, Under, run, wait_for
from lab import docker, engine_environ
from serving import call, is_ready

from nuwrap.errors import PlatformError
from nuwrap.platforms.docker_service import EVERYWHERE, plan_ports, settle_ports, url_of
from nuwrap.platforms.docker_wanted import Port
from nuwrap_runtime.launch import Serve

__all__ = ["engine_environ", "own_images", "run"]

ANY = Serve(port=0, admin_port=0)
CODE = "def f(context, event):\n    print('called', flush=True)\n    return event.body"


@contextmanager
def served(run: Runner, code: str = CODE, serve: Serve = ANY, **keys: Any) -> Iterator[tuple[Under, dict[str, str]]]:
    """Start a service; gives its run, and `service.json` once it is ready."""
    with run.started(code, mode="serve", serve=serve, **keys) as under:
        told = under.folder / "service.json"
        wait_for(told.is_file, under)
        found = json.loads(told.read_text())
        wait_for(lambda: is_ready(found["admin"]), under)
        yield under, found


def test_a_service_answers_at_a_port_of_this_machine_and_ends_in_order(run: Runner) -> None:
    with served(run) as (under, told):
        assert call(told["address"], {"a": 1}) == (200, b'{"a": 1}')
        assert told["address"].startswith("http://127.0.0.1:")
        assert told["address"] in under.log
        assert "warning" not in under.log
        under.process.terminate()
        assert under.code == 0
    assert under.result["state"] == "STOPPED"
    assert "called\n" in under.log
    assert left_of(under.run) == ""


def test_only_this_machine_can_reach_it_unless_an_address_is_given(run: Runner) -> None:
    with served(run) as (under, _):
        ports = json.loads(docker("inspect", under.container))[0]["NetworkSettings"]["Ports"]
        assert {one["HostIp"] for found in ports.values() for one in found} == {"127.0.0.1"}
    with served(run, serve=Serve(port=0, admin_port=0, address=EVERYWHERE[0])) as (under, told):
        ports = json.loads(docker("inspect", under.container))[0]["NetworkSettings"]["Ports"]
        assert {one["HostIp"] for found in ports.values() for one in found} == {EVERYWHERE[0]}
        assert call(told["address"], 5)[0] == 200


def test_a_port_that_is_taken_says_so(run: Runner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(CODE, mode="serve", serve=Serve(port=port, admin_port=0))
    assert ended.code != 0
    assert "choose another port, 0 takes any free one" in ended.log
    assert left_of(ended.run) == ""


def test_a_free_port_that_another_program_takes_meanwhile_is_no_matter(run: Runner, tmp_path: Path) -> None:
    client = Path(shutil.which("docker") or "")
    taker = tmp_path / "take.py"
    taker.write_text(
        "import json, socket, subprocess, sys, time\n"
        f"told = subprocess.run([{str(client)!r}, 'inspect', sys.argv[1]], capture_output=True, check=True).stdout\n"
        "(bound,) = next(iter(json.loads(told)[0]['HostConfig']['PortBindings'].values()))\n"
        "held = socket.create_server(('127.0.0.1', int(bound['HostPort'])))\n"
        "print('taken', flush=True)\nsys.stdout.close()\ntime.sleep(20)\n"
    )
    stub = tmp_path / "docker"
    stub.write_text(
        f'#!/bin/sh\nif [ "$1" = start ] && mkdir {tmp_path}/once 2>/dev/null; then\n'
        f'  mkfifo {tmp_path}/pipe\n  {sys.executable} {taker} "$4" >{tmp_path}/pipe 2>&1 </dev/null &\n'
        f'  read -r said <{tmp_path}/pipe\n  echo "$said" >{tmp_path}/said\nfi\nexec {client} "$@"\n'
    )
    stub.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUWRAP_DOCKER", str(stub))
        with served(run) as (under, told):
            assert (tmp_path / "said").read_text() == "taken\n"
            assert call(told["address"], 5) == (200, b"5")
    assert left_of(under.run) == ""


def test_a_service_whose_function_cannot_be_loaded_has_no_address(run: Runner) -> None:
    ended = run("raise ValueError('at load')", mode="serve", serve=ANY)
    assert ended.code == 5
    assert "at load" in ended.result["failure"]["message"]


def test_a_second_stop_ends_a_service_at_once(run: Runner) -> None:
    code = "import time\ndef f(context, event): time.sleep(60)"
    with served(run, code) as (under, told), open_request(told["address"]):
        under.process.terminate()
        wait_for(lambda: "stopping" in under.log, under)
        under.process.terminate()
        assert under.process.wait(20) in (0, 143)
    assert left_of(under.run) == ""


def open_request(address: str) -> socket.socket:
    caller = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
    caller.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return caller


def test_ports_that_any_will_do_for_are_two_and_the_same_inside() -> None:
    first, second = settle_ports([Port(0, "127.0.0.1", 0), Port(0, "127.0.0.1", 0)])
    assert first.number != second.number
    assert (first.inside, second.inside) == (first.number, second.number)
    assert settle_ports([Port(80, "127.0.0.1", 80)]) == (Port(80, "127.0.0.1", 80),)


def test_a_daemon_on_another_machine_needs_an_address(engine_environ: dict[str, str]) -> None:
    far = {**engine_environ, "DOCKER_HOST": "tcp://far.example:2376"}
    with pytest.raises(PlatformError, match=r"the Docker daemon is on 'far\.example'"):
        plan_ports(Serve(), far)
    assert plan_ports(Serve(address=EVERYWHERE[0]), far)[0] == Port(8080, EVERYWHERE[0], 8080)
    assert url_of(Port(8080, EVERYWHERE[0], 8080), "far.example") == "http://far.example:8080"


def test_an_address_that_is_none_is_refused(engine_environ: dict[str, str]) -> None:
    with pytest.raises(PlatformError, match=r"address 'no\.such\.place\.invalid' is none"):
        plan_ports(Serve(address="no.such.place.invalid"), engine_environ)


@pytest.mark.parametrize(
    ("port", "url"),
    [(Port(1, "::", 1), "http://[::1]:1"), (Port(1, "10.0.0.1", 2), "http://10.0.0.1:2")],
    ids=["everywhere", "one address"],
)
def test_an_address_is_written_as_a_client_takes_it(port: Port, url: str) -> None:
    assert url_of(port, "") == url
