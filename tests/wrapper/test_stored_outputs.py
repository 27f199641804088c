"""Outputs at an S3 address in whole runs of the host: the mark first, the result last, whole or told not to be."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable
from uuid import uuid4

import pytest
from running_job import DEADLINE_S, Finished, RunningJob, wait_gone
from s3_server import Fault, Request, S3Server

from nuwrap_runtime.result import SCHEMA
from nuwrap_runtime.schema import faults

TWO = "def f(): return b'one', b'two', 3\n"
LARGE = 20_000_000


class StoredJob:
    """A job whose `output_path` is `runs/RUN/` in the bucket. `mark` is a file that a function may write."""

    def __init__(self, start: Callable[..., RunningJob], s3: S3Server, bucket: str, tmp_path: Path) -> None:
        self._start, self.s3, self.bucket = start, s3, bucket
        self.work = tmp_path / "work"
        self.mark = tmp_path / "mark"
        self.run = f"run-{uuid4().hex[:8]}"
        self.address = f"s3://{bucket}/runs/{self.run}/"

    def start(self, code: str, **keys: Any) -> RunningJob:
        env = {**self.s3.environ(), "NUWRAP_WORK": str(self.work), **keys.pop("env", {})}
        return self._start(code, **{"output_path": self.address, "run": self.run, **keys}, env=env)

    def __call__(self, code: str, **keys: Any) -> Finished:
        return self.start(code, **keys).wait()

    @property
    def keys(self) -> list[str]:
        """The names of what is at the address."""
        base = f"runs/{self.run}/"
        return sorted(key[len(base) :] for key in self.s3.keys(self.bucket) if key.startswith(base))

    def content(self, name: str) -> bytes:
        return self.s3.content(self.bucket, f"runs/{self.run}/{name}")

    @property
    def result(self) -> dict[str, Any]:
        """The result document at the address."""
        document: dict[str, Any] = json.loads(self.content("result.json"))
        assert not faults(document, SCHEMA)
        return document

    @property
    def local(self) -> Path:
        """The folder that holds all of it on this machine."""
        return self.work / "runs" / self.run

    @property
    def local_result(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.local / "result.json").read_text())
        assert not faults(document, SCHEMA)
        return document

    @property
    def changed(self) -> list[str]:
        """What was written and removed, in order."""
        base = f"{self.bucket}/runs/{self.run}/"
        asked = [one for one in self.s3.seen if one.method in ("PUT", "POST", "DELETE")]
        return [f"{one.method} {one.key[len(base) :]}" for one in asked]


@pytest.fixture
def job_to(job: Callable[..., RunningJob], s3: S3Server, bucket: str, tmp_path: Path) -> StoredJob:
    return StoredJob(job, s3, bucket, tmp_path)


def refuse(part: str, fault: Fault, method: str = "PUT") -> Callable[[Request], Any]:
    """Spoil requests of the method whose key has this part."""
    return lambda request: fault if request.method == method and part in request.key else None


class TestDone:
    def test_outputs_and_result_are_at_the_address(self, job_to: StoredJob) -> None:
        done = job_to(TWO)
        assert done.code == 0, done.stderr
        assert job_to.keys == [".run", "outputs/000.bin", "outputs/001.bin", "result.json"]
        assert [job_to.content(f"outputs/00{number}.bin") for number in (0, 1)] == [b"one", b"two"]
        assert job_to.content(".run").decode() == job_to.run
        assert (job_to.result["state"], job_to.result["results"]) == ("COMPLETED", {"output_2": 3})
        assert job_to.result["outputs"]["output_0"]["path"] == "outputs/000.bin"
        assert job_to.result == job_to.local_result
        assert f"COMPLETED, {job_to.address}result.json" in done.stderr

    def test_mark_is_written_first_and_the_result_last(self, job_to: StoredJob) -> None:
        assert job_to(TWO).code == 0
        assert (job_to.changed[0], job_to.changed[-1]) == ("PUT .run", "PUT result.json")
        assert sorted(job_to.changed[1:-1]) == ["PUT outputs/000.bin", "PUT outputs/001.bin"]

    def test_address_without_a_slash_is_the_same_folder(self, job_to: StoredJob) -> None:
        assert job_to(TWO, output_path=job_to.address.rstrip("/")).code == 0
        assert ".run" in job_to.keys

    def test_large_output_goes_in_parts(self, job_to: StoredJob) -> None:
        assert job_to(f"import os\ndef f(): return os.urandom({LARGE})\n").code == 0
        assert job_to.content("outputs/000.bin") == (job_to.local / "outputs" / "000.bin").read_bytes()
        assert job_to.s3.unfinished(job_to.bucket) == 0

    def test_function_without_outputs_leaves_its_result_alone(self, job_to: StoredJob) -> None:
        assert job_to("def f(): return 7\n").code == 0
        assert (job_to.keys, job_to.result["results"]) == ([".run", "result.json"], {"output_0": 7})

    @pytest.mark.parametrize(
        ("code", "exit_code", "phase"),
        [
            ("def f(): raise KeyError('x')\n", 1, "handler"),
            ("import nope\n", 5, "load"),
            ("import os\ndef f(): os._exit(3)\n", 9, "handler"),
            ("def f(x): pass\n", 7, "inputs"),
        ],
    )
    def test_failure_is_told_at_the_address_too(self, job_to: StoredJob, code: str, exit_code: int, phase: str) -> None:
        assert job_to(code).code == exit_code
        assert (job_to.result["state"], job_to.result["exit_code"]) == ("ERROR", exit_code)
        assert (job_to.result["failure"]["phase"], job_to.keys) == (phase, [".run", "result.json"])

    def test_what_was_logged_before_the_end_is_stored_and_warned_of_once(self, job_to: StoredJob) -> None:
        code = "import os\ndef f(project, run):\n    project.log_artifact('a', 'artifact', source=b'x')\n"
        code += "    run.log_metric('m', 1.5)\n    open('x', 'w').close()\n    os._exit(3)\n"
        done = job_to(code)
        assert (done.code, job_to.result["metrics"]) == (9, {"m": [1.5]}), done.stderr
        assert len(job_to.result["warnings"]) == len(set(job_to.result["warnings"]))

    def test_secrets_are_masked_in_the_stored_document(self, job_to: StoredJob) -> None:
        code = "import os\ndef f(): raise ValueError(os.environ['AWS_SECRET_ACCESS_KEY'] + os.environ['MINE'])\n"
        env = {"MINE": "mine-alone"}
        done = job_to(code, env=env, secrets=["MINE"])
        told = job_to.content("result.json").decode()  # what the function itself prints goes out as it is
        assert (done.code, "ValueError: ******" in done.stderr) == (1, True), done.stderr
        assert [one for one in (job_to.s3.environ()["AWS_SECRET_ACCESS_KEY"], "mine-alone") if one in told] == []

    def test_data_goes_by_the_plain_account(self, job_to: StoredJob) -> None:
        own = {"NUWRAP_SOURCE_AWS_ACCESS_KEY_ID": "SOURCE", "NUWRAP_SOURCE_AWS_SECRET_ACCESS_KEY": "x" * 9}
        assert job_to(TWO, env=own).code == 0
        used = {one.headers["authorization"].split("Credential=")[1].split("/")[0] for one in job_to.s3.seen}
        assert used == {job_to.s3.environ()["AWS_ACCESS_KEY_ID"]}

    def test_folder_of_this_machine_may_be_named(self, job_to: StoredJob, tmp_path: Path) -> None:
        assert job_to(TWO, env={"NUWRAP_RUN_FOLDER": str(tmp_path / "mine")}).code == 0
        assert (tmp_path / "mine" / "outputs" / "001.bin").read_bytes() == b"two"


class TestAgain:
    def test_same_run_replaces_what_is_there(self, job_to: StoredJob) -> None:
        assert job_to(TWO).code == 0
        job_to.s3.seen.clear()
        assert job_to("def f(): return b'new'\n").code == 0
        assert job_to.keys == [".run", "outputs/000.bin", "result.json"]
        assert job_to.content("outputs/000.bin") == b"new"
        assert list(job_to.result["outputs"]) == ["output_0"]

    def test_result_of_the_last_start_goes_before_all_else(self, job_to: StoredJob) -> None:
        assert job_to(TWO).code == 0
        seen: list[list[str]] = []

        def look(request: Request) -> None:
            if request.method in ("PUT", "POST", "DELETE"):
                seen.append(job_to.keys)

        job_to.s3.spoil = look
        assert job_to(TWO).code == 0
        assert "result.json" in seen[0]
        assert [keys for keys in seen[1:] if "result.json" in keys] == []

    @pytest.mark.parametrize("name", [".run", "result.json"])
    def test_address_of_somebody_else_is_refused_and_stays(
        self, job_to: StoredJob, s3: S3Server, bucket: str, name: str
    ) -> None:
        s3.make(bucket, {f"runs/{job_to.run}/{name}": b"another-run", f"runs/{job_to.run}/outputs/x": b"theirs"})
        done = job_to(f"def f(): open({str(job_to.mark)!r}, 'w')\n")
        assert (done.code, "name an address of its own" in done.stderr) == (8, True), done.stderr
        assert job_to.address in done.stderr
        assert (name != ".run") or "is of run 'another-run'" in done.stderr
        assert (job_to.keys, job_to.mark.exists()) == (sorted([name, "outputs/x"]), False)
        assert job_to.content(name) == b"another-run"

    def test_who_may_write_but_not_read_can_run(self, job_to: StoredJob) -> None:
        job_to.s3.spoil = refuse(".run", Fault(403, "AccessDenied"), "GET")
        assert job_to(TWO).code == 0
        assert "outputs/001.bin" in job_to.keys

    def test_address_that_cannot_be_looked_at_is_not_taken(self, job_to: StoredJob, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {f"runs/{job_to.run}/.run": b"another-run"})
        s3.spoil = refuse(".run", Fault(500, "InternalError"), "GET")
        done = job_to(TWO, env={"AWS_MAX_ATTEMPTS": "1"})
        assert (done.code, job_to.content(".run")) == (8, b"another-run"), done.stderr


class TestRefused:
    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            (Fault(403, "SignatureDoesNotMatch"), "check AWS_SECRET_ACCESS_KEY"),
            (Fault(403, "InvalidAccessKeyId"), "check AWS_ACCESS_KEY_ID"),
            (Fault(403, "AccessDenied"), "s3:PutObject"),
            (Fault(404, "NoSuchBucket"), "there is no bucket"),
        ],
    )
    def test_before_the_handler_runs(self, job_to: StoredJob, fault: Fault, words: str) -> None:
        job_to.s3.spoil = lambda _request: fault
        done = job_to(f"def f(): open({str(job_to.mark)!r}, 'w')\n")
        assert (done.code, words in done.stderr) == (8, True), done.stderr
        assert f"output_path '{job_to.address}' cannot be written" in done.stderr
        assert (job_to.keys, job_to.mark.exists()) == ([], False)
        assert job_to.s3.environ()["AWS_SECRET_ACCESS_KEY"] not in done.stderr

    def test_platform_is_told(self, job_to: StoredJob, tmp_path: Path) -> None:
        (tmp_path / "log").touch()
        job_to.s3.spoil = lambda _request: Fault(403, "AccessDenied")
        assert job_to(TWO, env={"NUWRAP_TERMINATION_LOG": str(tmp_path / "log")}).code == 8
        told = json.loads((tmp_path / "log").read_text())
        assert (told["state"], told["failure"]["phase"]) == ("ERROR", "outputs")

    @pytest.mark.parametrize("environ", [{"S3_PATH_STYLE": "maybe"}, {"AWS_PROFILE": "nobody"}])
    def test_settings_that_are_none(self, job_to: StoredJob, environ: Mapping[str, str]) -> None:
        done = job_to(TWO, env=environ)
        assert (done.code, next(iter(environ)) in done.stderr) == (8, True), done.stderr
        assert "Traceback" not in done.stderr

    def test_server_that_is_not_there(self, job_to: StoredJob) -> None:
        done = job_to(TWO, env={"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"})
        assert (done.code, "cannot be reached" in done.stderr) == (8, True), done.stderr

    def test_scheme_that_takes_no_outputs(self, job_to: StoredJob) -> None:
        done = job_to(TWO, output_path="https://host/runs/1")
        assert (done.code, "takes no outputs; allowed: a path, s3://" in done.stderr) == (2, True), done.stderr


class TestBroken:
    def test_outputs_that_cannot_be_stored_are_kept_here(self, job_to: StoredJob) -> None:
        job_to.s3.spoil = refuse("001.bin", Fault(403, "AccessDenied"))
        done = job_to(TWO)
        assert (done.code, job_to.result["state"], job_to.result["exit_code"]) == (8, "ERROR", 8), done.stderr
        assert job_to.result["failure"]["phase"] == "outputs"
        assert f"all is kept in '{job_to.local}'" in job_to.result["failure"]["message"]
        assert f"all is kept in '{job_to.local}'" in done.stderr
        assert (job_to.local / "outputs" / "001.bin").read_bytes() == b"two"
        assert job_to.result == job_to.local_result

    def test_result_that_cannot_be_stored_is_an_outputs_error_here(self, job_to: StoredJob) -> None:
        job_to.s3.spoil = refuse("result.json", Fault(403, "AccessDenied"))
        done = job_to(TWO)
        assert (done.code, "result.json" in job_to.keys) == (8, False), done.stderr
        found = job_to.local_result
        assert (found["state"], found["exit_code"], found["failure"]["phase"]) == ("ERROR", 8, "outputs")

    def test_server_that_comes_back_is_tried_again(self, job_to: StoredJob) -> None:
        job_to.s3.spoil_first(2, Fault(503, "SlowDown"), lambda request: "outputs/" in request.key)
        assert job_to(TWO).code == 0
        assert "outputs/001.bin" in job_to.keys

    def test_first_failure_stays_the_runs_and_the_other_is_a_warning(self, job_to: StoredJob) -> None:
        code = "def f(project):\n    project.log_artifact('a', 'artifact', source=__file__)\n    raise KeyError('x')\n"
        job_to.s3.spoil = refuse("/outputs/", Fault(403, "AccessDenied"))
        done = job_to(code)
        assert (done.code, job_to.result["failure"]["phase"]) == (1, "handler"), done.stderr
        assert job_to.result["warnings"] == [f"not all outputs are at {job_to.address}"]

    def test_stop_during_the_upload(self, job_to: StoredJob) -> None:
        job_to.s3.spoil = refuse("001.bin", Fault(delay=3 * DEADLINE_S))
        running = job_to.start(TWO)
        await_request(job_to.s3, "001.bin")
        running.process.terminate()
        assert running.wait().code == 143
        found = job_to.result
        assert (found["state"], found["exit_code"], found["failure"]["phase"]) == ("STOPPED", 143, "stopped")
        assert (job_to.local / "outputs" / "001.bin").read_bytes() == b"two"

    def test_kill_during_the_upload_leaves_no_result(self, job_to: StoredJob) -> None:
        job_to.s3.spoil = refuse("001.bin", Fault(delay=3 * DEADLINE_S))
        running = job_to.start(TWO)
        await_request(job_to.s3, "001.bin")
        children = children_of(running.process.pid)
        running.process.kill()
        running.process.wait()
        for pid in (running.process.pid, *children):
            wait_gone(pid)
        assert "result.json" not in job_to.keys
        assert ".run" in job_to.keys
        job_to.s3.reset()
        assert job_to(TWO).code == 0
        assert job_to.result["state"] == "COMPLETED"

    def test_kill_of_the_child_alone_is_an_error(self, job_to: StoredJob) -> None:
        job_to.s3.spoil = refuse("001.bin", Fault(delay=3 * DEADLINE_S))
        running = job_to.start(TWO)
        await_request(job_to.s3, "001.bin")
        for pid in children_of(running.process.pid):
            os.kill(pid, 9)
        assert running.wait().code == 8
        assert job_to.result["failure"]["phase"] == "outputs"

    def test_time_for_it_is_limited(self, job_to: StoredJob) -> None:
        job_to.s3.spoil = refuse("001.bin", Fault(delay=3 * DEADLINE_S))
        done = job_to(TWO, limits={"output_seconds": 1})
        assert (done.code, "limits.output_seconds" in done.stderr) == (8, True), done.stderr


def await_request(s3: S3Server, part: str) -> None:
    """Wait until the server was asked to write something with this in its key."""
    until = time.monotonic() + DEADLINE_S
    while not any(one.method == "PUT" and part in one.key for one in s3.seen):
        assert time.monotonic() < until, [one.key for one in s3.seen]
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    """Return the processes that this one has started and that are there still."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
