"""Who sees which variable: the fetcher, the user's code, the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nuwrap_runtime.host.credentials import (
    FETCH_ONLY,
    fetch_environment,
    secret_values,
    secrets_folder,
    user_environment,
    without_fetching,
)
from nuwrap_runtime.launch import VARIABLES


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"GIT_TOKEN": "p"}, {"GIT_TOKEN": "p"}),
        ({"NUWRAP_SOURCE_GIT_TOKEN": "s", "GIT_TOKEN": "p"}, {"GIT_TOKEN": "s"}),
        (
            {"NUWRAP_SOURCE_GIT_PASSWORD": "s", "NUWRAP_SOURCE_GIT_USER": "u", "GIT_TOKEN": "p", "GIT_USERNAME": "p"},
            {"GIT_PASSWORD": "s", "GIT_USER": "u"},
        ),
        (
            {"NUWRAP_SOURCE_AWS_ACCESS_KEY_ID": "s", "AWS_SESSION_TOKEN": "p", "AWS_REGION": "r", "GIT_TOKEN": "g"},
            {"AWS_ACCESS_KEY_ID": "s", "AWS_REGION": "r", "GIT_TOKEN": "g"},
        ),
        (
            {"NUWRAP_SOURCE_AWS_REGION": "s", "AWS_REGION": "p", "AWS_PROFILE": "p"},
            {"AWS_REGION": "s", "AWS_PROFILE": "p"},
        ),
        ({"NUWRAP_SOURCE_GIT_TOKEN": "", "GIT_TOKEN": "p"}, {"GIT_TOKEN": "p"}),
        ({"NUWRAP_SOURCE_PATH": "/evil", "NUWRAP_SOURCE_": "x", "PATH": "/bin"}, {"PATH": "/bin"}),
    ],
    ids=["plain", "source wins", "one account", "one AWS account", "no account", "empty", "other names"],
)
def test_the_fetcher_gets_one_account(given: dict[str, str], seen: dict[str, str]) -> None:
    assert fetch_environment(given) == seen


def test_user_code_gets_neither_credentials_nor_the_launch() -> None:
    hidden = dict.fromkeys((*FETCH_ONLY, *VARIABLES, "NUWRAP_LAUNCH", "NUWRAP_SOURCE_AWS_REGION"), "x")
    plain = {"AWS_SECRET_ACCESS_KEY": "a", "PATH": "b", "NUWRAP_SECRETS": "c", "GIT_AUTHOR_NAME": "d"}
    assert user_environment({**hidden, **plain}) == plain
    assert {"GIT_TOKEN", "GIT_PASSWORD"} <= set(hidden)


def test_secrets_are_found_in_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / "FILE").write_text("from-file\n")
    environ = {"GIT_TOKEN": "t1", "NUWRAP_SOURCE_GIT_PASSWORD": "t2", "VAR": " from-var ", "OTHER": "shown"}
    found = secret_values(environ, ("FILE", "VAR", "MISSING"), str(tmp_path))
    assert set(found) == {"t1", "t2", "from-file", "from-var"}


def test_an_indexs_login_is_not_the_functions() -> None:
    login = {"UV_INDEX_A_PASSWORD": "pw-of-a", "UV_INDEX_A_USERNAME": "me", "PIP_INDEX_URL": "https://me:pw-of-b@h/s"}
    plain = {"UV_INDEX_URL": "https://h/simple", "UV_INDEX": "a=https://h/s", "https_proxy": "http://me:pw-of-p@h:1"}
    assert user_environment({**login, **plain}) == plain
    assert without_fetching({**login, **plain, "GIT_TOKEN": "t"}) == {**login, **plain}
    assert set(secret_values({**login, **plain}, (), "")) == {"pw-of-a", "pw-of-b", "pw-of-p"}


def test_each_line_of_a_key_is_a_secret_for_a_log_has_lines() -> None:
    key = "-----BEGIN KEY-----\nAAAAB3NzaC1\nshort\n-----END KEY-----"
    found = secret_values({"GIT_SSH_KEY": key}, (), "")
    assert set(found) == {key, "-----BEGIN KEY-----", "AAAAB3NzaC1", "-----END KEY-----"}


@pytest.mark.parametrize("content", [b"\xff\xfe\x00secret", b""], ids=["binary", "empty"])
def test_a_secret_of_any_bytes_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "S").write_bytes(content)
    assert len(secret_values({}, ("S",), str(tmp_path))) == bool(content)


@pytest.mark.parametrize(("environ", "folder"), [({}, "/run/secrets"), ({"NUWRAP_SECRETS": ""}, "/run/secrets")])
def test_an_empty_variable_names_no_folder(environ: Any, folder: str) -> None:
    assert secrets_folder(environ) == folder
    assert secrets_folder({"NUWRAP_SECRETS": "/s"}) == "/s"
