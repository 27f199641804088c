"""`nuwrap-host` as its callers start it: real processes, from the tree, isolated."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nuwrap_runtime import __version__
from nuwrap_runtime.host.cli import COMMANDS
from nuwrap_runtime.launch import flag_names

INLINE = ["--code", "def f(a: int = 1):\n    return a\n", "--handler", "f", "--python", sys.executable]


class Host:
    """A host to start in `here`, with variables of its own and a temporary folder that nothing may be left in."""

    def __init__(self, tree: str, cache: str, folder: Path) -> None:
        self.entry = os.path.join(tree, "worker", "nuwrap_runtime", "host", "entry.py")
        self.here, self.tmp, self.work = (folder / name for name in ("here", "tmp", "work"))
        self.here.mkdir()
        self.tmp.mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environ = {**kept, "NUWRAP_CACHE": cache, "TMPDIR": str(self.tmp), "NUWRAP_WORK": str(self.work)}

    def start(self, *argv: str, **environ: Any) -> subprocess.Popen[str]:
        given = {name: str(value) for name, value in {**self.environ, **environ}.items() if value is not None}
        command = [sys.executable, "-I", "-S", "-u", self.entry, *argv]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.here, env=given, stdout=pipe, stderr=pipe, text=True)

    def __call__(self, *argv: str, **environ: Any) -> subprocess.CompletedProcess[str]:
        with self.start(*argv, **environ) as process:
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)


@pytest.fixture
def host(tree: str, cache: str, tmp_path: Path) -> Iterator[Host]:
    made = Host(tree, cache, tmp_path.resolve())
    yield made
    assert list(made.tmp.iterdir()) == []


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    return done.stderr


def test_help_says_every_command_and_every_flag(host: Host) -> None:
    text = host("--help").stdout
    assert all(f"    {name} " in text for name in COMMANDS)
    for name in COMMANDS:
        done = host(name, "--help")
        assert done.returncode == 0
        assert all(f"{flag} " in done.stdout for flag in (*flag_names().values(), "--launch", "--json"))
    assert host("--version").stdout == f"nuwrap-host {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "COMMAND"),
        (["jop"], "invalid choice: 'jop'"),
        (["job", "--handlr", "f"], "unknown argument '--handlr'; did you mean '--handler'?"),
        (["job", "--handlr=f"], "did you mean '--handler'?"),
        (["job", "--hand", "f"], "unknown argument '--hand'"),
        (["job", "extra"], "unknown argument 'extra'"),
        (["job", "--handler"], "expected one argument"),
        (["exec", *INLINE], "exec needs a command after --"),
        (["exec", *INLINE, "--"], "exec needs a command after --"),
        (["job", *INLINE, "--", "true"], "job takes no command after --"),
        (["job", "--concurrency", "x", *INLINE], "concurrency: 'x' is not JSON"),
        (["job", "--launch", "/nowhere"], "cannot read the launch document '/nowhere'"),
    ],
    ids=lambda one: " ".join(one)[:30] if isinstance(one, list) else None,
)
def test_a_usage_error_is_one_line_and_exits_with_2(host: Host, argv: list[str], said: str) -> None:
    assert said in one_line(host(*argv), 2)


def test_a_launch_that_is_not_valid_says_all_faults_and_exits_with_2(host: Host) -> None:
    done = host("job", "--handler", "pkg.m.f", "--binding", "name")
    assert done.returncode == 2
    assert "did you mean 'pkg.m:f'?" in done.stderr
    assert "did you mean 'names'?" in done.stderr
    assert "code_src: is missing" in done.stderr


def test_variables_alone_are_a_job(host: Host) -> None:
    (host.here / "fn.py").write_text("def g(): return 'done'\n")
    done = host("job", NUWRAP_CODE_SRC="fn.py", NUWRAP_HANDLER="g", NUWRAP_PYTHON=sys.executable, NUWRAP_RUN="R1")
    assert done.returncode == 0, done.stderr
    document = json.loads((host.here / ".nuwrap" / "runs" / "R1" / "result.json").read_text())
    assert (document["state"], document["results"]) == ("COMPLETED", {"output_0": "done"})


def test_check_prints_the_signature_and_nothing_else_on_standard_output(host: Host) -> None:
    code = (
        "import os, sys\nprint('noise')\nos.write(1, b'raw noise')\ndef f(a: int = 1, *, ü='x'):\n    print('called')\n"
    )
    done = host("check", "--code", code, "--handler", "f", "--python", sys.executable, NUWRAP_WORK=None)
    document = json.loads(done.stdout)
    assert (done.returncode, document["revision"][:7]) == (0, "sha256:")
    assert "ü" in json.dumps(document, ensure_ascii=False)
    assert "raw noise" in done.stderr
    assert "called" not in done.stderr


@pytest.mark.parametrize(("code", "exit_code"), [("def g(): pass", 5), ("f = 7", 5), ("1 / 0", 5), ("def f(:", 5)])
def test_check_of_what_cannot_be_loaded_says_why(host: Host, code: str, exit_code: int) -> None:
    done = host("check", "--code", code, "--handler", "f", "--python", sys.executable, NUWRAP_WORK=None)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert "nuwrap  error: " in done.stderr


def test_fetch_leaves_a_record_and_job_takes_the_code_from_there(host: Host) -> None:
    (host.here / "fn.py").write_text("def f(): return 'fetched'\n")
    flags = ["--code-src", "fn.py", "--handler", "f", "--python", sys.executable, "--run", "R"]
    fetched = host("fetch", *flags, NUWRAP_PYTHON="/nowhere")
    assert json.loads(fetched.stdout)["root"] == str(host.work / "source")
    (host.here / "fn.py").unlink()
    done = host("job", *flags)
    assert done.returncode == 0, done.stderr
    assert "source  " not in done.stderr
    assert "fetched" in (host.here / ".nuwrap" / "runs" / "R" / "result.json").read_text()


@pytest.mark.parametrize("record", ["", "[]", '{"source": "x"}', '{"root": 5}'])
def test_half_a_record_is_no_record(host: Host, record: str) -> None:
    assert host("fetch", *INLINE).returncode == 0
    (host.work / "record.json").write_text(record)
    done = host("fetch", *INLINE)
    assert (done.returncode, "nuwrap  source" in done.stderr) == (0, True)


def test_another_source_takes_the_place_of_the_first(host: Host) -> None:
    (host.here / "a.py").write_text("A = 1")
    assert host("fetch", "--code-src", "a.py", "--handler", "f").returncode == 0
    assert host("fetch", *INLINE).returncode == 0
    assert [path.name for path in (host.work / "source").iterdir()] == ["main.py"]


def test_a_projects_own_folder_called_source_is_not_touched(host: Host) -> None:
    (host.here / "source").mkdir()
    (host.here / "source" / "mine.py").write_text("precious")
    done = host("fetch", *INLINE, NUWRAP_WORK=host.here)
    assert done.returncode == 10
    assert "has files that nuwrap did not make; set NUWRAP_WORK elsewhere" in done.stderr
    assert (host.here / "source" / "mine.py").read_text() == "precious"


def test_prepare_leaves_a_worker_spec_for_its_user_alone(host: Host) -> None:
    answer = json.loads(host("prepare", *INLINE, "--parameters", '{"a": 5}').stdout)
    spec = json.loads(Path(answer["worker_spec"]).read_text())
    assert (spec["handler"], spec["parameters"], spec["mode"]) == ("f", {"a": 5}, "event")
    assert os.stat(answer["worker_spec"]).st_mode & 0o077 == 0


@pytest.mark.parametrize("command", ["fetch", "prepare", "exec"])
def test_what_is_for_a_later_process_needs_a_work_folder(host: Host, command: str) -> None:
    done = host(command, *INLINE, *(["--", "true"] if command == "exec" else []), NUWRAP_WORK=None)
    assert done.returncode == 10
    assert "set NUWRAP_WORK to a folder" in done.stderr


def test_exec_becomes_the_command_without_the_credentials(host: Host) -> None:
    secret = {
        "GIT_TOKEN": "t0ken",
        "GIT_PASSWORD": "passw0rd",
        "NUWRAP_SOURCE_AWS_ACCESS_KEY_ID": "k3y",
        "AWS_REGION": "r",
    }
    launch = json.dumps({"api": "nuwrap/v1", "handler": "f", "code": "def f(): pass", "project": "p", "run": "R"})
    command = [sys.executable, "-S", "-c", "import os; os.execv('/usr/bin/env', ['env'])"]
    with host.start("exec", "--python", sys.executable, "--", *command, NUWRAP_LAUNCH=launch, **secret) as process:
        out, err = process.communicate(timeout=60)
    environ = dict(line.split("=", 1) for line in out.splitlines())
    assert process.returncode == 0, err
    assert not {"t0ken", "passw0rd", "k3y"} & set(environ.values())
    assert "NUWRAP_LAUNCH" not in environ
    assert (environ["AWS_REGION"], environ["PROJECT_NAME"], environ["RUN_ID"]) == ("r", "p", "R")
    assert environ["NUWRAP_WORKER_SPEC"] == str(host.work / "worker.json")
    assert environ["NUCLIO_PYTHON_EXE_PATH"] == sys.executable


def test_exec_keeps_the_process_its_arguments_and_its_signals_and_stands_in_the_source(host: Host) -> None:
    script = 'echo "$$ $PWD $1 $2"; trap'
    command = ["sh", "-c", script + "; grep SigIgn /proc/self/status", "x", "a b", "--"]
    with host.start("exec", *INLINE, "--", *command) as process:
        out, _ = process.communicate(timeout=60)
    first, ignored = out.splitlines()
    assert first == f"{process.pid} {host.work}/source a b --"
    assert int(ignored.split()[1], 16) & 1 << (signal.SIGPIPE - 1) == 0


def test_exec_without_a_function_is_the_command_as_it_is(host: Host) -> None:
    done = host("exec", "--", "sh", "-c", 'echo "$PWD $A"', A="as it was")
    assert (done.returncode, done.stdout) == (0, f"{host.here} as it was\n")
    assert "no function is named, by NUWRAP_LAUNCH or a flag: sh begins as it is" in done.stderr
    done = host("exec", "--", "sh", "-c", "exit 0", NUWRAP_HANDLER="f")
    assert done.returncode == 2
    assert "code_src: is missing" in done.stderr


def test_exec_of_what_is_not_there_is_said(host: Host) -> None:
    done = host("exec", *INLINE, "--", "/nowhere/program")
    assert done.returncode == 10
    assert "cannot become '/nowhere/program': No such file or directory" in done.stderr


def test_a_stop_during_a_fetch_leaves_nothing(host: Host) -> None:
    started = host.tmp.parent / "started"
    os.mkfifo(started)
    programs = host.tmp.parent / "programs"
    programs.mkdir()
    (programs / "git").write_text(f"#!/bin/sh\nmktemp >/dev/null\necho $$ > {started}\nexec sleep 600\n")
    (programs / "git").chmod(0o755)
    flags = ["--code-src", "git+https://127.0.0.1:9/r.git", "--handler", "f"]
    with host.start("fetch", *flags, PATH=f"{programs}:{os.environ['PATH']}") as process:
        git = int(started.read_text())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert not os.path.exists(f"/proc/{git}") or "Z" in Path(f"/proc/{git}/stat").read_text().split()
    assert sorted(path.name for path in host.work.iterdir()) == [".nuwrap-source"]
    for path in host.tmp.iterdir():  # what our stand-in for git left itself
        path.unlink()


@pytest.mark.parametrize("home", [None, "", "/", "/nowhere"])
def test_a_home_of_no_use_is_no_obstacle(host: Host, home: Any) -> None:
    code = "import os\ndef f(): return [os.environ['HOME'], os.access(os.environ['HOME'], os.W_OK)]"
    flags = ["--code", code, "--handler", "f", "--python", sys.executable, "--run", "R"]
    done = host("job", *flags, HOME=home, NUWRAP_WORK=None)
    assert done.returncode == 0, done.stderr
    result = json.loads((host.here / ".nuwrap" / "runs" / "R" / "result.json").read_text())
    assert result["results"]["output_0"][1] is True


def test_a_work_folder_that_cannot_be_made_is_named(host: Host) -> None:
    done = host("fetch", *INLINE, NUWRAP_WORK="/proc/nowhere")
    assert done.returncode == 10
    assert "cannot make the work folder '/proc/nowhere'" in done.stderr


def test_a_relative_input_is_taken_from_where_the_host_stands(host: Host) -> None:
    (host.here / "data.csv").write_text("a\n1\n")
    key = "store://p/dataitem/table/d:1"
    flags = ["--inputs", json.dumps({"a": key}), "--entities", json.dumps({key: {"kind": "table", "path": "data.csv"}})]
    assert host("prepare", *INLINE, *flags).returncode == 0
    spec = json.loads((host.work / "worker.json").read_text())
    assert spec["entities"][key]["path"] == str(host.here / "data.csv")


def test_phases_come_as_json_lines_when_asked_and_secrets_never(host: Host, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "S").write_text('qu"oted\n')
    code = "def f(context):\n    context.logger.info_with('x', value='a qu\"oted b')"
    flags = ["--code", code, "--handler", "f", "--python", sys.executable, "--secrets", '["S"]', "--json"]
    done = host("job", *flags, NUWRAP_SECRETS=secrets)
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 0
    assert {"phase", "log"} <= {record["event"] for record in records}
    assert [record["with"]["value"] for record in records if record["event"] == "log"] == ["a *** b"]


def test_a_closed_standard_error_stops_nothing(host: Host) -> None:
    command = [sys.executable, "-I", "-S", host.entry, "job", *INLINE, "--run", "R"]
    script = f"exec {shlex.join(command)} 2>&-"
    done = subprocess.run(["sh", "-c", script], cwd=host.here, env=host.environ, check=False)
    assert done.returncode == 0
    assert (host.here / ".nuwrap" / "runs" / "R" / "result.json").is_file()
