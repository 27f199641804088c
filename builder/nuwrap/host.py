"""A question to the host, which answers with one JSON document on standard output and talks on standard error."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nuwrap.command import Command, stream
from nuwrap.errors import PlatformError
from nuwrap.platforms.local import host_argv


@dataclass(frozen=True)
class Answer:
    """The host's exit code and its document, {} when it gave none: why not is on standard error then."""

    exit_code: int
    document: Mapping[str, Any] = field(default_factory=dict)


def ask_host(
    command: Sequence[str], environ: Mapping[str, str], folder: str | None = None, *, err: Sequence[int]
) -> Answer:
    """Run the host in the folder and return its answer; what it says goes to the descriptors `err`.

    Raises PlatformError for an answer that cannot be read.
    """
    with tempfile.TemporaryFile() as output:
        code = stream(Command(host_argv(command), environ, cwd=folder), out=(output.fileno(),), err=err)
        output.seek(0)
        text = output.read()
    try:
        return Answer(code, json.loads(text) if text.strip() else {})
    except ValueError as exc:
        raise PlatformError(f"the host's answer to {command[0]!r} is none: {exc}") from exc
