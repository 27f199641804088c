"""What a person sees who types something wrong: one message, exit code 2, no traceback, no run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Nuwrap, clean_environment, nuwrap_argv, write_function
from rich.console import Console

from nuwrap import __version__
from nuwrap.cli.arguments import killed_by, read_secrets
from nuwrap.cli.show import show_result
from nuwrap.spec.function_file import read_function
from nuwrap_runtime.result import Failure, Result


def test_version_and_help_answer(run_nuwrap: Nuwrap) -> None:
    assert run_nuwrap("--version").stdout == f"nuwrap {__version__}\n"
    assert "as a job, as a service or as an image" in run_nuwrap("--help").stdout
    assert "Run a function once, as a job." in run_nuwrap("--help").stdout
    shown = run_nuwrap("run", "--help").stdout
    assert "--init-param NAME=VALUE" in shown
    assert "128+n" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Missing argument 'FILE'"),
        (["rnu"], "No such command 'rnu'"),
        (["run", "nope.yaml"], "cannot read '"),
        (["run", "bad.yaml"], "handler: is missing"),
        (["run", ".", "-p", "x"], "-p 'x' has not the form name=VALUE"),
        (["run", ".", "-i", "di=abc"], "input 'di': 'abc' is no entity"),
        (["run", ".", "-i", "x=.", "-p", "x=1"], "inputs.x: is in parameters too"),
        (["run", ".", "--timeout-s", "0"], "--timeout-s 0: allowed: seconds, more than 0"),
        (["run", ".", "--timeout-s", "nan"], "--timeout-s nan"),
        (["run", ".", "--env", "A-B=1"], "--env 'A-B=1' has not the form"),
        (["run", ".", "--env", "RUN_ID=1"], "--env 'RUN_ID' is set by nuwrap itself"),
        (["run", ".", "--secret", "NOT_THERE"], "--secret NOT_THERE: no such variable"),
        (["run", ".", "--secret", "../x"], "--secret '../x' is no name of a secret"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_message(run_nuwrap: Nuwrap, tmp_path: Path, arguments: list[str], said: str) -> None:
    write_function(tmp_path, code="def f(): return 7")
    (tmp_path / "bad.yaml").write_text("name: x\n")
    done = run_nuwrap(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / ".nuwrap").exists()


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_python_file_in_the_place_of_the_yaml_file_is_answered_with_the_lines_to_write(
    run_nuwrap: Nuwrap, tmp_path: Path, command: str
) -> None:
    (tmp_path / "f1.py").write_text("import os\n\nasync def main(x: int):\n    return x\n")
    done = run_nuwrap(command, "f1.py")
    assert done.returncode == 2
    assert "FILE is the YAML file of a function" in done.stderr
    assert not (tmp_path / ".nuwrap").exists()
    lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("    ")]
    (tmp_path / "f1.yaml").write_text("\n".join(lines))
    assert read_function(tmp_path / "f1.yaml").function.handler == "main"


@pytest.mark.parametrize(
    ("code", "name"), [(137, "SIGKILL"), (139, "SIGSEGV"), (128, ""), (10, ""), (200, "signal 72")]
)
def test_an_exit_code_above_128_is_a_signals(code: int, name: str) -> None:
    assert killed_by(code) == name


def test_a_missing_interpreter_leaves_no_run(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="def f(): return 7")
    done = run_nuwrap("run", ".", "--python", "nowhere/python")
    assert done.returncode == 10
    assert done.stderr == "nuwrap: --python 'nowhere/python' is no Python interpreter that runs here; name its path\n"
    assert not (tmp_path / ".nuwrap").exists()


def test_a_folder_that_cannot_be_made_is_said(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="def f(): return 7")
    (tmp_path / ".nuwrap").touch()
    done = run_nuwrap("run", ".")
    assert done.returncode == 10
    assert "cannot make the run's folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_result_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure("handler", "[bold]E[/bold]", "\x1b[2J", tuple({"file": f"f{n}.py", "line": n} for n in range(5)))
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/a.csv").write_bytes(b"x" * 1500)
    outputs = {"a\x07": {"type": "dataitem", "kind": "table", "path": "outputs/a.csv"}}
    result = Result(
        "ERROR", 1, outputs=outputs, results={"r": "x" * 300 + "\x9b"}, failure=failure, seconds={"total": 2}
    )
    show_result(result, str(tmp_path), Console(width=300))
    shown = capsys.readouterr().out
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}
    assert "[bold]E[/bold]: \\x1b[2J" in shown
    assert "1.5 kB" in shown
    assert "f4.py:4" in shown
    assert "f1.py" not in shown
    assert "ERROR in 2.00 s" in shown
    assert max(map(len, shown.splitlines())) < 300


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `"$@"` is the nuwrap command; standard output is what the line leaves of it."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *nuwrap_argv([])],
        cwd=folder,
        env=clean_environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "rest",
    [">&-", ">/dev/full", "| true", "--json >/dev/full", "--json | true", "2>/dev/full", "<&- >&- 2>&-"],
)
def test_the_runs_exit_code_wins_over_a_terminal_that_takes_nothing(tmp_path: Path, rest: str) -> None:
    write_function(tmp_path, code="def f(): return 7")
    done = shell(tmp_path, f'"$@" run . {rest}; exit "${{PIPESTATUS[0]}}"')
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_help_to_a_full_disk_is_no_exit_code_of_a_handler(tmp_path: Path) -> None:
    done = shell(tmp_path, '"$@" --help >/dev/full')
    assert (done.returncode, done.stderr) == (10, "nuwrap: [Errno 28] No space left on device\n")


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = shell(tmp_path / "gone", 'rmdir ../gone; "$@" run .')
    assert done.returncode == 10
    assert done.stderr.startswith("nuwrap: the folder you stand in is gone")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_before_the_start_is_one_line(tmp_path: Path, sent: signal.Signals) -> None:
    write_function(tmp_path, code="def f(): return 7")
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\necho > started\nexec sleep 600\n")
    slow.chmod(0o700)
    os.mkfifo(tmp_path / "started")
    argv = nuwrap_argv(["run", ".", "--python", str(slow)])
    with subprocess.Popen(
        argv, cwd=tmp_path, env=clean_environment({}), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert (tmp_path / "started").read_text() == "\n"
        process.send_signal(sent)
        assert process.communicate() == ("", "nuwrap: stopped before it began\n")
        assert process.returncode == 143


def test_a_short_secret_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_secrets(["PIN"], {"PIN": "12"}, "p", str(tmp_path)) == {"PIN": "12"}
    assert capsys.readouterr().err.startswith("nuwrap  warning: --secret PIN: a value of less than 3 characters")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
def test_others_cannot_read_the_environment_of_a_run() -> None:
    code = (
        "import ctypes; from nuwrap.command import hide_environment; hide_environment(); "
        "print(ctypes.CDLL(None).prctl(3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_a_message_cannot_command_the_terminal(run_nuwrap: Nuwrap) -> None:
    done = run_nuwrap("run", ".", "--json\x1b[2J")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
