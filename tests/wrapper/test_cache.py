"""The cache folder is one user's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.cache import cache_folder

OWN = f"uid-{os.getuid()}"
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")


def mode(path: str) -> int:
    return os.stat(path).st_mode & 0o7777


def test_a_named_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    folder = cache_folder({"NUWRAP_CACHE": str(tmp_path / "a" / "cache")})
    assert (folder, mode(folder)) == (str(tmp_path / "a" / "cache"), 0o700)
    assert cache_folder({"NUWRAP_CACHE": folder}) == folder


@pytest.mark.parametrize("permissions", [0o1777, 0o777, 0o2775, 0o770], ids=oct)
def test_in_a_folder_that_others_write_to_each_user_has_his_own(tmp_path: Path, permissions: int) -> None:
    shared = tmp_path / "cache"
    shared.mkdir()
    shared.chmod(permissions)
    folder = cache_folder({"NUWRAP_CACHE": str(shared)})
    assert (folder, mode(folder) & 0o777) == (str(shared / OWN), 0o700)
    assert cache_folder({"NUWRAP_CACHE": str(shared)}) == folder


@pytest.mark.parametrize("trap", ["link", "file", "open"])
def test_what_waits_there_under_the_users_own_name_is_not_trusted(tmp_path: Path, trap: str) -> None:
    shared = tmp_path / "cache"
    shared.mkdir()
    shared.chmod(0o1777)
    (tmp_path / "mine").mkdir()
    if trap == "link":
        (shared / OWN).symlink_to(tmp_path / "mine")
    elif trap == "file":
        (shared / OWN).touch()
    else:
        (shared / OWN).mkdir()
        (shared / OWN).chmod(0o777)
    with pytest.raises(PlatformError, match="is not this user's alone"):
        cache_folder({"NUWRAP_CACHE": str(shared)})


@needs_root
@pytest.mark.parametrize("permissions", [0o700, 0o755, 0o1777], ids=oct)
def test_another_users_folder_is_refused(tmp_path: Path, permissions: int) -> None:
    os.chmod(tmp_path, permissions)
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(PlatformError, match="uid 12345; this is uid 0"):
        cache_folder({"NUWRAP_CACHE": str(tmp_path)})


@needs_root
def test_another_users_folder_of_our_name_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / OWN).mkdir(mode=0o700)
    os.chown(tmp_path / OWN, 12345, 12345)
    with pytest.raises(PlatformError, match="is not this user's alone"):
        cache_folder({"NUWRAP_CACHE": str(tmp_path)})


def test_without_a_name_it_lies_where_the_user_keeps_such_things(tmp_path: Path) -> None:
    home = str(tmp_path)
    assert cache_folder({"HOME": home}) == f"{home}/.cache/nuwrap"
    assert cache_folder({"HOME": home, "XDG_CACHE_HOME": f"{home}/x"}) == f"{home}/x/nuwrap"
    assert cache_folder({"HOME": home, "XDG_CACHE_HOME": "relative"}) == f"{home}/.cache/nuwrap"


@pytest.mark.parametrize("home", ["", "/", "/nowhere"])
def test_without_a_home_it_is_a_folder_of_the_users_own_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = cache_folder({"HOME": home})
    assert (os.path.dirname(folder), mode(folder)) == (str(tmp_path), 0o700)
    os.rmdir(folder)
    os.symlink(tmp_path, folder)  # another user may have been there first
    with pytest.raises(PlatformError, match="is not this user's alone"):
        cache_folder({"HOME": home})


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlatformError, match=r"cannot make the cache folder .*; set NUWRAP_CACHE"):
        cache_folder({"NUWRAP_CACHE": str(tmp_path / "file" / "cache")})
