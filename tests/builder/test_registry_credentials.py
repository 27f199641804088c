"""Credentials as Docker has them: entries, helpers, the variables that come before, and what is said when none is."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from registries import encode, write_docker_config

from nuwrap.registry.credentials import HUB_KEY, Credentials, find_credentials
from nuwrap.spec.build import RegistryAccess

ANYONE = RegistryAccess()


def find(registry: str, environ: Mapping[str, str], *, repository: str = "", **access: Any) -> Credentials:
    return find_credentials(registry, RegistryAccess(**access), environ, repository=repository)


def write(folder: Path, document: object) -> dict[str, str]:
    """Write a config and return the environment that names it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return {"DOCKER_CONFIG": str(folder), "PATH": str(folder / "bin")}


def write_helper(folder: Path, name: str, script: str) -> None:
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    path = folder / "bin" / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("host:5000", "host:5000"),
        ("host:5000", "https://host:5000"),
        ("host:5000", "https://host:5000/v2/"),
        ("docker.io", HUB_KEY),
        ("docker.io", "index.docker.io"),
    ],
)
def test_an_entry_is_found_by_the_forms_that_docker_takes(tmp_path: Path, registry: str, key: str) -> None:
    found = find(registry, write(tmp_path, {"auths": {key: {"auth": encode("bob", "a:word")}}}))
    assert (found.user, found.password) == ("bob", "a:word")
    assert found.source == f"entry {key!r} of {tmp_path}/config.json"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"username": "bob", "password": "word"}, ("bob", "word", "")),
        ({"auth": encode("bob", ""), "identitytoken": "token"}, ("bob", "", "token")),
        ({"identitytoken": "token"}, ("", "", "token")),
    ],
    ids=["in plain", "user and token", "token"],
)
def test_an_entry_may_have_other_forms(tmp_path: Path, entry: object, expected: tuple[str, str, str]) -> None:
    found = find("host", write(tmp_path, {"auths": {"host": entry}}))
    assert (found.user, found.password, found.identity_token) == expected


def test_the_entry_of_the_repository_comes_before_the_registrys(tmp_path: Path) -> None:
    auths = {"host": {"auth": encode("all", "x")}, "host/team": {"auth": encode("team", "x")}}
    environ = write(tmp_path, {"auths": auths})
    assert find("host", environ, repository="team/fn").user == "team"
    assert find("host", environ, repository="other/fn").user == "all"


@pytest.mark.parametrize(
    ("document", "registry", "said"),
    [
        ({"auths": {"other.example": {}}}, "host", "no entry for host, only 'other.example'"),
        ({"auths": {"docker.io": {"auth": encode("a", "b")}}}, "docker.io", f"Docker Hub's key is {HUB_KEY!r}"),
        ({"auths": {"host": {"auth": encode("a", "b")}}}, "host:5000", "the key is 'host:5000'"),
        ({"auths": {"registry.exmaple": {}}}, "registry.example", "did you mean 'registry.exmaple'?"),
        ({"auths": {"host": {}}}, "host", "is empty, and the file names no credential helper"),
        ({"auths": {"host": {"auth": "s3cret!"}}}, "host", "not user:password in base64"),
        ({"auths": {"host": {"auth": base64.b64encode(b"s3cret").decode()}}}, "host", "not user:password in base64"),
        ({"auths": {}}, "host", "has no entries"),
        ({"auths": "s3cret"}, "host", "has no entries"),
        ("s3cret", "host", "is not JSON"),
        ("[" * 100_000, "host", "is not JSON"),
        ([], "host", "is not a JSON object"),
        ({"credsStore": "missing"}, "host", "docker-credential-missing, which is not on PATH"),
        ({"credsStore": "../../bin/evil"}, "host", "no name of a credential helper"),
        ({"credHelpers": {"host": "missing"}}, "host", "docker-credential-missing, which is not on PATH"),
    ],
)
def test_what_was_read_in_vain_is_said(tmp_path: Path, document: object, registry: str, said: str) -> None:
    found = find(registry, write(tmp_path, document))
    assert found.is_anonymous
    assert said in found.looked
    assert str(tmp_path) in found.looked
    assert "s3cret" not in found.looked


def test_many_entries_are_not_all_named(tmp_path: Path) -> None:
    looked = find("host", write(tmp_path, {"auths": {f"h{number}.example": {} for number in range(20)}})).looked
    assert "'h7.example' and 12 more" in looked


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert find("host", {"HOME": str(tmp_path)}).looked == f"{tmp_path}/.docker/config.json does not exist"


def test_the_folder_of_the_settings_comes_before_the_variable(tmp_path: Path) -> None:
    environ = write(tmp_path / "a", {"auths": {"host": {"auth": encode("variable", "x")}}})
    folder = write_docker_config(tmp_path / "b", {"host": ("settings", "x")})
    assert find("host", environ, docker_config=folder).user == "settings"


def test_a_variable_shadows_the_file_and_says_so(tmp_path: Path) -> None:
    environ = write(tmp_path, {"auths": {"host": {"auth": encode("file", "x")}, "two": {"auth": encode("file", "x")}}})
    environ["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"host": {"auth": encode("variable", "x")}}})
    found = find("host", environ)
    assert (found.user, "$DOCKER_AUTH_CONFIG" in found.source) == ("variable", True)
    assert find("two", environ).user == "file"
    assert "$DOCKER_AUTH_CONFIG" in find("three", environ).looked


def test_a_file_of_podman_counts_where_docker_has_none(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {"docker.io": {"auth": encode("podman", "x")}}}))
    environ = {"HOME": str(tmp_path / "home"), "REGISTRY_AUTH_FILE": str(path)}
    assert find("docker.io", environ).user == "podman"
    environ.update(write(tmp_path / "docker", {"auths": {HUB_KEY: {"auth": encode("docker", "x")}}}))
    assert find("docker.io", environ).user == "docker"


@pytest.mark.parametrize("document", [{"credsStore": "x"}, {"credHelpers": {"host": "x"}}], ids=["all", "one"])
def test_a_helper_is_asked_for_the_registry(tmp_path: Path, document: dict[str, Any]) -> None:
    write_helper(tmp_path, "x", 'read key; echo "{\\"Username\\": \\"$1\\", \\"Secret\\": \\"of $key\\"}"')
    found = find("host", write(tmp_path, {**document, "auths": {"host": {"auth": encode("entry", "x")}}}))
    assert (found.user, found.password) == ("get", "of host")
    assert found.source == f"docker-credential-x, named in {tmp_path}/config.json"


def test_a_helper_has_docker_hub_by_its_own_key(tmp_path: Path) -> None:
    write_helper(tmp_path, "x", 'read key; echo "{\\"Username\\": \\"bob\\", \\"Secret\\": \\"$key\\"}"')
    assert find("docker.io", write(tmp_path, {"credsStore": "x"})).password == HUB_KEY


def test_a_helper_may_have_an_identity_token(tmp_path: Path) -> None:
    write_helper(tmp_path, "x", """echo '{"Username": "<token>", "Secret": "t"}'""")
    found = find("host", write(tmp_path, {"credsStore": "x"}))
    assert (found.user, found.password, found.identity_token) == ("", "", "t")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo credentials not found in native keychain; exit 1", "'credentials not found in native keychain'"),
        ('echo \'{"Username": "a", "Secret": "s3cret"}\'; exit 1', "exit code 1"),
        ("echo s3cret", "no JSON of Username and Secret"),
        ('echo \'{"Username": "a"}\'', "no JSON of Username and Secret"),
    ],
)
def test_a_helper_that_has_none_is_named(tmp_path: Path, script: str, said: str) -> None:
    write_helper(tmp_path, "x", script)
    found = find("host", write(tmp_path, {"credsStore": "x"}))
    assert found.is_anonymous
    assert "docker-credential-x" in found.looked
    assert said in found.looked
    assert "s3cret" not in found.looked


def test_a_helper_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nuwrap.registry.credentials.HELPER_SECONDS", 0.2)
    write_helper(tmp_path, "x", "exec /bin/sleep 60")
    assert "timed out" in find("host", write(tmp_path, {"credsStore": "x"})).looked


def test_credentials_do_not_show_themselves(tmp_path: Path) -> None:
    entry = {"auth": encode("bob-s3cret", "s3cret"), "identitytoken": "s3cret"}
    assert "s3cret" not in repr(find("host", write(tmp_path, {"auths": {"host": entry}})))


@pytest.mark.parametrize(
    ("registry", "folder", "command"),
    [
        ("docker.io", "", "docker login"),
        ("host:5000", "", "docker login host:5000"),
        ("host:5000", "/a b", "docker --config '/a b' login host:5000"),
    ],
)
def test_the_command_that_helps_names_registry_and_folder(registry: str, folder: str, command: str) -> None:
    assert find(registry, {"HOME": "/nonexistent"}, docker_config=folder).login == command
