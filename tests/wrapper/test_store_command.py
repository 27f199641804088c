"""`nuwrap-host store FROM TO` as a process: up, down and across, files and folders, what is refused, what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5, sha256
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from http_server import File, HttpServer, make_certificate, mute, status
from running_job import DEADLINE_S
from s3_server import Fault, S3Server

DATA = b"a,b\n1,2\n"
FILES = {"x": b"1", "sub/y": b"22", "sub/deep/z": b"333"}


@dataclass(frozen=True)
class Copied:
    """How a copy ended; `told` is what it printed."""

    code: int
    told: Optional[dict[str, Any]]
    stderr: str


class Store:
    """`nuwrap-host store` in a folder of its own."""

    def __init__(self, tree: str, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "NUWRAP_"))}
        self._environ = {**plain, **environ}
        self._entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", self._entry, "store", *arguments],
            cwd=self.folder,
            env={**self._environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, **environ: str) -> Copied:
        with self.start(*arguments, **environ) as process:
            stdout, stderr = process.communicate(timeout=DEADLINE_S)
        assert "Traceback" not in stderr, stderr
        return Copied(process.returncode, json.loads(stdout) if stdout.startswith("{") else None, stderr)

    def put(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def read(self, name: str) -> dict[str, bytes]:
        """Return the files below the folder, by path."""
        base = self.folder / name
        return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))


@pytest.fixture
def store(tree: str, s3: S3Server, tmp_path: Path) -> Store:
    folder = tmp_path / "here"
    folder.mkdir()
    return Store(tree, folder, s3.environ())


class TestUp:
    def test_file(self, store: Store, s3: S3Server, bucket: str) -> None:
        store.put({"x.csv": DATA})
        done = store("x.csv", f"s3://{bucket}/a/y.csv")
        etag = md5(DATA).hexdigest()  # noqa: S324 - as S3 has it
        assert done.told == {"path": f"s3://{bucket}/a/y.csv", "files": 1, "bytes": len(DATA), "revision": etag}
        assert (done.code, s3.content(bucket, "a/y.csv")) == (0, DATA)

    @pytest.mark.parametrize("behind", ["a/", ""])
    def test_file_to_a_folder_keeps_its_name(self, store: Store, s3: S3Server, bucket: str, behind: str) -> None:
        store.put({"x.csv": DATA})
        done = store("x.csv", f"S3://{bucket}/{behind}")
        assert done.told
        assert (done.told["path"], s3.keys(bucket)) == (f"s3://{bucket}/{behind}x.csv", [f"{behind}x.csv"])

    @pytest.mark.parametrize("behind", ["runs/1/", "runs/1", ""])
    def test_folder(self, store: Store, s3: S3Server, bucket: str, behind: str) -> None:
        store.put({f"out/{name}": content for name, content in FILES.items()})
        done = store("out", f"s3://{bucket}/{behind}")
        base = f"{behind.rstrip('/')}/" if behind else ""
        assert (done.code, s3.keys(bucket)) == (0, sorted(base + name for name in FILES)), done.stderr
        assert done.told
        assert (done.told["files"], done.told["bytes"], done.told["revision"]) == (3, 6, "")

    def test_file_replaces_the_one_that_is_there(self, store: Store, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {"x": b"old"})
        store.put({"x": DATA})
        assert store("x", f"s3://{bucket}/x").code == 0
        assert s3.content(bucket, "x") == DATA

    def test_link_is_stored_as_what_it_leads_to(self, store: Store, s3: S3Server, bucket: str) -> None:
        store.put({"x": DATA, "out/y": b""})
        (store.folder / "out" / "link").symlink_to("../x")
        assert store("out", f"s3://{bucket}/").code == 0
        assert s3.content(bucket, "link") == DATA

    def test_outputs_that_a_run_could_not_store(self, store: Store, s3: S3Server, bucket: str) -> None:
        store.put({"runs/1/.run": b"1", "runs/1/result.json": b"{}", "runs/1/outputs/000.bin": DATA})
        assert store("runs/1", f"s3://{bucket}/runs/1/").code == 0
        assert s3.keys(bucket) == ["runs/1/.run", "runs/1/outputs/000.bin", "runs/1/result.json"]

    def test_one_that_fails_is_named_with_how_far_it_came(self, store: Store, s3: S3Server, bucket: str) -> None:
        store.put({f"out/{name}": content for name, content in FILES.items()})
        s3.spoil = lambda request: Fault(403, "AccessDenied") if request.key.endswith("/y") else None
        done = store("out", f"s3://{bucket}/runs/1/")
        assert (done.code, " of 3 files are there: " in done.stderr, "s3:PutObject" in done.stderr) == (8, True, True)
        assert f"s3://{bucket}/runs/1/sub/y" in done.stderr

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda folder: None, "'out' does not exist in "),
            (lambda folder: (folder / "out").mkdir(), "'out' is an empty folder"),
            (lambda folder: (folder / "out").symlink_to("nowhere"), "'out' does not exist"),
            (lambda folder: os.mkfifo(folder / "out"), "'out' is no regular file"),
            (lambda folder: [(folder / "out").mkdir(), os.mkfifo(folder / "out" / "p")], "'out/p' is no regular file"),
            (lambda folder: [(folder / "out").mkdir(), (folder / "out" / "l").symlink_to(".")], "'out/l' is a link"),
        ],
    )
    def test_what_has_no_bytes_is_refused(
        self, store: Store, s3: S3Server, bucket: str, make: Callable[[Path], object], words: str
    ) -> None:
        make(store.folder)
        done = store("out", f"s3://{bucket}/x")
        assert (done.code, words in done.stderr, s3.keys(bucket)) == (8, True, []), done.stderr


class TestDown:
    def test_object(self, store: Store, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {"a/x.csv": DATA})
        done = store(f"s3://{bucket}/a/x.csv", "new/y.csv")
        etag = md5(DATA).hexdigest()  # noqa: S324 - as S3 has it
        assert done.told == {"path": "new/y.csv", "files": 1, "bytes": len(DATA), "revision": etag}
        assert (done.code, store.read("new")) == (0, {"y.csv": DATA})

    @pytest.mark.parametrize("target", ["new", "new/"])
    def test_prefix(self, store: Store, s3: S3Server, bucket: str, target: str) -> None:
        s3.make(bucket, {f"a/{name}": content for name, content in FILES.items()})
        done = store(f"s3://{bucket}/a/", target)
        assert (done.code, store.read("new")) == (0, FILES), done.stderr
        assert done.told
        assert (done.told["files"], done.told["bytes"]) == (3, 6)
        assert store.names() == ["new"]

    def test_more_than_is_allowed_is_not_begun(self, store: Store, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {f"a/{name}": content for name, content in FILES.items()})
        done = store(f"s3://{bucket}/a/", "new", "--max-bytes", "5")
        assert (done.code, "has 6 bytes, more than 5 (--max-bytes)" in done.stderr) == (7, True), done.stderr
        assert (store.names(), [request.key for request in s3.seen if "/" in request.key]) == ([], [])
        assert store(f"s3://{bucket}/a/", "new", "--max-bytes", "6").code == 0

    def test_what_tells_no_size_ends_at_the_limit(self, store: Store, web: HttpServer) -> None:
        address = web.on("/x", File(DATA, is_chunked=True))
        done = store(address, "y", "--max-bytes", str(len(DATA) - 1))
        assert (done.code, "--max-bytes" in done.stderr, store.read(".")) == (7, True, {}), done.stderr

    def test_http(self, store: Store, web: HttpServer) -> None:
        done = store(web.on("/x", File(DATA, etag='"1"')) + f"#sha256={sha256(DATA).hexdigest()}", "y")
        assert (done.code, done.told and done.told["revision"]) == (0, 'etag:"1"'), done.stderr
        assert store.read(".") == {"y": DATA}

    def test_https_with_a_ca_of_ones_own(self, store: Store, tmp_path: Path) -> None:
        ca = make_certificate(tmp_path)
        with HttpServer(tls=ca) as web:
            web.on("/x", File(DATA))
            refused = store(f"{web.url}/x", "y", SSL_CERT_FILE="", AWS_CA_BUNDLE="")
            assert (refused.code, "certificate" in refused.stderr) == (7, True), refused.stderr
            assert store(f"{web.url}/x", "y", "--ca", str(ca)).code == 0
        assert store.read(".") == {"y": DATA}

    @pytest.mark.parametrize(
        ("answer", "words"), [(status(404), "404"), (File(b"other"), "its SHA-256 is "), (status(403), "403")]
    )
    def test_what_fails_leaves_nothing(self, store: Store, web: HttpServer, answer: Any, words: str) -> None:
        done = store(web.on("/x", answer) + f"#sha256={sha256(DATA).hexdigest()}", "new/y")
        assert (done.code, words in done.stderr) == (7, True), done.stderr
        assert store.read(".") == {}

    def test_prefix_with_one_that_fails_leaves_nothing(self, store: Store, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {f"a/{name}": content for name, content in FILES.items()})
        s3.spoil = lambda request: Fault(403, "AccessDenied") if request.key.endswith("/y") else None
        done = store(f"s3://{bucket}/a/", "new")
        assert (done.code, f"s3://{bucket}/a/sub/y" in done.stderr, store.names()) == (7, True, []), done.stderr

    def test_what_is_there_stays(self, store: Store, s3: S3Server, bucket: str) -> None:
        store.put({"y": b"mine"})
        done = store(f"s3://{bucket}/x", "y")
        assert (done.code, "'y' exists; name a path that is not there yet" in done.stderr) == (2, True)
        assert (store.read("."), s3.seen) == ({"y": b"mine"}, [])

    def test_file_cannot_be_a_folder(self, store: Store, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {"x": DATA})
        done = store(f"s3://{bucket}/x", "y/")
        assert (done.code, "'y/' cannot be made: Not a directory" in done.stderr) == (2, True), done.stderr
        assert store.names() == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_stop_leaves_nothing(self, store: Store, web: HttpServer, number: int) -> None:
        with store.start(web.on("/x", mute), "y") as process:
            until = time.monotonic() + DEADLINE_S
            while not web.seen and time.monotonic() < until:
                time.sleep(0.01)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, "Traceback" in stderr, store.names()) == (143, False, []), stderr


class TestAcross:
    def test_file_and_folder(self, store: Store) -> None:
        store.put({f"out/{name}": content for name, content in FILES.items()})
        assert store("out", "new/copy").told == {"path": "new/copy", "files": 3, "bytes": 6, "revision": ""}
        assert store("out/x", "y").told == {"path": "y", "files": 1, "bytes": 1, "revision": ""}
        assert (store.read("new/copy"), (store.folder / "y").read_bytes()) == (FILES, b"1")
        assert store.names() == ["new", "out", "y"]

    @pytest.mark.parametrize(
        ("source", "target", "code", "words"),
        [
            ("nope", "y", 8, "'nope' does not exist"),
            ("out", "out", 2, "'out' lies in 'out'"),
            ("out", "out/sub/new", 2, "'out/sub/new' lies in 'out'"),
            (".", "new", 2, "'new' lies in '.'"),
            ("out", "out/../out2", 2, "exists"),
        ],
    )
    def test_refused(self, store: Store, source: str, target: str, code: int, words: str) -> None:
        store.put({"out/x": b"", "out2/x": b""})
        done = store(source, target)
        assert (done.code, words in done.stderr) == (code, True), done.stderr
        assert store.read(".") == {"out/x": b"", "out2/x": b""}

    def test_what_cannot_be_copied_leaves_nothing(self, store: Store) -> None:
        store.put({"out/x": b""})
        os.mkfifo(store.folder / "out" / "pipe")
        done = store("out", "new")
        assert (done.code, "out/pipe" in done.stderr, store.names()) == (8, True, ["out"]), done.stderr


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["s3://b/x", "s3://b/y"], "are both addresses; one must be a path"),
            (["x", "https://host/y"], "scheme 'https' is not possible here; allowed: s3://"),
            (["s4://b/x", "y"], "scheme 's4' is not possible here; allowed: http://, https://, s3://"),
            (["htps://h/x", "y"], "did you mean 'https'?"),
            (["https://h/x#v1", "y"], "'#v1' is not understood; allowed: #sha256=…"),
            (["https://h/x#subdir=a", "y"], "'#subdir' is for archives of code"),
            (["x", f"s3://b/y#sha256={'0' * 64}"], "'#sha256' is for what is read"),
            (["x"], "the following arguments are required: TO; see nuwrap-host store --help"),
            (["x", "y", "--nope"], "--nope"),
            (["https://h/x", "y", "--max-bytes", "0"], "'0' is no whole number of 1 or more"),
            (["x", "s3://b/y", "--max-bytes", "1"], "--max-bytes is for what is fetched"),
            (["x", "y", "--max-bytes", "1"], "--max-bytes is for what is fetched"),
        ],
    )
    def test_refused(self, store: Store, arguments: list[str], words: str) -> None:
        store.put({"x": DATA})
        done = store(*arguments)
        assert (done.code, words in done.stderr, store.names()) == (2, True, ["x"]), done.stderr

    @pytest.mark.parametrize("environ", [{"S3_PATH_STYLE": "maybe"}, {"AWS_PROFILE": "nobody"}])
    def test_settings_that_are_none(self, store: Store, bucket: str, environ: dict[str, str]) -> None:
        store.put({"x": DATA})
        up, down = store("x", f"s3://{bucket}/x", **environ), store(f"s3://{bucket}/x", "y", **environ)
        assert (up.code, down.code) == (8, 7), (up, down)
        assert next(iter(environ)) in up.stderr
        assert next(iter(environ)) in down.stderr

    def test_no_secret_is_shown(self, store: Store, web: HttpServer, s3: S3Server, bucket: str) -> None:
        signed = web.on("/x", status(403)) + "?X-Amz-Signature=0011223344556677&password=pass-word"
        s3.spoil = lambda _request: Fault(403, "SignatureDoesNotMatch")
        store.put({"x": DATA})
        told = store(signed, "y").stderr + store("x", f"s3://{bucket}/x").stderr
        secrets = ("0011223344556677", "pass-word", s3.environ()["AWS_SECRET_ACCESS_KEY"])
        assert [one for one in secrets if one in told] == []


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


@pytest.mark.parametrize("source", ["s3", "http", "here"])
def test_full_disk_leaves_nothing(
    store: Store, web: HttpServer, s3: S3Server, bucket: str, disk: Path, source: str
) -> None:
    content = bytes(5_000_000)
    s3.make(bucket, {"x": content})
    store.put({"x": content})
    places = {"s3": f"s3://{bucket}/x", "http": web.on("/x", File(content)), "here": "x"}
    done = store(places[source], str(disk / "y"))
    assert (done.code in (7, 8), "o space" in done.stderr, os.listdir(disk)) == (True, True, []), done.stderr
