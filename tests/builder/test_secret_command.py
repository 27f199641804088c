"""`nuwrap secret`: values come by a pipe or a hidden prompt, and are printed nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Nuwrap, clean_environment, nuwrap_argv, write_function

from nuwrap.store.secrets import VALUE_BYTES, Secrets

VALUE = "correct horse battery"
PROMPT = b"value of secret API_KEY: "
TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
Pipe = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def pipe(home: Path) -> Pipe:
    """Run `nuwrap secret set` with these bytes as its standard input."""

    def run(content: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            nuwrap_argv(["secret", "set", *arguments]),
            env=clean_environment({"NUWRAP_HOME": str(home)}),
            input=content,
            capture_output=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=repr)
def test_a_value_comes_from_a_pipe_without_its_last_line_break(pipe: Pipe, home: Path, end: str) -> None:
    done = pipe(f"{VALUE}{end}".encode(), "API_KEY", "--project", "guide")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.endswith(b"nuwrap: secret 'API_KEY' of project 'guide' is set\n")
    assert Secrets(str(home)).get("guide", "API_KEY") == VALUE


def test_only_one_line_break_is_dropped_and_the_default_project_is_default(pipe: Pipe, home: Path) -> None:
    done = pipe(b"-----BEGIN-----\nkey\n\n", "KEY", "--json")
    assert json.loads(done.stdout) == {"project": "default", "secret": "KEY"}
    assert Secrets(str(home)).get("default", "KEY") == "-----BEGIN-----\nkey\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there is no value; pipe it in"),
        (b"\n", "there is no value; pipe it in"),
        (b"\xff\xfe", "is no UTF-8 text; keep bytes as base64"),
        (b"x" * (VALUE_BYTES + 1), f"has more than {VALUE_BYTES} bytes"),
        ("é".encode() * VALUE_BYTES, f"has more than {VALUE_BYTES} bytes"),
    ],
    ids=lambda one: repr(one[:12]),
)
def test_what_can_be_no_value_is_refused(pipe: Pipe, home: Path, content: bytes, said: str) -> None:
    done = pipe(content, "API_KEY")
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()
    assert not (home / "secrets").exists()


def test_the_largest_value_may_end_with_a_line_break(pipe: Pipe, home: Path) -> None:
    assert pipe(b"x" * VALUE_BYTES + b"\r\n", "BIG").returncode == 0
    assert len(Secrets(str(home)).get("default", "BIG")) == VALUE_BYTES


@pytest.mark.parametrize("arguments", [["API_KEY", "hush-hush"], ["API_KEY=hush-hush"], ["API_KEY", "hush-hush", "x"]])
def test_a_value_among_the_arguments_is_refused_and_not_repeated(pipe: Pipe, home: Path, arguments: list[str]) -> None:
    done = pipe(b"value", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"a value of secret 'API_KEY' is not taken from the command line" in done.stderr
    assert b"hush" not in done.stderr
    assert not home.exists()


def test_a_wrong_name_is_refused(pipe: Pipe) -> None:
    done = pipe(b"value", "../x")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"secret: '../x' is no name" in done.stderr


def on_terminal(home: Path, typed: bytes) -> tuple[int, str]:
    """Run `nuwrap secret set API_KEY` on a terminal of its own, answer its prompt; return exit code and screen."""
    argv = [sys.executable, "-c", TERMINAL, *nuwrap_argv(["secret", "set", "API_KEY"])]
    environ = clean_environment({"NUWRAP_HOME": str(home)})
    with subprocess.Popen(argv, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin
        assert process.stdout
        shown = b""
        while PROMPT not in shown:
            shown += process.stdout.read(1) or b"it ended: " + PROMPT
        process.stdin.write(typed)
        shown += process.stdout.read()
    return process.returncode, shown.decode()


def test_a_person_is_asked_and_what_is_typed_does_not_show(home: Path) -> None:
    code, shown = on_terminal(home, f"{VALUE}\n".encode())
    assert (code, VALUE in shown) == (0, False), shown
    assert Secrets(str(home)).get("default", "API_KEY") == VALUE


@pytest.mark.parametrize(
    ("typed", "code"), [(b"\n", 2), (b"\x04", 2), (b"\x03", 143)], ids=["enter", "ctrl-d", "ctrl-c"]
)
def test_a_person_may_think_better_of_it(home: Path, typed: bytes, code: int) -> None:
    assert on_terminal(home, typed)[0] == code
    assert not (home / "secrets").exists()


def test_names_are_listed_and_removed(run_nuwrap: Nuwrap, pipe: Pipe, home: Path) -> None:
    def secret(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_nuwrap("secret", *arguments, "--project", "guide", NUWRAP_HOME=str(home))

    for name in ("B", "A"):
        pipe(VALUE.encode(), name, "--project", "guide")
    lines = secret("ls").stdout.splitlines()
    assert [lines[0].strip(), *map(str.strip, lines[2:])] == ["name", "A", "B", "2 secrets of project 'guide'"]
    assert json.loads(secret("ls", "--json").stdout) == {"project": "guide", "secrets": ["A", "B"]}
    assert secret("rm", "A").stderr == "nuwrap: secret 'A' of project 'guide' is gone\n"
    assert json.loads(secret("rm", "B", "--json").stdout) == {"project": "guide", "secret": "B"}
    gone = secret("rm", "B")
    assert (gone.returncode, gone.stdout) == (2, "")
    assert "project 'guide' has no secret 'B'" in gone.stderr


def test_a_project_that_is_not_there_is_said_unless_it_is_the_default(
    run_nuwrap: Nuwrap, pipe: Pipe, home: Path
) -> None:
    pipe(VALUE.encode(), "A", "--project", "guide")
    done = run_nuwrap("secret", "ls", "--project", "giude", NUWRAP_HOME=str(home))
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no project 'giude'; did you mean 'guide'?" in done.stderr
    shown = run_nuwrap("secret", "ls", NUWRAP_HOME=str(home))
    assert (shown.returncode, shown.stdout.strip()) == (0, "0 secrets of project 'default'")


def test_a_function_gets_the_value(run_nuwrap: Nuwrap, pipe: Pipe, home: Path, tmp_path: Path) -> None:
    pipe(VALUE.encode(), "API_KEY", "--project", "p")
    write_function(tmp_path, code="def f(project): return len(project.get_secret('API_KEY').read_secret_value())")
    done = run_nuwrap("run", ".", "--secret", "API_KEY", "--json", NUWRAP_HOME=str(home))
    assert json.loads(done.stdout)["results"] == {"output_0": len(VALUE)}, done.stderr
