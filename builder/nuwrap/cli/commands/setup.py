"""Commands around a function before it runs, and around this machine."""

from __future__ import annotations

import click

COMMANDS: tuple[click.Command, ...] = ()
