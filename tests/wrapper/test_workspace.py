"""The one writable place of a start: what stays, what goes, what is never touched."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.workspace import Workspace, open_workspace, remove_tree, socket_folder, usable_home


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this test."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_named_folder_is_made_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "work"
    with open_workspace({"NUWRAP_WORK": str(folder)}, must_last=True) as workspace:
        Path(workspace.record).touch()
    assert (workspace.kept, os.path.dirname(workspace.record)) == (True, str(folder.resolve()))
    assert [path.name for path in folder.iterdir()] == ["record.json"]


def test_a_folder_of_its_own_goes_with_all_that_is_in_it(temporary: Path) -> None:
    with open_workspace({}) as workspace:
        inner = Path(workspace.source) / "a" / "b"
        inner.mkdir(parents=True)
        (inner / "f").touch()
        inner.chmod(0o500)
        inner.parent.chmod(0)
        Path(workspace.folder).chmod(0o500)
        assert os.stat(workspace.folder).st_uid == os.getuid()
    assert list(temporary.iterdir()) == []


def test_a_folder_of_its_own_goes_after_an_error_too(temporary: Path) -> None:
    with pytest.raises(KeyError), open_workspace({}):
        raise KeyError
    assert list(temporary.iterdir()) == []


def test_what_is_for_a_later_process_needs_a_named_folder() -> None:
    with pytest.raises(PlatformError, match="set NUWRAP_WORK to a folder"), open_workspace({}, must_last=True):
        pass


def test_a_file_is_no_work_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in ("file", "file/below"):
        with (
            pytest.raises(PlatformError, match="cannot make the work folder"),
            open_workspace({"NUWRAP_WORK": str(tmp_path / path)}),
        ):
            pass


def test_a_temporary_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(PlatformError, match="TMPDIR"), open_workspace({}):
        pass


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user writes everywhere (root, CAP_DAC_OVERRIDE)")
    with (
        pytest.raises(PlatformError, match="is not writable; set NUWRAP_WORK"),
        open_workspace({"NUWRAP_WORK": str(tmp_path)}),
    ):
        pass


def test_removing_a_folder_never_follows_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "kept").touch()
    inside = tmp_path / "inside"
    (inside / "a").mkdir(parents=True)
    (inside / "a" / "link").symlink_to(outside)
    (tmp_path / "top").symlink_to(outside)
    remove_tree(str(inside))
    remove_tree(str(tmp_path / "top"))
    remove_tree(str(tmp_path / "nowhere"))
    assert not inside.exists()
    assert (outside / "kept").exists()
    assert outside.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("length", [10, 150])
def test_a_socket_path_is_short_wherever_temporary_files_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    base = tmp_path / ("x" * length)
    base.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    with socket_folder() as folder:
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert len(os.path.join(folder, "e")) < 107
    assert not os.path.exists(folder)


def test_a_home_that_is_of_no_use_is_replaced(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path), kept=True)
    (tmp_path / "file").touch(mode=0o755)
    good = tmp_path / "good"
    good.mkdir()
    assert usable_home({"HOME": str(good)}, workspace) == str(good)
    for environ in ({}, {"HOME": ""}, {"HOME": "/"}, {"HOME": "/nowhere"}, {"HOME": str(tmp_path / "file")}):
        assert usable_home(environ, workspace) == str(tmp_path / "home")
    assert (tmp_path / "home").is_dir()


def test_very_deep_folder_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1500):  # deeper than a path may be long, and than Python recurses
        os.mkdir("d" * 10, dir_fd=here)
        below = os.open("d" * 10, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(str(folder))
    assert not folder.exists()


def test_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "there" / "sub").mkdir(parents=True, mode=0o750)
    (tmp_path / "link").symlink_to(tmp_path / "there")
    remove_tree(str(tmp_path / "link"))
    assert ((tmp_path / "there" / "sub").is_dir(), (tmp_path / "link").is_symlink()) == (True, False)
