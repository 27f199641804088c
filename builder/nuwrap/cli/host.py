"""A question to the host, which answers with one JSON document on standard output and talks on standard error."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nuwrap.cli.terminal import STDERR
from nuwrap.command import Command, stream
from nuwrap.errors import PlatformError
from nuwrap.platforms.local import decided_variables, host_argv
from nuwrap_runtime.launch import Launch


@dataclass(frozen=True)
class Answer:
    """The host's exit code and its document, {} when it gave none: why not is on standard error then."""

    exit_code: int
    document: Mapping[str, Any] = field(default_factory=dict)


def ask_host(command: Sequence[str], environ: Mapping[str, str], folder: str | None = None) -> Answer:
    """Run the host in the folder and return its answer. Raises PlatformError for one that cannot be read."""
    with tempfile.TemporaryFile() as output:
        code = stream(Command(host_argv(command), environ, cwd=folder), out=(output.fileno(),), err=(STDERR,))
        output.seek(0)
        text = output.read()
    try:
        return Answer(code, json.loads(text) if text.strip() else {})
    except ValueError as exc:
        raise PlatformError(f"the host's answer to {command[0]!r} is none: {exc}") from exc


def ask_about(launch: Launch, command: str, folder: str) -> Answer:
    """Ask the host about a launch whose relative `code_src` starts in the folder; see `ask_host`."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="nuwrap-launch-", suffix=".json") as file:
        json.dump(launch.to_document(), file)
        file.flush()
        decided = decided_variables(launch)
        return ask_host(
            [command, "--launch", file.name],
            {name: value for name, value in os.environ.items() if name not in decided},
            folder,
        )
