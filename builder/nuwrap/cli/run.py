"""`nuwrap run`: read the function, plan the launch, run it, show how it ended."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from nuwrap.cli.arguments import LACK_OF_MEMORY, Options, killed_by, open_function, place_run
from nuwrap.cli.show import show_result
from nuwrap.cli.terminal import STDERR, STDOUT, Stopped, tell
from nuwrap.errors import ResultError
from nuwrap.platforms import Screen
from nuwrap.runs.collect import own_result, result_place
from nuwrap.runs.supervisor import attend
from nuwrap.store import RunRecord
from nuwrap.store.results import FILE_NAME as RESULT

EARLY_STOPS = (130, 143)  # of a host that a signal ended before it could take it


@dataclass(frozen=True)
class Finished:
    """A run that is over: the host's exit code, the folder that has its result, and its record."""

    exit_code: int
    folder: str
    record: RunRecord


def run_function(options: Options) -> int:
    """Run the function to its end, show its result and return the host's exit code, be it shown or not."""
    file = open_function(options)
    ctx, placed = place_run(file, "job", options, output_path=options.output_path or None)
    screen = Screen(out=(STDERR if options.as_json else STDOUT,), err=(STDERR,))
    code, record = attend(ctx.store, ctx.home, placed, screen)
    finished = Finished(code, result_place(record).folder, record)
    try:
        shown = _show(finished, as_json=options.as_json)
    except (OSError, SystemExit, Stopped) as exc:  # SystemExit: rich's answer to a reader that is gone
        tell(f"nuwrap: cannot print the result, which is in {finished.folder!r}: {exc!r}")
        return finished.exit_code
    if not shown and finished.exit_code in EARLY_STOPS:
        return 143
    if not shown and finished.exit_code in (0, 1):  # "done" and "the handler raised" are a result's to say
        return ResultError.exit_code
    return finished.exit_code


def _show(finished: Finished, *, as_json: bool) -> bool:
    """Print the result; False when there is none that can be read, and it has been said why."""
    try:
        result = own_result(finished.record, finished.folder)
    except ResultError as exc:  # the host has said why there is none, on the lines above and in the log
        is_early = finished.exit_code in EARLY_STOPS and not os.path.lexists(os.path.join(finished.folder, RESULT))
        killer = killed_by(finished.exit_code)
        if is_early:
            tell("nuwrap: stopped before it began")
        elif killer:
            memory = LACK_OF_MEMORY if killer == "SIGKILL" else ""
            tell(f"nuwrap: nuwrap-host was killed by {killer}{memory}, so there is no result; {exc}")
        else:
            tell(f"nuwrap: {exc}")
        return False
    if as_json:
        print(json.dumps(result.to_document(), indent=1), flush=True)
    else:
        stored = {name: str(one["path"]) for name, one in finished.record.outputs.items() if "://" in str(one["path"])}
        show_result(result, finished.folder, addresses=stored)
    return True
