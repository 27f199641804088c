"""The http store against real servers, proxies and certificates: what it writes, asks for again, and refuses."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from typing import Any, Optional

import pytest
from http_server import (
    LONG_AGO,
    Answer,
    File,
    HttpProxy,
    HttpServer,
    Request,
    endless,
    for_login,
    make_certificate,
    mute,
    raw,
    redirect,
    status,
)

from nuwrap_runtime.host import stores
from nuwrap_runtime.host.stores import (
    Access,
    Entry,
    Progress,
    StoreError,
    http_connections,
    http_sockets,
    open_store,
    together,
)
from nuwrap_runtime.launch import Network

CONTENT = bytes(range(256)) * 40  # 10,240 bytes, no block of which repeats at another place in a block
FILE = File(CONTENT, etag='"one"')
OK = b"HTTP/1.1 200 OK\r\n"


class Client:
    """One store and what it counts. `get` downloads to `target`, which is in an otherwise empty folder."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, limit: int = 10**9, **access: Any) -> None:
        self.progress = Progress("fetched", limit, "limits.bytes")
        self.store = open_store("http", Access(self.progress, environ, **access))
        self.target = folder / "target"

    def get(self, address: str, known: str = "") -> Any:
        (entry,) = self.store.find(address)
        return self.store.download(entry, str(self.target), known=known)

    def refused(self, address: str) -> str:
        """The message of a download that fails and leaves nothing."""
        with pytest.raises(StoreError) as caught:
            self.get(address)
        assert os.listdir(self.target.parent) == []
        return str(caught.value)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "into"
    made.mkdir()
    return made


@pytest.fixture
def client(folder: Path) -> Client:
    return Client(folder, {})


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("the program openssl is not on PATH: nothing here can make a certificate")
    return make_certificate(tmp_path_factory.mktemp("tls"))


def within(seconds: float) -> dict[str, Any]:
    return {"deadline": time.monotonic() + seconds, "deadline_key": "limits.seconds"}


# ---- a file


def test_a_file_comes_with_size_revision_and_content_type(server: HttpServer, client: Client) -> None:
    found = client.get(server.on("/f", File(CONTENT, etag='"one"', content_type="Text/HTML; charset=utf-8")))
    assert client.target.read_bytes() == CONTENT
    assert (found.size, found.revision, found.content_type) == (len(CONTENT), 'etag:"one"', "text/html")
    assert client.progress.bytes == len(CONTENT)
    assert os.listdir(client.target.parent) == ["target"]


def test_finding_asks_nobody_and_leaves_the_fragment_out(client: Client) -> None:
    assert client.store.find("http://127.0.0.1:1/f?a=b#sha256=0") == (Entry("http://127.0.0.1:1/f?a=b"),)


def test_the_request_says_who_asks_and_wants_no_encoding(server: HttpServer, client: Client) -> None:
    client.get(server.on("/f", FILE))
    headers = server.seen[0].headers
    assert headers["user-agent"].startswith("nuwrap/")
    assert headers["accept-encoding"] == "identity"
    assert not {"authorization", "range", "if-none-match", "cookie"} & set(headers)


@pytest.mark.parametrize(
    "file",
    [
        File(b""),
        File(b"", is_chunked=True),
        File(CONTENT, is_chunked=True, block=100),
        File(CONTENT, headers={"Connection": "close"}),
        raw(OK + b"\r\n" + CONTENT),
        raw(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT),
        raw(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 10240\r\n\r\n" + CONTENT),
        raw(OK + b"Content-Length: 10240\r\n\r\n" + CONTENT + b"and what nobody announced"),
    ],
    ids=["empty", "empty chunks", "chunked", "closing", "to the end", "HTTP 1.0", "after a 100", "longer"],
)
def test_every_framing_of_a_body_is_read(server: HttpServer, client: Client, file: Answer) -> None:
    found = client.get(server.on("/f", file))
    assert client.target.read_bytes() == (file.content if isinstance(file, File) else CONTENT)
    assert found.size == client.target.stat().st_size


def test_the_target_is_replaced_and_has_the_usual_mode(server: HttpServer, client: Client) -> None:
    client.target.write_text("old")
    (client.target.parent / "beside").write_text("")
    client.get(server.on("/f", FILE))
    assert client.target.read_bytes() == CONTENT
    assert client.target.stat().st_mode == (client.target.parent / "beside").stat().st_mode


def test_a_thousand_bytes_in_each_of_forty_files_come_by_few_connections(server: HttpServer, client: Client) -> None:
    entries = [Entry(server.on(f"/{number}", File(b"%04d" % number * 250))) for number in range(40)]
    folder = client.target.parent
    together(lambda e: client.store.download(e, f"{folder}/{e.address.rpartition('/')[2]}"), entries, client.progress)
    assert [(folder / str(number)).read_bytes()[:4] for number in range(40)] == [b"%04d" % n for n in range(40)]
    assert client.progress.bytes == 40_000
    assert server.connections <= 16


# ---- what did not change


def test_what_is_known_is_not_sent_again(server: HttpServer, client: Client) -> None:
    address = server.on("/f", FILE)
    assert client.get(address, known='etag:"one"') is None
    assert server.seen[0].headers["if-none-match"] == '"one"'
    assert (server.sent, os.listdir(client.target.parent)) == (0, [])
    assert client.get(address, known='etag:"two"').revision == 'etag:"one"'


def test_a_server_without_conditions_is_believed_by_its_etag(server: HttpServer, client: Client) -> None:
    address = server.on("/f", raw(OK + b'Content-Length: 10240\r\nETag: "one"\r\n\r\n' + CONTENT))
    assert client.get(address, known='etag:"one"') is None
    assert os.listdir(client.target.parent) == []


@pytest.mark.parametrize("etag", ["", 'W/"weak"', "unquoted", '""', '"a" "b"', '"\xe9"'])
def test_what_is_no_strong_etag_is_no_revision(server: HttpServer, client: Client, etag: str) -> None:
    address = server.on("/f", File(CONTENT, headers={"ETag": etag}))
    assert client.get(address).revision == ""
    client.get(address, known=f"etag:{etag}")
    assert "if-none-match" not in server.seen[1].headers


def test_a_304_that_nobody_asked_for_is_an_error(server: HttpServer, client: Client) -> None:
    message = client.refused(server.on("/f", raw(b"HTTP/1.1 304 Not Modified\r\n\r\n")))
    assert "answered 304 Not Modified" in message


# ---- cut, and gone on with


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with length", "chunked"])
def test_a_cut_body_is_gone_on_with(server: HttpServer, client: Client, *, is_chunked: bool) -> None:
    cut = File(CONTENT, etag='"one"', cut=6000, is_chunked=is_chunked, block=3000)
    found = client.get(server.on("/f", cut, FILE))
    assert client.target.read_bytes() == CONTENT
    assert server.seen[1].headers["range"] == "bytes=6000-"
    assert server.seen[1].headers["if-range"] == '"one"'
    assert client.progress.bytes == len(CONTENT)
    assert (found.revision, found.size) == ('etag:"one"', len(CONTENT))


def test_only_what_is_missing_is_sent(server: HttpServer, client: Client) -> None:
    client.get(server.on("/f", File(CONTENT, etag='"one"', cut=6000), FILE))
    assert server.sent == len(CONTENT)


def test_an_old_modification_date_is_enough_to_go_on(server: HttpServer, client: Client) -> None:
    file = File(CONTENT, modified=LONG_AGO)
    client.get(server.on("/f", File(CONTENT, modified=LONG_AGO, cut=6000), file))
    assert server.seen[1].headers["if-range"] == LONG_AGO
    assert (client.target.read_bytes(), server.sent) == (CONTENT, len(CONTENT))


@pytest.mark.parametrize(
    "first",
    [
        File(CONTENT, cut=6000),
        File(CONTENT, cut=6000, headers={"ETag": 'W/"one"'}),
        File(CONTENT, cut=6000, modified=formatdate(time.time() + 3600, usegmt=True)),
        File(CONTENT, cut=6000, etag='"one"', headers={"Accept-Ranges": "none"}),
    ],
    ids=["no validator", "weak ETag", "modified just now", "no ranges"],
)
def test_what_might_be_another_file_begins_anew(server: HttpServer, client: Client, first: File) -> None:
    client.get(server.on("/f", first, FILE))
    assert "range" not in server.seen[1].headers
    assert client.target.read_bytes() == CONTENT
    assert client.progress.bytes == len(CONTENT)


def test_a_file_that_changes_between_attempts_is_the_new_one_alone(server: HttpServer, client: Client) -> None:
    new = File(b"new" * 4000, etag='"two"')
    found = client.get(server.on("/f", File(CONTENT, etag='"one"', cut=6000), new))
    assert client.target.read_bytes() == new.content
    assert (found.revision, client.progress.bytes) == ('etag:"two"', 12_000)


def _wrong_part(headers: bytes, status_line: bytes = b"HTTP/1.1 206 Partial Content\r\n") -> Answer:
    return raw(status_line + b"Connection: close\r\n" + headers + b"\r\n" + b"X" * 4240)


@pytest.mark.parametrize(
    "wrong",
    [
        _wrong_part(b"Content-Range: bytes 0-4239/10240\r\n"),
        _wrong_part(b"Content-Range: bytes 6001-10239/10240\r\n"),
        _wrong_part(b"Content-Range: bytes 6000-10239/10241\r\n"),
        _wrong_part(b"Content-Range: bytes 6000-10239/10240\r\nContent-Length: 9\r\n"),
        _wrong_part(b'Content-Range: bytes 6000-10239/10240\r\nETag: "two"\r\n'),
        _wrong_part(b"Content-Range: pages 1-2/3\r\n"),
        _wrong_part(b"Content-Type: multipart/byteranges; boundary=x\r\n"),
        _wrong_part(b"Content-Range: bytes */10240\r\n", b"HTTP/1.1 416 Range Not Satisfiable\r\n"),
    ],
    ids=["first", "gap", "total", "length", "etag", "unit", "parts", "416"],
)
def test_a_part_that_is_not_the_missing_one_is_thrown_away(server: HttpServer, client: Client, wrong: Answer) -> None:
    client.get(server.on("/f", File(CONTENT, etag='"one"', cut=6000), wrong, FILE))
    assert client.target.read_bytes() == CONTENT
    assert "range" not in server.seen[2].headers
    assert client.progress.bytes == len(CONTENT)


def test_a_rest_that_is_longer_than_the_file_is_thrown_away(server: HttpServer, client: Client) -> None:
    longer = raw(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 6000-10239/10240\r\n\r\n" + b"X" * 5000)
    client.get(server.on("/f", File(CONTENT, etag='"one"', cut=6000), longer, FILE))
    assert client.target.read_bytes() == CONTENT


def test_a_206_to_a_plain_request_is_an_error(server: HttpServer, client: Client) -> None:
    address = server.on("/f", raw(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\n\r\nab"))
    assert "answered 206" in client.refused(address)


def test_a_file_comes_through_more_cuts_than_attempts_as_long_as_it_grows(server: HttpServer, client: Client) -> None:
    content = os.urandom(7 * 1024 * 1024)
    block = 1024 * 1024
    cuts = [File(content, etag='"one"', cut=block, block=block) for _ in range(7)]
    client.get(server.on("/f", *cuts))
    assert client.target.read_bytes() == content
    assert len(server.seen) == 7


def test_a_length_that_is_never_reached_is_told(server: HttpServer, client: Client) -> None:
    message = client.refused(server.on("/f", File(CONTENT, announced=20_000)))
    assert "cut off after 10240 bytes of 20000" in message or "10240 of 20000" in message
    assert "5 times" in message
    assert len(server.seen) == 5


# ---- again, or not


@pytest.mark.parametrize(
    "first",
    [
        *(status(code, Retry_After="0") for code in (408, 425, 429, 500, 502, 503, 504)),
        status(503),
        raw(),
        raw(b"HTTP/1.1 2"),
        raw(b"SSH-2.0-nonsense\r\n"),
        raw(OK + b"Content-Len"),
        raw(OK + b"Content-Type: text/plain\r\n"),
        raw(b"HTTP/1.1 302 Found\r\nLocation: /wron"),
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ],
    ids=[
        "408",
        "425",
        "429",
        "500",
        "502",
        "503",
        "504",
        "no wait",
        "closed",
        "half",
        "no HTTP",
        "in a header",
        "before the length",
        "in a location",
        "in a chunk's head",
    ],
)
def test_what_may_pass_is_asked_again(server: HttpServer, client: Client, first: Answer) -> None:
    client.get(server.on("/f", first, FILE))
    assert [asked.path for asked in server.seen] == ["/f", "/f"]
    assert client.target.read_bytes() == CONTENT


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 407, 409, 410, 416, 418, 451, 204, 300, 600])
def test_what_will_not_pass_is_asked_once(server: HttpServer, client: Client, code: int) -> None:
    assert f" {code}" in client.refused(server.on("/f", status(code, Retry_After="0")))
    assert len(server.seen) == 1


def test_five_failures_in_a_row_are_enough(server: HttpServer, client: Client) -> None:
    message = client.refused(server.on("/f", status(503, "maintenance\nuntil noon", Retry_After="0")))
    assert "answered 503 Service Unavailable (maintenance until noon), 5 times in a row" in message
    assert len(server.seen) == 5


def test_retry_after_is_waited_for(server: HttpServer, client: Client) -> None:
    begin = time.monotonic()
    client.get(server.on("/f", status(429, Retry_After="2"), FILE))
    assert time.monotonic() - begin >= 2


def test_retry_after_may_be_a_moment(server: HttpServer, client: Client) -> None:
    client.get(server.on("/f", status(503, Retry_After=formatdate(time.time() - 5, usegmt=True)), FILE))
    assert len(server.seen) == 2


def test_who_asks_to_come_tomorrow_is_told_of_at_once(server: HttpServer, client: Client, folder: Path) -> None:
    address = server.on("/f", status(429, Retry_After="86400"))
    assert "asks to come again in 86400 s" in client.refused(address)
    soon = Client(folder, {}, **within(20)).refused(server.on("/g", status(429, Retry_After="100")))
    assert "limits.seconds ends before another attempt" in soon
    assert len(server.seen) == 2


def test_an_unknown_host_is_no_reason_to_try_again(client: Client) -> None:
    message = client.refused("http://nuwrap-test.invalid/f")
    assert "host 'nuwrap-test.invalid' is not found" in message


def test_a_refused_connection_is_told_with_its_server(client: Client, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        message = Client(folder, {}, **within(0.5)).refused(f"http://127.0.0.1:{port}/f")
    assert f"127.0.0.1:{port} takes no connection: Connection refused" in message


# ---- the deadline, the limit, a stop


@pytest.mark.parametrize(
    "answer",
    [
        mute,
        raw(*[b"H"] * 1000, pause_s=0.05),
        raw(OK, *[b"X-Header: 1\r\n"] * 1000, pause_s=0.05),
        raw(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 1000, pause_s=0.05),
        File(CONTENT, block=10, pause_s=0.05),
        File(CONTENT, block=10, pause_s=0.05, is_chunked=True),
        endless(b"x", pause_s=0.05),
        endless(b"X-Trailer: 1\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", pause_s=0.01),
        endless(b"x" * 100, b"HTTP/1.1 403 No\r\nContent-Type: text/plain\r\n", pause_s=0.05),
        File(CONTENT, cut=0),
    ],
    ids=["mute", "status", "headers", "100s", "body", "chunks", "endless", "trailers", "no header's end", "cut"],
)
def test_the_deadline_ends_every_kind_of_slowness(server: HttpServer, folder: Path, answer: Answer) -> None:
    client = Client(folder, {}, **within(0.7))
    begin = time.monotonic()
    message = client.refused(server.on("/f", answer))
    assert "limits.seconds" in message
    assert time.monotonic() - begin < 30  # far from the 60 s of a read


def test_the_deadline_ends_a_tls_server_that_drips(certificate: Path, folder: Path) -> None:
    with HttpServer(tls=certificate) as server:
        client = Client(folder, {}, network=Network(ca=str(certificate)), **within(0.7))
        assert "limits.seconds" in client.refused(server.on("/f", raw(OK, *[b"A: b\r\n"] * 1000, pause_s=0.05)))


def test_the_deadline_ends_a_tls_handshake_that_never_comes(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(folder, {}, **within(0.7))
        assert "limits.seconds" in client.refused(f"https://127.0.0.1:{silent.getsockname()[1]}/f")


def test_a_server_that_takes_no_connection_has_a_time_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, closing(socket.socket()) as first:
        address = full.getsockname()[:2]
        first.connect(address)  # whoever comes next is not even refused
        with closing(socket.socket()) as second:
            second.setblocking(False)
            second.connect_ex(address)
            began = time.monotonic()
            reason = Client(folder, {}, **within(1.2)).refused(f"http://127.0.0.1:{address[1]}/f")
    assert "took no connection within" in reason
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "answer", [mute, raw(OK + b"Content-Length: 9\r\n\r\n123", pause_s=3)], ids=["no-answer", "no-more-body"]
)
def test_a_server_that_sends_nothing_has_a_time_of_its_own(
    server: HttpServer, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    for module in (http_connections, http_sockets):
        monkeypatch.setattr(module, "READ_SECONDS", 0.3)
    began = time.monotonic()
    assert "sent nothing for" in Client(folder, {}, **within(1.2)).refused(server.on("/f", answer))
    assert time.monotonic() - began < 2
    assert len(server.seen) > 1


def test_progress_is_told_in_bytes_every_now_and_then(
    server: HttpServer, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stores, "LINE_SECONDS", 0.2)
    began = time.monotonic()
    Client(folder, {}).get(server.on("/f", File(bytes(3_000_000), block=500_000, pause_s=0.15)))
    most = (time.monotonic() - began) / 0.2
    told = re.findall(r"^fetched ([0-9.]+) of 3\.0 MB$", capsys.readouterr().err, re.MULTILINE)
    assert 2 <= len(told) <= most
    assert told == sorted(told)


def test_an_endless_body_ends_at_the_limit(server: HttpServer, folder: Path) -> None:
    message = Client(folder, {}, limit=1_000_000).refused(server.on("/f", endless()))
    assert "more than 1000000 bytes, the most that is allowed (limits.bytes)" in message


def test_a_body_that_is_announced_as_too_long_is_not_begun(server: HttpServer, folder: Path) -> None:
    client = Client(folder, {}, limit=1000)
    assert "more than 1000 bytes" in client.refused(server.on("/f", FILE))
    assert client.progress.bytes == 0


def test_a_failure_elsewhere_ends_the_wait_for_another_attempt(server: HttpServer, client: Client) -> None:
    address = server.on("/f", status(503, Retry_After="250"))
    timer = threading.Timer(0.3, client.progress.cancel)
    timer.start()
    assert "another transfer has failed" in client.refused(address)
    timer.join()


def test_a_stop_leaves_nothing(server: HttpServer, client: Client) -> None:
    address = server.on("/f", File(CONTENT, block=10, pause_s=0.05))

    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            client.get(address)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert os.listdir(client.target.parent) == []


def test_a_kill_leaves_no_target(server: HttpServer, folder: Path) -> None:
    address = server.on("/f", endless(pause_s=0.01))
    code = (
        "import sys; from nuwrap_runtime.host.stores import *\n"
        "access = Access(Progress('fetched', 10**9, 'limits.bytes'), {})\n"
        "open_store('http', access).download(Entry(sys.argv[1]), sys.argv[2])"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", code, address, str(folder / "target")], env=environ)
    while not any(path.stat().st_size > 100_000 for path in folder.iterdir()):
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not (folder / "target").exists()


def test_a_full_disk_is_told_and_leaves_nothing(server: HttpServer, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", bytes(small), b"tmpfs", 0, b"size=1m"):
        pytest.skip(f"nobody here may mount a tmpfs ({os.strerror(ctypes.get_errno())}): a full disk is not tested")
    try:
        message = Client(small, {}).refused(server.on("/f", File(os.urandom(3_000_000))))
        assert f"'{small}/target' cannot be written: No space left on device" in message
        assert len(server.seen) == 1
    finally:
        libc.umount2(bytes(small), 2)


def test_a_folder_that_is_not_there_is_told(server: HttpServer, tmp_path: Path) -> None:
    client = Client(tmp_path / "none", {})
    with pytest.raises(StoreError, match="cannot be written: No such file or directory"):
        client.get(server.on("/f", FILE))


# ---- redirects


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: HttpServer, client: Client, code: int) -> None:
    server.on("/to/f", FILE)
    assert client.get(server.on("/from", redirect("to/f?x=1", code))).size == len(CONTENT)
    assert [asked.path for asked in server.seen] == ["/from", "/to/f?x=1"]


@pytest.mark.parametrize("location", ["/ü f", "/%C3%BC%20f", "//{host}/ü f", "http://{host}/x/../ü f#part"])
def test_a_location_may_have_any_form(server: HttpServer, client: Client, location: str) -> None:
    server.on("/%C3%BC%20f", FILE)
    raw_location = location.format(host=f"127.0.0.1:{server.port}").encode().decode("latin-1")
    client.get(server.on("/from", redirect(raw_location)))
    assert client.target.read_bytes() == CONTENT


def test_ten_redirects_are_followed_and_no_more(server: HttpServer, client: Client) -> None:
    for number in range(11):
        server.on(f"/{number}", redirect(f"/{number + 1}"))
    server.on("/11", FILE)
    assert client.get(f"{server.url}/1").size == len(CONTENT)
    client.target.unlink()
    assert f"redirected more than 10 times, at last to '{server.url}/11'" in client.refused(f"{server.url}/0")


def test_a_circle_of_redirects_is_named(server: HttpServer, client: Client) -> None:
    server.on("/b", redirect("/c?sig=hidden"))
    server.on("/c", redirect("/b"))
    message = client.refused(server.on("/a", redirect("/b")))
    assert f"in a circle: {server.url}/b → {server.url}/c?sig=*** → {server.url}/b" in message


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "'file:///etc/passwd' is refused"),
        ("ftp://127.0.0.1/f", "'ftp://127.0.0.1/f' is refused"),
        ("http://user:hidden@127.0.0.1/f", "a login in an address is refused"),
        ("http://-oProxy/", "its host is refused"),
        ("", "without saying where to"),
        ("/a\tb", "control characters"),
    ],
    ids=["file", "ftp", "login", "option", "nowhere", "control"],
)
def test_a_redirect_elsewhere_is_refused(server: HttpServer, client: Client, location: str, reason: str) -> None:
    message = client.refused(server.on("/f", redirect(location)))
    assert reason in message
    assert "hidden" not in message
    assert len(server.seen) == 1


def test_a_redirect_from_https_to_http_is_refused(server: HttpServer, certificate: Path, folder: Path) -> None:
    with HttpServer(tls=certificate) as safe:
        client = Client(folder, {}, network=Network(ca=str(certificate)))
        message = client.refused(safe.on("/f", redirect(server.on("/f", FILE) + "?sig=hidden")))
        assert "a redirect from https to http is refused" in message
        assert "hidden" not in message
        assert server.seen == []
        client.get(server.on("/g", redirect(safe.on("/g", FILE))))
        assert client.target.read_bytes() == CONTENT


# ---- logins


def netrc(folder: Path, text: str) -> dict[str, str]:
    path = folder.parent / "netrc"
    path.write_text(text)
    path.chmod(0o600)
    return {"NETRC": str(path)}


LOGIN = "machine 127.0.0.1 login me password s3cr3t-pw\n"


def test_a_login_of_netrc_is_sent(server: HttpServer, folder: Path) -> None:
    client = Client(folder, netrc(folder, LOGIN))
    client.get(server.on("/f", for_login("me:s3cr3t-pw", FILE)))
    assert server.seen[0].login == "me:s3cr3t-pw"


def test_netrc_of_the_home_counts_without_a_variable(server: HttpServer, folder: Path) -> None:
    path = Path(netrc(folder, LOGIN)["NETRC"])
    path.rename(path.with_name(".netrc"))
    Client(folder, {"HOME": str(path.parent)}).get(server.on("/f", for_login("me:s3cr3t-pw", FILE)))
    assert server.seen[0].login == "me:s3cr3t-pw"


def test_a_login_stays_with_its_origin(server: HttpServer, folder: Path) -> None:
    client = Client(folder, netrc(folder, LOGIN))
    with HttpServer() as other:  # the same host, another port
        other.on("/f", FILE)
        other.on("/back", redirect(f"{server.url}/f"))
        server.on("/f", FILE)
        client.get(server.on("/near", redirect("/f")))
        client.get(server.on("/far", redirect(f"{other.url}/back")))
        assert [asked.login for asked in other.seen] == [""]
        assert {asked.login for asked in server.seen} == {"me:s3cr3t-pw"}
        other.on("/f", status(403))
        client.target.unlink()
        message = client.refused(server.on("/far", redirect(f"{other.url}/f")))
    assert f"redirected from 127.0.0.1:{server.port}, and a login goes to no other server" in message


def test_a_wanted_login_is_explained(server: HttpServer, client: Client) -> None:
    message = client.refused(server.on("/f", for_login("me:s3cr3t-pw", FILE)))
    assert "answered 401 Unauthorized (who are you?)" in message
    assert "machine 127.0.0.1 login USER password PASSWORD" in message


def test_a_login_that_is_not_accepted_is_told_and_not_shown(server: HttpServer, folder: Path) -> None:
    def telltale(request: Request) -> None:
        text = f"no entry for s3cr3t-pw ({request.headers['Authorization']})"
        request.reply(403, text.encode(), {"Content-Type": "text/plain"})

    message = Client(folder, netrc(folder, LOGIN)).refused(server.on("/f", telltale))
    assert "(no entry for *** (Basic ***))" in message
    assert "the login for 127.0.0.1 in the netrc file is not accepted" in message


@pytest.mark.parametrize("text", ["machine 127.0.0.1 log me in s3cr3t-pw", "\xff"], ids=["syntax", "no UTF-8"])
def test_a_netrc_that_cannot_be_read_counts_when_a_login_is_wanted(server: HttpServer, folder: Path, text: str) -> None:
    environ = netrc(folder, "")
    Path(environ["NETRC"]).write_bytes(text.encode("latin-1"))
    client = Client(folder, environ)
    message = client.refused(server.on("/f", status(401)))
    assert "netrc" in message
    assert "cannot be read" in message
    assert "s3cr3t-pw" not in message
    assert client.get(server.on("/g", FILE)).size == len(CONTENT)


def test_a_login_in_an_address_is_refused_and_not_shown(client: Client) -> None:
    for address in ("http://me:hidden@h/f", "https://me:hid/den@h/f", "http://hidden@h/f"):
        with pytest.raises(StoreError) as caught:
            client.store.find(address)
        assert "hid" not in str(caught.value)
    assert "netrc" in str(caught.value)


# ---- addresses, and how they are shown


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/a b/ü?x=ä y&z", "/a%20b/%C3%BC?x=%C3%A4%20y&z"),
        ("/a%20b/100%", "/a%20b/100%25"),
        ("/a?sig=A%2BB%3D=&t=[1]", "/a?sig=A%2BB%3D=&t=%5B1%5D"),
        ("", "/"),
        ("?q=1", "/?q=1"),
        ('/a|b\\c"<>^`{}', "/a%7Cb%5Cc%22%3C%3E%5E%60%7B%7D"),
    ],
)  # fmt: skip
def test_an_address_is_encoded_as_little_as_possible(server: HttpServer, client: Client, path: str, asked: str) -> None:
    server.on(asked, FILE)
    client.get(server.url + path)
    assert server.seen[0].path == asked


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://h/a\nb", "control characters"),
        ("http://h/a\x00", "control characters"),
        ("http:/h/f", "has not the form"),
        ("//h/f", "has not the form"),
        ("http://h:0/f", "port 0"),
        ("http://h:70000/f", "port 70000"),
        ("http://h:12x/f", "its host"),
        ("http://[::1/f", "its host"),
        ("http:///f", "its host"),
        ("http://a..b/f", "is no name"),
    ],
)
def test_what_is_no_address_is_refused(client: Client, address: str, reason: str) -> None:
    with pytest.raises(StoreError, match=reason):
        client.store.find(address)


def test_a_server_on_ipv6_is_reached(client: Client) -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        server = HttpServer(host="::1")
    except OSError as exc:
        pytest.skip(f"this machine has no IPv6 loopback: {exc}")
    with server:
        client.get(server.on("/f", FILE))
        assert server.seen[0].headers["host"] == f"[::1]:{server.port}"


def test_a_host_in_any_script_is_asked_by_its_ascii_name(server: HttpServer, folder: Path) -> None:
    with HttpProxy() as proxy:
        Client(folder, {"http_proxy": proxy.url}, **within(1)).refused("http://bücher.invalid/f")
        assert proxy.seen[0].path == "GET http://xn--bcher-kva.invalid/f"


def test_no_value_of_a_query_is_shown(server: HttpServer, client: Client) -> None:
    server.on("/f", lambda request: request.reply(403, f"bad {request.path}".encode(), {"Content-Type": "text/plain"}))
    message = client.refused(f"{server.url}/f?Signature=hid%2Fden&Expires=12345678&hidden#hidden")
    assert f"'{server.url}/f?Signature=***&Expires=***&***'" in message
    assert "hid" not in message
    assert "a signed link may have expired" in message


def test_a_missing_file_is_told(server: HttpServer, client: Client) -> None:
    message = client.refused(f"{server.url}/none")
    assert message == (
        f"'{server.url}/none': 127.0.0.1:{server.port} answered 404 Not Found (not here); "
        "there is no such file, check the address"
    )


@pytest.mark.parametrize("content_type", ["text/html", "application/octet-stream", ""])
def test_a_page_or_binary_text_of_an_error_is_not_shown(server: HttpServer, client: Client, content_type: str) -> None:
    page = raw(b"HTTP/1.1 404 \x1b[31mGone\r\nContent-Type: %s\r\n\r\n<html>" % content_type.encode())
    message = client.refused(server.on("/f", page))
    assert "html" not in message
    assert message.isprintable()


def test_an_encoded_body_is_refused_except_where_it_is_the_file(server: HttpServer, client: Client) -> None:
    encoded = File(CONTENT, headers={"Content-Encoding": "gzip"})
    message = client.refused(server.on("/f.py", encoded))
    assert "sent it encoded as 'gzip'" in message
    assert client.get(server.on("/f.tar.gz", encoded)).size == len(CONTENT)


# ---- certificates and proxies


@pytest.mark.parametrize("name", ["network.ca", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_ca_is_named_by_setting_or_variable(certificate: Path, folder: Path, name: str) -> None:
    environ = {} if name == "network.ca" else {name: str(certificate)}
    network = Network() if environ else Network(ca=str(certificate))
    with HttpServer(tls=certificate) as server:
        client = Client(folder, environ, network=network)
        client.get(server.on("/f", File(CONTENT, etag='"one"', cut=6000), FILE))
        assert client.target.read_bytes() == CONTENT
        assert server.sent == len(CONTENT)


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path, folder: Path) -> None:
    with HttpServer(tls=certificate) as server:
        message = Client(folder, {}).refused(server.on("/f", FILE))
        assert "is not trusted" in message
        assert "network.ca or SSL_CERT_FILE" in message
        assert server.seen == []


def test_a_certificate_of_another_host_is_refused(tmp_path: Path, folder: Path, certificate: Path) -> None:
    other = make_certificate(tmp_path, "other.example")
    with HttpServer(tls=other) as server:
        message = Client(folder, {}, network=Network(ca=str(other))).refused(server.on("/f", FILE))
    assert "127.0.0.1" in message
    assert "is not trusted" in message


@pytest.mark.parametrize("content", [None, "no PEM"], ids=["missing", "no PEM"])
def test_a_ca_that_cannot_be_read_is_named(folder: Path, tmp_path: Path, content: Optional[str]) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    message = Client(folder, {}, network=Network(ca=str(path))).refused("https://127.0.0.1:1/f")
    assert f"network.ca '{path}' cannot be read" in message


def test_plain_http_on_the_port_of_tls_is_told(server: HttpServer, folder: Path) -> None:
    address = server.on("/f", FILE).replace("http:", "https:")
    assert f"TLS with 127.0.0.1:{server.port} failed" in Client(folder, {}).refused(address)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "network"])
def test_a_proxy_is_named_by_variable_or_setting(server: HttpServer, folder: Path, name: str) -> None:
    with HttpProxy() as proxy:
        environ = {"HTTP_PROXY": "http://127.0.0.1:1"} if name == "network" else {name: proxy.url}
        network = Network(proxies={"http": proxy.url} if name == "network" else {})
        Client(folder, environ, network=network).get(server.on("/f", FILE))
        assert [asked.path for asked in proxy.seen] == [f"GET {server.url}/f"]
        assert "proxy-authorization" not in server.seen[0].headers


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_a_proxy_gets_its_login_and_the_server_does_not(certificate: Path, folder: Path, *, is_tls: bool) -> None:
    with HttpProxy(login="me:p@ss") as proxy, HttpServer(tls=certificate if is_tls else None) as server:
        address = proxy.url.replace("//", "//me:p%40ss@")
        network = Network(ca=str(certificate), proxies={"http": address, "https": address})
        client = Client(folder, {}, network=network)
        client.get(server.on("/f", FILE))
        assert client.target.read_bytes() == CONTENT
        assert "proxy-authorization" not in server.seen[0].headers
        assert proxy.seen[0].path.startswith("CONNECT" if is_tls else "GET")


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_a_proxy_may_be_reached_by_tls(certificate: Path, folder: Path, *, is_tls: bool) -> None:
    with (
        HttpProxy(login="me:pass", tls=certificate) as proxy,
        HttpServer(tls=certificate if is_tls else None) as server,
    ):
        environ = {"ALL_PROXY": proxy.url.replace("//", "//me:pass@")}
        client = Client(folder, environ, network=Network(ca=str(certificate)), **within(60))
        client.get(server.on("/f", FILE))
        assert client.target.read_bytes() == CONTENT
        assert len(proxy.seen) == 1
        client.target.unlink()
        slow = Client(folder, environ, network=Network(ca=str(certificate)), **within(0.7))
        assert "limits.seconds" in slow.refused(server.on("/s", raw(OK, *[b"A: b\r\n"] * 1000, pause_s=0.05)))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_another_login_is_told_without_it(folder: Path, scheme: str) -> None:
    with HttpProxy(login="me:right") as proxy:
        environ = {f"{scheme}_proxy": proxy.url.replace("//", "//me:hidden@")}
        message = Client(folder, environ).refused(f"{scheme}://127.0.0.1:1/f")
    assert "407" in message
    assert "USER:PASSWORD@" in message
    assert "hidden" not in message
    assert len(proxy.seen) == 1


def test_a_proxy_that_is_not_there_is_told_without_its_login(folder: Path) -> None:
    client = Client(folder, {"https_proxy": "http://me:hidden@127.0.0.1:1"}, **within(0.5))
    message = client.refused("https://127.0.0.1:1/f")
    assert "the proxy cannot be used: Connection refused" in message
    assert "hidden" not in message


@pytest.mark.parametrize(
    ("url", "reason"),
    [("socks5://me:hidden@h:1", "scheme 'socks5'"), ("http://me:hidden@", "has not the form")],
    ids=["socks", "no host"],
)
def test_what_is_no_http_proxy_is_refused(folder: Path, url: str, reason: str) -> None:
    message = Client(folder, {"ALL_PROXY": url}).refused("http://127.0.0.1:1/f")
    assert reason in message
    assert "ALL_PROXY" in message
    assert "hidden" not in message


@pytest.mark.parametrize(
    "skipped", ["*", "127.0.0.1", "other, 127.0.0.1:{port}", "127.0.0.0/8", "10.0.0.0/8,127.0.0.1/32"]
)
def test_no_proxy_is_heeded(server: HttpServer, folder: Path, skipped: str) -> None:
    environ = {"http_proxy": "http://127.0.0.1:1", "NO_PROXY": skipped.format(port=server.port)}
    Client(folder, environ).get(server.on("/f", FILE))
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize("skipped", ["127.0.0.1:1", "27.0.0.1", "10.0.0.0/8", ".0.0.2", "", "nonsense/8"])
def test_no_proxy_for_others_is_none_for_this_one(server: HttpServer, folder: Path, skipped: str) -> None:
    with HttpProxy() as proxy:
        Client(folder, {"http_proxy": proxy.url, "no_proxy": skipped}).get(server.on("/f", FILE))
        assert len(proxy.seen) == 1


def test_an_empty_proxy_of_the_setting_is_none(server: HttpServer, folder: Path) -> None:
    network = Network(proxies={"http": ""})
    Client(folder, {"http_proxy": "http://127.0.0.1:1"}, network=network).get(server.on("/f", FILE))
    assert server.sent == len(CONTENT)
