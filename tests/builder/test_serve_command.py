"""What a person sees who types `nuwrap serve`: wrong arguments are one message, right ones reach the platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Nuwrap, write_function

from nuwrap.cli.serve import ServeOptions, serve_function
from nuwrap.platforms import Job, local
from nuwrap_runtime.launch import Launch


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'FILE'"),
        (["nope.yaml"], "cannot read '"),
        ([".", "--port", "70000"], "Invalid value for '--port': 70000 is not in the range 0<=x<=65535"),
        ([".", "--port", "http"], "Invalid value for '--port'"),
        ([".", "--admin-port", "-1"], "Invalid value for '--admin-port'"),
        ([".", "--port", "8082"], "--port and --admin-port are both 8082; name two ports, or 0"),
        ([".", "--workers", "0"], "Invalid value for '--workers': 0 is not in the range 1<=x<=256"),
        ([".", "--gpu", "-1"], "Invalid value for '--gpu'"),
        ([".", "--concurrency", "0"], "Invalid value for '--concurrency'"),
        ([".", "--max-inflight", "0"], "Invalid value for '--max-inflight'"),
        ([".", "--max-body-bytes", "1k"], "Invalid value for '--max-body-bytes'"),
        ([".", "--grace-s", "-1"], "--grace-s -1: allowed: seconds, 0 or more"),
        ([".", "--grace-s", "nan"], "--grace-s nan: allowed"),
        ([".", "--timeout-s", "0"], "--timeout-s 0: allowed: seconds, more than 0"),
        ([".", "--address", "a\nb"], "address: 'a\\nb' has not the right form"),
        ([".", "--init-param", "x=1"], "init_parameters: are given, but no init_function"),
        ([".", "--secret", "NOT_THERE"], "--secret NOT_THERE: no such variable"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_message(run_nuwrap: Nuwrap, tmp_path: Path, arguments: list[str], said: str) -> None:
    write_function(tmp_path, code="def f(): return 7")
    done = run_nuwrap("serve", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "starting" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / ".nuwrap").exists()


def test_help_names_the_options_of_both(run_nuwrap: Nuwrap) -> None:
    shown = run_nuwrap("serve", "--help").stdout
    assert "one worker unless" in shown
    assert "--init-param NAME=VALUE" in shown
    codes = " ".join(shown.partition("The exit code is")[2].partition("\n\n")[0].split())
    for one in ("0 after", "2 usage", "3 source", "7 inputs", "9 the function's", "143 stopped", "128+n killed"):
        assert one in codes


@pytest.mark.parametrize(("left", "answered"), [(0, 0), (5, 5), (10, 10), (130, 143), (143, 143)])
def test_the_exit_code_is_the_hosts(tmp_path: Path, ending: Any, left: int, answered: int) -> None:
    ending.code = left
    assert serve_function(ServeOptions(str(write_function(tmp_path, code="def f(): pass")))) == answered


@pytest.mark.parametrize(
    ("address", "is_warned"), [(None, False), ("127.0.0.9", False), ("localhost", False), ("10.0.0.1", True)]
)
def test_an_address_that_others_reach_is_warned_of(
    tmp_path: Path, ending: Any, capsys: pytest.CaptureFixture[str], address: str | None, is_warned: bool
) -> None:
    path = str(write_function(tmp_path, code="def f(): pass"))
    assert serve_function(ServeOptions(path, as_json=True, address=address)) == 0
    assert ("whoever reaches that address can call the function" in capsys.readouterr().err) == is_warned
    assert ending.jobs[0].launch.serve.address == (address or "")
    assert ending.screens[0].is_json


def test_a_service_listens_on_this_machine_alone_and_has_its_document_in_the_runs_folder(
    run_nuwrap: Nuwrap, tmp_path: Path
) -> None:
    write_function(tmp_path, code="def f(:")
    run_nuwrap("serve", ".", "--gpu", "1", "--port", "0", "--admin-port", "0", "-p", "x=3")
    (folder,) = (tmp_path / ".nuwrap/runs").iterdir()
    document = json.loads((folder / "launch.json").read_text())
    assert document["serve"] == {"port": 0, "admin_port": 0, "address": "127.0.0.1", "workers": 1}
    assert (document["mode"], document["parameters"], document["run"]) == ("serve", {"x": 3}, folder.name)
    assert (folder / "log.txt").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("asked", [None, 5.0])
def test_a_machines_variable_counts_where_the_launch_does_not_say_it(
    monkeypatch: pytest.MonkeyPatch, asked: float | None
) -> None:
    monkeypatch.setenv("NUWRAP_GRACE_S", "7")
    warnings: list[str] = []
    launch = Launch(handler="f", code="x", grace_s=asked or 30.0)
    environ = local._environment(Job(launch, ".", ".", "3.11"), warnings.append)
    assert ("NUWRAP_GRACE_S" in environ) == (asked is None)
    assert len(warnings) == (0 if asked is None else 1)
