"""Commands on what ran and runs, and on what the history keeps."""

from __future__ import annotations

from functools import wraps
from typing import Any

import click

from nuwrap.cli.commands import JSON, Command

STATES = ("CREATED", "PENDING", "RUNNING", "COMPLETED", "ERROR", "STOPPED")
INTERRUPTED = 130  # 128 and the number of SIGINT
KINDS = ("projects", "functions", "runs", "dataitems", "artifacts", "models", "secrets")


def _for_a_person(command: Command) -> Command:
    """Let a command end quietly on Ctrl-C, as one expects of what only shows something."""

    @wraps(command)
    def run(**options: Any) -> Any:
        from nuwrap.cli.terminal import Stopped

        try:
            return command(**options)
        except Stopped:
            return INTERRUPTED

    return run


def _complete_run(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    from nuwrap.cli.completing import complete_run

    return complete_run(begun)


def _complete_project(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    from nuwrap.cli.completing import complete_project

    return complete_project(begun)


_RUN = click.argument("run", metavar="RUN", shell_complete=_complete_run)
_RUNS = click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=_complete_run)
_PROJECT = click.option(
    "--project", default="", metavar="NAME", help="Look in this project alone.", shell_complete=_complete_project
)
_LIMIT = click.IntRange(min=1)


@click.command(short_help="List what runs, with --all what ran.")
@click.option("--all", "-a", "with_ended", is_flag=True, help="The newest runs that have ended, too.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES, case_sensitive=False),
    help="Runs in this state alone; may be repeated.",
)
@click.option("--function", default="", metavar="NAME", help="Runs of this function alone.")
@_PROJECT
@click.option(
    "--platform", default="", metavar="NAME", help="Runs of this platform alone; of kubernetes those of others too."
)
@click.option("--limit", type=_LIMIT, metavar="N", help="Most ended runs to list, 20 by default.")
@JSON
@_for_a_person
def ps(
    *,
    with_ended: bool,
    states: tuple[str, ...],
    function: str,
    project: str,
    platform: str,
    limit: int | None,
    as_json: bool,
) -> int:
    """List the runs that go on, newest first: created, pending, running.

    A cluster keeps its runs by itself: with `--platform kubernetes` those that anybody has begun in its namespace are
    listed, and from then on `show`, `logs`, `stop` and `invoke` take them as one's own.
    """
    from nuwrap.cli.listing import Which, show_runs

    which = Which(project, limit=limit, platform=platform)
    return show_runs(which, function=function, states=states, with_ended=with_ended, as_json=as_json)


@click.command(name="ls", short_help="List projects, functions, runs, data or secrets.")
@click.argument("kind", type=click.Choice(KINDS), default="projects", metavar="[KIND]")
@_PROJECT
@click.option("--label", default="", metavar="LABEL", help="What has this label alone.")
@click.option("--limit", type=_LIMIT, metavar="N", help="Most entries to list.")
@JSON
@_for_a_person
def list_kind(*, kind: str, project: str, label: str, limit: int | None, as_json: bool) -> int:
    """List what the history keeps, newest first.

    KIND is projects, functions, runs, dataitems, artifacts, models or secrets; projects without one. Of functions and
    data it is the latest version, of all projects unless --project names one; `nuwrap show` has the other versions.
    """
    from nuwrap.cli.listing import Which, show_list

    return show_list(kind, Which(project, label, limit), as_json=as_json)


@click.command(short_help="Show all of a run, a function, data.")
@click.argument("what", metavar="WHAT", shell_complete=_complete_run)
@_PROJECT
@JSON
@_for_a_person
def show(*, what: str, project: str, as_json: bool) -> int:
    """Show all that the history has of WHAT: a run's id or its first 8 characters, a function's name, a key.

    Of a run its states over time, what it was given and has left, why it failed; of a function its fields, versions
    and latest runs; of data its versions, and the runs that made and read it.
    """
    from nuwrap.cli.details import show_thing

    return show_thing(what, project, as_json=as_json)


@click.command(short_help="Print what a run has printed.")
@_RUN
@_PROJECT
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended; Ctrl-C leaves the run alone.")
@_for_a_person
def logs(*, run: str, project: str, follow: bool) -> int:
    """Print the log of RUN: its id, the first 8 characters of it, or a function's name, which means its latest run.

    In a pipe or a file it is the log byte for byte. Ctrl-C while following is exit code 130.
    """
    from nuwrap.cli.log import show_log

    return show_log(run, project, follow=follow)


@click.command(short_help="End runs.")
@_RUNS
@_PROJECT
@JSON
@_for_a_person
def stop(*, runs: tuple[str, ...], project: str, as_json: bool) -> int:
    """End each RUN and wait until it has: an id, the first 8 characters of it, or a function's name.

    A name means the latest run of the function that goes on. A service answers the requests under way first.
    """
    from nuwrap.cli.ending import stop_runs

    return stop_runs(runs, project, as_json=as_json)


@click.command(short_help="Start ended runs again.")
@_RUNS
@_PROJECT
@JSON
@_for_a_person
def resume(*, runs: tuple[str, ...], project: str, as_json: bool) -> int:
    """Start each RUN that has ended again, with what it was given: a new attempt, in a folder of its own.

    RUN is an id, the first 8 characters of it, or a function's name, which means its latest run.
    """
    from nuwrap.cli.ending import resume_runs

    return resume_runs(runs, project, as_json=as_json)


@click.command(short_help="Remove ended runs from the history.")
@_RUNS
@click.option("--folder", "with_folders", is_flag=True, help="Remove .nuwrap/runs/<id>/ too: log, result, outputs.")
@_PROJECT
@JSON
@_for_a_person
def rm(*, runs: tuple[str, ...], with_folders: bool, project: str, as_json: bool) -> int:
    """Remove each RUN that has ended from the history; what it has made stays, unless --folder says otherwise.

    RUN is an id, the first 8 characters of it, or a function's name, which means its latest run.
    """
    from nuwrap.cli.ending import remove_runs

    return remove_runs(runs, project, with_folders=with_folders, as_json=as_json)


@click.command(short_help="Call a service.")
@_RUN
@click.argument("path", default="")
@click.option("--json", "json_text", metavar="JSON", help="Send this JSON.")
@click.option("--data", metavar="TEXT", help="Send this text; @FILE sends a file, @- standard input.")
@click.option("-X", "--method", metavar="METHOD", help="GET by default, POST with a body.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header; may be repeated.")
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Longest time without a byte of the answer, in seconds, 300 by default.",
)
@_PROJECT
@_for_a_person
def invoke(*, run: str, project: str, **call: Any) -> int:
    """Call the service RUN and print the body of its answer, byte for byte.

    RUN is an id, the first 8 characters of it, or a function's name, which means its latest service; PATH is a path
    of it, as /items?limit=3. A service that has just started is waited for. The exit code is 0 for a status below
    400, 1 for any other, which standard error tells, 10 when there is no whole answer, 124 after the time-out.
    """
    from nuwrap.cli.calling import Call, call_service

    return call_service(run, project, Call(**call))


@click.command(short_help="Write a function, a project, a run or data as YAML.")
@click.argument("what", default="", metavar="[WHAT]", shell_complete=_complete_run)
@click.option(
    "-o", "--output", type=click.Path(), default="", metavar="FILE", help="The file, TYPE-NAME.yaml by default."
)
@click.option("--nuclio", "is_nuclio", is_flag=True, help="Write a function as `nuctl deploy --file` takes it.")
@_PROJECT
@JSON
@_for_a_person
def export(*, what: str, output: str, project: str, is_nuclio: bool, as_json: bool) -> int:
    """Write WHAT as YAML and print the file's path: a function's name, a run's id, a key.

    Without WHAT it is the project that --project names. With --nuclio it is a NuclioFunction that runs nuwrap's own
    image of Nuclio, in nuclio-NAME.yaml; `nuwrap nuclio` has more to choose.
    """
    if is_nuclio:
        from nuwrap.cli.nuclio_export import export_for_nuclio

        return export_for_nuclio(what, project, output, as_json=as_json)
    from nuwrap.cli.documents import export_thing

    return export_thing(what, project, output, as_json=as_json)


@click.command(name="import", short_help="Read functions and projects from YAML.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@JSON
@_for_a_person
def import_(*, files: tuple[str, ...], as_json: bool) -> int:
    """Keep the function or the project of each FILE in the history, as `nuwrap export` and DigitalHub write them."""
    from nuwrap.cli.documents import import_files

    return import_files(files, as_json=as_json)


COMMANDS: tuple[click.Command, ...] = (ps, list_kind, show, logs, stop, resume, rm, invoke, export, import_)
