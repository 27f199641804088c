"""Secrets on disk: for their user alone, whole or not at all, and never in a message."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nuwrap.errors import NotFound, NuwrapError, StoreError, UsageError
from nuwrap.store.secrets import VALUE_BYTES, Secrets

VALUE = "p4ss-of-the-day"


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the secrets of project `p` lie."""
    return tmp_path / "home" / "secrets" / "p"


def refused(kind: type[NuwrapError], act: Callable[[], Any]) -> str:
    """Return the message, once the value is found nowhere in what a traceback shows."""
    with pytest.raises(kind) as caught:
        act()
    assert VALUE not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@pytest.mark.parametrize(
    "value", ["", VALUE, "ü — 日本\n", "a\r\nb\r\n", "\0", " \t", "\ufeffx", "x" * VALUE_BYTES], ids=repr
)
def test_a_value_comes_back_to_the_byte(secrets: Secrets, folder: Path, value: str) -> None:
    secrets.set("p", "KEY", value)
    assert secrets.get("p", "KEY") == value
    assert (folder / "KEY").read_bytes() == value.encode()


def test_it_belongs_to_its_user_alone(secrets: Secrets, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        secrets.set("p", "KEY", VALUE)
    finally:
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"home": 0o700, "home/secrets": 0o700, "home/secrets/p": 0o700, "home/secrets/p/KEY": 0o600}


def test_the_last_value_counts_and_is_private_again(secrets: Secrets, folder: Path) -> None:
    secrets.set("p", "KEY", "old" * 1000)
    (folder / "KEY").chmod(0o644)
    secrets.set("p", "KEY", VALUE)
    assert secrets.get("p", "KEY") == VALUE
    assert (folder / "KEY").stat().st_mode & 0o777 == 0o600
    assert os.listdir(folder) == ["KEY"]


def test_names_are_in_order_and_a_projects_own(secrets: Secrets) -> None:
    assert secrets.names("p") == []
    for name in ("b", "A.1", "_x", "größe"):
        secrets.set("p", name, VALUE)
    secrets.set("q", "other", VALUE)
    assert secrets.names("p") == ["A.1", "_x", "b", "größe"]


def test_one_that_is_not_there(secrets: Secrets) -> None:
    assert "project 'p' has no secret 'KEY'; it has none yet. `nuwrap secret set KEY`" in refused(
        NotFound, lambda: secrets.get("p", "KEY")
    )
    secrets.set("p", "API_KEY", VALUE)
    text = refused(NotFound, lambda: secrets.delete("p", "API_KAY"))
    assert "did you mean 'API_KEY'?; there is: API_KEY" in text


def test_deleting(secrets: Secrets, folder: Path) -> None:
    for name in ("a", "b"):
        secrets.set("p", name, VALUE)
    secrets.set("q", "a", VALUE)
    secrets.delete("p", "a")
    assert secrets.names("p") == ["b"]
    secrets.delete_project("p")
    secrets.delete_project("p")
    assert not folder.exists()
    assert secrets.names("q") == ["a"]


@pytest.mark.parametrize("name", ["", ".", "..", "../p/KEY", "a/b", "KEY\n", ".hidden", "a b", "x" * 254, None, 7])
def test_what_is_no_name(secrets: Secrets, tmp_path: Path, name: Any) -> None:
    for act in (
        lambda: secrets.set("p", name, VALUE),
        lambda: secrets.get("p", name),
        lambda: secrets.delete("p", name),
    ):
        assert "is no name; allowed: letters, digits" in refused(UsageError, act)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("project", ["", "..", "a/../b", "p\n", "-p", None])
def test_what_is_no_project(secrets: Secrets, project: Any) -> None:
    for act in (
        lambda: secrets.set(project, "KEY", VALUE),
        lambda: secrets.get(project, "KEY"),
        lambda: secrets.names(project),
        lambda: secrets.delete_project(project),
    ):
        assert "project: " in refused(UsageError, act)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (VALUE.encode(), "is bytes; allowed: text"),
        (None, "is NoneType; allowed: text"),
        (VALUE + "\ud800", "is no Unicode text; keep bytes as base64"),
        (VALUE + "x" * VALUE_BYTES, f"bytes; allowed: {VALUE_BYTES}"),
    ],
    ids=["bytes", "None", "surrogate", "long"],
)
def test_a_value_that_cannot_be_kept(secrets: Secrets, folder: Path, value: Any, says: str) -> None:
    assert says in refused(UsageError, lambda: secrets.set("p", "KEY", value))
    assert not folder.exists()


class TestLinks:
    """A link in the folder leads nowhere: not for reading, not for writing, not for deleting."""

    def test_a_value(self, secrets: Secrets, folder: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.write_text(VALUE)
        secrets.set("p", "other", "x")
        (folder / "KEY").symlink_to(outside)
        assert "links are not followed" in refused(StoreError, lambda: secrets.get("p", "KEY"))
        secrets.set("p", "KEY", "new")
        assert (secrets.get("p", "KEY"), outside.read_text()) == ("new", VALUE)
        (folder / "other").unlink()
        (folder / "other").symlink_to(outside)
        secrets.delete("p", "other")
        assert outside.exists()

    @pytest.mark.parametrize("level", ["secrets", "secrets/p"])
    def test_a_folder(self, secrets: Secrets, tmp_path: Path, level: str) -> None:
        outside = tmp_path / "outside"
        (outside / "p").mkdir(parents=True)
        for place in (outside / "KEY", outside / "p" / "KEY"):
            place.write_text(VALUE)
        link = tmp_path / "home" / level
        link.parent.mkdir(parents=True)
        link.symlink_to(outside)
        for act in (
            lambda: secrets.get("p", "KEY"),
            lambda: secrets.set("p", "KEY", VALUE),
            lambda: secrets.names("p"),
            lambda: secrets.delete("p", "KEY"),
            lambda: secrets.delete_project("p"),
        ):
            assert "links are not followed here" in refused(StoreError, act)
        assert (outside / "p" / "KEY").exists()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file(secrets: Secrets, folder: Path, make: Callable[[Path], None]) -> None:
    folder.mkdir(parents=True)
    make(folder / "KEY")
    assert "cannot read secret 'KEY' of project 'p'" in refused(StoreError, lambda: secrets.get("p", "KEY"))


@pytest.mark.parametrize(("content", "says"), [(b"\xff", "is not UTF-8 text"), (b"x" * (VALUE_BYTES + 1), "more than")])
def test_a_file_that_another_program_wrote(secrets: Secrets, folder: Path, content: bytes, says: str) -> None:
    folder.mkdir(parents=True)
    (folder / "KEY").write_bytes(content)
    assert says in refused(StoreError, lambda: secrets.get("p", "KEY"))


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    secrets = Secrets(str(tmp_path / "home"))
    assert "cannot make the folder" in refused(StoreError, lambda: secrets.set("p", "KEY", VALUE))
    assert "cannot use the folder of secrets" in refused(StoreError, lambda: secrets.get("p", "KEY"))


def test_what_a_killed_writer_left_goes_with_the_next(secrets: Secrets, folder: Path) -> None:
    secrets.set("p", "KEY", VALUE)
    left, young = folder / ".new-0123", folder / ".new-4567"
    for place in (left, young):
        place.write_text(VALUE)
    os.utime(left, (time.time() - 120,) * 2)
    assert secrets.names("p") == ["KEY"]
    secrets.set("p", "KEY", VALUE)
    assert (left.exists(), young.exists()) == (False, True)
    secrets.delete_project("p")
    assert not folder.exists()


def test_a_reader_sees_the_old_or_the_new_value(secrets: Secrets, folder: Path) -> None:
    values = {letter * 200_000 for letter in "abcd"}
    secrets.set("p", "KEY", "a" * 200_000)

    def write() -> None:
        for _ in range(10):
            for value in sorted(values):
                secrets.set("p", "KEY", value)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert secrets.get("p", "KEY") in values
    assert os.listdir(folder) == ["KEY"]


def test_a_full_disk_leaves_the_old_value(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED, a full disk: this user may not mount one ({done.stderr.strip()})")
    try:
        secrets = Secrets(str(place))
        secrets.set("p", "KEY", VALUE)
        text = refused(StoreError, lambda: secrets.set("p", "KEY", "x" * 500_000))
        assert "cannot write secret 'KEY' of project 'p': No space left" in text
        assert secrets.get("p", "KEY") == VALUE
        assert os.listdir(place / "secrets" / "p") == ["KEY"]
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_secrets_load_no_database(tmp_path: Path) -> None:
    program = "import sys; from nuwrap.store.secrets import Secrets; Secrets(sys.argv[1]).set('p', 'K', 'v'); "
    program += "sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 0
