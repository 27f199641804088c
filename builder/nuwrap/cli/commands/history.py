"""Commands on what ran and runs, and on what the history keeps."""

from __future__ import annotations

import click

COMMANDS: tuple[click.Command, ...] = ()
