"""`nuwrap run` on this machine, with the real host and the real worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Nuwrap, clean_environment, nuwrap_argv, write_function

from nuwrap.errors import PlatformError
from nuwrap.platforms.interpreters import SUPPORTED, find_interpreter
from nuwrap.platforms.local import secret_files


def run_folder(base: Path) -> Path:
    (folder,) = (base / ".nuwrap/runs").iterdir()
    return folder


def result_in(base: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_folder(base) / "result.json").read_text())
    return found


def test_a_function_runs_and_says_where_all_of_it_lies(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="def f(x, y=2):\n    print('hello')\n    return x * y")
    done = run_nuwrap("run", "function.yaml", "-p", "x=3")
    assert done.returncode == 0, done.stderr
    folder = run_folder(tmp_path)
    assert result_in(tmp_path)["results"] == {"output_0": 6}
    assert (
        f"COMPLETED in {result_in(tmp_path)['seconds']['total']:.2f} s, in .nuwrap/runs/{folder.name}/" in done.stdout
    )
    assert "hello\n" in done.stdout
    assert "hello\n" in (folder / "log.txt").read_text()
    assert json.loads((folder / "launch.json").read_text())["run"] == folder.name == result_in(tmp_path)["run"]


def test_a_function_of_another_folder_says_where_its_result_lies_as_it_is_found_from_here(
    run_nuwrap: Nuwrap, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    write_function(tmp_path / "sub", code="def f():\n    return 7")
    done = run_nuwrap("run", "sub")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "COMPLETED" in line]
    told = line.rpartition(" ")[2]
    assert (tmp_path / told).samefile(run_folder(tmp_path) / "result.json")


def test_a_runs_files_are_the_users_alone_and_unseen_by_git(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="def f(): pass")
    assert run_nuwrap("run", ".").returncode == 0
    folder = run_folder(tmp_path)
    assert (tmp_path / ".nuwrap/.gitignore").read_text() == "*\n"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / ".nuwrap", folder.parent, folder)} == {0o700}
    assert {(folder / name).stat().st_mode & 0o777 for name in ("launch.json", "log.txt")} == {0o600}


def test_a_local_file_is_its_module_and_its_neighbours_do_no_harm(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    place = tmp_path / "app"
    (place / "src").mkdir(parents=True)
    for name in ("types.py", "json.py", "nuwrap_runtime.py", "sys.py"):
        (place / name).write_text("raise SystemExit('a file of the function folder was imported')")
    (place / "src/fn.py").write_text("def f(): return __name__")
    write_function(place, code_src="src/fn.py")
    done = run_nuwrap("run", "app")
    assert done.returncode == 0, done.stderr
    assert result_in(tmp_path)["results"] == {"output_0": "src.fn"}


def test_json_leaves_standard_output_to_the_document(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="def f():\n    print('noise')\n    return {'a': [1, None]}")
    done = run_nuwrap("run", ".", "--json")
    assert json.loads(done.stdout) == result_in(tmp_path)
    assert json.loads(done.stdout)["results"] == {"output_0": {"a": [1, None]}}
    assert "noise" in done.stderr


def test_a_raising_handler_is_exit_1_with_the_users_frames(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="def g():\n    raise ValueError('no good')\ndef f():\n    g()")
    done = run_nuwrap("run", ".")
    assert done.returncode == 1
    assert "failed in phase handler: ValueError: no good" in done.stdout
    assert "main.py:2 in g" in done.stdout
    assert "nuwrap_runtime" not in done.stdout


def test_a_secret_is_a_file_and_a_variable_and_nowhere_else(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    code = (
        "import os\ndef f(project):\n    path = os.path.join(os.environ['NUWRAP_SECRETS'], 'TOKEN')\n"
        "    text = open(path).read()\n    print('printed', text, flush=True)\n"
        "    return text == os.environ['TOKEN'], oct(os.stat(path).st_mode)[-3:], path, 'value ' + text"
    )
    write_function(tmp_path, code=code)
    value = "s3cr3t-value"
    done = run_nuwrap("run", ".", "--secret", "TOKEN", TOKEN=value)
    assert done.returncode == 0, done.stderr
    same, mode, path, text = result_in(tmp_path)["results"].values()
    assert (same, mode, text) == (True, "600", "value ***")
    assert "printed ***" in done.stdout
    assert not Path(path).parent.exists()
    left = subprocess.run(["grep", "-r", "s3cr3t", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_the_environment_reaches_the_function_but_not_the_launch(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="import os\ndef f(): return os.environ['A'], os.environ['B'], os.environ['RUN_ID']")
    done = run_nuwrap("run", ".", "--env", "A=x y=z", B="mine", NUWRAP_HANDLER="other", NUWRAP_CODE="x = 1")
    assert done.returncode == 0, done.stderr
    assert list(result_in(tmp_path)["results"].values()) == ["x y=z", "mine", run_folder(tmp_path).name]
    assert "warning: NUWRAP_CODE, NUWRAP_HANDLER of the environment are not used" in done.stderr


def test_an_input_file_arrives_as_an_entity(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    write_function(tmp_path, code="def f(di):\n    return di.kind, open(di.path).read(), hasattr(di, 'as_df')")
    done = run_nuwrap("run", ".", "-i", "di=data.csv")
    assert done.returncode == 0, done.stderr
    assert list(result_in(tmp_path)["results"].values()) == ["table", "a,b\n1,2\n", True]


def test_an_image_is_recorded_with_a_warning(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="def f(): pass", image="i:1", base_image="b:1")
    done = run_nuwrap("run", ".")
    assert done.returncode == 0
    assert "warning: recorded, but not used: image, base_image" in done.stderr


def test_a_call_that_takes_too_long_is_exit_124(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    write_function(tmp_path, code="import signal\ndef f(): signal.pause()")
    done = run_nuwrap("run", ".", "--timeout-s", "0.5")
    assert done.returncode == 124
    assert "TimedOut" in done.stdout


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_the_run_as_stopped(tmp_path: Path, sent: signal.Signals) -> None:
    write_function(tmp_path, code="import signal\ndef f():\n    print('waiting', flush=True)\n    signal.pause()")
    with subprocess.Popen(
        nuwrap_argv(["run", "."]), cwd=tmp_path, env=clean_environment({}), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(sent)
        assert process.wait() == 143
    assert result_in(tmp_path)["state"] == "STOPPED"


@pytest.mark.parametrize("version", SUPPORTED)
def test_python_version_chooses_the_interpreter(run_nuwrap: Nuwrap, tmp_path: Path, version: str) -> None:
    try:
        find_interpreter(version, dict(os.environ))
    except PlatformError as exc:
        pytest.skip(str(exc))
    name = f"PYTHON{version.replace('.', '_')}"
    write_function(tmp_path, python_version=name, code="import sys\ndef f(): return '%d.%d' % sys.version_info[:2]")
    done = run_nuwrap("run", ".")
    assert done.returncode == 0, done.stderr
    assert result_in(tmp_path)["results"] == {"output_0": version}


def test_a_named_interpreter_wins_with_a_warning(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    other = "PYTHON3_9" if sys.version_info[:2] != (3, 9) else "PYTHON3_10"
    write_function(tmp_path, python_version=other, code="import sys\ndef f(): return sys.prefix")
    done = run_nuwrap("run", ".", "--python", sys.executable)
    assert done.returncode == 0, done.stderr
    assert result_in(tmp_path)["results"] == {"output_0": sys.prefix}
    assert f"the function asks for {other[len('PYTHON') :].replace('_', '.')}" in done.stderr


def test_a_host_that_breaks_leaves_no_exit_code_of_a_handler(run_nuwrap: Nuwrap, tmp_path: Path) -> None:
    code = "import os\ndef f(): os.kill(os.getppid(), 9)"  # the host is the worker's parent
    write_function(tmp_path, code=code)
    done = run_nuwrap("run", ".")
    assert done.returncode == 137
    killed = "nuwrap-host was killed by SIGKILL (most often by the system, for a lack of memory)"
    assert f"nuwrap: {killed}, so there is no result; cannot read the result" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_leaves_no_empty_file(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from nuwrap.platforms.run_folder import write_private\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); write_private('launch.json', 'x' * 100)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "PlatformError: cannot write 'launch.json': File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_secrets_lie_in_memory_where_there_is_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "memory"))
    with secret_files(str(tmp_path), {"A": "value"}) as folder:
        assert Path(folder).parent == tmp_path / "memory"
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert Path(folder, "A").read_text() == "value"
    assert list((tmp_path / "memory").iterdir()) == []
