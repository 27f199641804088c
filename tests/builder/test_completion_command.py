"""`nuwrap completion`: a real bash that has read the script completes."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from command_line import Nuwrap, clean_environment, nuwrap_argv

COMPLETE = """
set -u
nuwrap() {{ {nuwrap} "$@"; }}
env() {{ while [[ $1 == *=* ]]; do local -x "$1"; shift; done; "$@"; }}
source <(nuwrap completion bash)
complete -p nuwrap
COMP_WORDS=({words}) COMP_CWORD={at} COMPREPLY=()
_nuwrap_completion nuwrap
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete(folder: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of the words."""
    script = COMPLETE.format(nuwrap=shlex.join(nuwrap_argv([])), words=shlex.join(words), at=len(words) - 1)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=clean_environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, *offered = done.stdout.splitlines()
    assert first == "complete -o nosort -F _nuwrap_completion nuwrap"
    return offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["nuwrap", "sch"], ["schema"]),
        (["nuwrap", "schema", ""], ["function", "run", "launch", "result"]),
        (["nuwrap", "secret", "s"], ["set"]),
        (["nuwrap", "plan", "function.yaml", "--action", ""], ["job", "serve", "build"]),
        (["nuwrap", "plan", "--ref"], ["--refresh"]),
        (["nuwrap", "completion", "bash", "--a"], []),
    ],
    ids=" ".join,
)
def test_bash_completes(tmp_path: Path, words: list[str], offered: list[str]) -> None:
    assert [one for one in complete(tmp_path, *words) if one] == offered


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_each_script_asks_nuwrap_once(run_nuwrap: Nuwrap, shell: str) -> None:
    done = run_nuwrap("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(f" completion {shell} --answer)") == 1


def test_another_shell_is_refused(run_nuwrap: Nuwrap) -> None:
    done = run_nuwrap("completion", "csh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'csh' is not one of 'bash', 'fish', 'zsh'" in done.stderr
