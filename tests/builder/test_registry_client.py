"""Speaking to a registry: log-ins, redirects, attempts, bounds; against a server that answers as scripted."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from fake_registry import Asked, FakeRegistry, Reply
from registries import (
    INDEX,
    MANIFEST,
    digest_of,
    make_authority,
    make_certificate,
    make_layer,
    write_docker_config,
)

from nuwrap.errors import RegistryError
from nuwrap.registry.challenge import Challenge, parse_challenge, say_errors
from nuwrap.registry.client import Client
from nuwrap.registry.credentials import Credentials
from nuwrap.registry.endpoints import Endpoint, own_endpoint
from nuwrap.registry.images import read_image, tag_digest
from nuwrap.registry.permission import check_push
from nuwrap.registry.tokens import authorize
from nuwrap.spec.build import RegistryAccess
from nuwrap.spec.reference import parse_reference

ANYONE = RegistryAccess()


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nuwrap.registry.client.PAUSE_SECONDS", 0.01)


def knows(folder: Path, fake: FakeRegistry, **entry: str) -> dict[str, str]:
    """The environment of a user who is logged in."""
    where = write_docker_config(folder, {})
    auths = {fake.address: entry or {"auth": base64.b64encode(b"bob:s3cret-word").decode()}}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    return {"DOCKER_CONFIG": where}


def refused(reference: str, environ: dict[str, str], access: RegistryAccess = ANYONE) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        read_image(reference, access, environ)
    assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    return caught.value


def test_who_is_not_asked_sends_no_credentials(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.put_image()
    assert read_image(f"{fake.address}/a:1", ANYONE, knows(tmp_path, fake)).python == ""
    assert {one.authorization for one in fake.asked} == {""}


def test_a_token_is_got_with_the_users_password_for_the_repository_that_is_read(
    fake: FakeRegistry, tmp_path: Path
) -> None:
    fake.put_image()
    fake.ask_for_token()
    read_image(f"{fake.address}/a:1", ANYONE, knows(tmp_path, fake))
    (token,) = [one for one in fake.asked if one.path == "/token"]
    assert token.query == {"service": ["fake"], "scope": ["repository:a:pull"]}
    assert token.authorization == f"Basic {base64.b64encode(b'bob:s3cret-word').decode()}"
    assert {one.authorization for one in fake.asked if "/a/" in one.path} == {"Bearer token-1"}


def test_a_push_asks_for_a_token_that_may_push(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.on("POST", "/v2/a/blobs/uploads/", Reply(202, headers={"Location": "/v2/a/blobs/uploads/session?x=1"}))
    fake.on("DELETE", "/v2/a/blobs/uploads/session", Reply(204))
    fake.ask_for_token()
    check_push(f"{fake.address}/a:1", ANYONE, knows(tmp_path, fake))
    assert [one.query["scope"] for one in fake.asked if one.path == "/token"] == [["repository:a:pull,push"]]
    assert fake.paths("DELETE") == ["/v2/a/blobs/uploads/session"]


def test_a_public_image_needs_no_log_in_where_tokens_are_free(fake: FakeRegistry) -> None:
    fake.put_image()
    fake.ask_for_token()
    assert read_image(f"{fake.address}/a:1", ANYONE, {"HOME": "/nonexistent"}).digest
    assert [one.authorization for one in fake.asked if one.path == "/token"] == [""]


def test_an_identity_token_is_given_for_a_token(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.put_image()
    fake.ask_for_token()
    read_image(f"{fake.address}/a:1", ANYONE, knows(tmp_path, fake, identitytoken="s3cret-identity"))
    (token,) = [one for one in fake.asked if one.path == "/token"]
    form = parse_qs(token.body.decode())
    assert (token.method, form["grant_type"], form["refresh_token"]) == ("POST", ["refresh_token"], ["s3cret-identity"])


def test_a_token_that_has_expired_is_got_anew_once(fake: FakeRegistry) -> None:
    fake.put_image()
    fake.ask_for_token(tokens=2)
    assert read_image(f"{fake.address}/a:1", ANYONE, {}).digest
    assert len([one for one in fake.asked if one.path == "/token"]) == 2


def test_a_token_that_never_does_is_an_error_and_no_endless_loop(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.put_image()
    fake.ask_for_token(tokens=99)
    error = refused(f"{fake.address}/a:1", knows(tmp_path, fake))
    assert error.kind == "auth"
    assert f"entry '{fake.address}' of {tmp_path}/config.json" in str(error)
    assert f"`docker login {fake.address}`" in str(error)
    assert len([one for one in fake.asked if one.path == "/token"]) == 2


def test_a_password_that_gets_no_token_is_named_by_where_it_stands(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.put_image()
    fake.ask_for_token()
    fake.on("GET", "/token", Reply(401, b'{"errors": [{"code": "UNAUTHORIZED", "message": "wrong word"}]}'))
    error = refused(f"{fake.address}/a:1", knows(tmp_path, fake))
    assert error.kind == "auth"
    assert "UNAUTHORIZED: wrong word" in str(error)
    assert str(tmp_path) in str(error)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"token": 1}', b'{"token": "a\\nb"}', b'{"tokens": "x"}'])
def test_an_answer_without_a_token_is_a_fault_of_the_registry(fake: FakeRegistry, body: bytes) -> None:
    fake.put_image()
    fake.ask_for_token()
    fake.on("GET", "/token", Reply(200, body))
    assert refused(f"{fake.address}/a:1", {}).kind == "protocol"


@pytest.mark.parametrize("realm", ["http://auth.example/token", "file:///etc/passwd", ""])
def test_credentials_go_to_no_place_without_tls_when_the_registry_has_it(realm: str) -> None:
    endpoint = Endpoint("registry.example", "registry.example", "a")
    client = Client(endpoint, ANYONE, {})
    with pytest.raises(RegistryError, match="no https address"):
        authorize(client, endpoint, Challenge("bearer", {"realm": realm}), Credentials("bob", "word"), ["x"])
    client.close()


def test_a_log_in_of_another_kind_is_named(fake: FakeRegistry) -> None:
    fake.on("GET", "/v2/", Reply(401, headers={"WWW-Authenticate": "Negotiate"}))
    error = refused(f"{fake.address}/a:1", {})
    assert (error.kind, "'negotiate'" in str(error)) == ("protocol", True)


def test_a_redirect_to_another_host_gets_no_credentials(
    fake: FakeRegistry, other: FakeRegistry, tmp_path: Path
) -> None:
    digest = fake.put_image()
    other.put_image()
    fake.on(
        "GET", f"/v2/a/blobs/{digest}", Reply(307, headers={"Location": f"http://{other.address}/v2/a/blobs/{digest}"})
    )
    fake.ask_for_token()
    facts = read_image(f"{fake.address}/a:1", ANYONE, knows(tmp_path, fake))
    assert facts.looked is False  # python3 is a link to a file that is not there
    assert other.paths() == [f"/v2/a/blobs/{digest}"]
    assert "authorization" not in other.asked[0].headers
    assert fake.asked[-1].authorization == "Bearer token-1"


def test_a_redirect_on_the_same_host_keeps_them(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.put_image()
    fake.ask_for_token()
    fake.on("GET", "/v2/b/manifests/1", Reply(302, headers={"Location": "/v2/a/manifests/1"}))
    with pytest.raises(RegistryError):  # the blobs are of another repository
        read_image(f"{fake.address}/b:1", ANYONE, knows(tmp_path, fake))
    assert [one.authorization for one in fake.asked if one.path == "/v2/a/manifests/1"] == ["Bearer token-1"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x"])
def test_a_redirect_to_what_is_no_http_address_is_refused(fake: FakeRegistry, target: str) -> None:
    fake.put_image()
    fake.on("GET", "/v2/a/manifests/1", Reply(302, headers={"Location": target}))
    error = refused(f"{fake.address}/a:1", {})
    assert (error.kind, target in str(error)) == ("protocol", True)


def test_a_redirect_from_tls_to_none_is_refused(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    with FakeRegistry(make_certificate(tmp_path, "server")) as fake:
        fake.put_image()
        fake.on("GET", "/v2/a/manifests/1", Reply(302, headers={"Location": "http://registry.invalid/x"}))
        error = refused(f"{fake.address}/a:1", {}, RegistryAccess(certificates={fake.address: authority}))
    assert (error.kind, "http://registry.invalid:80, which has no TLS" in str(error)) == ("protocol", True)


def test_where_an_authority_is_named_nothing_is_asked_without_tls(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.put_image()
    error = refused(f"{fake.address}/a:1", {}, RegistryAccess(certificates={fake.address: make_authority(tmp_path)}))
    assert (error.kind, "TLS failed" in str(error), fake.asked) == ("network", True, [])


@pytest.mark.parametrize(
    ("reference", "access", "expected"),
    [
        ("python", {}, ("docker.io", "registry-1.docker.io", "library/python", ("https",), True)),
        ("localhost:1/a", {}, ("localhost:1", "localhost:1", "a", ("http", "https"), True)),
        ("[::1]:1/a", {}, ("[::1]:1", "[::1]:1", "a", ("http", "https"), True)),
        ("h.x/a", {}, ("h.x", "h.x", "a", ("https",), True)),
        ("h.x/a", {"insecure": ["https://h.x"]}, ("h.x", "h.x", "a", ("http", "https"), False)),
        ("h.x:5/a", {"insecure": ["h.x"]}, ("h.x:5", "h.x:5", "a", ("https",), True)),
    ],
)
def test_a_registry_is_asked_at_its_host(reference: str, access: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert own_endpoint(parse_reference(reference), RegistryAccess(**access)) == Endpoint(*expected)


def test_nothing_of_the_users_netrc_is_sent(
    fake: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.put_image()
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login bob password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert read_image(f"{fake.address}/a:1", ANYONE, {}).digest
    assert {one.authorization for one in fake.asked} == {""}


def test_an_upload_elsewhere_gets_no_credentials(fake: FakeRegistry, other: FakeRegistry, tmp_path: Path) -> None:
    fake.on("POST", "/v2/a/blobs/uploads/", Reply(202, headers={"Location": f"http://{other.address}/session"}))
    fake.ask_for_token()
    check_push(f"{fake.address}/a:1", ANYONE, knows(tmp_path, fake))
    assert other.asked == []


def test_a_layer_is_taken_as_it_is_whatever_is_said_of_its_coding(fake: FakeRegistry) -> None:
    digest = fake.put_image(layer=make_layer({"lib/ld-musl-x86_64.so.1": b""}))
    path = f"/v2/a/blobs/{digest}"
    plain = fake.answer(Asked("GET", path, {}, {}, b""))
    fake.on("GET", path, Reply(200, plain.body, {"Content-Encoding": "gzip"}))
    assert read_image(f"{fake.address}/a:1", ANYONE, {}).libc == "musl"


def test_redirects_without_an_end_are_an_error(fake: FakeRegistry) -> None:
    fake.put_image()
    fake.on("GET", "/v2/a/manifests/1", Reply(302, headers={"Location": "/v2/a/manifests/1"}))
    assert "redirects more than 5 times" in str(refused(f"{fake.address}/a:1", {}))


@pytest.mark.parametrize("fault", [Reply(503), Reply(502), Reply(0)], ids=["503", "502", "closed"])
def test_a_read_is_tried_again_when_the_server_fails(fake: FakeRegistry, fault: Reply) -> None:
    fake.put_image()
    good = fake.answer(Asked("GET", "/v2/a/manifests/1", {}, {}, b""))
    fake.on("GET", "/v2/a/manifests/1", fault, fault, good)
    assert read_image(f"{fake.address}/a:1", ANYONE, {}).digest
    assert fake.paths().count("/v2/a/manifests/1") == 4


def test_a_server_that_goes_on_failing_is_an_error_of_the_network(fake: FakeRegistry) -> None:
    fake.put_image()
    fake.on("GET", "/v2/a/manifests/1", Reply(503, b"<html>"))
    error = refused(f"{fake.address}/a:1", {})
    assert (error.kind, "status 503" in str(error)) == ("network", True)


def test_a_server_that_does_not_answer_is_left(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nuwrap.registry.client.TIMEOUT", (0.2, 0.2))
    over = threading.Event()
    fake.put_image()
    fake.on("GET", "/v2/a/manifests/1", lambda _asked: Reply(0 if over.wait(30) else 500))
    error = refused(f"{fake.address}/a:1", {})
    over.set()
    assert (error.kind, "no answer within" in str(error)) == ("network", True)
    assert fake.paths().count("/v2/a/manifests/1") == 1


def test_an_answer_that_drips_is_left(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nuwrap.registry.client.ANSWER_SECONDS", -1)
    fake.put_image()
    assert "takes more than" in str(refused(f"{fake.address}/a:1", {}))


def test_reading_names_and_log_ins_needs_no_client() -> None:
    code = "import sys, nuwrap.registry.images, nuwrap.registry.permission; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("fault", [Reply(503), Reply(0)], ids=["503", "closed"])
def test_what_changes_a_registry_is_sent_once(fake: FakeRegistry, fault: Reply) -> None:
    fake.on("GET", "/v2/", Reply(200))
    fake.on("POST", "/v2/a/blobs/uploads/", fault)
    with pytest.raises(RegistryError) as caught:
        check_push(f"{fake.address}/a:1", ANYONE, {})
    assert (caught.value.kind, fake.paths("POST")) == ("network", ["/v2/a/blobs/uploads/"])


def test_a_limit_of_requests_is_said_with_what_helps(fake: FakeRegistry) -> None:
    fake.put_image()
    fake.on("GET", "/v2/a/manifests/1", Reply(429, b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "slow"}]}'))
    error = refused(f"{fake.address}/a:1", {})
    assert (error.kind, "TOOMANYREQUESTS: slow" in str(error), "mirror" in str(error)) == ("network", True, True)
    assert fake.paths().count("/v2/a/manifests/1") == 1


def test_a_manifest_above_the_bound_is_not_read(fake: FakeRegistry) -> None:
    fake.put_image()
    fake.on("GET", "/v2/a/manifests/1", Reply(200, b" " * (4 * 1024 * 1024 + 1)))
    error = refused(f"{fake.address}/a:1", {})
    assert (error.kind, "more than 4194304 bytes" in str(error)) == ("protocol", True)


def test_an_answer_that_breaks_off_is_an_error_of_the_network(fake: FakeRegistry) -> None:
    fake.put_image()
    good = fake.answer(Asked("GET", "/v2/a/manifests/1", {}, {}, b""))
    fake.on("GET", "/v2/a/manifests/1", Reply(200, good.body, is_cut=True))
    assert refused(f"{fake.address}/a:1", {}).kind == "network"


def test_a_manifest_that_is_not_what_its_digest_says_is_refused(fake: FakeRegistry) -> None:
    fake.put_image()
    good = fake.answer(Asked("GET", "/v2/a/manifests/1", {}, {}, b""))
    wrong = "sha256:" + "0" * 64
    fake.on("GET", f"/v2/a/manifests/{wrong}", good)
    error = refused(f"{fake.address}/a@{wrong}", {})
    assert (error.kind, "has changed it" in str(error)) == ("protocol", True)


@pytest.mark.parametrize(
    "manifest",
    [
        {"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
        {"mediaType": MANIFEST},
        {"mediaType": MANIFEST, "config": {"digest": "md5:1"}, "layers": []},
        {"mediaType": MANIFEST, "config": {"digest": 1}, "layers": [{"digest": "x", "size": "y"}]},
        [],
    ],
    ids=["schema 1", "nothing", "no sha256", "wrong types", "a list"],
)
def test_a_manifest_of_another_form_is_refused_with_a_reason(fake: FakeRegistry, manifest: object) -> None:
    fake.put_image()
    fake.on("GET", "/v2/a/manifests/1", Reply(200, json.dumps(manifest).encode()))
    assert refused(f"{fake.address}/a:1", {}).kind in ("protocol", "missing")


def test_an_index_of_indexes_is_refused(fake: FakeRegistry) -> None:
    fake.put_image()
    inner = json.dumps({"mediaType": INDEX, "manifests": []}).encode()
    named = {"digest": digest_of(inner), "platform": {"os": "linux", "architecture": "amd64"}}
    outer = json.dumps({"mediaType": INDEX, "manifests": [named]}).encode()
    fake.on("GET", "/v2/a/manifests/1", Reply(200, outer))
    fake.on("GET", f"/v2/a/manifests/{digest_of(inner)}", Reply(200, inner))
    with pytest.raises(RegistryError, match="its index names another index") as caught:
        read_image(f"{fake.address}/a:1", ANYONE, {}, architecture="amd64")
    assert caught.value.kind == "protocol"


def test_what_is_no_registry_is_named(fake: FakeRegistry) -> None:
    error = refused(f"{fake.address}/a:1", {})
    assert (error.kind, f"is {fake.address} a registry of images?" in str(error)) == ("protocol", True)


def test_a_digest_is_asked_for_without_the_manifest(fake: FakeRegistry) -> None:
    digest = "sha256:" + "1" * 64
    fake.on("GET", "/v2/", Reply(200))
    fake.on("HEAD", "/v2/a/manifests/1", Reply(200, headers={"Docker-Content-Digest": digest}))
    assert tag_digest(f"{fake.address}/a:1", ANYONE, {}) == digest
    assert fake.paths() == ["/v2/"]


def test_a_registry_that_says_no_digest_is_read(fake: FakeRegistry) -> None:
    fake.put_image()
    fake.on("HEAD", "/v2/a/manifests/1", Reply(200))
    assert tag_digest(f"{fake.address}/a:1", ANYONE, {}) == read_image(f"{fake.address}/a:1", ANYONE, {}).digest


def test_a_mirror_of_docker_hub_is_asked_first(fake: FakeRegistry) -> None:
    fake.put_image("library/a")
    facts = read_image("a:1", RegistryAccess(mirrors=[fake.address]), {})
    assert facts.pinned == f"docker.io/library/a@{facts.digest}"


def test_a_mirror_may_have_a_scheme_and_a_folder(fake: FakeRegistry) -> None:
    fake.put_image("hub/library/a")
    assert read_image("a:1", RegistryAccess(mirrors=[f"http://{fake.address}/hub/"]), {}).digest


def test_what_is_mapped_is_asked_first_and_passed_over_when_it_fails(fake: FakeRegistry, other: FakeRegistry) -> None:
    fake.put_image()
    other.on("GET", "/v2/", Reply(200))
    access = RegistryAccess(map={fake.address: [other.address]})
    assert read_image(f"{fake.address}/a:1", access, {}).digest
    assert "/v2/a/manifests/1" in other.paths()


def test_all_that_was_asked_in_vain_is_named(fake: FakeRegistry, other: FakeRegistry) -> None:
    for one in (fake, other):
        one.on("GET", "/v2/", Reply(200))
    error = refused(f"{fake.address}/a:1", {}, RegistryAccess(map={fake.address: [other.address]}))
    assert error.kind == "missing"
    assert fake.address in str(error)
    assert other.address in str(error)


def test_a_push_goes_to_no_mirror(fake: FakeRegistry, other: FakeRegistry) -> None:
    fake.on("GET", "/v2/", Reply(200))
    fake.on("POST", "/v2/a/blobs/uploads/", Reply(403))
    with pytest.raises(RegistryError):
        check_push(f"{fake.address}/a:1", RegistryAccess(map={fake.address: [other.address]}), {})
    assert other.asked == []


def test_a_proxy_is_not_used_for_this_machine(fake: FakeRegistry) -> None:
    fake.put_image()
    assert read_image(f"{fake.address}/a:1", ANYONE, {"HTTP_PROXY": "http://127.0.0.1:9"}).digest


def test_a_proxy_is_used_for_other_hosts(fake: FakeRegistry) -> None:
    fake.put_image()
    access = RegistryAccess(insecure=["registry.invalid"])
    assert read_image("registry.invalid/a:1", access, {"http_proxy": f"http://{fake.address}"}).digest
    assert fake.asked[0].headers["host"] == "registry.invalid"


def test_a_proxy_that_fails_is_named() -> None:
    error = refused("registry.invalid/a:1", {"https_proxy": "http://bob:s3cret@127.0.0.1:9"})
    assert (error.kind, "proxy that https_proxy" in str(error)) == ("network", True)


def test_a_refusal_without_a_log_in_is_told(fake: FakeRegistry) -> None:
    fake.on("GET", "/v2/", Reply(200))
    fake.on("POST", "/v2/a/blobs/uploads/", Reply(403))
    with pytest.raises(RegistryError, match="asks for no log-in") as caught:
        check_push(f"{fake.address}/a:1", ANYONE, {})
    assert caught.value.kind == "auth"


def test_no_proxy_is_honoured(fake: FakeRegistry) -> None:
    environ = {"http_proxy": f"http://{fake.address}", "NO_PROXY": ".invalid"}
    assert refused("registry.invalid/a:1", environ, RegistryAccess(insecure=["registry.invalid"])).kind == "network"
    assert fake.asked == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Challenge()),
        ('Basic realm="a, Bearer b"', Challenge("basic", {"realm": "a, Bearer b"})),
        ('Bearer realm="https://h/t",service="s"', Challenge("bearer", {"realm": "https://h/t", "service": "s"})),
        (
            'bearer realm="h", scope="repository:a:pull,push"',
            Challenge("bearer", {"realm": "h", "scope": "repository:a:pull,push"}),
        ),
        ('Basic realm="x", Bearer realm="y"', Challenge("bearer", {"realm": "y"})),
        ("Negotiate, Basic realm=plain", Challenge("basic", {"realm": "plain"})),
        (r'Basic realm="say \"hi\""', Challenge("basic", {"realm": 'say "hi"'})),
    ],
)
def test_a_challenge_is_read(header: str, expected: Challenge) -> None:
    assert parse_challenge(header) == expected


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"errors": [{"code": "DENIED", "message": "no\\u001b[31m\\nmore"}]}', "DENIED: no [31m more"),
        (b'{"errors": [{"code": "A"}, {"message": "b"}]}', "A; b"),
        (b'{"errors": "x"}', ""),
        (b'{"errors": null}', ""),
        (b"<html>", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_what_a_registry_says_of_a_failure_is_one_line(body: bytes, said: str) -> None:
    assert say_errors(body) == said


ODD: tuple[object, ...] = (None, 0, "x", [], {}, [0], ["x"], {"x": 0}, [{}], [[]])


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("key", ["config", "layers", "manifests", "mediaType"])
def test_an_odd_manifest_is_no_other_error(fake: FakeRegistry, key: str, odd: object) -> None:
    fake.put_image()
    media_type = INDEX if key == "manifests" else MANIFEST
    document = {"mediaType": media_type, "config": {"digest": f"sha256:{'0' * 64}"}, "layers": [], key: odd}
    fake.on("GET", "/v2/a/manifests/1", Reply(200, json.dumps(document).encode()))
    assert refused(f"{fake.address}/a:1", {}).kind in ("protocol", "missing")


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("key", ["config", "history", "architecture", "Env", "Labels", "User", "Entrypoint"])
def test_an_odd_config_is_an_image_or_a_fault_of_protocol(fake: FakeRegistry, key: str, odd: object) -> None:
    fake.put_image(image={"config": {key: odd}} if key.istitle() else {key: odd})
    kind = ""
    try:
        assert read_image(f"{fake.address}/a:1", ANYONE, {}).digest
    except RegistryError as exc:
        kind = exc.kind
    assert kind in ("", "protocol")
