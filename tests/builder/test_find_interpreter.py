"""Finding the interpreters of a machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nuwrap.errors import PlatformError
from nuwrap.platforms.interpreters import check_interpreter, find_interpreter

RUNNING = "{}.{}".format(*sys.version_info)


def stub(
    path: Path,
    version: str,
    *,
    prefix: str = "/x",
    base: str = "/x",
    kind: str = "cpython",
    code: int = 0,
    real: str = "",
) -> Path:
    """A program that answers as an interpreter would; as a shim does, with `real` for the one behind it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = json.dumps([version, prefix, base, kind, real or str(path)])
    path.write_text(f"#!/bin/sh\necho '{answer}'\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_the_running_version_is_its_base_without_the_toolkits_packages() -> None:
    found = find_interpreter(RUNNING, dict(os.environ))
    code = "import sys; print(sys.prefix)"
    prefix = subprocess.run([found.path, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert os.path.realpath(prefix) == os.path.realpath(sys.base_prefix)


def test_a_shim_is_passed_over_for_the_program_behind_it(tmp_path: Path) -> None:
    stub(tmp_path / "shims/python3.9", "3.9", real="/real/python3.9")
    assert find_interpreter("3.9", {"PATH": str(tmp_path / "shims")}).path == "/real/python3.9"


def test_an_interpreter_on_path_is_found_past_what_does_not_run(tmp_path: Path) -> None:
    stub(tmp_path / "shims/python3.9", "3.9", code=127)  # pyenv, for a version that is not active
    stub(tmp_path / "lying/python3.9", "3.8")
    stub(tmp_path / "other/python3.9", "3.9", kind="pypy")
    stub(tmp_path / "toolkit/python3.9", "3.9", prefix=sys.prefix, base="/elsewhere")
    good = stub(tmp_path / "good/python3.9", "3.9", prefix="/venv", base="/elsewhere")
    folders = [str(tmp_path / name) for name in ("nothing", "shims", "lying", "other", "toolkit", "good")]
    assert find_interpreter("3.9", {"PATH": os.pathsep.join(folders)}).path == str(good)


def test_a_relative_folder_on_path_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(tmp_path / "here/python3.9", "3.9")
    good = stub(tmp_path / "good/python3.9", "3.9")
    monkeypatch.chdir(tmp_path)
    assert find_interpreter("3.9", {"PATH": f"here:.:{good.parent}"}).path == str(good)


def test_pyenvs_newest_patch_is_taken_and_no_other_minor_version(tmp_path: Path) -> None:
    for name in ("3.10.9", "3.10.13", "3.10-dev", "3.1.5"):
        stub(tmp_path / f"versions/{name}/bin/python3.10", "3.10")
    environ = {"PATH": str(tmp_path), "PYENV_ROOT": str(tmp_path)}
    if RUNNING != "3.10":
        assert find_interpreter("3.10", environ).path == str(tmp_path / "versions/3.10.13/bin/python3.10")


def test_uvs_own_interpreters_are_found(tmp_path: Path) -> None:
    stub(tmp_path / "cpython-3.99.0+freethreaded-linux/bin/python3.99", "3.99")
    good = stub(tmp_path / "cpython-3.99.2-linux-x86_64-gnu/bin/python3.99", "3.99")
    found = find_interpreter("3.99", {"PATH": "", "UV_PYTHON_INSTALL_DIR": str(tmp_path)})
    assert found.path == str(good)


def test_a_missing_version_is_named_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as caught:
        find_interpreter("3.99", {"PATH": str(tmp_path), "HOME": str(tmp_path)})
    text = str(caught.value)
    assert "no Python 3.99 on this machine" in text
    assert f"{RUNNING} (" in text
    assert "`uv python install 3.99`" in text
    assert "--python PATH" in text


def test_a_named_interpreter_is_checked(tmp_path: Path) -> None:
    assert check_interpreter(sys.executable, dict(os.environ)).version == RUNNING
    old = stub(tmp_path / "python", "3.8")
    with pytest.raises(PlatformError, match=r"is Python 3\.8; allowed: 3\.9, 3\.10"):
        check_interpreter(str(old), {})
    for wrong in (tmp_path / "nope", stub(tmp_path / "broken", "3.9", code=1)):
        with pytest.raises(PlatformError, match="is no Python interpreter that runs here"):
            check_interpreter(str(wrong), {})
