"""Objects in S3 as files: the store against moto's server, in this process and isolated in the tree."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Optional
from uuid import uuid4

import pytest
from s3_server import KEY, SECRET, Fault, Request, S3Server, credential_region, query

from nuwrap_runtime.host.stores import Access, Entry, Progress, StoreError
from nuwrap_runtime.host.stores.s3 import S3Store, content_type, open_store
from nuwrap_runtime.host.stores.s3_settings import parse_location
from nuwrap_runtime.launch import Network

# s3transfer drops the answers of a transfer that is ended, and leaves their sockets to be collected.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)

TOKEN = "the-token"  # noqa: S105 - nobody's
LARGE = 65_000_000
PART = 8 * 1024 * 1024
MANY = 1010  # more than a page of a listing, and of a removal: 1000
IN_TREE = """
import sys
sys.path += [sys.argv[1] + "/worker", sys.argv[1] + "/host"]
import os
from nuwrap_runtime.host.stores import Access, Progress, open_writable
store = open_writable("s3", Access(Progress("moving", 10**9, "limits.bytes"), dict(os.environ)))
address, path = sys.argv[3:]
if sys.argv[2] == "down":
    print(store.download(store.find(address)[0], path).revision)
else:
    print(store.upload(path, address).revision)
import botocore
assert botocore.__file__.startswith(sys.argv[1]), botocore.__file__
"""


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server
    gc.collect()  # here, where the sockets that are left may be told


@pytest.fixture
def server(running: S3Server) -> Iterator[S3Server]:
    yield running
    running.reset()


@pytest.fixture
def bucket(server: S3Server) -> str:
    name = f"bucket-{uuid4().hex}"
    server.make(name)
    server.reset()
    return name


def open_at(server: S3Server, *, limit: int = 10**9, environ: Optional[dict[str, str]] = None, **keys: Any) -> S3Store:
    given = server.environ() if environ is None else environ
    return open_store(Access(Progress("moving", limit, "limits.bytes"), given, **keys))


def refusal(act: Callable[[], object]) -> str:
    """Return the message that the act fails with."""
    with pytest.raises(StoreError) as caught:
        act()
    text = str(caught.value)
    assert SECRET not in text
    assert KEY not in text
    return text


def is_get(request: Request) -> bool:
    return request.method == "GET" and "list-type" not in query(request)


def moved(tree: str, direction: str, address: str, path: Path, environ: dict[str, str]) -> subprocess.Popen[str]:
    """Start a process that moves one file, as isolated as the host's own."""
    command = [sys.executable, "-I", "-S", "-c", IN_TREE, tree, direction, address, str(path)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# --- what is there


def test_an_object_is_found_with_size_and_etag(server: S3Server, bucket: str) -> None:
    server.make(bucket, {"data/raw.csv": b"a,b\n"})
    address = f"s3://{bucket}/data/raw.csv"
    etag = hashlib.md5(b"a,b\n").hexdigest()  # noqa: S324 - what S3 calls an ETag
    assert open_at(server).find(address) == [Entry(address, "", 4, etag)]


@pytest.mark.parametrize("key", ["a b.txt", "a#b.txt", "a?b=c.txt", "é/ü.txt", "100%25.txt", "a+b&c.txt", "a//b.txt"])
def test_a_key_is_taken_literally(server: S3Server, bucket: str, tmp_path: Path, key: str) -> None:
    (tmp_path / "in").write_bytes(b"content")
    store = open_at(server)
    store.upload(str(tmp_path / "in"), f"s3://{bucket}/{key}")
    assert server.keys(bucket) == [key]
    for address in (f"s3://{bucket}/{key}", f"s3://{bucket}/"):
        (entry,) = store.find(address)
        assert entry.address == f"s3://{bucket}/{key}"
        store.download(entry, str(tmp_path / "out"))
        assert (tmp_path / "out").read_bytes() == b"content"


@pytest.mark.parametrize("end", ["", "/"], ids=["without-slash", "with-slash"])
def test_a_prefix_is_all_below_it_without_folder_markers(server: S3Server, bucket: str, end: str) -> None:
    server.make(bucket, {"pre/": b"", "pre/a": b"1", "pre/sub/": b"", "pre/sub/b": b"2", "prefix": b"3"})
    found = open_at(server).find(f"s3://{bucket}/pre{end}")
    assert [(entry.name, entry.address) for entry in found] == [
        ("a", f"s3://{bucket}/pre/a"),
        ("sub/b", f"s3://{bucket}/pre/sub/b"),
    ]


def test_more_than_a_page_of_objects_comes_in_parallel(server: S3Server, bucket: str, tmp_path: Path) -> None:
    wanted = {f"many/{number:04}": f"{number}".encode() for number in range(MANY)}
    server.make(bucket, wanted)
    store, direct = open_at(server), open_at(server, environ=server.environ(AWS_ENDPOINT_URL=server.direct_url))
    found = store.find(f"s3://{bucket}/many/")
    assert len(found) == MANY
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda entry: direct.download(entry, str(tmp_path / entry.name)), found))
    assert {f"many/{path.name}": path.read_bytes() for path in tmp_path.iterdir()} == wanted
    store.remove([entry.address for entry in found])
    assert server.keys(bucket) == []
    assert sum(request.method == "POST" for request in server.seen) == 2


def test_more_files_than_allowed_are_an_error(server: S3Server, bucket: str) -> None:
    server.make(bucket, {"p/1": b"", "p/2": b"", "p/3": b""})
    assert "more than 2 files" in refusal(lambda: open_at(server, max_files=2).find(f"s3://{bucket}/p/"))
    assert len(open_at(server, max_files=3).find(f"s3://{bucket}/p/")) == 3


def test_what_is_not_there_is_told_with_what_is_nearby(server: S3Server, bucket: str) -> None:
    server.make(bucket, {"data/raw-1.csv": b"", "data/raw-2.csv": b"", "other": b""})
    store = open_at(server)
    text = refusal(lambda: store.find(f"s3://{bucket}/data/raw"))
    assert f"there is no object, and nothing below, s3://{bucket}/data/raw;" in text
    assert "'data/raw-1.csv', 'data/raw-2.csv'" in text
    assert "other" not in text
    assert "'data/raw-1.csv', 'data/raw-2.csv', 'other'" in refusal(lambda: store.find(f"s3://{bucket}/nope/"))


def test_an_empty_bucket_is_told(server: S3Server, bucket: str) -> None:
    assert f"bucket {bucket!r} is empty" in refusal(lambda: open_at(server).find(f"s3://{bucket}"))


def test_a_missing_bucket_is_told_as_such(server: S3Server) -> None:
    text = refusal(lambda: open_at(server).find("s3://no-such-bucket/key"))
    assert "cannot list s3://no-such-bucket/key: there is no bucket 'no-such-bucket'" in text
    assert "404 NoSuchBucket" in text
    assert server.url in text


def test_a_key_that_the_server_lists_elsewhere_is_refused(server: S3Server, bucket: str) -> None:
    listing = b"<ListBucketResult><Contents><Key>../x</Key><Size>1</Size></Contents></ListBucketResult>"
    server.spoil_first(1, Fault(200, body=listing))
    assert "'../x', which is not below it" in refusal(lambda: open_at(server).find(f"s3://{bucket}/p/"))


@pytest.mark.parametrize("address", ["s3://", "s3:///key", "http://a/b", "s3:bucket/key"])
def test_an_address_without_a_bucket_is_refused(address: str) -> None:
    assert "allowed: s3://BUCKET/KEY" in refusal(lambda: parse_location(address))


def test_a_versioned_object_has_its_version_in_the_revision(server: S3Server, bucket: str, tmp_path: Path) -> None:
    enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    server.ask("PUT", f"/{bucket}?versioning", enabled)
    server.make(bucket, {"k": b"1"})
    store = open_at(server)
    (entry,) = store.find(f"s3://{bucket}/k")
    etag, _, version = entry.revision.partition(" ")
    assert len(etag) == 32
    assert version
    assert store.download(entry, str(tmp_path / "out")) == entry


# --- moving


def test_a_large_file_goes_and_comes_in_parts(server: S3Server, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(os.urandom(LARGE))
    address, store = f"s3://{bucket}/large.bin", open_at(server)
    made = store.upload(str(tmp_path / "in.bin"), address)
    assert made.revision.endswith("-8")
    assert sum("partNumber" in query(request) for request in server.seen) == 8
    server.reset()
    (entry,) = store.find(address)
    assert entry == made
    assert store.download(entry, str(tmp_path / "out.bin")) == entry
    ranges = {request.headers.get("range") for request in server.seen if is_get(request)}
    assert len(ranges) == 8
    assert {request.headers["if-match"] for request in server.seen if is_get(request)} == {f'"{made.revision}"'}
    assert (tmp_path / "in.bin").read_bytes() == (tmp_path / "out.bin").read_bytes()


def test_what_is_known_already_is_not_read(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"1"})
    store = open_at(server)
    (entry,) = store.find(f"s3://{bucket}/k")
    assert store.download(entry, str(tmp_path / "out"), known=entry.revision) is None
    assert store.download(Entry(entry.address), str(tmp_path / "out"), known=entry.revision) is None
    assert not (tmp_path / "out").exists()
    assert not [request for request in server.seen if is_get(request)]
    assert store.download(entry, str(tmp_path / "out"), known="another") == entry


@pytest.mark.parametrize("size", [0, 10, PART, PART + 1])
def test_sizes_around_a_part_come_whole(server: S3Server, bucket: str, tmp_path: Path, size: int) -> None:
    (tmp_path / "in").write_bytes(os.urandom(size))
    store = open_at(server)
    entry = store.upload(str(tmp_path / "in"), f"s3://{bucket}/k")
    assert entry.size == size
    assert store.download(entry, str(tmp_path / "out")) == store.find(f"s3://{bucket}/k")[0]
    assert (tmp_path / "in").read_bytes() == (tmp_path / "out").read_bytes()


@pytest.mark.parametrize("size", [100, 2 * PART], ids=["one-piece", "parts"])
def test_an_object_that_changed_meanwhile_is_an_error(server: S3Server, bucket: str, tmp_path: Path, size: int) -> None:
    server.make(bucket, {"k": b"1" * size})
    store = open_at(server)
    (entry,) = store.find(f"s3://{bucket}/k")
    server.make(bucket, {"k": b"2" * size})
    text = refusal(lambda: store.download(entry, str(tmp_path / "out")))
    assert "it changed while it was read" in text
    assert list(tmp_path.iterdir()) == []


def test_a_target_is_replaced_whole_or_stays(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"new" * PART})
    target = tmp_path / "out"
    target.write_bytes(b"old")
    store = open_at(server)
    (entry,) = store.find(f"s3://{bucket}/k")
    server.spoil = lambda request: Fault(403, "AccessDenied") if is_get(request) else None
    refusal(lambda: store.download(entry, str(target)))
    assert target.read_bytes() == b"old"
    server.reset()
    store.download(entry, str(target))
    assert target.stat().st_size == 3 * PART
    assert list(tmp_path.iterdir()) == [target]


def test_small_objects_are_read_and_written_at_once(server: S3Server, bucket: str) -> None:
    store, address = open_at(server), f"s3://{bucket}/run/manifest.json"
    assert store.read(address, 10) is None
    store.write(address, b'{"a": 1}', "application/json")
    assert store.read(address, 8) == b'{"a": 1}'
    assert "more than 7 bytes" in refusal(lambda: store.read(address, 7))
    put = next(request for request in server.seen if request.method == "PUT")
    assert put.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "text/csv"),
        ("a.PARQUET", "application/vnd.apache.parquet"),
        ("a.json", "application/json"),
        ("a.tar.gz", "application/gzip"),
        ("run.1/a", "application/octet-stream"),
    ],
)
def test_a_suffix_says_the_content_type(name: str, expected: str) -> None:
    assert content_type(name) == expected


def test_what_is_not_there_is_removed_without_an_error(server: S3Server, bucket: str) -> None:
    server.make(bucket, {"a": b"1"})
    open_at(server).remove([f"s3://{bucket}/a", f"s3://{bucket}/b"])
    assert server.keys(bucket) == []


def test_a_server_that_removes_none_at_once_removes_one_by_one(server: S3Server, bucket: str) -> None:
    server.make(bucket, {"a": b"1", "b": b"2"})
    server.spoil = lambda request: Fault(400, "MissingContentMD5") if request.method == "POST" else None
    open_at(server).remove([f"s3://{bucket}/a", f"s3://{bucket}/b"])
    assert server.keys(bucket) == []


# --- what may pass is tried again


@pytest.mark.parametrize("status", [500, 503])
def test_a_busy_server_is_asked_again(server: S3Server, bucket: str, tmp_path: Path, status: int) -> None:
    server.make(bucket, {"k": b"1"})
    store = open_at(server)
    server.spoil_first(1, Fault(status, "SlowDown"))
    (entry,) = store.find(f"s3://{bucket}/k")
    server.spoil_first(1, Fault(status, "SlowDown"), is_get)
    store.download(entry, str(tmp_path / "out"))
    server.spoil_first(1, Fault(status, "SlowDown"), lambda request: request.method == "PUT")
    store.upload(str(tmp_path / "out"), f"s3://{bucket}/k2")
    assert server.content(bucket, "k2") == b"1"


def test_a_server_that_stays_busy_is_told(server: S3Server, bucket: str) -> None:
    server.spoil = lambda _request: Fault(503, "SlowDown")
    text = refusal(lambda: open_at(server, environ=server.environ(AWS_MAX_ATTEMPTS="2")).find(f"s3://{bucket}/k/"))
    assert "the server is busy or broken, after several attempts" in text
    assert "503 SlowDown" in text
    assert len(server.seen) == 2


@pytest.mark.parametrize("size", [1000, 2 * PART], ids=["one-piece", "parts"])
def test_what_is_cut_off_is_read_again(server: S3Server, bucket: str, tmp_path: Path, size: int) -> None:
    server.make(bucket, {"k": b"1" * size})
    store = open_at(server)
    (entry,) = store.find(f"s3://{bucket}/k")
    server.spoil_first(2, Fault(cut_after=500), is_get)
    store.download(entry, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"1" * size
    server.spoil_first(2, Fault(cut_after=500), is_get)
    assert store.read(f"s3://{bucket}/k", size) == b"1" * size


def test_what_is_always_cut_off_is_an_error_that_leaves_nothing(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"1" * 1000})
    store = open_at(server)
    (entry,) = store.find(f"s3://{bucket}/k")
    server.spoil = lambda request: Fault(cut_after=500) if is_get(request) else None
    assert "the connection was cut off" in refusal(lambda: store.download(entry, str(tmp_path / "out")))
    assert "the connection was cut off" in refusal(lambda: store.read(f"s3://{bucket}/k", 1000))
    assert list(tmp_path.iterdir()) == []


def test_bytes_of_an_attempt_that_was_cut_off_count_once(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"1" * 1000})
    progress = Progress("moving", 1000, "limits.bytes")
    store = open_store(Access(progress, server.environ()))
    (entry,) = store.find(f"s3://{bucket}/k")
    server.spoil_first(2, Fault(cut_after=500), is_get)
    store.download(entry, str(tmp_path / "out"))
    assert progress.bytes == 1000


def test_a_slow_server_ends_with_the_deadline(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"1" * 2 * PART})
    entry = open_at(server).find(f"s3://{bucket}/k")[0]
    server.spoil = lambda request: Fault(pause=0.2) if is_get(request) else None
    store = open_at(server, deadline=time.monotonic() + 1)
    assert "the time is over (limits.seconds)" in refusal(lambda: store.download(entry, str(tmp_path / "out")))
    assert "the time is over" in refusal(lambda: store.find(f"s3://{bucket}/k"))
    assert list(tmp_path.iterdir()) == []


def test_a_mute_server_ends_with_the_deadline(server: S3Server, bucket: str) -> None:
    asked = threading.Event()

    def spoil(_request: Request) -> Fault:
        asked.set()
        return Fault(503, delay=12)

    server.spoil = spoil
    store = open_at(server, deadline=time.monotonic() + 10)  # importing the client takes its time too
    refusal(lambda: store.find(f"s3://{bucket}/k"))
    assert asked.is_set()


# --- limits


def test_an_object_over_the_limit_is_not_even_begun(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"1" * 1000})
    (tmp_path / "in").write_bytes(b"1" * 1000)
    for act in (
        lambda: open_at(server, limit=999).download(open_at(server).find(f"s3://{bucket}/k")[0], str(tmp_path / "out")),
        lambda: open_at(server, limit=999).upload(str(tmp_path / "in"), f"s3://{bucket}/k2"),
    ):
        assert "more than 999 bytes, the most that is allowed (limits.bytes)" in refusal(act)
    assert not [request for request in server.seen if is_get(request) or request.method == "PUT"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [1000, 4 * PART], ids=["one-piece", "parts"])
def test_an_object_that_is_longer_than_it_was_listed_ends_at_the_limit(
    server: S3Server, bucket: str, tmp_path: Path, size: int
) -> None:
    server.make(bucket, {"k": b"1" * size})
    (entry,) = open_at(server).find(f"s3://{bucket}/k")
    lie = Entry(entry.address, size=10, revision=entry.revision)
    text = refusal(lambda: open_at(server, limit=999).download(lie, str(tmp_path / "out")))
    assert "more than 999 bytes" in text
    assert list(tmp_path.iterdir()) == []


def test_an_upload_over_the_limit_midway_takes_its_parts_back(server: S3Server, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"1" * 4 * PART)
    progress = Progress("moving", 5 * PART, "limits.bytes")
    store = open_store(Access(progress, server.environ()))

    def spoil(request: Request) -> None:
        if "partNumber" in query(request):
            progress.bytes = 5 * PART  # as if other files came meanwhile

    server.spoil = spoil
    assert "the most that is allowed" in refusal(lambda: store.upload(str(tmp_path / "in"), f"s3://{bucket}/k"))
    assert has_nothing(server, bucket)


def test_an_upload_that_is_too_late_takes_its_parts_back(server: S3Server, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"1" * 4 * PART)
    server.spoil = lambda request: Fault(delay=5) if "partNumber" in query(request) else None
    store = open_at(server, deadline=time.monotonic() + 3)  # a busy machine takes one until the first part
    assert "the time is over" in refusal(lambda: store.upload(str(tmp_path / "in"), f"s3://{bucket}/k"))
    assert has_nothing(server, bucket)


def has_nothing(server: S3Server, bucket: str) -> bool:
    """Return whether neither objects nor parts are left; parts that were under way may come to their end first."""
    for _ in range(300):
        if not server.unfinished(bucket):
            return server.keys(bucket) == []
        time.sleep(0.1)
    return False


# --- who asks, and where


def test_a_session_token_goes_with_each_request(server: S3Server, bucket: str) -> None:
    store = open_at(server, environ=server.environ(AWS_SESSION_TOKEN=TOKEN))
    store.write(f"s3://{bucket}/k", b"1", "text/plain")
    store.find(f"s3://{bucket}/k")
    assert {request.headers.get("x-amz-security-token") for request in server.seen} == {TOKEN}


@pytest.mark.parametrize(("style", "is_path"), [("", True), ("true", True), ("false", False)])
def test_the_bucket_is_in_the_path_or_in_the_host(server: S3Server, bucket: str, style: str, is_path: bool) -> None:
    server.make(bucket, {"k": b"1"})
    environ = server.environ(AWS_ENDPOINT_URL="http://s3.example.test", S3_PATH_STYLE=style)
    store = open_at(server, environ=environ, network=Network(proxies={"http": server.url}))
    server.spoil = lambda _request: Fault(200, headers={"ETag": '"e"'}, body=b"1")
    store.find(f"s3://{bucket}/k")
    (request,) = server.seen
    host, path = ("s3.example.test", f"/{bucket}/k") if is_path else (f"{bucket}.s3.example.test", "/k")
    assert (request.host, request.path) == (host, f"http://{host}{path}")


def test_a_proxy_is_not_asked_for_what_is_near(server: S3Server, bucket: str) -> None:
    server.make(bucket, {"k": b"1"})
    proxies = {"all": "http://127.0.0.1:1", "no": "127.0.0.1"}
    assert open_at(server, network=Network(proxies=proxies)).find(f"s3://{bucket}/k")
    far = open_at(server, network=Network(proxies={**proxies, "no": "other.test"}), deadline=time.monotonic() + 30)
    with pytest.raises(StoreError, match="proxy"):
        far.find(f"s3://{bucket}/k")


@pytest.mark.parametrize(("version", "begins"), [("", "AWS4-HMAC-SHA256 "), ("s3v4", "AWS4-"), ("s3", f"AWS {KEY}:")])
def test_the_signature_version_is_as_set(server: S3Server, bucket: str, version: str, begins: str) -> None:
    server.make(bucket, {"k": b"1"})
    open_at(server, environ=server.environ(S3_SIGNATURE_VERSION=version)).find(f"s3://{bucket}/k")
    assert server.seen[0].headers["authorization"].startswith(begins)


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL"])
def test_an_endpoint_has_three_names(server: S3Server, bucket: str, name: str) -> None:
    environ = {**server.environ(AWS_ENDPOINT_URL="http://127.0.0.1:1"), name: server.url}
    open_at(server, environ=environ).write(f"s3://{bucket}/k", b"1", "text/plain")
    assert server.content(bucket, "k") == b"1"


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ({}, "us-east-1"),
        ({"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
    ],
)
def test_the_region_is_as_set(server: S3Server, bucket: str, given: dict[str, str], region: str) -> None:
    server.make(bucket, {"k": b"1"})
    open_at(server, environ=server.environ(**given)).find(f"s3://{bucket}/k")
    assert credential_region(server.seen[0]) == region


def test_a_bucket_in_another_region_is_asked_there(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"1"})
    server.spoil = lambda request: MOVED if credential_region(request) == "us-east-1" else None
    store = open_at(server)
    (entry,) = store.find(f"s3://{bucket}/k")
    store.download(entry, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"1"


def test_a_region_that_only_reading_tells_is_found_out(server: S3Server, bucket: str) -> None:
    def spoil(request: Request) -> Optional[Fault]:
        body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-south-1</Region></Error>"
        return Fault(400, body=body) if credential_region(request) == "us-east-1" else None

    server.make(bucket, {"k": b"1", "folder/k": b"2"})
    server.spoil = spoil
    assert [entry.size for entry in open_at(server).find(f"s3://{bucket}/k")] == [1]
    assert [entry.name for entry in open_at(server).find(f"s3://{bucket}/folder")] == ["k"]


def test_a_404_of_another_kind_is_no_missing_object(server: S3Server, bucket: str) -> None:
    server.spoil = lambda _request: Fault(404, "XAdminUserNotFound")
    text = refusal(lambda: open_at(server).read(f"s3://{bucket}/k", 1))
    assert "the server refuses it" in text
    assert "XAdminUserNotFound" in text


def test_a_region_that_cannot_be_followed_is_named(server: S3Server, bucket: str) -> None:
    server.spoil = lambda _request: MOVED
    text = refusal(lambda: open_at(server).find(f"s3://{bucket}/k/"))
    assert "the bucket is in another region, eu-south-1" in text
    assert "set AWS_REGION=eu-south-1" in text


MOVED = Fault(301, "PermanentRedirect", headers={"x-amz-bucket-region": "eu-south-1"})


def test_a_profile_comes_from_its_files(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"1"})
    (tmp_path / "config").write_text(f"[profile mine]\nregion = eu-north-1\nendpoint_url = {server.url}\n")
    (tmp_path / "keys").write_text(f"[mine]\naws_access_key_id = AKIAMINE\naws_secret_access_key = {SECRET}\n")
    environ = {
        "AWS_PROFILE": "mine",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys"),
    }
    open_at(server, environ=environ).find(f"s3://{bucket}/k")
    assert "Credential=AKIAMINE/" in server.seen[0].headers["authorization"]
    assert credential_region(server.seen[0]) == "eu-north-1"
    assert "cannot sign in at the S3 store" in refusal(
        lambda: open_at(server, environ={**environ, "AWS_PROFILE": "nobodys"})
    )


def test_a_home_has_profiles_too(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"1"})
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[default]\naws_access_key_id = AKIAHOME\naws_secret_access_key = {SECRET}\n"
    )
    open_at(server, environ={"HOME": str(tmp_path), "AWS_ENDPOINT_URL": server.url}).find(f"s3://{bucket}/k")
    assert "Credential=AKIAHOME/" in server.seen[0].headers["authorization"]


def test_a_web_identity_takes_its_role_on(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"1"})
    (tmp_path / "token").write_text("the-identity")
    environ = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/reader",
        "AWS_ENDPOINT_URL": server.url,
    }
    open_at(server, environ=environ).find(f"s3://{bucket}/k")
    sign_in, head = server.seen
    assert sign_in.method == "POST"
    assert "authorization" not in sign_in.headers
    assert "Credential=ASIA" in head.headers["authorization"]
    assert head.headers["x-amz-security-token"]
    body = b"<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>"
    server.spoil = lambda _request: Fault(400, body=body)
    assert "check the file AWS_WEB_IDENTITY_TOKEN_FILE" in refusal(lambda: open_at(server, environ=environ))


def test_the_process_s_own_variables_do_not_matter(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make(bucket, {"k": b"1"})
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "HTTP_PROXY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    before = dict(os.environ)
    open_at(server).find(f"s3://{bucket}/k")
    assert dict(os.environ) == before
    assert "x-amz-security-token" not in server.seen[0].headers


def test_what_is_public_needs_no_credentials(server: S3Server, bucket: str) -> None:
    server.make(bucket, {"k": b"1"})
    server.publish(bucket, "k")
    environ = {"AWS_ENDPOINT_URL": server.url, "AWS_EC2_METADATA_DISABLED": "true"}
    store = open_at(server, environ=environ)
    assert store.read(f"s3://{bucket}/k", 10) == b"1"
    assert "authorization" not in server.seen[0].headers
    server.spoil = lambda _request: Fault(403, "AccessDenied")
    text = refusal(lambda: store.find(f"s3://{bucket}/k"))
    assert "it is not public, and no credentials were found" in text
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in text
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in text


def test_older_servers_get_no_new_checksums(server: S3Server, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"1" * 2 * PART)
    open_at(server).upload(str(tmp_path / "in"), f"s3://{bucket}/k")
    assert not [name for request in server.seen for name in request.headers if name.startswith("x-amz-checksum")]


# --- what fails says why


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", "these credentials may not do that"),
        (400, "ExpiredToken", "the credentials have expired"),
        (403, "SignatureDoesNotMatch", "check AWS_SECRET_ACCESS_KEY"),
        (403, "InvalidAccessKeyId", "the server does not know the access key"),
        (403, "RequestTimeTooSkewed", "set the clock"),
        (418, "Teapot", "the server refuses it"),
    ],
)
@pytest.mark.parametrize("name", ["k", "k/"], ids=["object", "folder"])
def test_a_refusal_says_why_and_what_to_set(
    server: S3Server, bucket: str, status: int, code: str, words: str, name: str
) -> None:
    server.spoil = lambda _request: Fault(status, code)
    text = refusal(lambda: open_at(server).find(f"s3://{bucket}/{name}"))
    assert words in text
    assert f"s3://{bucket}/{name}: " in text
    assert f"{server.url} said {status} {code} as the test wants it" in text or (name == "k" and code == "Teapot")


def test_a_server_that_tells_the_key_is_masked(server: S3Server, bucket: str) -> None:
    body = f"<Error><Code>AccessDenied</Code><Message>no: {KEY} {SECRET}</Message></Error>".encode()
    server.spoil = lambda _request: Fault(403, body=body)
    assert "no: *** ***" in refusal(lambda: open_at(server).find(f"s3://{bucket}/k/"))


def test_denied_listing_of_what_is_no_object_says_both(server: S3Server, bucket: str) -> None:
    server.spoil = lambda request: Fault(403, "AccessDenied") if "list-type" in query(request) else None
    text = refusal(lambda: open_at(server).find(f"s3://{bucket}/k"))
    assert f"there is no object s3://{bucket}/k, and what is below may not be listed" in text
    assert "ask for s3:ListBucket" in text


def test_a_server_that_is_not_there_is_told() -> None:
    environ = {"AWS_ENDPOINT_URL": "http://user:pass@127.0.0.1:1", "AWS_EC2_METADATA_DISABLED": "true"}
    store = open_store(Access(Progress("moving", 1, "k"), {**environ, "AWS_MAX_ATTEMPTS": "1"}))
    text = refusal(lambda: store.find("s3://bucket/k"))
    assert "the server cannot be reached (http://***@127.0.0.1:1: Connection refused)" in text
    assert "AWS_ENDPOINT_URL_S3" in text
    assert "pass@" not in text


PAGE = Fault(200, headers={"Content-Type": "text/html"}, body=b"<html><p>Welcome<br></html>")


def test_a_server_that_speaks_no_s3_is_told(server: S3Server) -> None:
    server.spoil = lambda _request: PAGE
    store = open_at(server)
    assert "what answers is no S3 server" in refusal(lambda: store.find("s3://bucket/k/"))
    assert "gives no ETag" in refusal(lambda: store.find("s3://bucket/k"))


def test_a_server_without_tls_is_told_from_one_that_is_not_trusted(server: S3Server) -> None:
    environ = server.environ(AWS_ENDPOINT_URL=server.url.replace("http", "https"), AWS_MAX_ATTEMPTS="1")
    assert "network.ca" in refusal(lambda: open_at(server, environ=environ).find("s3://bucket/k"))


def test_a_ca_bundle_that_is_not_there_is_told(server: S3Server) -> None:
    assert "the CA bundle '/nope.pem'" in refusal(lambda: open_at(server, network=Network(ca="/nope.pem")))
    environ = server.environ(AWS_CA_BUNDLE="/nope2.pem")
    assert "the CA bundle '/nope2.pem'" in refusal(lambda: open_at(server, environ=environ))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("S3_PATH_STYLE", "maybe", "allowed: true, false"),
        ("S3_SIGNATURE_VERSION", "v5", "allowed: s3v4, s3"),
        ("AWS_ENDPOINT_URL", "localhost:9000", "Invalid endpoint"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(server: S3Server, name: str, value: str, allowed: str) -> None:
    assert allowed in refusal(lambda: open_at(server, environ=server.environ(**{name: value})))


def test_a_full_disk_is_told(server: S3Server, bucket: str, tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this machine")
    server.make(bucket, {"k": b"1"})
    store = open_at(server)
    (entry,) = store.find(f"s3://{bucket}/k")
    assert "no space is left on the disk" in refusal(lambda: store.download(entry, "/dev/full"))


def test_a_folder_that_is_not_there_is_told(server: S3Server, bucket: str, tmp_path: Path) -> None:
    server.make(bucket, {"k": b"1"})
    store = open_at(server)
    (entry,) = store.find(f"s3://{bucket}/k")
    assert "No such file or directory" in refusal(lambda: store.download(entry, str(tmp_path / "no" / "out")))
    assert "No such file or directory" in refusal(lambda: store.upload(str(tmp_path / "no"), f"s3://{bucket}/k"))


# --- in the tree, isolated


def test_the_tree_s_own_packages_are_enough(tree: str, server: S3Server, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(os.urandom(2 * PART))
    (tmp_path / "token").write_text("the-identity")
    environ = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/reader",
        "AWS_ENDPOINT_URL": server.url,
    }
    for direction, path in (("up", tmp_path / "in"), ("down", tmp_path / "out")):
        process = moved(tree, direction, f"s3://{bucket}/k", path, environ)
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert out.strip().endswith("-2")
    assert (tmp_path / "in").read_bytes() == (tmp_path / "out").read_bytes()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_killed_process_leaves_no_file_and_no_object(
    tree: str, server: S3Server, bucket: str, tmp_path: Path, direction: str
) -> None:
    path, wanted = tmp_path / "file", 2
    if direction == "up":
        path.write_bytes(b"1" * 4 * PART)
    else:
        server.make(bucket, {"k": b"1" * 4 * PART})
    begun = threading.Semaphore(0)

    def spoil(request: Request) -> Optional[Fault]:
        if "partNumber" not in query(request) and not is_get(request):
            return None
        begun.release()
        return Fault(pause=0.2, delay=0.2)

    server.spoil = spoil
    process = moved(tree, direction, f"s3://{bucket}/k", path, server.environ())
    for _ in range(wanted):
        assert begun.acquire(timeout=60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.exists() == (direction == "up")
    assert server.keys(bucket) == ([] if direction == "up" else ["k"])
