"""The probe of the user's interpreter: real interpreters, real environments."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.interpreter import find_interpreter, private_folder, probe


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter of its own, whose starts are counted in `starts.txt` beside it."""
    folder = tmp_path / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, capture_output=True)
    log = folder / "starts.txt"
    log.touch()
    (site(folder) / "count.pth").write_text(f"import os; open({str(log)!r}, 'a').write(f'{{os.getpid()}} ')\n")
    return folder / "bin" / "python"


def site(folder: Path) -> Path:
    return next(folder.glob("lib/*/site-packages"))


def starts(python: Path) -> int:
    return len(set((python.parent.parent / "starts.txt").read_text().split()))  # a venv reads a .pth file twice


def add_package(python: Path, name: str, version: str, *lines: str) -> None:
    folder = site(python.parent.parent) / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
    )


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def test_a_name_is_looked_up_on_path(python: Path) -> None:
    assert find_interpreter("python", {"PATH": str(python.parent)}) == str(python)


def test_a_link_to_an_interpreter_is_not_followed(python: Path) -> None:
    assert find_interpreter(str(python), {}) == str(python)


def test_a_missing_interpreter_is_told_with_what_is_there(python: Path) -> None:
    with pytest.raises(PlatformError, match=r"'python3\.99' is not .*; found on PATH: python3[,;]"):
        find_interpreter("python3.99", {"PATH": str(python.parent)})


def test_the_probe_tells_what_the_interpreter_is(python: Path, cache: str) -> None:
    found = probe(str(python), cache, {})
    assert found.executable == str(python)
    assert found.version == found.markers["python_full_version"] == platform.python_version()
    assert found.markers["sys_platform"] == sys.platform
    assert found.prefix == str(python.parent.parent)
    assert found.site == (str(site(python.parent.parent)),)


def test_the_probe_tells_what_is_installed(python: Path, cache: str) -> None:
    add_package(python, "Some.Thing", "1.2", "Requires-Dist: other>=2", "Requires-Dist: more; extra == 'x'")
    one = probe(str(python), cache, {}).distributions["some-thing"]
    assert (one.version, one.requires) == ("1.2", ("other>=2", "more; extra == 'x'"))
    assert Path(one.path).name == "Some.Thing-1.2.dist-info"


def test_an_address_is_told_without_its_credentials(python: Path, cache: str) -> None:
    add_package(python, "thing", "1")
    origin = {"url": "https://me:pw@host/r.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}}
    (site(python.parent.parent) / "thing-1.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    assert probe(str(python), cache, {}).distributions["thing"].direct == "git+https://host/r.git@c0ffee"


def test_metadata_without_a_name_is_passed_over(python: Path, cache: str) -> None:
    (site(python.parent.parent) / "half-1.0.dist-info").mkdir()
    assert "half" not in probe(str(python), cache, {}).distributions


def test_a_second_probe_starts_no_process(python: Path, cache: str) -> None:
    first = probe(str(python), cache, {})
    assert probe(str(python), cache, {}) == first
    assert starts(python) == 1


def test_a_new_package_is_seen(python: Path, cache: str) -> None:
    probe(str(python), cache, {})
    add_package(python, "late", "1")
    assert "late" in probe(str(python), cache, {}).distributions


@pytest.mark.parametrize("content", ["", "{", "[]", '{"stamps": {}}', '{"stamps": {}, "interpreter": {"version": 1}}'])
def test_a_damaged_answer_is_asked_anew(python: Path, cache: str, content: str) -> None:
    first = probe(str(python), cache, {})
    (kept,) = Path(cache, "interpreters").glob("*.json")
    kept.write_text(content)
    assert probe(str(python), cache, {}) == first


def test_a_shim_is_asked_each_time_what_it_starts(python: Path, cache: str, tmp_path: Path) -> None:
    shim, target = tmp_path / "shim", tmp_path / "target"
    shim.write_text(f'#!/bin/sh\nexec $(cat {target}) "$@"\n')
    shim.chmod(0o700)
    found = []
    for path in (str(python), sys.executable):
        target.write_text(path)
        found.append(probe(str(shim), cache, {"PATH": os.defpath}).executable)
    assert found == [str(python), sys.executable]


def test_hostile_modules_on_the_users_path_do_no_harm(python: Path, cache: str, tmp_path: Path) -> None:
    for name in ("types", "json", "platform"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hostile')")
    assert probe(str(python), cache, {"PYTHONPATH": str(tmp_path)}).version == platform.python_version()


def test_what_an_interpreter_prints_at_its_start_does_no_harm(python: Path, cache: str) -> None:
    (site(python.parent.parent) / "noise.pth").write_text("import sys; sys.stdout.write('hello {')\n")
    assert probe(str(python), cache, {}).version == platform.python_version()


def test_credentials_do_not_reach_the_users_interpreter(python: Path, cache: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    line = f"import os, json; open({str(seen)!r}, 'w').write(json.dumps(dict(os.environ)))\n"
    (site(python.parent.parent) / "spy.pth").write_text(line)
    probe(str(python), cache, {"GIT_TOKEN": "t0ken", "NUWRAP_SOURCE_AWS_SECRET_ACCESS_KEY": "t0ken", "MINE": "1"})
    assert json.loads(seen.read_text())["MINE"] == "1"
    assert "t0ken" not in seen.read_text()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo broken >&2; exit 3", "does not work as an interpreter: broken"),
        ("exit 0", "does not work as an interpreter: exit code 0"),
        ("""echo 'nuwrap-probe:{"version": "3.8.19"}'""", r"is Python 3\.8\.19; allowed: 3\.9 and later"),
    ],
    ids=["fails", "says nothing", "too old"],
)
def test_what_is_no_interpreter_for_us_is_refused(tmp_path: Path, cache: str, body: str, message: str) -> None:
    program = tmp_path / "python3"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o700)
    with pytest.raises(PlatformError, match=message):
        probe(str(program), cache, {"PATH": os.defpath})


def test_a_cache_folder_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    assert Path(private_folder(str(folder))).stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_cache_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    with pytest.raises(PlatformError, match="belongs to uid 12345, not to this user; set NUWRAP_CACHE"):
        private_folder(str(folder))


def test_a_link_in_the_place_of_a_cache_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(PlatformError, match="cache folder"):
        private_folder(str(tmp_path / "link"))
