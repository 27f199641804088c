"""The tree of an image: small, the same bytes each time, with the licences of what is in it; and its launcher."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nuwrap_runtime import __version__
from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.image_tree import MOMENT, main, settle
from nuwrap_runtime.host.licenses import keep_licenses
from nuwrap_runtime.host.tree import PACKAGE
from nuwrap_runtime.host.trimming import strip_library

BYTES = 24 * 1024 * 1024


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tree as an image for every Python has it."""
    return make(str(tmp_path_factory.mktemp("image") / "tree"), "--no-bytecode")


def make(folder: str, *options: str) -> str:
    command = [sys.executable, "-m", "nuwrap_runtime.host.tree", folder, *options]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path(PACKAGE).parent)}, check=True)
    return folder


def files(folder: str) -> Iterator[Path]:
    return (path for path in sorted(Path(folder).rglob("*")) if path.is_file())


def digest(folder: str) -> str:
    """One digest of all names, contents, rights and moments, as a layer has them."""
    total = hashlib.sha256()
    for path in [Path(folder), *sorted(Path(folder).rglob("*"))]:
        found = path.stat()
        total.update(f"{path.relative_to(folder)}\0{found.st_mode:o}\0{found.st_mtime_ns}\0".encode())
        total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def launch(image: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [os.path.join(image, "bin", "nuwrap-host"), *arguments]
    variables = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **environ}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_two_trees_of_the_same_input_are_the_same_bytes(image: str, tmp_path: Path) -> None:
    assert digest(make(str(tmp_path / "again"), "--no-bytecode")) == digest(image)


def test_all_is_for_every_uid_to_read_and_for_none_to_change(image: str) -> None:
    for path in [Path(image), *Path(image).rglob("*")]:
        found = path.lstat()
        assert found.st_mtime == MOMENT
        assert not stat.S_IMODE(found.st_mode) & 0o022, path
        assert stat.S_IMODE(found.st_mode) & 0o044 == 0o044, path


def test_what_nobody_runs_is_not_there(image: str) -> None:
    names = [str(path.relative_to(image)) for path in files(image)]
    assert not [name for name in names if name.endswith((".pyc", ".pyi")) or "/test/" in name or "RECORD" in name]
    assert sum(path.stat().st_size for path in files(image)) < BYTES


def test_compiled_modules_work_without_the_symbols_of_debuggers(image: str) -> None:
    abi = os.path.join(image, "abi", f"cp{sys.version_info[0]}{sys.version_info[1]}")
    code = "import msgpack._cmsgpack, httptools; print(httptools.parse_url(b'http://a/b').path)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {abi!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "b'/b'\n", done.stderr
    assert not [path for path in files(abi) if path.suffix == ".so" and b".debug_info" in path.read_bytes()]


def test_a_file_that_is_no_library_of_this_kind_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_bytes(b"INPUT(libc.so.6)")
    strip_library(str(tmp_path / "text.so"))
    assert (tmp_path / "text.so").read_bytes() == b"INPUT(libc.so.6)"


def test_each_bundled_package_has_its_licence_and_its_line(image: str) -> None:
    notice = (Path(image) / "licenses" / "NOTICE").read_text()
    bundled = {path.name[: -len(".dist-info")] for path in Path(image).rglob("*.dist-info")}
    assert len(bundled) > 10
    for name in bundled:
        assert (Path(image) / "licenses" / name).is_dir(), name
        assert f"({name}/" in notice
    assert "msgpack 1.1.2: Apache-2.0 (msgpack-1.1.2/COPYING)" in notice.splitlines()


def test_a_package_without_a_licence_file_is_named_as_such(tmp_path: Path) -> None:
    info = tmp_path / "packages" / "x-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: x\nVersion: 1\nClassifier: License :: OSI Approved :: MIT License\n\nText")
    keep_licenses(str(tmp_path / "kept"), [str(tmp_path / "packages")])
    assert "x 1: MIT License (no file of its own)" in (tmp_path / "kept" / "NOTICE").read_text()


@pytest.mark.skipif(not shutil.which("uv") and not Path(sys.executable).with_name("uv").exists(), reason="needs uv")
def test_with_a_lock_uv_and_its_licences_are_there(tmp_path: Path) -> None:
    lock = Path(__file__).parents[2] / "requirements" / "uv.txt"
    tree = make(str(tmp_path / "tree"), "--no-bytecode", "--uv-lock", str(lock))
    version = subprocess.run([f"{tree}/bin/uv", "--version"], capture_output=True, text=True, check=True).stdout
    assert f"=={version.split()[1]} " in lock.read_text()
    assert (Path(tree) / "licenses" / f"uv-{version.split()[1]}" / "LICENSE-MIT").is_file()


def test_bytecode_is_believed_without_a_look_at_its_source(tmp_path: Path) -> None:
    tree = make(str(tmp_path / "tree"))
    compiled = next(files(str(Path(tree) / "worker" / "nuwrap_runtime" / "__pycache__"))).read_bytes()
    assert int.from_bytes(compiled[4:8], "little") == 0b01  # PEP 552: by hash, not checked


def test_a_folder_that_is_there_is_not_filled(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="is there already"):
        main([str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-m", "nuwrap_runtime.host.tree", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(PACKAGE).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (10, False)


def test_settled_folders_are_open_to_readers_and_programs_stay_programs(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    (tmp_path / "a" / "program").touch(mode=0o700)
    (tmp_path / "a" / "text").touch(mode=0o600)
    settle(str(tmp_path))
    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/program", "a/text")]
    assert rights == [0o755, 0o755, 0o644]


def test_the_launcher_starts_the_host_whatever_variables_say_of_python(image: str, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('hostile')")
    hostile = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/nowhere"}
    hostile.update(PYTHONINSPECT="1", PYTHONMALLOC="nonsense", PYTHONWARNINGS="error", PYTHONPLATLIBDIR="/nowhere")
    done = launch(image, "--version", **hostile)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"nuwrap-host {__version__}\n", "")


def test_the_launcher_works_by_a_link_and_from_its_own_folder(image: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(os.path.join(image, "bin", "nuwrap-host"))
    for command in ([str(tmp_path / "link")], ["sh", "nuwrap-host"]):
        done = subprocess.run(
            [*command, "--version"], cwd=os.path.join(image, "bin"), capture_output=True, text=True, check=False
        )
        assert done.stdout == f"nuwrap-host {__version__}\n", done.stderr


def test_the_launcher_becomes_the_host_and_is_no_process_beside_it(image: str, tmp_path: Path) -> None:
    (tmp_path / "python3").write_text('#!/bin/sh\necho "$$" "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    program = os.path.join(image, "bin", "nuwrap-host")
    with subprocess.Popen([program, "job", "a b"], env=variables, stdout=subprocess.PIPE, text=True) as process:
        words = process.communicate()[0].split()
    assert words[:4] == [str(process.pid), "-I", "-S", "-u"]
    assert os.path.samefile(words[4], os.path.join(image, "worker", "nuwrap_runtime", "host", "entry.py"))
    assert words[5:] == ["job", "a", "b"]


def test_an_image_without_python_is_told_so(image: str) -> None:
    done = launch(image, "job", PATH="/nowhere")
    assert done.returncode == 10
    assert "no python3 on PATH (/nowhere)" in done.stderr
    assert "3.9 or later" in done.stderr
