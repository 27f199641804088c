"""Questions to the host, whose talk a person reads on standard error."""

from __future__ import annotations

import json
import os
import tempfile

from nuwrap.cli.terminal import STDERR
from nuwrap.host import Answer, ask_host
from nuwrap.platforms.run_folder import decided_variables
from nuwrap_runtime.launch import Launch


def ask_about(launch: Launch, command: str, folder: str) -> Answer:
    """Ask the host about a launch whose relative `code_src` starts in the folder; see `ask_host`."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="nuwrap-launch-", suffix=".json") as file:
        json.dump(launch.to_document(), file)
        file.flush()
        decided = decided_variables(launch)
        environ = {name: value for name, value in os.environ.items() if name not in decided}
        return ask_host([command, "--launch", file.name], environ, folder, err=(STDERR,))
