"""`nuwrap stop`, `nuwrap resume` and `nuwrap rm`: runs are ended, started again, forgotten."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from nuwrap.cli.finding import find_run, read_run
from nuwrap.cli.listing import run_document
from nuwrap.cli.terminal import tell
from nuwrap.errors import NuwrapError, PlatformError, UsageError
from nuwrap.sdk import context
from nuwrap.sdk.runs import SHORT_ID, Run
from nuwrap.store import ENDED, PRODUCES, RunRecord

PLACE = (".nuwrap", "runs")


def stop_runs(texts: Sequence[str], project: str, *, as_json: bool) -> int:
    """Stop the runs, each waited for until it has ended; one that has ended already stays as it is."""

    def stop(run: Run) -> str:
        was = run.state
        state = run.stop().state
        return f"{state} already" if was in ENDED else state

    return _each(_find(texts, project, going_on=True), stop, as_json=as_json)


def resume_runs(texts: Sequence[str], project: str, *, as_json: bool) -> int:
    """Start ended runs again, with what they were given."""

    def resume(run: Run) -> str:
        record = read_run(run.resume())
        return f"{record.state}, attempt {record.attempt}; `nuwrap logs -f {run.id[:SHORT_ID]}` follows it"

    return _each(_find(texts, project), resume, as_json=as_json)


def remove_runs(texts: Sequence[str], project: str, *, with_folders: bool, as_json: bool) -> int:
    """Remove ended runs from the history, with `with_folders` the folders of all their attempts too.

    Raises UsageError, and nothing is removed then, when one of these is not a run's own.
    """
    runs = _find(texts, project)
    folders = {run.id: run_folders(read_run(run)) if with_folders else [] for run in runs}

    def remove(run: Run) -> str:
        lost = _data_in(folders[run.id], run)
        run.delete()
        for folder in folders[run.id]:
            _remove_folder(folder)
        for key in lost:
            tell(f"nuwrap: {key} lay in the run's folder: the history still names it, its file is gone")
        return "removed" + (f", with {' and '.join(folders[run.id])}" if folders[run.id] else "")

    return _each(runs, remove, as_json=as_json)


def run_folders(record: RunRecord) -> list[str]:
    """Return the folders of the run's attempts that are there: `.nuwrap/runs/<id>`, `<id>-2` and so on.

    Raises UsageError for a run whose folder is elsewhere: what is in it is not known to be the run's alone.
    """
    attempt = re.compile(rf"{re.escape(record.id)}(-\d+)?")
    parent, name = os.path.split(record.folder)
    if tuple(parent.split(os.sep)[-2:]) != PLACE or not attempt.fullmatch(name):
        raise UsageError(
            f"the folder of run {record.id!r}, {record.folder!r}, is none that nuwrap has made in "
            f"{os.sep.join(PLACE)}{os.sep}; `nuwrap rm` without --folder removes the run alone"
        )
    names = sorted(os.listdir(parent)) if os.path.isdir(parent) else []
    paths = [os.path.join(parent, one) for one in names if attempt.fullmatch(one)]
    return [path for path in paths if os.path.isdir(path) and not os.path.islink(path)]


def _find(texts: Iterable[str], project: str, *, going_on: bool = False) -> list[Run]:
    """Return the runs, each once: what names none is said before anything happens to the others."""
    found = [find_run(text, project, going_on=going_on) for text in texts]
    return list({run.id: run for run in found}.values())


def _each(runs: Sequence[Run], act: Callable[[Run], str], *, as_json: bool) -> int:
    """Do it to each run and print how it went; one that cannot be is said, and does not keep the others from it."""
    code, documents = 0, []
    for run in runs:
        try:
            record = read_run(run)
            told = act(run)
        except NuwrapError as exc:
            tell(f"nuwrap: {exc}")
            code = exc.exit_code
            continue
        documents.append(_document(record))
        if not as_json:
            print(f"run {run.id[:SHORT_ID]} of {record.project}/{record.function}: {told}", flush=True)
    if as_json:
        print(json.dumps(documents, indent=1), flush=True)
    return code


def _document(record: RunRecord) -> dict[str, Any]:
    """Return the run as it is now, as it was when it is gone."""
    return run_document(context.current().store.get_run(record.id) or record)


def _data_in(folders: Sequence[str], run: Run) -> list[str]:
    """Return the keys of what the run has made, and of which the file lies in the folders."""
    store = context.current().store
    made = [store.get_entity(one.key) for one in run.lineage() if one.relation == PRODUCES]
    inside = tuple(os.path.join(folder, "") for folder in folders)
    return [one.key for one in made if one and one.path.startswith(inside)]


def _remove_folder(folder: str) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as exc:
        raise PlatformError(f"cannot remove {folder!r}: {exc.strerror}; the run itself is removed") from exc
