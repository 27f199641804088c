"""Images read without a pull and pushes probed, against real registries: the lab's, and some of the test's own."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fake_registry import Asked, FakeRegistry, Reply
from lab import python_image, registry
from registries import (
    Running,
    encode,
    make_authority,
    make_layer,
    make_token,
    put_image,
    put_index,
    start_registry,
    write_docker_config,
)

from nuwrap.errors import RegistryError
from nuwrap.registry.images import own_architecture, read_image, tag_digest
from nuwrap.registry.permission import check_push
from nuwrap.spec.build import LABEL_API, LABEL_PYTHON, Layer, RegistryAccess

__all__ = ["python_image", "registry"]

ANYONE = RegistryAccess()
GLIBC = b"\x7fELF" + bytes(700) + b"/lib64/ld-linux-x86-64.so.2\0" + bytes(8000)
Content = Mapping[str, "bytes | str | None"]
PYTHON: Content = {"usr/local/bin/python3": "-> python3.11", "usr/local/bin/python3.11": GLIBC}
DEBIAN: Content = {"lib64/ld-linux-x86-64.so.2": GLIBC}


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_registry(tmp_path_factory.mktemp("open")) as running:
        yield running


@pytest.fixture(scope="module")
def safe_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_registry(tmp_path_factory.mktemp("safe"), password=True, tls=True) as running:
        put_image(running, "team/fn", "1", [PYTHON])
        yield running


def safe_access(running: Running, docker_config: str = "") -> RegistryAccess:
    return RegistryAccess(
        certificates={running.address: running.ca}, docker_config=docker_config or running.docker_config
    )


def new_name() -> str:
    return f"nuwrap-test-{secrets.token_hex(6)}"


def blobs_asked(running: Running, since: int) -> int:
    """How many requests for blobs the registry has logged; a config is one too."""
    lines = running.log.read_text()[since:].splitlines()
    return sum("/blobs/sha256" in line and '"response completed"' in line for line in lines)


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11"])
def test_python_of_a_real_image_is_found_in_its_layers(python_image: Callable[[str], str], version: str) -> None:
    asked = python_image(version)
    facts = read_image(asked, ANYONE, os.environ)
    assert "PYTHON_VERSION" not in facts.env
    assert (facts.python, facts.libc, facts.looked, facts.architecture) == (version, "glibc", True, own_architecture())
    assert facts.reference == asked
    assert facts.pinned == f"{asked.rpartition(':')[0]}@{facts.digest}"
    assert read_image(facts.pinned, ANYONE, os.environ, has_files=False).layers == facts.layers


def test_the_config_is_told(open_registry: Running) -> None:
    config = {
        "User": "8877:999", "Env": ["A=1=2", "B="], "Entrypoint": ["/x", "y"], "Cmd": ["z"],
        "Labels": {"dev.nuwrap.content": "sha256:1"},
    }  # fmt: skip
    name = f"{open_registry.address}/{new_name()}"
    blob = gzip.compress(make_layer(DEBIAN))
    digest = put_image(open_registry, name.partition("/")[2], "1", [blob], config=config, history=["FROM x", "RUN y"])
    facts = read_image(f"{name}:1", ANYONE, {})
    assert (facts.user, facts.env, facts.entrypoint, facts.command) == (
        "8877:999", {"A": "1=2", "B": ""}, ["/x", "y"], ["z"],
    )  # fmt: skip
    assert (facts.labels, facts.history) == ({"dev.nuwrap.content": "sha256:1"}, ["FROM x", "RUN y"])
    assert [(one.bytes, type(one)) for one in facts.layers] == [(len(blob), Layer)]
    assert (facts.digest, facts.pinned) == (digest, f"{name}@{digest}")
    assert (facts.python, facts.libc, facts.looked) == ("", "glibc", True)


def test_an_index_is_pinned_as_a_whole_and_read_for_one_architecture(open_registry: Running) -> None:
    name = new_name()
    amd = put_image(open_registry, name, "amd", [PYTHON], architecture="amd64")
    arm = put_image(open_registry, name, "arm", [DEBIAN], architecture="arm64")
    digest = put_index(open_registry, name, "all", {"linux/amd64": amd, "linux/arm64/v8": arm, "unknown/unknown": arm})
    asked = f"{open_registry.address}/{name}:all"
    found = {one: read_image(asked, ANYONE, {}, architecture=one) for one in ("amd64", "arm64")}
    assert {facts.pinned for facts in found.values()} == {f"{open_registry.address}/{name}@{digest}"}
    assert [(one, facts.architecture, facts.python) for one, facts in found.items()] == [
        ("amd64", "amd64", "3.11"), ("arm64", "arm64", ""),
    ]  # fmt: skip
    with pytest.raises(RegistryError, match=r"not for linux/s390x; it is for linux/amd64, linux/arm64/v8") as caught:
        read_image(asked, ANYONE, {}, architecture="s390x")
    assert caught.value.kind == "missing"


@pytest.mark.parametrize(
    ("wanted", "expected"), [("arm/v7", "v7"), ("arm/v6", "v6"), ("arm64", "plain"), ("amd64", "plain")]
)
def test_the_variant_is_the_one_asked_for_or_the_plain_one(open_registry: Running, wanted: str, expected: str) -> None:
    name = new_name()
    made = {
        one: put_image(open_registry, name, one, config={"Labels": {"variant": one}})
        for one in ("v6", "v7", "plain", "fast")
    }
    platforms = {
        "linux/arm/v6": made["v6"], "linux/arm/v7": made["v7"], "linux/arm64/v9": made["fast"],
        "linux/arm64/v8": made["plain"], "linux/amd64/v3": made["fast"], "linux/amd64": made["plain"],
    }  # fmt: skip
    put_index(open_registry, name, "all", platforms)
    facts = read_image(f"{open_registry.address}/{name}:all", ANYONE, {}, architecture=wanted)
    assert facts.labels == {"variant": expected}


def test_this_machines_architecture_is_the_default(open_registry: Running) -> None:
    name = new_name()
    mine = put_image(open_registry, name, "mine", [], architecture=own_architecture())
    other = put_image(open_registry, name, "other", [], architecture="mips")
    put_index(open_registry, name, "all", {"linux/mips": other, f"linux/{own_architecture()}": mine})
    assert read_image(f"{open_registry.address}/{name}:all", ANYONE, {}).architecture == own_architecture()


def test_what_was_found_in_layers_is_remembered(open_registry: Running, tmp_path: Path) -> None:
    name = new_name()
    put_image(open_registry, name, "1", [PYTHON])
    asked, cache = f"{open_registry.address}/{name}:1", tmp_path / "cache"
    first = read_image(asked, ANYONE, {}, cache=str(cache))
    before = len(open_registry.log.read_text())
    assert read_image(asked, ANYONE, {}, cache=str(cache)) == first
    assert blobs_asked(open_registry, before) == 1  # the config
    (kept,) = cache.iterdir()
    assert json.loads(kept.read_text())["python"] == "3.11"
    for other in ("{", "[]", '{"form": 0, "python": "2.7", "libc": "musl"}', '{"form": 1}'):
        kept.write_text(other)
        assert read_image(asked, ANYONE, {}, cache=str(cache)) == first
        assert json.loads(kept.read_text())["python"] == "3.11"


def test_a_cache_that_cannot_be_written_is_no_fault(open_registry: Running, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    name = new_name()
    put_image(open_registry, name, "1", [PYTHON])
    facts = read_image(f"{open_registry.address}/{name}:1", ANYONE, {}, cache=str(tmp_path / "file" / "cache"))
    assert facts.python == "3.11"


def test_without_files_no_layer_is_read(open_registry: Running) -> None:
    name = new_name()
    put_image(open_registry, name, "1", [PYTHON])
    before = len(open_registry.log.read_text())
    facts = read_image(f"{open_registry.address}/{name}:1", ANYONE, {}, has_files=False)
    assert (facts.python, facts.looked, blobs_asked(open_registry, before)) == ("", False, 1)


@pytest.mark.parametrize(
    "config",
    [
        {"Env": ["PYTHON_VERSION=3.12.4", "PATH=/usr/local/bin:/usr/bin"]},
        {"Labels": {LABEL_API: "nuwrap/v1", LABEL_PYTHON: "3.12"}},
    ],
    ids=["official", "ours"],
)
def test_an_image_that_tells_its_python_is_read_for_its_libc_alone(
    open_registry: Running, config: Mapping[str, object]
) -> None:
    name = new_name()
    put_image(open_registry, name, "1", [DEBIAN, {"usr/local/bin/python3.12": b""}], config=config)
    before = len(open_registry.log.read_text())
    facts = read_image(f"{open_registry.address}/{name}:1", ANYONE, {})
    assert (facts.python, facts.libc, facts.looked) == ("3.12", "glibc", True)
    assert blobs_asked(open_registry, before) == 2


def test_another_python_before_the_one_told_is_looked_for(open_registry: Running) -> None:
    name = new_name()
    config = {"Env": ["PYTHON_VERSION=3.12.4", "PATH=/opt/venv/bin:/usr/local/bin"]}
    put_image(open_registry, name, "1", [PYTHON, {"opt/venv/bin/python3": "-> /usr/local/bin/python3"}], config=config)
    assert read_image(f"{open_registry.address}/{name}:1", ANYONE, {}).python == "3.11"


def test_a_layer_too_large_leaves_python_unknown_and_tells_the_libc(
    open_registry: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("nuwrap.registry.looking.MOST_BYTES", 100_000)
    name = new_name()
    put_image(open_registry, name, "1", [DEBIAN, {"opt/cuda": os.urandom(200_000)}])
    facts = read_image(f"{open_registry.address}/{name}:1", ANYONE, {}, cache=str(tmp_path))
    assert (facts.python, facts.libc, facts.looked) == ("", "glibc", False)
    assert list(tmp_path.iterdir()) == []


def test_a_look_that_takes_too_long_leaves_all_unknown(open_registry: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nuwrap.registry.looking.MOST_SECONDS", -1)
    name = new_name()
    put_image(open_registry, name, "1", [PYTHON])
    facts = read_image(f"{open_registry.address}/{name}:1", ANYONE, {})
    assert (facts.python, facts.libc, facts.looked) == ("", "", False)


@pytest.mark.parametrize("blob", [b"no tar at all", b"\x1f\x8bno gzip", b"\x28\xb5\x2f\xfdno zstd"])
def test_a_layer_that_cannot_be_read_leaves_all_unknown(open_registry: Running, blob: bytes) -> None:
    name = new_name()
    put_image(open_registry, name, "1", [blob])
    assert read_image(f"{open_registry.address}/{name}:1", ANYONE, {}).looked is False


def test_a_layer_packed_with_zstd_is_read(open_registry: Running) -> None:
    zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    name = new_name()
    put_image(open_registry, name, "1", [zstd.compress(make_layer(PYTHON))])
    assert read_image(f"{open_registry.address}/{name}:1", ANYONE, {}).python == "3.11"


def test_an_image_that_is_not_there_is_missing_and_the_nearest_tag_is_named(open_registry: Running) -> None:
    name = new_name()
    put_image(open_registry, name, "3.10-slim", [])
    with pytest.raises(RegistryError) as caught:
        read_image(f"{open_registry.address}/{name}:3.10-slm", ANYONE, {})
    assert caught.value.kind == "missing"
    assert "did you mean '3.10-slim'?" in str(caught.value)


def test_a_repository_that_is_not_there_is_missing(open_registry: Running) -> None:
    with pytest.raises(RegistryError, match="no such repository") as caught:
        read_image(f"{open_registry.address}/{new_name()}", ANYONE, {})
    assert caught.value.kind == "missing"


def test_a_digest_tells_whether_an_image_is_there(open_registry: Running) -> None:
    name = new_name()
    digest = put_image(open_registry, name, "1", [])
    asked = f"{open_registry.address}/{name}"
    assert [tag_digest(f"{asked}:1", ANYONE, {}), tag_digest(f"{asked}@{digest}", ANYONE, {})] == [digest, digest]
    assert tag_digest(f"{asked}:2", ANYONE, {}) == ""


def test_nobody_there_is_an_error_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nuwrap.registry.client.PAUSE_SECONDS", 0.01)
    with pytest.raises(RegistryError, match="Connection refused") as caught:
        read_image("127.0.0.1:9/fn", ANYONE, {})
    assert caught.value.kind == "network"


def test_a_registry_with_password_and_own_authority_is_read(safe_registry: Running) -> None:
    facts = read_image(f"{safe_registry.address}/team/fn:1", safe_access(safe_registry), {})
    assert facts.python == "3.11"


def test_the_users_own_docker_config_is_found(safe_registry: Running) -> None:
    access = RegistryAccess(certificates={safe_registry.address: safe_registry.ca})
    environ = {"DOCKER_CONFIG": safe_registry.docker_config}
    assert tag_digest(f"{safe_registry.address}/team/fn:1", access, environ)


def test_an_insecure_registry_may_have_a_certificate_that_nobody_knows(safe_registry: Running) -> None:
    access = RegistryAccess(insecure=[safe_registry.address], docker_config=safe_registry.docker_config)
    assert tag_digest(f"{safe_registry.address}/team/fn:1", access, {})


def test_an_authority_in_the_environment_is_trusted(safe_registry: Running) -> None:
    access = RegistryAccess(docker_config=safe_registry.docker_config)
    assert tag_digest(f"{safe_registry.address}/team/fn:1", access, {"SSL_CERT_FILE": safe_registry.ca})


def test_a_registry_with_tls_and_no_authority_named_is_told_by_its_certificate(safe_registry: Running) -> None:
    with pytest.raises(RegistryError, match=r"^registry \S+ cannot be used: its certificate is not trusted"):
        read_image(f"{safe_registry.address}/team/fn:1", ANYONE, {})


def test_an_authority_that_is_not_known_is_named_with_the_setting(safe_registry: Running, tmp_path: Path) -> None:
    access = RegistryAccess(certificates={safe_registry.address: make_authority(tmp_path)})
    with pytest.raises(RegistryError, match=r"certificate is not trusted.*registries\.certificates") as caught:
        read_image(f"{safe_registry.address}/team/fn:1", access, {})
    assert caught.value.kind == "network"


def test_a_certificate_that_is_none_is_named(safe_registry: Running, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        access = RegistryAccess(certificates={safe_registry.address: str(path)})
        with pytest.raises(RegistryError, match=str(path)):
            read_image(f"{safe_registry.address}/team/fn:1", access, {})


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    with start_registry(tmp_path, client_certificates=True) as running:
        access = RegistryAccess(certificates={running.address: running.ca})
        assert running.client
        with pytest.raises(RegistryError):
            check_push(f"{running.address}/fn:1", access, {})
        check_push(
            f"{running.address}/fn:1", replace(access, client_certificates={running.address: running.client}), {}
        )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("", "has no entries"),
        ("other.example", "no entry for"),
        ("127.0.0.1", "the port counts"),
    ],
    ids=["nothing", "another", "no port"],
)
def test_without_the_right_entry_the_error_says_what_is_there(
    safe_registry: Running, tmp_path: Path, entry: str, said: str
) -> None:
    folder = write_docker_config(tmp_path, {entry: ("bob", "s3cret-word")} if entry else {})
    for probe in (check_push, read_image, tag_digest):
        with pytest.raises(RegistryError) as caught:
            probe(f"{safe_registry.address}/team/fn:1", safe_access(safe_registry, docker_config=folder), {})
        assert caught.value.kind == "auth"
        assert said in str(caught.value)
        assert f"{folder}/config.json" in str(caught.value)
        assert f"`docker --config {folder} login {safe_registry.address}`" in str(caught.value)
        assert "s3cret" not in str(caught.value)


def test_a_wrong_password_is_named_by_where_it_stands(safe_registry: Running, tmp_path: Path) -> None:
    folder = write_docker_config(tmp_path, {safe_registry.address: ("test-user", "s3cret-word")})
    with pytest.raises(RegistryError) as caught:
        check_push(f"{safe_registry.address}/team/fn:1", safe_access(safe_registry, docker_config=folder), {})
    assert caught.value.kind == "auth"
    assert f"entry '{safe_registry.address}' of {folder}/config.json" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_push_that_is_let_in_is_taken_back(safe_registry: Running) -> None:
    check_push(f"{safe_registry.address}/team/new:1", safe_access(safe_registry), {})
    folder = Path(safe_registry.ca).parent / "data"
    assert list(folder.rglob("team/new/_uploads"))
    assert not list(folder.rglob("team/new/_uploads/*/startedat"))


def test_a_registry_with_tokens_lets_everybody_read_and_users_push(tmp_path: Path) -> None:
    def give(asked: Asked) -> Reply:
        _, repository, actions = asked.query["scope"][0].split(":")
        allowed = actions.split(",") if asked.authorization == f"Basic {encode('bob', 'word')}" else ["pull"]
        return Reply(200, json.dumps({"token": make_token(tmp_path / "registry", repository, allowed)}).encode())

    with FakeRegistry() as tokens:
        tokens.on("GET", "/token", give)
        with start_registry(tmp_path / "registry", token_realm=f"http://{tokens.address}/token") as running:
            asked = f"{running.address}/team/fn:1"
            with pytest.raises(RegistryError, match="there is no such repository") as missing:
                read_image(asked, ANYONE, {})
            with pytest.raises(RegistryError, match="refuses an upload") as refused:
                check_push(asked, ANYONE, {})
            check_push(asked, RegistryAccess(docker_config=user(tmp_path, running)), {})
    assert (missing.value.kind, refused.value.kind) == ("missing", "auth")


def user(folder: Path, running: Running) -> str:
    return write_docker_config(folder, {running.address: ("bob", "word")})


def test_a_push_to_the_lab_is_let_in(registry: str) -> None:
    check_push(f"{registry}/{new_name()}:1", ANYONE, os.environ)
