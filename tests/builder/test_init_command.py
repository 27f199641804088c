"""`nuwrap init`: what it writes runs as it stands, and it never overwrites."""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Nuwrap, clean_environment, nuwrap_argv

from nuwrap.spec.function_file import read_function

FILES = {"function.yaml", "main.py", "test_main.py"}
HERE = "PYTHON{}_{}".format(*sys.version_info)


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("folder", ["demo", "a/my function"])
def test_the_commands_it_prints_work(run_nuwrap: Nuwrap, tmp_path: Path, folder: str) -> None:
    done = run_nuwrap("init", folder)
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / folder) == FILES
    lines = done.stdout.partition("next:\n")[2].splitlines()
    script = f'set -e\nnuwrap() {{ {shlex.join(nuwrap_argv([]))} "$@"; }}\n'
    typed = subprocess.run(
        ["bash", "-c", script + "\n".join(lines)],
        cwd=tmp_path,
        env=clean_environment(
            {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "NUWRAP_HOME": str(tmp_path / "home"),
            }
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert typed.returncode == 0, typed.stdout
    assert [line.split()[0] for line in lines] == ["cd", "nuwrap", "nuwrap", "python"]
    assert "hello you hello you" in typed.stdout
    assert "1 passed" in typed.stdout


def test_the_function_is_called_as_its_folder(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    assert run_nuwrap("init", "Größe & Co.").returncode == 0
    function = read_function(tmp_path / "Größe & Co.").function
    assert (function.name, function.project, function.python_version) == ("Gr-e-Co", "default", HERE)
    assert run_nuwrap("init", "___").returncode == 0
    assert read_function(tmp_path / "___").function.name == "my-function"


def test_names_and_version_are_those_that_are_given(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    done = run_nuwrap("init", "x", "--name", "1.5", "--project", "shop", "--python-version", "3.9", "--json")
    told = json.loads(done.stdout)
    assert (told["folder"], set(told["files"]), told["next"][0]) == (str(tmp_path / "x"), FILES, "cd x")
    function = read_function(tmp_path / "x").function
    assert (function.name, function.project, function.python_version) == ("1.5", "shop", "PYTHON3_9")


def test_the_folder_one_stands_in_is_the_default(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    done = run_nuwrap("init", "--python-version", HERE)
    assert files_of(tmp_path) == {*FILES, "notes.txt"}
    assert "cd " not in done.stdout


def test_nothing_is_overwritten(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("mine")
    (tmp_path / "test_main.py").symlink_to("nowhere")
    done = run_nuwrap("init")
    assert (done.returncode, done.stdout) == (2, "")
    assert "main.py, test_main.py are in '.' already, and nothing is overwritten" in done.stderr
    assert files_of(tmp_path) == {"main.py", "test_main.py"}
    assert (tmp_path / "main.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["file"], 2, "is a file"),
        (["file/x"], 10, "Not a directory"),
        (["x", "--name", "a b"], 2, "name: 'a b' has not the right form"),
        (["x", "--python-version", "3.8"], 2, "python_version: '3.8' is none of the versions"),
        (["x", "--python-version", "python3.9"], 2, "did you mean PYTHON3_9?"),
    ],
)
def test_what_cannot_be_is_one_message(
    run_nuwrap: Nuwrap, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "file").touch()
    done = run_nuwrap("init", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert files_of(tmp_path) == {"file"}


def test_a_disk_that_gets_full_half_way_leaves_nothing(tmp_path: Path) -> None:
    def only_small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (250, 250))  # main.py is larger, function.yaml is not

    done = subprocess.run(
        nuwrap_argv(["init", "a/b"]),
        cwd=tmp_path,
        env=clean_environment({}),
        preexec_fn=only_small_files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (10, "")
    assert "cannot make a function in 'a/b': File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []
