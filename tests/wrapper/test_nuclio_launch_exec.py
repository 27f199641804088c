"""What `nuwrap-host exec` sets for a processor, and how it says that there will be none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import pytest

PRINT = ["sh", "-c", 'echo "$NUCLIO_PYTHON_WRAPPER_PATH"; echo "$NUCLIO_PYTHON_EXE_PATH"']
CODE = "def f(context, event): pass\n"
REFUSED = "nuwrap: the function does not start\n"


class Host:
    """`nuwrap-host exec` with a work folder and a pod's message of its own."""

    def __init__(self, tree: str, cache: str, folder: Path) -> None:
        self.tree, self.work, self.termination = tree, folder / "work", folder / "termination"
        self.termination.touch()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUWRAP_", "NUCLIO_"))}
        folders = {"NUWRAP_CACHE": cache, "NUWRAP_WORK": str(self.work)}
        self.environ = {**kept, **folders, "NUWRAP_TERMINATION_LOG": str(self.termination)}

    def __call__(
        self, *argv: str, keys: Optional[Mapping[str, Any]] = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        entry = os.path.join(self.tree, "worker", "nuwrap_runtime", "host", "entry.py")
        launch = json.dumps({"api": "nuwrap/v1", "handler": "f", **(keys or {"code": CODE})})
        given = {**self.environ, "NUWRAP_LAUNCH": launch, **environ}
        command = [sys.executable, "-I", "-S", "-u", entry, "exec", *argv]
        return subprocess.run(command, env=given, capture_output=True, text=True, check=False)


@pytest.fixture
def host(tree: str, cache: str, tmp_path: Path) -> Host:
    return Host(tree, cache, tmp_path.resolve())


def test_a_processor_is_told_our_script_and_the_interpreter(host: Host) -> None:
    script, python = host("--python", sys.executable, "--", *PRINT).stdout.splitlines()
    assert (Path(script).name, python) == ("main.py", sys.executable)
    assert script.startswith(host.tree)


def test_a_script_that_the_user_has_named_is_left(host: Host) -> None:
    done = host("--python", sys.executable, "--", *PRINT, NUCLIO_PYTHON_WRAPPER_PATH="/opt/nuclio/own.py")
    assert done.stdout.splitlines()[0] == "/opt/nuclio/own.py"


def test_the_interpreter_of_the_processor_is_the_default_one(host: Host, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(sys.executable)
    named = {"NUCLIO_PYTHON_EXE_PATH": str(tmp_path / "a")}
    assert host("--", *PRINT, **named).stdout.splitlines()[1] == str(tmp_path / "a")
    launch = {"code": CODE, "python": str(tmp_path / "b")}
    assert host("--", *PRINT, keys=launch, **named).stdout.splitlines()[1] == str(tmp_path / "b")


@pytest.mark.parametrize(
    ("keys", "command", "code", "reason"),
    [
        ({"code_src": "/nowhere/fn.py"}, "true", 3, "SourceError: code_src '/nowhere/fn.py'"),
        ({"code": CODE, "requirements": ["-r x"]}, "true", 4, "RequirementsError: the requirements are not valid:"),
        ({"code": CODE, "handlr": "f"}, "true", 2, "LaunchError: the launch document is not valid:"),
        ({"code": CODE}, "/nowhere/processor", 10, "PlatformError: cannot become '/nowhere/processor'"),
    ],
    ids=["source", "requirements", "launch", "command"],
)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_what_ends_it_is_one_block_at_the_end_and_the_pods_message(
    host: Host, form: list[str], keys: dict[str, Any], command: str, code: int, reason: str
) -> None:
    done = host("--python", sys.executable, *form, "--", command, keys=keys)
    assert done.returncode == code
    before, _, block = done.stderr.partition(REFUSED)
    assert block.splitlines()[1].startswith(f"  reason  {reason}")
    assert block.splitlines()[-1].startswith("  hint ")
    assert "nuwrap  error" not in before
    message = json.loads(host.termination.read_bytes())
    assert (message["state"], message["exit_code"]) == ("ERROR", code)
    assert f"{message['failure']['type']}: {message['failure']['message']}".startswith(reason)


def test_a_command_of_workers_is_not_for_people(host: Host) -> None:
    entry = os.path.join(host.tree, "worker", "nuwrap_runtime", "host", "entry.py")
    command = [sys.executable, "-I", "-S", entry, "worker", "--handler", "f"]
    done = subprocess.run(command, env=host.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "start it with: nuwrap-host exec" in done.stderr
