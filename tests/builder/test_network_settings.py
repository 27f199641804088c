"""The settings `network.*`: what is taken, what is refused, and that a run's launch document has them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sdk_functions import completed

from nuwrap.builds.wheels import wants_wheels
from nuwrap.errors import UsageError
from nuwrap.spec.function import make_function
from nuwrap.store.config import read_config, write_config
from nuwrap.store.network import read_network, with_network
from nuwrap_runtime.launch import Network, parse_launch

PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


def set_all(home: Path, **settings: str) -> None:
    for name, text in settings.items():
        write_config(str(home), f"network.{name}", text)


def network_of(home: Path) -> Network:
    return read_network(read_config(str(home)).values)


def test_without_settings_there_is_no_network(tmp_path: Path) -> None:
    assert network_of(tmp_path) == Network()


def test_settings_become_a_launchs_network(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("# ours\n" + PEM)
    set_all(
        tmp_path,
        index="inner=https://index.example/simple, https://other.example",
        ca=str(tmp_path / "ca.pem"),
        proxies="http=http://proxy.example:3128,no=.example;10.0.0.0/8 localhost",
    )
    assert network_of(tmp_path) == Network(
        index=("inner=https://index.example/simple", "https://other.example"),
        ca_text="# ours\n" + PEM,
        proxies={"http": "http://proxy.example:3128", "no": ".example,10.0.0.0/8,localhost"},
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("index", "https://me:hunter2@index.example", "has a log-in, and settings keep none.*UV_INDEX_NAME_PASSWORD"),
        ("index", "a=https://hunter2@index.example", "has a log-in"),
        ("proxies", "https=http://me:hunter2@proxy.example", "has a log-in.*HTTPS_PROXY"),
        ("proxies", "https=me:hunter2@proxy.example", "has a log-in"),
        ("index", "index.example", r"is no address; allowed: \[NAME=\]https"),
        ("proxies", "htps=http://proxy.example", "'htps' is not known; allowed: http, https, all, no; did you mean"),
    ],
)
def test_what_is_refused_is_not_kept_and_shows_no_password(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        set_all(tmp_path, **{name: text})
    assert "hunter2" not in str(caught.value)
    assert network_of(tmp_path) == Network()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text", "has no certificate"),
        (PEM + "-----BEGIN RSA PRIVATE KEY-----", "has a private key, which would go to every run"),
        (PEM + "#" * 600_000, "has more than 524288 bytes"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_of_authorities_has_certificates_alone(tmp_path: Path, content: Any, message: str) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    set_all(tmp_path, ca=str(tmp_path / "ca.pem"))
    with pytest.raises(UsageError, match=message):
        network_of(tmp_path)


@pytest.mark.parametrize("is_own", [False, True], ids=["settings", "variable"])
def test_a_run_has_the_settings_unless_its_environment_says_other(
    dh: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_own: bool
) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    set_all(tmp_path / "home", index="https://index.example/simple", ca=str(tmp_path / "ca.pem"))
    if is_own:
        monkeypatch.setenv("NUWRAP_NETWORK", '{"index": ["https://mine.example"]}')
    completed(dh, "def f(): return 1")
    (launch,) = (tmp_path / "work").glob(".nuwrap/runs/*/launch.json")
    network = {"index": ["https://index.example/simple"], "ca_text": PEM}
    assert json.loads(launch.read_text()).get("network") == (None if is_own else network)


def test_a_host_that_has_no_run_gets_them_by_a_variable(tmp_path: Path) -> None:
    assert with_network({"A": "1"}, read_config(str(tmp_path)).values) == {"A": "1"}
    (tmp_path / "ca.pem").write_text(PEM)
    set_all(tmp_path, index="https://index.example", ca=str(tmp_path / "ca.pem"), proxies="no=.example;.other")
    made = with_network({"A": "1"}, read_config(str(tmp_path)).values)
    network = Network(("https://index.example",), ca=str(tmp_path / "ca.pem"), proxies={"no": ".example,.other"})
    document = {"api": "nuwrap/v1", "handler": "f", "code": "x", "network": json.loads(made["NUWRAP_NETWORK"])}
    assert parse_launch(document).network == network
    own = {"NUWRAP_NETWORK": '{"index": ["https://mine.example"]}'}
    assert with_network(own, read_config(str(tmp_path)).values) == own


def test_wheels_come_in_before_a_build_where_an_index_is_set(tmp_path: Path) -> None:
    given = {"name": "f", "kind": "python", "python_version": "PYTHON3_11", "handler": "f", "code": "x"}
    function = make_function({**given, "requirements": ["six"]}, origin="a test")
    config = read_config(str(tmp_path))
    assert not wants_wheels(function, config.build, with_network({}, config.values))
    set_all(tmp_path, index="https://index.example")
    assert wants_wheels(function, config.build, with_network({}, read_config(str(tmp_path)).values))
