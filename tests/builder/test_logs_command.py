"""`nuwrap logs`: bytes to a pipe, harmless text to a terminal, until the run's end when it is followed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from command_line import Nuwrap, clean_environment, nuwrap_argv
from kept import add_ended, add_run, going_on, open_history, read_terminal, run_id
from store_records import add_project, function

from nuwrap.store import COMPLETED, Store

HOSTILE = b"tab\there\r\n 10%\r100%\x1b[2J\xff\n\xc3\xa9 no end"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Store]:
    with open_history(tmp_path) as store:
        yield store


@pytest.fixture
def logs(run_nuwrap: Nuwrap, tmp_path: Path, history: Store) -> Nuwrap:
    return partial(run_nuwrap, "logs", NUWRAP_HOME=str(tmp_path / "home"))


def write_log(folder: Path, number: int, content: bytes) -> str:
    """Return the folder of a run that has printed this."""
    place = folder / f"run{number}"
    place.mkdir(exist_ok=True)
    with (place / "log.txt").open("ab") as stream:
        stream.write(content)
    return str(place)


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        nuwrap_argv(["logs", *arguments]),
        env=clean_environment({"NUWRAP_HOME": str(folder / "home")}),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_in_a_pipe_a_log_is_byte_for_byte(tmp_path: Path, history: Store) -> None:
    add_ended(history, 1, folder=write_log(tmp_path, 1, HOSTILE * 10_000))
    done, _ = start(tmp_path, "00000001").communicate()
    assert done == HOSTILE * 10_000


def test_on_a_terminal_a_log_does_not_command_it(tmp_path: Path, history: Store) -> None:
    add_ended(history, 1, folder=write_log(tmp_path, 1, HOSTILE))
    shown = read_terminal(tmp_path / "home", "logs", "f")
    assert shown == "tab\there\n 10%\n100%\\x1b[2J\ufffd\né no end"


def test_a_name_means_the_latest_run_and_a_project_narrows_it(logs: Nuwrap, tmp_path: Path, history: Store) -> None:
    add_project(history, "q")
    for number, project in ((1, "p"), (2, "p"), (3, "q")):
        add_ended(history, number, project=project, folder=write_log(tmp_path, number, f"log {number}".encode()))
    assert logs("p/f").stdout == "log 2"
    assert logs("f", "--project", "q").stdout == "log 3"
    assert logs(run_id(1)).stdout == "log 1"
    assert logs("00000001-0000").stdout == "log 1"
    assert logs(f"store://p/run/python+job:run/{run_id(1)}").stdout == "log 1"
    done = logs("f")
    assert (done.returncode, "write one of p/f, q/f" in done.stderr) == (2, True)
    done = logs("00000001", "--project", "q")
    assert (done.returncode, "there is no run '00000001'" in done.stderr) == (2, True)


def test_a_function_that_never_ran_says_so(logs: Nuwrap, history: Store) -> None:
    history.add_function(function("v1", "greet"))
    add_ended(history, 1, function="grow")
    assert "function 'greet' has not run yet" in logs("greet").stderr
    assert "did you mean 'grow'?" in logs("gro").stderr


def test_a_log_that_is_not_there_is_empty(logs: Nuwrap, history: Store) -> None:
    add_ended(history, 1)
    done = logs("f")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_following_ends_with_the_run(tmp_path: Path, history: Store) -> None:
    with going_on(history, tmp_path, 1, folder=write_log(tmp_path, 1, b"one\n")) as record:
        process = start(tmp_path, "-f", "f")
        assert process.stdout
        assert process.stdout.readline() == b"one\n"
        write_log(tmp_path, 1, b"two\n")
        assert process.stdout.readline() == b"two\n"
        write_log(tmp_path, 1, b"three\n")
        history.finish_run(record.id, COMPLETED, "", exit_code=0, outputs={}, result={})
        rest, told = process.communicate()
    assert (rest, told, process.returncode) == (b"three\n", b"", 0)


def test_an_interrupt_while_following_leaves_the_run_alone(tmp_path: Path, history: Store) -> None:
    with going_on(history, tmp_path, 1, folder=write_log(tmp_path, 1, b"one\n")) as record:
        process = start(tmp_path, "f", "--follow")
        assert process.stdout
        assert process.stdout.readline() == b"one\n"
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate()
        assert (rest, told, process.returncode) == (b"", b"", 130)
        found = history.get_run(record.id)
        assert found
        assert found.state == "RUNNING"


def test_a_reader_that_has_what_it_wanted_is_no_failure(tmp_path: Path, history: Store) -> None:
    add_ended(history, 1, folder=write_log(tmp_path, 1, b"line\n" * 1_000_000))
    for number in range(2, 1000):
        add_run(history, number, state="ERROR", message="x" * 100)
    process = start(tmp_path, "00000001")
    shell = ['"$@" ps --all --limit 990 | head -n 1; echo ${PIPESTATUS[*]}', "bash", *nuwrap_argv([])]
    assert process.stdout
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.stderr
    assert (process.stderr.read(), process.wait()) == (b"", 0)
    process.stderr.close()
    done = subprocess.run(
        ["bash", "-c", *shell],
        env=clean_environment({"NUWRAP_HOME": str(tmp_path / "home")}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.splitlines()[-1], done.stderr) == ("0 0", "")
