"""`nuwrap logs`: what a run has printed, and with `--follow` what it prints until its end."""

from __future__ import annotations

from nuwrap.cli.finding import find_run, read_run
from nuwrap.cli.passing import pass_on
from nuwrap.runs import watch
from nuwrap.sdk import context


def show_log(text: str, project: str, *, follow: bool) -> int:
    """Print the log of a run. Raises NotFound, UsageError."""
    record = read_run(find_run(text, project))
    ctx = context.current()
    pass_on(watch.follow_log(ctx.store, ctx.home, record, follow=follow))
    return 0
