"""Who asks: as whom, by which of several kubeconfigs, and what happens when the log-in has run out."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from nuwrap.cluster import login as logins
from nuwrap.cluster.client import Cluster, ClusterError, connect
from nuwrap.cluster.connecting import name_account
from nuwrap.cluster.log_lines import LogLines
from nuwrap.cluster.pod_news import PodNews
from nuwrap.errors import PlatformError

REFUSED = {"kind": "Status", "status": "Failure", "reason": "Unauthorized", "message": "Unauthorized", "code": 401}


class Api:
    """Knows who has one of `tokens`, and answers them what stands at the path; remembers the headers it was sent."""

    def __init__(self) -> None:
        self.tokens = {"first"}
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []
        self.url = ""

    def heard(self) -> list[str]:
        return [dict(sent)["authorization"] for _, sent in self.asked]

    def answer(self, path: str, headers: Any) -> tuple[int, Any]:
        self.asked.append((path, headers.items()))
        if headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, REFUSED
        return 200, self.answers.get(path, {"items": [], "metadata": {"resourceVersion": "1"}})


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, document = found.answer(urlsplit(self.path).path, self.headers)
            data = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = do

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(logins, "MOST_PAUSE_S", 0.01)


def write(
    path: Path, server: str, user: dict[str, Any], *, current: str | None = "here", context: str = "here"
) -> None:
    """Write a kubeconfig whose user has these fields."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {"server": server}}],
        "users": [{"name": context, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": "team"}}],
        **({} if current is None else {"current-context": current}),
    }
    making = path.with_suffix(".part")
    making.write_text(json.dumps(document))
    making.replace(path)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "kubeconfig"


@pytest.fixture
def client(api: Api, config: Path) -> Cluster:
    write(config, api.url, {"token": "first"})
    return connect({"KUBECONFIG": str(config)})


def log_in_anew(api: Api, config: Path) -> None:
    api.tokens = {"second"}
    write(config, api.url, {"token": "second"})


def test_who_asks_as_somebody_else_says_so_with_each_request(api: Api, config: Path) -> None:
    more = {"as": "ada", "as-uid": "u-1", "as-groups": ["team", "öl"], "as-user-extra": {"acme.com/Of%": ["a", "b"]}}
    write(config, api.url, {"token": "first", **more})
    connect({"KUBECONFIG": str(config)}).list("Pod")
    ((_, sent),) = api.asked
    assert [(name, one.encode("latin-1").decode()) for name, one in sent if name.startswith("Impersonate")] == [
        ("Impersonate-User", "ada"), ("Impersonate-Uid", "u-1"), ("Impersonate-Group", "team"),
        ("Impersonate-Group", "öl"), ("Impersonate-Extra-acme.com%2FOf%25", "a"),
        ("Impersonate-Extra-acme.com%2FOf%25", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"as-groups": ["admins"]}, "without `as`"),
        ({"as": "ada", "as-groups": "admins"}, "as-groups is a list"),
        ({"as": "ada\nX: y"}, "line break"),
    ],
)
def test_half_an_impersonation_is_refused(config: Path, user: dict[str, Any], words: str) -> None:
    write(config, "http://127.0.0.1:9", {"token": "first", **user})
    with pytest.raises(PlatformError, match=words):
        connect({"KUBECONFIG": str(config)})


@pytest.mark.parametrize("first", [None, ""])
def test_the_first_current_context_that_is_set_counts(tmp_path: Path, first: str | None) -> None:
    files = [tmp_path / name for name in ("a", "b", "c")]
    for path, current, context in zip(files, (first, "b", "c"), "abc", strict=True):
        write(path, f"http://{context}:1", {"token": "t"}, current=current, context=context)
    there = {"KUBECONFIG": ":".join(map(str, files))}
    assert connect(there).where.server == "http://b:1"
    assert connect(there, context="c").where.server == "http://c:1"


def test_a_log_in_that_was_renewed_is_read_again_and_nothing_is_asked_in_vain(
    client: Cluster, api: Api, config: Path
) -> None:
    client.list("Pod")
    log_in_anew(api, config)
    client.create({"kind": "Job", "metadata": {"name": "x"}})
    assert api.heard() == ["Bearer first", "Bearer first", "Bearer second"]
    assert not client.is_logged_out


def test_a_file_with_a_token_is_read_again(api: Api, config: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    write(config, api.url, {"tokenFile": "token"})
    client = connect({"KUBECONFIG": str(config)})
    client.list("Pod")
    api.tokens = {"second"}
    (tmp_path / "token").write_text("second\n")
    assert client.list("Pod") == []


def test_the_program_that_logs_in_runs_again(api: Api, config: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first")
    version = "client.authentication.k8s.io/v1"
    answer = f'{{"apiVersion":"{version}","kind":"ExecCredential","status":{{"token":"$(cat {tmp_path}/token)"}}}}'
    program = tmp_path / "log-in"
    program.write_text("#!/bin/sh\necho " + answer.replace('"', '\\"') + "\n")
    program.chmod(0o700)
    about = {"apiVersion": version, "command": str(program), "interactiveMode": "Never"}
    write(config, api.url, {"exec": about})
    client = connect({"KUBECONFIG": str(config)})
    client.list("Pod")
    api.tokens = {"second"}
    (tmp_path / "token").write_text("second")
    assert client.list("Pod") == []


def test_without_another_log_in_the_server_is_left_alone_for_a_while(
    client: Cluster, api: Api, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(logins, "MOST_PAUSE_S", 3600.0)
    api.tokens = set()
    for _ in range(3):
        with pytest.raises(ClusterError, match="log in again"):
            client.list("Pod")
    assert len(api.asked) == 1
    assert client.is_logged_out


def test_no_other_server_gets_the_log_in_nor_the_requests(client: Cluster, api: Api, config: Path) -> None:
    api.tokens = {"second"}
    write(config, "http://127.0.0.1:9", {"token": "second"})
    with pytest.raises(ClusterError, match="log in again"):
        client.list("Pod")
    assert set(api.heard()) == {"Bearer first"}


def test_another_current_context_is_not_followed(client: Cluster, api: Api, config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other, api.url, {"token": "second"}, current="else", context="else")
    document, more = json.loads(config.read_text()), json.loads(other.read_text())
    for part in ("clusters", "users", "contexts"):
        document[part] += more[part]
    config.write_text(json.dumps({**document, "current-context": "else"}))
    api.tokens = {"second"}
    with pytest.raises(ClusterError, match="log in again"):
        client.list("Pod")


def test_news_of_pods_outlive_the_log_in(client: Cluster, api: Api, config: Path) -> None:
    path = "/api/v1/namespaces/team/pods"
    pod = {"metadata": {"name": "a", "uid": "a", "resourceVersion": "1"}}
    api.answers[path] = {"items": [pod], "metadata": {"resourceVersion": "1"}, "type": "BOOKMARK"}
    with PodNews(client, {}) as news:
        while not news.take():
            pass
        api.answers[path] = {"items": [], "metadata": {"resourceVersion": "2"}, "type": "BOOKMARK"}
        api.tokens = set()
        while not client.is_logged_out:
            news.take()
        assert not news.is_gone(pod)  # nothing is known of it
        log_in_anew(api, config)
        while not news.is_gone(pod):
            news.take()


def test_a_log_is_read_on_with_the_new_log_in(client: Cluster, api: Api, config: Path) -> None:
    path = "/api/v1/namespaces/team/pods/p/log"
    api.answers[path] = b"2026-01-01T00:00:00Z one\n2026-01-01T00:00:01Z two\n"
    api.tokens = set()
    found: list[bytes] = []
    lines = LogLines(client, "p", "main", last="2026-01-01T00:00:00Z", count=1)
    reading = threading.Thread(target=lines.read, args=(found.extend,), daemon=True)
    reading.start()
    while not client.is_logged_out:
        with suppress(ClusterError):
            client.list("Pod")
    log_in_anew(api, config)
    reading.join(60)
    assert found == [b"two"]


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"sub": "system:serviceaccount:team:nuwrap-user"}, "system:serviceaccount:team:nuwrap-user"),
        ({"sub": "ann"}, ""),
        ({"sub": 1}, ""),
        ({}, ""),
        ([], ""),
    ],
)
def test_a_pods_account_is_named_by_its_token(claims: Any, name: str) -> None:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert name_account(f"e30.{part}.c2ln\n") == name


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.\u00e9.c", "..."])
def test_a_token_of_another_form_names_nobody(token: str) -> None:
    assert name_account(token) == ""
