"""Inputs in whole runs of the host: from S3, HTTP and this machine, each address once, all of them or none."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from http_server import File, HttpServer, endless, mute, redirect, status
from running_job import DEADLINE_S, Finished, RunningJob, wait_gone
from running_service import RunningService
from s3_server import Fault, S3Server

DATA = b"a,b\n1,2\n"
KEYS = 1010  # more than a page of a listing, which is 1000
# What a function finds of its inputs: name of the file and what is in it.
READ = """
import os
def read(item):
    path = item.as_file()
    if os.path.isdir(path):
        return [os.path.basename(path), sorted(os.listdir(path))]
    return [os.path.basename(path), open(path).read()]
"""
ONE = READ + "def f(di): return read(di)\n"
THREE = READ + "def f(a, b, c): return [read(a), read(b), read(c)]\n"

RunJob = Callable[..., Finished]


def key(name: str) -> str:
    return f"store://p/artifact/artifact/{name}:1"


def given(**paths: str) -> dict[str, Any]:
    """Return the launch's keys for inputs of these names at these paths."""
    entities = {key(name): {"kind": "artifact", "path": path} for name, path in paths.items()}
    return {"inputs": {name: key(name) for name in paths}, "entities": entities}


def left_in(work: Path) -> list[str]:
    """Return what lies in the folder of the inputs, or was on its way there."""
    made = [path for name in ("inputs", ".making-inputs") for path in (work / name).rglob("*")]
    return [str(path.relative_to(work)) for path in made if path.is_file()]


@pytest.fixture
def run(run_job: RunJob, s3: S3Server) -> RunJob:
    return lambda code="", **keys: run_job(code, **{**keys, "env": {**s3.environ(), **keys.get("env", {})}})


class TestWhereFrom:
    def test_object(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {"raw/my data.csv": DATA})
        done = run(ONE, **given(di=f"s3://{bucket}/raw/my data.csv"))
        assert (done.code, done.value) == (0, ["my data.csv", DATA.decode()]), done.stderr
        etag = hashlib.md5(DATA).hexdigest()  # noqa: S324 - as S3 has it
        told = {"key": key("di"), "path": f"s3://{bucket}/raw/my data.csv", "revision": etag}
        assert done.result["inputs"] == {"di": told}
        assert "1 fetched, 0.0 MB" in done.stderr

    def test_prefix_of_more_than_a_page_of_keys(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        names = [f"part-{number:04}" for number in range(KEYS)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: s3.ask("PUT", f"/{bucket}/raw/{name}", name.encode()), names))
        code = "import os\ndef f(di):\n    path = di.as_file()\n"
        code += "    return [os.path.basename(path), all(open(f'{path}/{n}').read() == n for n in os.listdir(path)), "
        code += "len(os.listdir(path))]\n"
        done = run(code, **given(di=f"s3://{bucket}/raw/"))
        assert (done.code, done.value) == (0, ["raw", True, KEYS]), done.stderr
        assert done.result["inputs"]["di"]["revision"].startswith("listing:")

    def test_folders_below_a_prefix(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {"raw/x/1": b"", "raw/y/2": b"", "raw/": b""})
        assert run(ONE, **given(di=f"s3://{bucket}/raw")).value == ["raw", ["x", "y"]]

    @pytest.mark.parametrize(
        ("path", "name"), [("/raw.csv", "raw.csv"), ("/a%20b.csv?page=2", "a b.csv"), ("/", "input")]
    )
    def test_http(self, run: RunJob, web: HttpServer, path: str, name: str) -> None:
        web.on(path, File(DATA, etag='"1"'))
        done = run(ONE, **given(di=web.url + path))
        assert (done.code, done.value) == (0, [name, DATA.decode()]), done.stderr
        assert done.result["inputs"]["di"]["revision"] == 'etag:"1"'

    def test_http_by_redirect(self, run: RunJob, web: HttpServer) -> None:
        web.on("/raw.csv", File(DATA))
        assert run(ONE, **given(di=web.on("/latest.csv", redirect("/raw.csv")))).value == ["latest.csv", DATA.decode()]

    @pytest.mark.parametrize("form", ["{}", "file://{}"])
    def test_this_machine(self, run: RunJob, tmp_path: Path, form: str) -> None:
        (tmp_path / "raw.csv").write_bytes(DATA)
        done = run(ONE, **given(di=form.format(tmp_path / "raw.csv")))
        assert (done.code, done.value) == (0, ["raw.csv", DATA.decode()]), done.stderr

    def test_three_at_once(self, run: RunJob, web: HttpServer, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        s3.make(bucket, {"x.csv": DATA})
        (tmp_path / "x.csv").write_bytes(DATA)
        places = {"a": f"s3://{bucket}/x.csv", "b": web.on("/x.csv", File(DATA)), "c": str(tmp_path / "x.csv")}
        assert run(THREE, **given(**places)).value == [["x.csv", DATA.decode()]] * 3

    def test_keys_in_parameters_of_both_kinds_and_inside_lists(self, run: RunJob, web: HttpServer) -> None:
        keys = {name: key(name) for name in ("plain", "deep", "init")}
        entities = {
            keys[name]: {"kind": "artifact", "path": web.on(f"/{name}.csv", File(name.encode()))} for name in keys
        }
        code = (
            READ + "FOUND = {}\ndef init(context, model): FOUND['init'] = read(context.project.get_artifact(model))\n"
        )
        code += "def f(project, one, many):\n    more = many['of'][0]\n"
        code += "    return [read(project.get_artifact(one)), read(project.get_artifact(more)), FOUND['init']]\n"
        done = run(
            code,
            init_function="init",
            init_parameters={"model": keys["init"]},
            parameters={"one": keys["plain"], "many": {"of": [keys["deep"]]}},
            entities=entities,
        )
        assert (done.code, done.value) == (0, [[f"{name}.csv", name] for name in keys]), done.stderr

    def test_what_nobody_names_is_not_fetched(self, run: RunJob, web: HttpServer) -> None:
        entities = {key("x"): {"kind": "artifact", "path": web.on("/x", File(DATA))}}
        assert (run("def f(): return 1\n", entities=entities).value, web.seen) == (1, [])

    def test_each_address_is_asked_for_once(self, run: RunJob, web: HttpServer) -> None:
        place = web.on("/raw.csv", File(DATA))
        done = run(THREE, **given(a=place, b=place, c=place))
        assert (done.value, len(web.seen)) == ([["raw.csv", DATA.decode()]] * 3, 1)

    def test_pinned(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {"raw.csv": DATA})
        pin = hashlib.sha256(DATA).hexdigest()
        assert run(ONE, **given(di=f"s3://{bucket}/raw.csv#sha256={pin}")).value == ["raw.csv", DATA.decode()]
        done = run(ONE, **given(di=f"s3://{bucket}/raw.csv#sha256={'0' * 64}"))
        assert (done.code, done.failure["phase"]) == (7, "inputs")
        assert f"its SHA-256 is {pin}, not {'0' * 64} (#sha256)" in done.failure["message"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("s4://bucket/x", "scheme 's4' is not known; allowed: a path, http://, https://, s3://"),
            ("htp://host/x", "did you mean 'http'?"),
            ("/nowhere/x.csv", "'/nowhere/x.csv' does not exist"),
            ("https://host/x#subdir=a", "'#subdir' is for archives of code"),
            ("https://host/x#sha256=abc", "64 hex digits"),
        ],
    )
    def test_before_any_code_is_fetched(self, run: RunJob, web: HttpServer, path: str, words: str) -> None:
        done = run(code_src=web.on("/fn.py", File(ONE.encode())), **given(di=path))
        assert (done.code, done.failure["phase"], web.seen) == (7, "inputs", [])
        assert done.failure["message"].startswith("input 'di': ")
        assert words in done.failure["message"]

    def test_one_of_three_fails_and_nothing_stays(
        self, run: RunJob, web: HttpServer, s3: S3Server, bucket: str, tmp_path: Path
    ) -> None:
        s3.make(bucket, {"x.csv": DATA})
        places = {"a": f"s3://{bucket}/x.csv", "b": web.on("/b.csv", status(404)), "c": web.on("/c", File(DATA))}
        done = run(THREE, **given(**places), env={"NUWRAP_WORK": str(tmp_path / "work")})
        assert (done.code, done.failure["phase"]) == (7, "inputs")
        assert done.failure["message"].startswith(f"input 'b' ('{web.url}/b.csv') cannot be fetched: ")
        assert left_in(tmp_path / "work") == []

    def test_key_in_parameters_is_named_where_there_is_no_argument(self, run: RunJob, web: HttpServer) -> None:
        entities = {key("x"): {"kind": "artifact", "path": web.on("/x", status(403))}}
        done = run("def f(model): pass\n", parameters={"model": key("x")}, entities=entities)
        assert (done.code, done.failure["message"].startswith(f"input {key('x')} (")) == (7, True), done.failure

    @pytest.mark.parametrize(
        ("limits", "words"), [({"input_bytes": 300_000}, "limits.input_bytes"), ({"input_seconds": 1}, "input_seconds")]
    )
    def test_endless_answer_ends_at_the_limit(
        self, run: RunJob, web: HttpServer, tmp_path: Path, limits: dict[str, int], words: str
    ) -> None:
        answer = endless() if "input_bytes" in limits else endless(b"x", pause_s=0.01)
        done = run(ONE, **given(di=web.on("/x", answer)), limits=limits, env={"NUWRAP_WORK": str(tmp_path / "work")})
        assert (done.code, words in done.failure["message"], "'di'" in done.failure["message"]) == (7, True, True)
        assert left_in(tmp_path / "work") == []

    def test_limit_of_bytes_is_that_of_all_together(self, run: RunJob, web: HttpServer) -> None:
        places = {name: web.on(f"/{name}", File(b"x" * 1000)) for name in "abc"}
        assert run(THREE, **given(**places), limits={"input_bytes": 3000}).code == 0
        done = run(THREE, **given(**places), limits={"input_bytes": 2999})
        assert (done.code, "limits.input_bytes" in done.failure["message"]) == (7, True)

    @pytest.mark.parametrize("environ", [{"S3_PATH_STYLE": "maybe"}, {"AWS_PROFILE": "nobody"}])
    def test_settings_that_are_none_are_told_as_an_inputs_error(
        self, run: RunJob, bucket: str, environ: Mapping[str, str]
    ) -> None:
        done = run(ONE, **given(di=f"s3://{bucket}/x"), env=dict(environ))
        assert (done.code, done.failure["phase"]) == (7, "inputs"), done.stderr
        assert next(iter(environ)) in done.failure["message"]
        assert "Traceback" not in done.stderr

    def test_names_that_no_folder_can_have(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {"raw/a": b"", "raw/A": b""})
        done = run(ONE, **given(di=f"s3://{bucket}/raw/"))
        assert (done.code, "differ by case" in done.failure["message"]) == (7, True), done.failure

    def test_somebodys_folder_of_that_name_stays(self, run: RunJob, web: HttpServer, tmp_path: Path) -> None:
        (tmp_path / "inputs").mkdir()
        (tmp_path / "inputs" / "mine.csv").write_bytes(DATA)
        done = run(ONE, **given(di=web.on("/x", File(DATA))), env={"NUWRAP_WORK": str(tmp_path)})
        assert (done.code, "set NUWRAP_WORK elsewhere" in done.failure["message"]) == (10, True), done.failure
        assert (tmp_path / "inputs" / "mine.csv").read_bytes() == DATA

    def test_stop_leaves_nothing(self, job: Callable[..., RunningJob], web: HttpServer, tmp_path: Path) -> None:
        work = tmp_path / "work"
        places = {"a": web.on("/a", File(DATA)), "b": web.on("/b", mute), "c": web.on("/c", File(DATA))}
        running = job(THREE, **given(**places), env={"NUWRAP_WORK": str(work)})
        running.await_file(work / ".making-inputs" / "0" / "a")
        running.process.terminate()
        done = running.wait()
        assert (done.code, done.result["state"]) == (143, "STOPPED")
        assert left_in(work) == []


class TestSecrets:
    SIGNED = "X-Amz-Signature=0011223344556677&X-Amz-Date=20260101T000000Z"

    @pytest.mark.parametrize("answer", [File(DATA), status(404), status(403)])
    def test_signed_address_is_in_no_message_and_no_document(
        self, run: RunJob, web: HttpServer, tmp_path: Path, answer: Any
    ) -> None:
        place = web.on("/raw.csv", answer) + "?" + self.SIGNED
        work = tmp_path / "work"
        done = run(ONE, **given(di=place), env={"NUWRAP_WORK": str(work)})
        assert web.seen[0].path.endswith(self.SIGNED)
        kept = "".join(path.read_text() for path in work.glob("*.json"))
        assert "0011223344556677" not in done.stderr + done.stdout + json.dumps(done.result) + kept

    def test_refused_s3_shows_no_key(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        s3.spoil = lambda _request: Fault(403, "SignatureDoesNotMatch")
        done = run(ONE, **given(di=f"s3://{bucket}/x"))
        assert (done.code, "AWS_SECRET_ACCESS_KEY" in done.failure["message"]) == (7, True)
        assert s3.environ()["AWS_SECRET_ACCESS_KEY"] not in done.stderr + json.dumps(done.result)


class TestAccounts:
    OWN: Mapping[str, str] = {
        "NUWRAP_SOURCE_AWS_ACCESS_KEY_ID": "SOURCE",
        "NUWRAP_SOURCE_AWS_SECRET_ACCESS_KEY": "source-secret",
    }

    def test_code_goes_by_its_own_account_and_data_by_the_plain_one(
        self, run: RunJob, s3: S3Server, bucket: str
    ) -> None:
        s3.make(bucket, {"fn.py": ONE.encode(), "raw.csv": DATA})
        plain = {"AWS_ACCESS_KEY_ID": "PLAIN", "AWS_SECRET_ACCESS_KEY": "plain-secret"}
        done = run(code_src=f"s3://{bucket}/fn.py", **given(di=f"s3://{bucket}/raw.csv"), env={**self.OWN, **plain})
        assert (done.code, accounts(s3, "fn.py"), accounts(s3, "raw.csv")) == (0, {"SOURCE"}, {"PLAIN"}), done.stderr

    def test_data_goes_by_the_sources_account_where_there_is_no_other(
        self, run: RunJob, s3: S3Server, bucket: str
    ) -> None:
        s3.make(bucket, {"raw.csv": DATA})
        empty = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        done = run(ONE, **given(di=f"s3://{bucket}/raw.csv"), env={**self.OWN, **empty})
        assert (done.code, accounts(s3, "raw.csv")) == (0, {"SOURCE"}), done.stderr


def accounts(s3: S3Server, key: str) -> set[str]:
    """Return the access keys that asked for the object."""
    found = [one.headers.get("authorization", "") for one in s3.seen if one.key.endswith(f"/{key}")]
    return {text.partition("Credential=")[2].partition("/")[0] for text in found}


class TestRecord:
    def test_what_fetch_has_put_there_is_what_job_uses(
        self, run: RunJob, web: HttpServer, s3: S3Server, bucket: str, tmp_path: Path
    ) -> None:
        s3.make(bucket, {"fn.py": THREE.encode(), "x.csv": DATA})
        env = {"NUWRAP_WORK": str(tmp_path / "work")}
        (tmp_path / "c.csv").write_bytes(DATA)
        places = {"a": f"s3://{bucket}/x.csv", "b": web.on("/b", File(DATA)), "c": str(tmp_path / "c.csv")}
        keys = {"code_src": f"s3://{bucket}/fn.py", **given(**places)}
        told = json.loads(run(command="fetch", **keys, env=env).stdout)
        assert sorted(told["inputs"]) == ["a", "b"]
        assert Path(told["inputs"]["a"]).read_bytes() == DATA
        s3.seen.clear()
        done = run(**keys, env=env)
        assert (done.code, len(web.seen), s3.seen) == (0, 1, []), done.stderr
        assert done.value == [["x.csv", DATA.decode()], ["b", DATA.decode()], ["c.csv", DATA.decode()]]
        assert done.result["inputs"]["a"]["revision"]

    @pytest.mark.parametrize("change", ["other", "gone", "record"])
    def test_record_of_something_else_does_not_count(
        self, run: RunJob, web: HttpServer, tmp_path: Path, change: str
    ) -> None:
        work = tmp_path / "work"
        env = {"NUWRAP_WORK": str(work)}
        place = web.on("/b", File(DATA))
        assert run(ONE, **given(di=place), env=env).value == ["b", DATA.decode()]
        if change == "other":
            place = web.on("/other", File(b"new"))
        elif change == "gone":
            (work / "inputs" / "0" / "b").unlink()
        else:
            (work / "inputs.json").write_text('{"addresses"')
        done = run(ONE, **given(di=place), env=env)
        assert (done.code, len(web.seen)) == (0, 2), done.stderr
        assert done.value == (["other", "new"] if change == "other" else ["b", DATA.decode()])

    def test_killed_start_leaves_no_record_that_lies(
        self, job: Callable[..., RunningJob], run: RunJob, web: HttpServer, tmp_path: Path
    ) -> None:
        work = tmp_path / "work"
        env = {"NUWRAP_WORK": str(work)}
        first = web.on("/x", File(b"first"))
        assert run(ONE, **given(di=first), env=env).value == ["x", "first"]
        running = job(THREE, **given(a=first, b=web.on("/y", mute), c=web.on("/z", File(DATA))), env=env)
        running.await_file(work / ".making-inputs" / "0" / "x")
        running.process.kill()
        running.process.wait()
        wait_gone(running.process.pid)
        web.on("/x", File(b"second"))
        assert run(ONE, **given(di=first), env=env).value == ["x", "second"]
        assert left_in(work) == ["inputs/0/x"]


def test_service_with_code_and_input_from_a_store(
    service: Callable[..., RunningService], s3: S3Server, bucket: str
) -> None:
    s3.make(bucket, {"fn/main.py": ONE.encode(), "raw.csv": DATA})
    running = service(code_src=f"s3://{bucket}/fn/", **given(di=f"s3://{bucket}/raw.csv"), env=s3.environ())
    answer = running.ask()
    assert (answer.status, answer.json()) == (200, ["raw.csv", DATA.decode()])


def test_service_whose_input_is_refused_ends_with_its_exit_code(
    service: Callable[..., RunningService], web: HttpServer
) -> None:
    running = service(ONE, wait=False, **given(di=web.on("/x", status(404))))
    assert running.process.wait(DEADLINE_S) == 7
    assert "input 'di'" in running.stderr()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED, a full disk: this user may not mount one ({done.stderr.strip()})")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("variable", ["NUWRAP_WORK", "TMPDIR"])
@pytest.mark.parametrize("place", ["http", "s3"])
def test_full_disk_is_one_error_and_leaves_nothing(
    run: RunJob, web: HttpServer, s3: S3Server, bucket: str, disk: Path, place: str, variable: str
) -> None:
    content = bytes(5_000_000)
    s3.make(bucket, {"x": content})
    path = f"s3://{bucket}/x" if place == "s3" else web.on("/x", File(content))
    done = run(ONE, **given(di=path), env={variable: str(disk)})
    assert (done.code, done.failure["phase"]) == (7, "inputs"), done.stderr
    assert "o space" in done.failure["message"]
    assert "'di'" in done.failure["message"]
    assert left_in(disk) == []
    assert "Traceback" not in done.stderr
