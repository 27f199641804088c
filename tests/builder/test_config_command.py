"""`nuwrap config`: what is set, what it can be set to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Nuwrap

from nuwrap.store.config import SETTINGS, read_config

KNOWN = ", ".join(SETTINGS)


def test_the_settings_are_listed_and_none_is_made(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shown = run_nuwrap("config", NUWRAP_HOME=str(home)).stdout.splitlines()
    assert (shown[0].split(), shown[2].split()[:2]) == (["setting", "value", "meaning"], ["platform", "local"])
    assert shown[-1] == f"kept in {home}/config.json"
    assert json.loads(run_nuwrap("config", "--json", NUWRAP_HOME=str(home)).stdout) == {
        name: list(one.default) if isinstance(one.default, tuple) else one.default for name, one in SETTINGS.items()
    }
    assert not home.exists()


def test_a_setting_is_changed_and_read(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run_nuwrap("config", "set", "platform", "local", NUWRAP_HOME=str(home))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read_config(str(home)).platform == "local"
    assert json.loads((home / "config.json").read_text()) == {"platform": "local"}
    assert run_nuwrap("config", "get", "platform", NUWRAP_HOME=str(home)).stdout == "local\n"
    told = run_nuwrap("config", "set", "platform", "local", "--json", NUWRAP_HOME=str(home)).stdout
    assert told == run_nuwrap("config", "get", "platform", "--json", NUWRAP_HOME=str(home)).stdout
    assert json.loads(told) == {"platform": "local"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", "platfrom"], f"'platfrom': unknown setting; did you mean 'platform'?; allowed: {KNOWN}"),
        (["set", "platfrom", "local"], f"'platfrom': unknown setting; did you mean 'platform'?; allowed: {KNOWN}"),
        (
            ["set", "platform", "locl"],
            "platform 'locl' is not known; allowed: docker, kubernetes, local, nuclio; did you mean 'local'?",
        ),
        (["set", "platform", ""], "platform '' is not known; allowed: docker, kubernetes, local, nuclio"),
    ],
)
def test_what_does_not_exist_is_refused(run_nuwrap: Nuwrap, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run_nuwrap("config", *arguments, NUWRAP_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"nuwrap: {said}\n")
    assert not (tmp_path / "home").exists()


def test_a_file_that_is_not_valid_is_said(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    done = run_nuwrap("config", NUWRAP_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "config.json' is not JSON" in done.stderr


def test_a_value_may_be_a_flag_of_another_program(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    done = run_nuwrap("config", "set", "build.kaniko_flags", "--compressed-caching=false", NUWRAP_HOME=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_config(home).build.kaniko_flags == ("--compressed-caching=false",)
    run_nuwrap("config", "set", "build.kaniko_flags", "", NUWRAP_HOME=home)
    assert read_config(home).build.kaniko_flags == ()
