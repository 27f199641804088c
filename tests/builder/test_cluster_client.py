"""The gate to the Kubernetes API, against a small server that answers as a bad day has it."""

from __future__ import annotations

import io
import json
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from nuwrap.cluster.client import Cluster, ClusterError, connect
from nuwrap.errors import PlatformError

Answer = tuple[int, Any]


def lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class Api:
    """Answers in turn, the last one again and again; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Callable[[], Answer] | Answer] = []
        self.asked: list[tuple[str, str, dict[str, list[str]], dict[str, str], bytes]] = []
        self.url = ""

    def next(self) -> Answer:
        one = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return one() if callable(one) else one


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found.asked.append((self.command, parts.path, parse_qs(parts.query), lower(self.headers), body))
            status, document = found.next()
            data = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            if status == 429:
                self.send_header("Retry-After", "0")
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


def kubeconfig(folder: Path, server: str, user: dict[str, Any] | None = None) -> dict[str, str]:
    path = folder / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "ada", "user": user or {"token": "token-of-ada"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "ada", "namespace": "team"}}],
    }
    path.write_text(json.dumps(document))
    return {"KUBECONFIG": str(path)}


@pytest.fixture
def client(api: Api, tmp_path: Path) -> Cluster:
    return connect(kubeconfig(tmp_path, api.url))


def status(code: int, reason: str, message: str) -> Answer:
    return code, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}


def one(name: str, version: str = "1") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": version}}


def test_who_asks_and_where_is_the_kubeconfigs(client: Cluster, api: Api) -> None:
    api.answers = [(200, {"metadata": {"name": "x"}})]
    assert client.get("Job", "x") == {"metadata": {"name": "x"}}
    (asked,) = api.asked
    assert asked[:2] == ("GET", "/apis/batch/v1/namespaces/team/jobs/x")
    assert asked[3]["authorization"] == "Bearer token-of-ada"
    assert (client.namespace, client.where.user) == ("team", "ada")


def test_what_is_not_there_is_none_and_removing_it_is_no_fault(client: Cluster, api: Api) -> None:
    api.answers = [status(404, "NotFound", 'jobs "x" not found')]
    assert client.get("Job", "x") is None
    assert client.delete("Job", "x") is False


def test_a_list_is_whole_be_it_ever_so_long(client: Cluster, api: Api) -> None:
    api.answers = [
        (200, {"items": [one("a")], "metadata": {"continue": "more"}}),
        (200, {"items": [one("b")], "metadata": {}}),
    ]
    found = client.list("Pod", labels={"nuwrap.dev/run": "r"})
    assert [pod["metadata"]["name"] for pod in found] == ["a", "b"]
    assert api.asked[1][2]["continue"] == ["more"]
    assert api.asked[0][2]["labelSelector"] == ["nuwrap.dev/run=r"]


def test_a_missing_right_is_named(client: Cluster, api: Api) -> None:
    words = (
        'jobs.batch is forbidden: User "ada" cannot create resource "jobs" in API group "batch" in the namespace "team"'
    )
    api.answers = [status(403, "Forbidden", words)]
    with pytest.raises(ClusterError, match=r"'ada' may not create jobs.batch in namespace 'team'; docs/kubernetes.md"):
        client.create({"kind": "Job", "metadata": {"name": "x"}})


def test_what_admission_says_is_kept(client: Cluster, api: Api) -> None:
    words = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)'
    api.answers = [status(403, "Forbidden", words)]
    with pytest.raises(ClusterError, match="violates PodSecurity") as caught:
        client.create({"kind": "Pod", "metadata": {"name": "x"}})
    assert caught.value.status == 403


def test_an_expired_login_says_to_log_in_again(client: Cluster, api: Api) -> None:
    api.answers = [status(401, "Unauthorized", "Unauthorized")]
    with pytest.raises(ClusterError, match="log in again"):
        client.list("Pod")


def test_what_passes_is_waited_for_and_a_creation_is_not_sent_twice(client: Cluster, api: Api) -> None:
    api.answers = [status(429, "TooManyRequests", "wait"), status(503, "Unavailable", "down"), (200, one("x"))]
    assert client.get("Job", "x") == one("x")
    api.answers = [status(503, "Unavailable", "down")]
    before = len(api.asked)
    with pytest.raises(ClusterError, match="down"):
        client.create({"kind": "Job", "metadata": {"name": "x"}})
    assert len(api.asked) == before + 1


def test_a_dry_run_and_an_apply_say_what_they_are(client: Cluster, api: Api) -> None:
    api.answers = [(200, {})]
    client.create({"kind": "Job", "metadata": {"name": "x", "namespace": "other"}}, dry_run=True)
    client.apply({"kind": "Service", "metadata": {"name": "s"}})
    created, applied = api.asked
    assert created[1:3] == (
        "/apis/batch/v1/namespaces/other/jobs", {"fieldManager": ["nuwrap"], "dryRun": ["All"]},
    )  # fmt: skip
    assert (applied[0], applied[3]["content-type"]) == ("PATCH", "application/apply-patch+yaml")


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"\xff\xfe"])
def test_what_is_no_api_server_is_told(client: Cluster, api: Api, body: bytes) -> None:
    api.answers = [(200, body)]
    with pytest.raises(ClusterError, match="does not answer as an API server"):
        client.get("Job", "x")


def test_a_server_that_is_not_there_is_named_with_its_context(tmp_path: Path) -> None:
    client = connect(kubeconfig(tmp_path, "http://127.0.0.1:9"))
    with pytest.raises(ClusterError, match=r"http://127.0.0.1:9 \(context 'here'\) cannot be reached"):
        client.create({"kind": "Job", "metadata": {"name": "x"}})


def test_a_watch_tells_what_there_is_then_what_changes_and_what_went_while_it_was_cut(
    client: Cluster, api: Api
) -> None:
    lines = [{"type": "MODIFIED", "object": one("a", "2")}, {"type": "BOOKMARK", "object": one("-")}]
    gone = {"type": "ERROR", "object": {"code": 410}}
    api.answers = [
        (200, {"items": [one("a"), one("b")], "metadata": {"resourceVersion": "1"}}),
        (200, b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, gone])),
        (200, {"items": [one("a", "2"), one("c")], "metadata": {"resourceVersion": "5"}}),
        (200, b""),
    ]
    told = []
    for kind, found in client.watch("Pod", timeout_s=60):
        told.append((kind, found["metadata"]["name"]))
        if len(told) == 5:
            break
    assert told == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b"), ("ADDED", "c")]
    assert api.asked[1][2]["resourceVersion"] == ["1"]


def test_no_value_of_a_secret_is_in_what_is_said_of_it(client: Cluster, api: Api) -> None:
    message = 'Secret "s" is invalid: data[TOKEN]: Invalid value: "dmFsdWU=": no'
    causes = [{"field": "data[TOKEN]", "reason": "FieldValueInvalid", "message": 'Invalid value: "dmFsdWU=": no'}]
    api.answers = [(422, {"kind": "Status", "reason": "Invalid", "message": message, "details": {"causes": causes}})]
    with pytest.raises(ClusterError, match=r"data\[TOKEN\] \(FieldValueInvalid\)") as caught:
        client.create({"kind": "Secret", "metadata": {"name": "s"}, "data": {"TOKEN": "dmFsdWU="}})
    assert "dmFsdWU=" not in str(caught.value)


@pytest.mark.parametrize("line", [b"3\n", b'{"type": "ADDED"}\n', b"{]\n"])
def test_a_watch_that_tells_nonsense_is_told(client: Cluster, api: Api, line: bytes) -> None:
    api.answers = [(200, {"items": [], "metadata": {}}), (200, line)]
    with pytest.raises(ClusterError, match="does not tell changes as an API server"):
        list(client.watch("Pod", timeout_s=60))


def test_a_watch_outlives_a_server_that_is_busy(client: Cluster, api: Api) -> None:
    api.answers = [
        (200, {"items": [], "metadata": {}}),
        status(429, "TooManyRequests", "wait"),
        (200, {"items": [one("a")], "metadata": {}}),
        (200, b""),
    ]
    assert next(client.watch("Pod", timeout_s=60))[1] == one("a")


def test_a_login_by_a_program_that_is_not_there_is_no_anonymous_one(tmp_path: Path) -> None:
    about = {"apiVersion": "client.authentication.k8s.io/v1", "command": "is-not-there", "interactiveMode": "Never"}
    with pytest.raises(PlatformError, match=r"user 'ada' .* gives no log-in"):
        connect(kubeconfig(tmp_path, "https://127.0.0.1:9", {"exec": about}))


def test_a_damaged_user_does_not_show_its_token(tmp_path: Path) -> None:
    about = {"auth-provider": {"name": "oidc", "config": {"client-secret": "hidden-one"}}}
    with pytest.raises(PlatformError) as caught:
        connect(kubeconfig(tmp_path, "https://127.0.0.1:9", about))
    assert "hidden-one" not in str(caught.value)


def test_a_context_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"context 'heer' is not in .*; there is: here"):
        connect(kubeconfig(tmp_path, "http://127.0.0.1:9"), context="heer")


def test_no_kubeconfig_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="set KUBECONFIG"):
        connect({"KUBECONFIG": str(tmp_path / "none")})


@pytest.mark.parametrize("text", ["", "[]", "{]", "clusters: 3"])
def test_a_damaged_kubeconfig_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(PlatformError, match="kubeconfig"):
        connect({"KUBECONFIG": str(path)})


@pytest.mark.parametrize("version", ["v1beta1", "v1"])
def test_a_login_by_a_program_is_sent(api: Api, tmp_path: Path, version: str) -> None:
    program = tmp_path / "log-in"
    credential = {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "kind": "ExecCredential",
        "status": {"token": "token-of-the-program"},
    }
    program.write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    about = {"apiVersion": credential["apiVersion"], "command": str(program), "interactiveMode": "Never"}
    client = connect(kubeconfig(tmp_path, api.url, {"exec": about}))
    api.answers = [(200, {"items": []})]
    client.list("Pod")
    assert api.asked[0][3]["authorization"] == "Bearer token-of-the-program"


def test_the_real_cluster_forwards_connections_and_runs_programs(
    cluster: Cluster, namespace: str, python_image: Callable[[str], str]
) -> None:
    import urllib.request

    security = {"runAsNonRoot": True, "runAsUser": 8877, "seccompProfile": {"type": "RuntimeDefault"}}
    own = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    argv = ["python", "-u", "-m", "http.server", "8000", "--directory", "/etc"]
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {
                "securityContext": security,
                "containers": [
                    {"name": "main", "image": python_image("3.11"), "command": argv, "securityContext": own}
                ],
            },
        }
    )
    for _kind, pod in cluster.watch("Pod", fields="metadata.name=web", namespace=namespace, timeout_s=120):
        if pod["status"].get("phase") == "Running":
            break
    with cluster.forward("web", 8000, namespace=namespace) as forward:
        answers: list[int] = []

        def ask() -> None:
            with urllib.request.urlopen(f"http://127.0.0.1:{forward.port}/passwd", timeout=60) as reply:
                answers.append(len(reply.read()))

        def ask_patiently() -> None:  # the server needs a moment to listen
            for attempt in range(50):
                try:
                    ask()
                except OSError:
                    if attempt == 49:
                        raise
                    threading.Event().wait(0.2)
                else:
                    return

        threads = [threading.Thread(target=ask_patiently) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 8
        assert len(set(answers)) == 1
    code, printed, said = cluster.exec(
        "web", ["sh", "-c", "cat; echo no >&2; exit 3"], stdin=io.BytesIO(b"given\n" * 5000), namespace=namespace
    )
    assert (code, printed, said) == (3, b"given\n" * 5000, b"no\n")
    with cluster.log("web", namespace=namespace) as pieces:
        assert b"GET /passwd" in b"".join(pieces)
    assert cluster.allowed("create", "Job", namespace=namespace)
    assert cluster.delete("Pod", "web", namespace=namespace, grace_s=0)


def test_a_list_whose_pages_have_run_out_is_asked_for_again(client: Cluster, api: Api) -> None:
    api.answers = [
        (200, {"items": [one("a")], "metadata": {"continue": "more"}}),
        status(410, "Expired", "too old"),
        (200, {"items": [one("b")], "metadata": {"continue": "more"}}),
        (200, {"items": [one("c")], "metadata": {}}),
    ]
    assert [pod["metadata"]["name"] for pod in client.list("Pod")] == ["b", "c"]
    assert "continue" not in api.asked[2][2]


def test_a_watch_keeps_what_it_knows_over_an_outage(client: Cluster, api: Api) -> None:
    api.answers = [
        (200, {"items": [one("a"), one("b")], "metadata": {}}),
        (200, b""),
        *[status(503, "Unavailable", "down")] * 5,
        (200, {"items": [one("b")], "metadata": {}}),
        (200, b""),
    ]
    watched = client.watch("Pod", timeout_s=60)
    told = [(kind, found["metadata"]["name"]) for kind, found in (next(watched) for _ in range(3))]
    assert told == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


def test_a_watch_that_is_cut_within_a_line_goes_on(client: Cluster, api: Api) -> None:
    api.answers = [
        (200, {"items": [], "metadata": {}}),
        (200, b'{"type": "ADDED", "obj'),
        (200, {"items": [one("a")], "metadata": {}}),
        (200, b""),
    ]
    assert next(client.watch("Pod", timeout_s=60)) == ("ADDED", one("a"))
