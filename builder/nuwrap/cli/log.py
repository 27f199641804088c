"""`nuwrap logs`: what a run has printed, and with `--follow` what it prints until its end."""

from __future__ import annotations

from nuwrap.cli.finding import find_run, read_run
from nuwrap.cli.passing import pass_on
from nuwrap.cli.terminal import Stopped
from nuwrap.runs import watch
from nuwrap.sdk import context

INTERRUPTED = 130


def show_log(text: str, project: str, *, follow: bool) -> int:
    """Print the log. Ctrl-C while following it leaves the run alone and is 130, as of any program that it ends."""
    record = read_run(find_run(text, project))
    ctx = context.current()
    try:
        pass_on(watch.follow_log(ctx.store, ctx.home, record, follow=follow))
    except Stopped:
        return INTERRUPTED
    return 0
