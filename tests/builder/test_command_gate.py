"""The gate to other programs: masking, streaming, stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

import pytest

from nuwrap.command import Command, Mask, run, stream
from nuwrap.errors import PlatformError


def python(code: str, **options: object) -> Command:
    return Command([sys.executable, "-c", code], dict(os.environ), **options)  # type: ignore[arg-type]


@contextmanager
def file_at(path: Path) -> Iterator[int]:
    with path.open("wb") as target:
        yield target.fileno()


@pytest.mark.parametrize("cut", range(26))
def test_a_secret_is_masked_wherever_the_stream_is_cut(cut: int) -> None:
    text, mask = b"a secret, secretive, SECRE", Mask(["secret"])
    assert mask.feed(text[:cut]) + mask.feed(text[cut:], last=True) == b"a ***, ***ive, SECRE"


@pytest.mark.parametrize("cut", range(10))
def test_the_longer_of_two_secrets_is_masked_whole(cut: int) -> None:
    text, mask = b"xabcdef abc", Mask(["abc", "abcdef"])
    assert mask.feed(text[:cut]) + mask.feed(text[cut:], last=True) == b"x*** ***"


def test_a_mask_without_secrets_keeps_nothing_back() -> None:
    mask = Mask(["", "ab", "  "])
    assert mask.feed(b"ab  partial") == b"ab  partial"


def test_what_is_no_begin_of_a_secret_is_shown_at_once() -> None:
    mask = Mask(["secret"])
    assert mask.feed(b"progress 50 %") == b"progress 50 %"
    assert mask.feed(b"the sec") == b"the "
    assert mask.feed(b"ond") == b"second"


def test_both_streams_go_where_they_are_sent_masked(tmp_path: Path) -> None:
    command = python("import sys; print('out token1'); print('err token1', file=sys.stderr)", redact=["token1"])
    with file_at(tmp_path / "out") as out, file_at(tmp_path / "err") as err, file_at(tmp_path / "log") as log:
        assert stream(command, out=[out, log], err=[err, log]) == 0
    assert (tmp_path / "out").read_text() == "out ***\n"
    assert (tmp_path / "err").read_text() == "err ***\n"
    assert sorted((tmp_path / "log").read_text().splitlines()) == ["err ***", "out ***"]


@pytest.mark.parametrize(
    ("code", "expected"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_exit_code_is_the_programs(code: str, expected: int) -> None:
    assert stream(python(code), out=[], err=[]) == expected


def test_a_target_that_is_closed_does_not_stop_the_program(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with file_at(tmp_path / "log") as log:
        assert stream(python("print('x' * 300000)"), out=[writer, log], err=[]) == 0
    os.close(writer)
    assert (tmp_path / "log").stat().st_size == 300001


def test_a_child_that_keeps_the_pipe_open_is_not_waited_for(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        f" start_new_session=True); open({str(pid_file)!r}, 'w').write(str(p.pid)); print('done', flush=True)"
    )
    with file_at(tmp_path / "log") as log:
        assert stream(python(code), out=[log], err=[log]) == 0
    assert (tmp_path / "log").read_text() == "done\n"
    os.kill(int(pid_file.read_text()), signal.SIGKILL)  # still there: it was not waited for


FLOOD = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "while True: print('y' * 65536, flush=True)"])
"""


def test_a_flood_from_what_is_left_behind_is_not_read_without_end(tmp_path: Path) -> None:
    with file_at(tmp_path / "log") as log:  # what floods ends by itself, by the closed pipe
        assert stream(python(FLOOD), out=[log], err=[log]) == 0


def test_each_line_of_a_secret_of_several_lines_is_masked() -> None:
    mask = Mask(["-----BEGIN-----\nabcdefgh1\nab\n-----END-----"])
    assert mask.feed(b"> abcdefgh1 ab <", last=True) == b"> *** ab <"


def test_a_short_program_cannot_fill_the_memory() -> None:
    with pytest.raises(PlatformError, match="prints more than 65536 bytes"):
        run(python("while True: print('y' * 1000)"), timeout_s=60)


@pytest.mark.parametrize("rest", ["", "time.sleep(600)"])
def test_nothing_of_a_short_program_is_left(tmp_path: Path, rest: str) -> None:
    os.mkfifo(tmp_path / "alive")
    child = f"f = open({str(tmp_path / 'alive')!r}, 'w'); import time; f.write('up'); f.flush(); time.sleep(600)"
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"f = open({str(tmp_path / 'alive')!r}); f.read(2); {rest}"
    )
    keeper = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(PlatformError, match="timed out") if rest else nullcontext():
        run(python(code), timeout_s=3)
    os.set_blocking(keeper, True)
    assert os.read(keeper, 10) == b""  # no writer is left: the child is gone
    os.close(keeper)


def test_what_cannot_be_started_is_an_error_of_ours() -> None:
    missing = Command(["/nonexistent/program"], {})
    with pytest.raises(PlatformError, match="cannot start '/nonexistent/program'"):
        stream(missing, out=[], err=[])
    with pytest.raises(PlatformError, match="cannot start '/nonexistent/program'"):
        run(missing, timeout_s=5)


def test_a_short_program_is_given_its_time_and_no_more() -> None:
    assert run(python("print(1)"), timeout_s=60).output == b"1\n"
    with pytest.raises(PlatformError, match="timed out"):
        run(python("import time; time.sleep(600)"), timeout_s=0.5)


COUNTER = """
import signal, sys
seen = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda n, f: seen.append(signal.Signals(n).name))
print("ready", flush=True)
while not seen:
    signal.pause()
print("got", *seen, flush=True)
raise SystemExit(42)
"""


def line_of(pipe: IO[str] | None) -> str:
    assert pipe
    return pipe.readline().strip()


@pytest.mark.parametrize(("sent", "received"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGTERM")])
def test_a_stop_is_handed_on_once_and_waited_for(sent: str, received: str) -> None:
    caller = (
        "import sys; from nuwrap.command import Command, stream; import os\n"
        f"sys.exit(stream(Command([sys.executable, '-c', {COUNTER!r}], dict(os.environ)), out=[1], err=[2]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", caller], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert line_of(process.stdout) == "ready"
        os.killpg(process.pid, signal.Signals[sent])  # as a terminal does it: to the whole foreground group
        assert line_of(process.stdout) == f"got {received}"
        assert process.wait() == 42


DEAF = """
import signal, time
signal.signal(signal.SIGTERM, lambda n, f: print("heard", flush=True))
print("ready", flush=True)
while True:
    time.sleep(600)
"""


def test_a_second_stop_kills_a_program_whose_stops_are_hard() -> None:
    caller = (
        "import sys; from nuwrap.command import Command, stream; import os\n"
        f"command = Command([sys.executable, '-c', {DEAF!r}], dict(os.environ))\n"
        "sys.exit(stream(command, out=[1], err=[2], is_hard=True))"
    )
    with subprocess.Popen([sys.executable, "-c", caller], stdout=subprocess.PIPE, text=True) as process:
        assert line_of(process.stdout) == "ready"
        process.terminate()
        assert line_of(process.stdout) == "heard"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.terminate()
        assert process.wait() == 143


def test_what_a_short_program_says_of_its_failure_is_kept_masked() -> None:
    code = "import sys; print('out token1'); print('no token1', file=sys.stderr); sys.exit(3)"
    answer = run(python(code, redact=["token1"]), timeout_s=60)
    assert (answer.returncode, answer.output, answer.errors) == (3, b"out token1\n", b"no ***\n")


def test_a_flood_of_errors_neither_fills_the_memory_nor_stops_a_short_program() -> None:
    answer = run(python("import sys; sys.stderr.write('e' * 3000000); print('done')"), timeout_s=60)
    assert answer.output == b"done\n"
    assert set(answer.errors) == {ord("e")}
    assert len(answer.errors) == 65536


def test_a_flood_of_errors_from_what_is_left_behind_is_not_read_without_end() -> None:
    flood = "import sys\nwhile True: print('y' * 65536, file=sys.stderr, flush=True)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {flood!r}]); print(1)"
    assert run(python(code), timeout_s=60).output == b"1\n"


def test_a_longer_answer_is_taken_where_it_is_expected() -> None:
    assert len(run(python("print('y' * 100000)"), timeout_s=60, most_bytes=200000).output) == 100001


@pytest.mark.parametrize("is_short", [True, False])
def test_a_program_reads_the_descriptor_that_it_is_given(tmp_path: Path, is_short: bool) -> None:
    (tmp_path / "in").write_text("from a file")
    with (tmp_path / "in").open() as source, file_at(tmp_path / "out") as out:
        command = python("import sys; print(sys.stdin.read())", stdin=source.fileno())
        if is_short:
            assert run(command, timeout_s=60).output == b"from a file\n"
        else:
            assert stream(command, out=[out], err=[]) == 0
            assert (tmp_path / "out").read_text() == "from a file\n"


def test_who_listens_gets_what_is_printed_masked_and_as_it_comes() -> None:
    heard: list[bytes] = []
    code = "import sys; print('one token1', flush=True); sys.stdin.read(); print('two', file=sys.stderr)"
    reader, writer = os.pipe()

    def listen(data: bytes) -> None:
        heard.append(data)
        if b"***" in data:
            os.close(writer)  # the program goes on after that alone

    assert stream(python(code, redact=["token1"], stdin=reader), out=[], err=[], on_output=listen) == 0
    os.close(reader)
    assert b"".join(heard) == b"one ***\ntwo\n"


def test_a_listener_that_fails_leaves_no_program_behind(tmp_path: Path) -> None:
    pids: list[int] = []

    def fail(_data: bytes) -> None:
        raise RuntimeError("cannot listen")

    with pytest.raises(RuntimeError, match="cannot listen"):
        stream(
            python("import time; print(1, flush=True); time.sleep(600)"),
            out=[],
            err=[],
            on_output=fail,
            on_start=pids.append,
        )
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


@pytest.mark.parametrize("closes", [False, True])
def test_a_program_whose_time_is_over_is_asked_to_end(tmp_path: Path, closes: bool) -> None:
    code = (
        "import os, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda n, f: (open({str(tmp_path / 'asked')!r}, 'w'), sys.exit(3)))\n"
        + ("os.close(1), os.close(2)\n" if closes else "")
        + "time.sleep(600)"
    )
    assert stream(python(code), out=[], err=[], timeout_s=2) == 124
    assert (tmp_path / "asked").exists()


def test_a_program_that_does_not_end_in_time_is_killed_with_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nuwrap.command.GRACE_SECONDS", 0.2)
    os.mkfifo(tmp_path / "alive")
    keeper = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"f = open({str(tmp_path / 'alive')!r}, 'w'); f.write('up'); f.flush()\n"
        "subprocess.Popen(['sleep', '600'], pass_fds=[f.fileno()]); time.sleep(600)"
    )
    assert stream(python(code), out=[], err=[], timeout_s=2) == 124
    os.set_blocking(keeper, True)
    assert os.read(keeper, 10) == b"up"
    assert os.read(keeper, 10) == b""  # no writer is left
    os.close(keeper)


def test_a_program_that_ends_in_time_has_its_own_exit_code() -> None:
    assert stream(python("raise SystemExit(5)"), out=[], err=[], timeout_s=60) == 5


STOPPED_BETWEEN = """
import os, signal, sys
from nuwrap.command import Command, stream, take_stops

def start(code):
    return stream(Command([sys.executable, "-c", code], dict(os.environ)), out=[1], err=[2], stops=stops)

with take_stops() as stops:
    first = start("print('first', flush=True)")
    assert not stops.has_come
    os.kill(os.getpid(), signal.SIGTERM)
    assert stops.has_come
    second = start("import time; time.sleep(600)")
print(first, second, signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""


def test_a_stop_between_two_programs_is_noted_and_ends_the_next() -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED_BETWEEN], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["first", "0 143 True"]
