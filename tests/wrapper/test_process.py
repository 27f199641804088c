"""The gate to other programs: real ones, with children that do not want to end."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nuwrap_runtime.errors import PlatformError, Stopped
from nuwrap_runtime.host.process import Command, Completed, mask, mask_all, run

ENV = {"PATH": os.environ["PATH"]}


def run_python(code: str, **options: Any) -> Completed:
    on_line = options.pop("on_line", lambda _line: None)
    keep_lines = options.pop("keep_lines", 400)
    command = Command([sys.executable, "-I", "-S", "-c", code], ENV, **options)
    return run(command, on_line=on_line, keep_lines=keep_lines)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_gone(pid: int) -> None:
    for _ in range(1000):
        if not is_running(pid):
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} is still there")


def test_output_and_log_are_kept_apart() -> None:
    done = run_python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert done == Completed(3, b"out\n", ("err",))


def test_lines_come_while_the_program_runs(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    code = f"""
import os, sys, time
print("one", file=sys.stderr, flush=True)
while not os.path.exists({str(flag)!r}):
    time.sleep(0.01)
"""
    seen = []

    def on_line(line: str) -> None:
        seen.append(line)
        flag.touch()

    assert run_python(code, on_line=on_line, timeout_s=60).returncode == 0
    assert seen == ["one"]


def test_progress_bars_and_last_words_are_lines_too() -> None:
    done = run_python(r"import sys; sys.stderr.buffer.write(b'10%\r50%\r\n\xff done\n\nlast')")
    assert done.log == ("10%", "50%", "\ufffd done", "last")


def test_only_the_last_lines_are_kept_and_all_are_handed_on() -> None:
    seen: list[str] = []
    done = run_python("import sys\nfor i in range(1000): print(i, file=sys.stderr)", on_line=seen.append, keep_lines=3)
    assert done.log == ("997", "998", "999")
    assert len(seen) == 1000


def test_secrets_show_neither_in_the_log_nor_in_what_is_handed_on() -> None:
    seen: list[str] = []
    code = """
import sys, time
for part in ("x-hun", "ter2-y\\n", "hunter22\\n"):
    sys.stderr.write(part)
    sys.stderr.flush()
    time.sleep(0.05)
"""
    done = run_python(code, redact=("hunter2", "hunter22"), on_line=seen.append)
    assert done.log == ("x-***-y", "***") == tuple(seen)


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        ("abcdef", ("abc", "abcde"), "***f"),
        ("a ab abc", ("", "a", "ab"), "a ab abc"),
        ("nothing", (), "nothing"),
    ],
)
def test_the_longest_secret_is_masked_first_and_a_letter_never(text: str, secrets: Any, shown: str) -> None:
    assert mask(text, secrets) == shown


def test_secrets_are_masked_in_all_of_a_json_value() -> None:
    value = {"a hunter2": ["hunter2", {"b": ("hunter2!", 5, None)}], "c": True}
    assert mask_all(value, ["hunter2"]) == {"a ***": ["***", {"b": ["***!", 5, None]}], "c": True}


def test_a_program_that_takes_too_long_is_killed_with_its_children() -> None:
    code = """
import subprocess, sys, time
print(subprocess.Popen(["sleep", "600"]).pid, file=sys.stderr, flush=True)
time.sleep(600)
"""
    done = run_python(code, timeout_s=2)
    assert (done.timed_out, done.returncode) == (True, -signal.SIGKILL)
    wait_gone(int(done.log[0]))


def test_a_child_that_keeps_the_log_open_does_not_hold_us_up() -> None:
    done = run_python("import subprocess\np=subprocess.Popen(['sleep','600'])\nprint(p.pid)")
    assert done.returncode == 0
    wait_gone(int(done.output))


def test_a_child_that_floods_the_log_after_the_end_does_not_hold_us_up() -> None:
    code = """
import subprocess
print(subprocess.Popen("yes >&2 | yes >&2 | yes >&2 | yes >&2", shell=True, start_new_session=True).pid)
"""
    done = run_python(code, timeout_s=20)
    os.killpg(int(done.output), signal.SIGKILL)
    assert (done.returncode, done.timed_out) == (0, False)


def test_a_closed_log_is_no_end_and_costs_no_time_of_the_processor() -> None:
    begin = time.process_time()
    done = run_python("import os,time; os.close(2); time.sleep(1); print('out')")
    assert (done.returncode, done.output) == (0, b"out\n")
    assert time.process_time() - begin < 0.5


def test_a_long_line_and_a_large_output_pass_whole() -> None:
    done = run_python("import sys; sys.stderr.write('x' * 30_000_000); sys.stdout.write('y' * 30_000_000)")
    assert [len(line) for line in done.log] == [30_000_000]
    assert len(done.output) == 30_000_000


def test_what_is_raised_meanwhile_kills_the_program_first(tmp_path: Path) -> None:
    code = "import os,sys,time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(600)"
    seen = []

    def stop(line: str) -> None:
        seen.append(int(line))
        raise Stopped("enough")

    with pytest.raises(Stopped):
        run_python(code, on_line=stop)
    assert not is_running(seen[0])


@pytest.mark.parametrize(
    ("argv", "cwd", "said"),
    [
        (["/nowhere/program"], None, "cannot start '/nowhere/program': No such file"),
        (["/etc/passwd"], None, "cannot start '/etc/passwd': Permission denied"),
        ([sys.executable], "/nowhere", "in '/nowhere': No such file"),
        ([sys.executable, "a\0b"], None, "embedded null byte"),
    ],
)
def test_a_program_that_cannot_start_says_why(argv: list[str], cwd: Any, said: str) -> None:
    with pytest.raises(PlatformError, match=said):
        run(Command(argv, ENV, cwd=cwd))


def test_the_program_gets_the_environment_and_no_other_and_no_input() -> None:
    assert run(Command(["/usr/bin/env"], {"A": "1"})).output == b"A=1\n"
    assert run(Command(["/bin/cat"], {})).output == b""


def test_program_that_prints_without_end_is_ended() -> None:
    code = "import sys\nwhile True: sys.stdout.write('x' * (1 << 20))"
    with pytest.raises(PlatformError, match="printed more than"):
        run(Command([sys.executable, "-c", code], dict(os.environ), timeout_s=120))
