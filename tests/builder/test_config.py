"""A user's settings, and where the folder that keeps them lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nuwrap.errors import StoreError, UsageError
from nuwrap.spec.build import BuildSettings
from nuwrap.store.config import SETTINGS, read_config, write_config
from nuwrap.store.home import home_folder

KNOWN = ", ".join(SETTINGS)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"NUWRAP_HOME": "/n", "XDG_DATA_HOME": "/x", "HOME": "/h"}, "/n"),
        ({"NUWRAP_HOME": "", "XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/nuwrap"),
        ({"XDG_DATA_HOME": "", "HOME": "/h"}, "/h/.local/share/nuwrap"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/h/"}, "/h/.local/share/nuwrap"),
    ],
)
def test_the_home_folder(environ: dict[str, str], folder: str) -> None:
    assert home_folder(environ) == folder


def test_a_relative_home_starts_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert home_folder({"NUWRAP_HOME": "a/../mine"}) == str(tmp_path / "mine")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "nowhere")
    with pytest.raises(UsageError, match="has no home folder; set NUWRAP_HOME"):
        home_folder({})


def test_defaults_need_no_file(tmp_path: Path) -> None:
    assert read_config(str(tmp_path)) == read_config(str(tmp_path / "gone"))
    assert read_config(str(tmp_path)).values == {name: one.default for name, one in SETTINGS.items()}
    assert read_config(str(tmp_path)).build == BuildSettings()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write_config(str(home), "platform", "docker")
    assert read_config(str(home)).platform == "docker"
    assert (home / "config.json").read_text() == '{\n "platform": "docker"\n}\n'
    assert (home / "config.json").stat().st_mode & 0o777 == 0o600
    assert os.listdir(home) == ["config.json"]


def test_settings_of_a_build_are_read(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    for name, text in {
        "allowed_base_images": "python:3.*, nuwrap/*",
        "registries.certificates": "r.example:5000=/ca.pem",
        "registries.client_certificates": "r.example=/c.pem:/k.pem",
        "build.retries": "0",
        "build.install_python": "true",
    }.items():
        write_config(home, name, text)
    build = read_config(home).build
    assert build.allowed_base_images == ("python:3.*", "nuwrap/*")
    assert build.access.certificates == {"r.example:5000": "/ca.pem"}
    assert build.access.client_certificates == {"r.example": ("/c.pem", "/k.pem")}
    assert (build.retries, build.install_python) == (0, True)
    write_config(home, "allowed_base_images", "")
    assert read_config(home).build.allowed_base_images == ()
    assert "allowed_base_images" not in (tmp_path / "home" / "config.json").read_text()


def test_a_client_certificate_without_a_key_is_refused(tmp_path: Path) -> None:
    write_config(str(tmp_path / "home"), "registries.client_certificates", "r.example=/c.pem")
    with pytest.raises(UsageError, match=r"of 'r\.example' is no pair; allowed: cert\.pem:key\.pem"):
        _ = read_config(str(tmp_path / "home")).build


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "home" / "config.json").symlink_to(tmp_path / "dotfiles" / "nuwrap.json")
    write_config(str(tmp_path / "home"), "platform", "docker")
    assert (tmp_path / "home" / "config.json").is_symlink()
    assert "docker" in (tmp_path / "dotfiles" / "nuwrap.json").read_text()
    assert read_config(str(tmp_path / "home")).platform == "docker"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("platfrom", "docker", f"'platfrom': unknown setting; did you mean 'platform'?; allowed: {KNOWN}"),
        ("", "docker", f"'': unknown setting; allowed: {KNOWN}"),
        ("build.engine", "dokcer", "build.engine: 'dokcer' is not allowed; allowed: auto, docker, kaniko"),
        ("build.retries", "-1", "build.retries: '-1' is not allowed; allowed: a whole number, 0 or more"),
        ("registries.map", "a", "registries.map: 'a' is not allowed; allowed: a mapping of names to text"),
        ("images.registry", "a\nb", "images.registry: 'a\\nb' is not allowed; allowed: text"),
        ("platform", "", "platform: '' is not allowed; allowed: text"),
    ],
)
def test_a_setting_that_cannot_be_written(tmp_path: Path, name: str, value: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        write_config(str(tmp_path), name, value)
    assert str(caught.value).startswith(says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"platform": "a", "platform": "b"}', "'platform' is given twice"),
        ("[]", "is not a JSON object: []"),
        ('{"platform": 7}', "platform: 7 is not allowed; allowed: text"),
        ('{"platforms": "a", "platform": null}', "'platforms': unknown setting; did you mean 'platform'?"),
        ('{"platforms": "a", "platform": null}', "platform: None is not allowed"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UsageError) as caught:
        read_config(str(tmp_path))
    assert says in str(caught.value)
    assert "config.json' is not" in str(caught.value)
    with pytest.raises(UsageError):
        write_config(str(tmp_path), "platform", "docker")
    assert (tmp_path / "config.json").read_text() == content


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"platform": "\xff"}')
    with pytest.raises(UsageError, match="is not JSON"):
        read_config(str(tmp_path))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "config.json")
    for act in (lambda: read_config(str(tmp_path)), lambda: write_config(str(tmp_path), "platform", "x")):
        with pytest.raises(StoreError, match=r"cannot read '.*config\.json'"):
            act()


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(StoreError):
        write_config(str(tmp_path / "home"), "platform", "docker")
