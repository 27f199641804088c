"""The commands and their options. What a command needs is imported when it runs, so that help is instant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
SET = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="FIELD=VALUE",
    help='Another field of the task, as JSON or text: profile=gpu, replicas=2, \'resources={"mem": "2Gi"}\'.',
)


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return what gives a command these options, in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
