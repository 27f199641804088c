"""A job's log beside its outputs: every byte once and in order, secrets masked, wherever the outputs are."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from running_job import Finished, RunningJob, is_running
from s3_server import Fault, S3Server

from nuwrap_runtime.host import log_keeper
from nuwrap_runtime.host.log_keeper import LINE_BYTES, PART_BYTES, Parts, hidden

LINES = """\
import os, sys

def f():
    for number in range(1000):
        print("out", number)
        print("err", number, file=sys.stderr)
    os.system("echo of a program")
    print("without end", end="")
"""
FLOOD = f"def f():\n    for number in range({PART_BYTES // 50}):\n        print(number, 'x' * 100)\n"


@pytest.fixture
def kept(job: Callable[..., RunningJob]) -> Callable[..., RunningJob]:
    """Start a job that keeps its log."""
    return lambda code, **keys: job(code, keep_log=True, **keys)


def parts_of(out: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((out / "log").iterdir())]


def told(done: Finished) -> tuple[int, float]:
    """The lines and megabytes that the host says it has kept."""
    found = re.search(r"log +[\d.]+ s +(\d+) lines?, ([\d.]+) MB, at .*/log/", done.stderr)
    assert found, done.stderr
    return int(found[1]), float(found[2])


class TestHere:
    def test_all_that_is_printed_is_kept_in_its_order(self, kept: Callable[..., RunningJob]) -> None:
        running = kept(LINES)
        done = running.wait()
        assert done.code == 0
        log = b"".join(parts_of(running.out)).decode()
        assert log == done.stdout
        mixed = [f"{stream} {number}" for number in range(1000) for stream in ("out", "err")]
        lines = [line for line in log.splitlines() if not line.startswith("nuwrap")]
        assert lines == [*mixed, "of a program", lines[-1]]
        assert lines[-1].startswith("without endnuwrap  handler")
        assert told(done)[0] == log.count("\n")

    def test_what_comes_after_it_is_printed_as_without_it(self, kept: Callable[..., RunningJob]) -> None:
        done = kept("def f(): return 7\n").wait()
        assert [line.split()[1] for line in done.stderr.splitlines()] == ["log", "total"]

    def test_nothing_is_kept_unless_it_is_asked_for(self, job: Callable[..., RunningJob]) -> None:
        running = job(LINES)
        assert running.wait().code == 0
        assert not (running.out / "log").exists()

    def test_parts_end_with_a_line(self, kept: Callable[..., RunningJob]) -> None:
        running = kept(FLOOD)
        assert running.wait().code == 0
        parts = parts_of(running.out)
        assert len(parts) == 3
        assert all(PART_BYTES <= len(part) < PART_BYTES + 2 * 65536 for part in parts[:-1])
        assert all(part.endswith(b"\n") for part in parts)

    def test_secrets_are_hidden_in_what_is_kept(self, kept: Callable[..., RunningJob], tmp_path: Path) -> None:
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "TOKEN").write_text("swordfish")
        code = "def f(project):\n    print('it is', project.get_secret('TOKEN'), 'here')\n"
        env = {"NUWRAP_SECRETS": str(tmp_path / "secrets"), "NUWRAP_RESULT_LINES": "1"}
        running = kept(code, secrets=["TOKEN"], env=env)
        done = running.wait()
        assert done.code == 0
        log = b"".join(parts_of(running.out))
        assert b"it is *** here\n" in log
        assert b"swordfish" not in log
        printed = done.stdout.removeprefix("nuwrap-log: begins\n").rpartition("nuwrap-log: ")
        assert printed[2] == f"{printed[0].count(chr(10))} lines, {len(printed[0].encode())} bytes\n"

    def test_marks_stand_around_what_is_kept_for_who_reads_the_log(self, kept: Callable[..., RunningJob]) -> None:
        running = kept(LINES, env={"NUWRAP_RESULT_LINES": "1"})
        lines = running.wait().stdout.splitlines(keepends=True)
        log = b"".join(parts_of(running.out))
        assert (lines[0], lines[-1]) == (
            "nuwrap-log: begins\n",
            f"nuwrap-log: {len(lines) - 2} lines, {len(log)} bytes\n",
        )
        assert "".join(lines[1:-1]).encode() == log

    def test_a_function_that_fails_or_is_killed_has_its_log(self, kept: Callable[..., RunningJob]) -> None:
        for end in ("raise ValueError('the reason')", "os.kill(os.getpid(), 9)", "os._exit(3)"):
            running = kept(f"import os\ndef f():\n    print('before', flush=True)\n    {end}\n")
            assert running.wait().code != 0
            log = b"".join(parts_of(running.out))
            assert b"before\n" in log
            assert b"nuwrap  error: " in log

    def test_a_stop_is_in_it(self, kept: Callable[..., RunningJob], tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        running = kept(f"import time\ndef f():\n    open({str(mark)!r}, 'w').write('on')\n    time.sleep(1000)\n")
        running.await_file(mark)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait().code == 143
        assert b"stopping" in b"".join(parts_of(running.out))

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="NOT TESTED: only Linux finds what is left behind")
    def test_what_a_function_leaves_behind_does_not_keep_it_open(
        self, kept: Callable[..., RunningJob], tmp_path: Path
    ) -> None:
        mark = tmp_path / "mark"
        code = f"""\
import subprocess
def f():
    left = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    open({str(mark)!r}, "w").write(str(left.pid))
    print("last")
"""
        running = kept(code)
        done = running.wait()
        assert done.code == 0
        assert b"last\n" in b"".join(parts_of(running.out))
        assert not is_running(int(mark.read_text()))
        told(done)

    def test_an_earlier_start_leaves_none_of_its_parts(self, kept: Callable[..., RunningJob], tmp_path: Path) -> None:
        out = tmp_path / "out"
        assert kept(FLOOD, output_path=str(out), run="one").wait().code == 0
        (out / "log" / "mine.txt").write_text("not ours")
        assert kept("def f(): print('again')\n", output_path=str(out), run="one").wait().code == 0
        assert sorted(os.listdir(out / "log")) == ["000001.log", "mine.txt"]
        assert b"again\n" in (out / "log" / "000001.log").read_bytes()


class TestAtAnAddress:
    @pytest.fixture
    def stored(
        self, kept: Callable[..., RunningJob], s3: S3Server, bucket: str, tmp_path: Path
    ) -> Callable[..., tuple[RunningJob, Finished]]:
        """Run a job to its end whose outputs go to `runs/one/` in the bucket."""

        def start(code: str, **keys: Any) -> tuple[RunningJob, Finished]:
            env = {**s3.environ(), "NUWRAP_WORK": str(tmp_path / "work")}
            running = kept(code, output_path=f"s3://{bucket}/runs/one/", run="one", env=env, **keys)
            return running, running.wait()

        return start

    def test_parts_are_there_and_no_more_here(
        self, stored: Callable[..., tuple[RunningJob, Finished]], s3: S3Server, bucket: str, tmp_path: Path
    ) -> None:
        _, done = stored(FLOOD)
        assert done.code == 0, done.stderr
        names = [key for key in sorted(s3.keys(bucket)) if "/log/" in key]
        assert names == [f"runs/one/log/00000{number}.log" for number in (1, 2, 3)]
        assert b"".join(s3.content(bucket, name) for name in names) == done.stdout.encode()
        assert os.listdir(tmp_path / "work" / "runs" / "one" / "log") == []
        puts = [one.key.rpartition("/")[2] for one in s3.seen if one.method == "PUT"]
        assert puts[-1] == "result.json"

    def test_a_store_that_takes_no_log_is_a_warning_and_the_log_stays_here(
        self, stored: Callable[..., tuple[RunningJob, Finished]], s3: S3Server, bucket: str, tmp_path: Path
    ) -> None:
        s3.spoil = lambda request: Fault(status=403) if "/log/" in request.key else None
        _, done = stored(FLOOD)
        assert done.code == 0, done.stderr
        folder = tmp_path / "work" / "runs" / "one" / "log"
        assert f"not all of the log is at s3://{bucket}/runs/one/log/" in done.stderr
        assert str(folder) in done.stderr
        assert b"".join((folder / name).read_bytes() for name in sorted(os.listdir(folder))) == done.stdout.encode()
        assert "result.json" in str(s3.keys(bucket))

    def test_an_earlier_start_leaves_none_of_its_parts(
        self, stored: Callable[..., tuple[RunningJob, Finished]], s3: S3Server, bucket: str
    ) -> None:
        before = {".run": b"one", "log/000009.log": b"old", "log/mine.txt": b"not ours", "outputs/a": b"old"}
        s3.make(bucket, {f"runs/one/{name}": content for name, content in before.items()})
        _, done = stored("def f(): print('again')\n")
        assert done.code == 0, done.stderr
        assert sorted(s3.keys(bucket)) == [
            f"runs/one/{name}" for name in (".run", "log/000001.log", "log/mine.txt", "result.json")
        ]


class TestParts:
    def test_a_line_without_end_is_kept_in_pieces(self, tmp_path: Path) -> None:
        parts = Parts(str(tmp_path))
        for _ in range(40):
            parts.add(b"x" * 65536)
        assert parts.size > LINE_BYTES
        parts.finish()
        kept = b"".join((tmp_path / name).read_bytes() for name in parts.waiting)
        assert kept.replace(b"\n", b"") == b"x" * 65536 * 40
        assert parts.lines == 0

    def test_each_line_of_a_secret_is_hidden(self, tmp_path: Path) -> None:
        parts = Parts(str(tmp_path), hidden(["-- begin --\nsecret line\nend\n", "swordfish", "it"]))
        parts.add(b"it has -- begin -")
        parts.add(b"-\n")
        parts.add(b"secret line\nend\nsword")
        parts.add(b"fish\n")
        parts.finish()
        assert (tmp_path / "000001.log").read_bytes() == b"it has ***\n***\nend\n***\n"

    def test_a_part_is_closed_after_its_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = Parts(str(tmp_path))
        parts.add(b"one\n")
        parts.turn()
        assert parts.waiting == []
        monkeypatch.setattr(log_keeper, "EARLY", ((0.0, 1),))
        parts.turn()
        parts.add(b"two\n")
        parts.finish()
        assert [(tmp_path / name).read_bytes() for name in parts.waiting] == [b"one\n", b"two\n"]

    def test_a_disk_that_takes_no_more_is_told_and_lines_are_counted_all_the_same(self, tmp_path: Path) -> None:
        parts = Parts(str(tmp_path / "none"))
        parts.add(b"one\ntwo\n")
        parts.finish()
        assert (parts.lines, parts.size, parts.fault) == (2, 0, "No such file or directory")
