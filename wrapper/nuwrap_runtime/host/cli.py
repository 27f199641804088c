"""`nuwrap-host`: fetch, prepare, job, serve, exec, check, plan; store, cache and doctor need no launch document."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Callable, NoReturn

from nuwrap_runtime import __version__
from nuwrap_runtime.errors import LaunchError, NuwrapError, PlatformError, Stopped
from nuwrap_runtime.host import credentials, prepare
from nuwrap_runtime.host.arguments import read_launch
from nuwrap_runtime.host.becoming import become, failure_of, refuse
from nuwrap_runtime.host.inputs import check_inputs, fetch_inputs
from nuwrap_runtime.host.kept_trees import hold_tree
from nuwrap_runtime.host.network import settled
from nuwrap_runtime.host.process import adopt_orphans, mask
from nuwrap_runtime.host.report import Report
from nuwrap_runtime.host.starting import find_temporary, hide_environment, take_stops
from nuwrap_runtime.host.workspace import open_workspace
from nuwrap_runtime.launch import FIELDS, SERVE_FIELDS, Launch, flag_names
from nuwrap_runtime.schema import did_you_mean

# How Nuclio's processor finds its interpreter and its wrapper (nuclio/nuclio pkg/processor/runtime/python).
PROCESSOR_PYTHON, PROCESSOR_WRAPPER = "NUCLIO_PYTHON_EXE_PATH", "NUCLIO_PYTHON_WRAPPER_PATH"
FUNCTION_VARIABLES = ("NUWRAP_LAUNCH", "NUWRAP_HANDLER", "NUWRAP_CODE_SRC", "NUWRAP_CODE", "NUWRAP_BASE64")
TOLD = ("fetch", "prepare", "job", "serve")  # what a container is started for: its platform hears of a refusal
SERVE_FLAGS: Mapping[str, str] = flag_names(tuple(SERVE_FIELDS))

Action = Callable[[Launch, Report, Sequence[str]], int]


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; every failure is one message on standard error."""
    hide_environment()
    adopt_orphans()
    take_stops()
    find_temporary()
    try:
        if argv and argv[0] in PLAIN:
            return int(import_module(PLAIN[argv[0]][0]).main(argv[1:], dict(os.environ)))
        return _command(argv)
    except NuwrapError as exc:
        if not _has_block(argv, exc):
            print(f"nuwrap-host: {exc}", file=sys.stderr)
        return _refused(argv, exc, credentials.secret_values(os.environ, (), ""))
    except Exception as exc:  # noqa: BLE001 - exit code 1 says that the handler raised: a fault of ours must not look so
        secrets = credentials.secret_values(os.environ, (), "")
        print(mask(traceback.format_exc(), secrets), file=sys.stderr)
        _tell_platform(argv, PlatformError(f"a fault of nuwrap: {type(exc).__name__}: {exc}"), secrets)
        return PlatformError.exit_code


def _command(argv: Sequence[str]) -> int:
    options, command = _parse(argv)
    keys = {*FIELDS, *(f"serve.{key}" for key in SERVE_FLAGS)}
    flags = {key: value for key, value in vars(options).items() if key in keys and value is not None}
    if options.command == "exec" and not (flags or options.launch or any(map(os.environ.get, FUNCTION_VARIABLES))):
        return _become_as_it_is(command, Report(json_lines=options.json))
    launch = read_launch(flags, os.environ, launch_file=options.launch or "", defaults=_defaults(options.command))
    if options.command != "plan":  # which begins nothing
        launch = replace(launch, run=launch.run or str(uuid.uuid4()))
        hold_tree()
    folder = credentials.secrets_folder(os.environ)
    json_lines = options.json or (options.command == "serve" and not options.text and not sys.stderr.isatty())
    report = Report(json_lines=json_lines, secrets=credentials.secret_values(os.environ, launch.secrets, folder))
    try:
        with settled(launch.network, os.environ) as network:
            return ACTIONS[options.command](replace(launch, network=network), report, command)
    except NuwrapError as exc:
        if report.is_json or not _has_block(argv, exc):
            report.error(str(exc))
        return _refused(argv, exc, report.secrets, is_told=options.command == "serve")  # it tells its end itself


def _become_as_it_is(command: Sequence[str], report: Report) -> int:
    """Be the command where no function is named: an image for Nuclio takes a function of Nuclio's own too."""
    report.phase = "launch"
    report.note(f"no function is named, by NUWRAP_LAUNCH or a flag: {command[0]} begins as it is")
    become(command, os.environ, os.getcwd())
    return 0


def _defaults(command: str) -> dict[str, str]:
    """Return what holds where the launch says nothing: the interpreter that a processor was given."""
    named = os.environ.get(PROCESSOR_PYTHON, "")
    return {"python": named} if command == "exec" and named else {}


def _has_block(argv: Sequence[str], exc: NuwrapError) -> bool:
    """Tell whether it is told in a worker's way: a container that `exec` begins has nobody else to tell it."""
    return argv[:1] == ["exec"] and not isinstance(exc, Stopped)


def _refused(argv: Sequence[str], exc: NuwrapError, secrets: Sequence[str], *, is_told: bool = False) -> int:
    """Tell the platform why nothing was started, unless it is told; return the exit code."""
    if _has_block(argv, exc):
        return refuse(failure_of(exc, secrets), exc.exit_code)
    if not is_told:
        _tell_platform(argv, exc, secrets)
    return exc.exit_code


def _tell_platform(argv: Sequence[str], exc: NuwrapError, secrets: Sequence[str]) -> None:
    if argv and argv[0] in TOLD:
        from nuwrap_runtime.host.results import tell_refusal

        tell_refusal(failure_of(exc, secrets), exc.exit_code)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line: the usage of all flags would hide what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(LaunchError.exit_code, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    own, rest = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    parser = _Parser(prog="nuwrap-host", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"nuwrap-host {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in COMMANDS.items():
        one = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        one.add_argument("--launch", metavar="FILE", help="the launch document; else $NUWRAP_LAUNCH")
        one.add_argument("--json", action="store_true", help="report phases and logs as JSON lines")
        if name == "serve":
            _add_serve_flags(one)
        for key, flag in flag_names().items():
            kind = "TEXT" if FIELDS[key].get("type", "string") == "string" else "JSON"
            one.add_argument(flag, dest=key, metavar=kind, help=str(FIELDS[key]["description"]))
    for name, (_, text) in PLAIN.items():  # for --help alone: `main` takes them before
        commands.add_parser(name, help=text)
    options, unknown = parser.parse_known_args(list(own))
    if unknown:
        known = ["--launch", "--json", *flag_names().values(), *SERVE_FLAGS.values()]
        near = did_you_mean(unknown[0].partition("=")[0], known)
        parser.error(f"unknown argument {unknown[0]!r}{near}")
    if options.command == "exec" and not rest:
        parser.error("exec needs a command after --, as in: nuwrap-host exec -- processor --config F")
    if options.command != "exec" and rest:
        parser.error(f"{options.command} takes no command after --")
    return options, list(rest)


def _add_serve_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", action="store_true", help="log for a person; else JSON lines, but on a terminal")
    for key, flag in SERVE_FLAGS.items():
        parser.add_argument(flag, dest=f"serve.{key}", metavar="JSON", help=str(SERVE_FIELDS[key]["description"]))


def _fetch(launch: Launch, report: Report, _command: Sequence[str]) -> int:
    with open_workspace(os.environ, must_last=True) as workspace:
        check_inputs(launch)
        checkout = prepare.fetch(launch, workspace, os.environ, report)
        fetched = fetch_inputs(launch, workspace, os.environ, report)
        inputs = {name: fetched[key].path for name, key in launch.inputs.items() if key in fetched}
        told = {"root": checkout.root, "revision": checkout.revision, "default_module": checkout.default_module}
        print(json.dumps({**told, "inputs": inputs}))
    return 0


def _prepare(launch: Launch, report: Report, _command: Sequence[str]) -> int:
    with open_workspace(os.environ, must_last=True) as workspace:
        prepared = prepare.prepare(launch, workspace, os.environ, report, mode="event")
        print(json.dumps({"worker_spec": prepared.spec_path, "python": prepared.python, "revision": prepared.revision}))
    return 0


def _job(launch: Launch, report: Report, _command: Sequence[str]) -> int:
    from nuwrap_runtime.host.job import run_job

    return run_job(launch, os.environ, report)


def _serve(launch: Launch, report: Report, _command: Sequence[str]) -> int:
    from nuwrap_runtime.host.service.serve import serve

    return serve(launch, os.environ, report)


def _exec(launch: Launch, report: Report, command: Sequence[str]) -> int:
    from nuwrap_runtime.host.workers import MAIN

    with open_workspace(os.environ, must_last=True) as workspace:
        prepared = prepare.prepare(launch, workspace, os.environ, report, mode="event")
        environ = {**prepared.environ, "NUWRAP_WORKER_SPEC": prepared.spec_path, PROCESSOR_PYTHON: prepared.python}
        environ[PROCESSOR_WRAPPER] = environ.get(PROCESSOR_WRAPPER, "") or MAIN
        become(command, environ, prepared.spec.root, (prepare.hold(prepared.python), hold_tree()))
    return 0


def _check(launch: Launch, report: Report, _command: Sequence[str]) -> int:
    from nuwrap_runtime.host.check import check

    with open_workspace(os.environ) as workspace:
        return check(launch, workspace, os.environ, report)


def _plan(launch: Launch, _report: Report, _command: Sequence[str]) -> int:
    from nuwrap_runtime.host.plan import tell_plan

    return tell_plan(launch, os.environ)


COMMANDS: Mapping[str, tuple[Action, str]] = {
    "fetch": (_fetch, "get code and inputs into $NUWRAP_WORK and leave a record of it"),
    "prepare": (_prepare, "fetch, install the requirements, write the worker spec"),
    "job": (_job, "prepare, call the function once, write the result document"),
    "serve": (_serve, "prepare, then serve the function over HTTP until SIGTERM"),
    "exec": (_exec, "prepare, then become the command after --"),
    "check": (_check, "prepare, load the function and print its signature as JSON; nothing is called"),
    "plan": (_plan, "print as JSON what a start would do and what it would use again; nothing is done"),
}
ACTIONS: Mapping[str, Action] = {name: action for name, (action, _) in COMMANDS.items()}
PLAIN: Mapping[str, tuple[str, str]] = {
    "store": ("nuwrap_runtime.host.store_command", "copy a file or folder between this machine and a store"),
    "compile": ("nuwrap_runtime.host.compile_command", "give Python's library and nuwrap bytecode: a build's step"),
    "install": (
        "nuwrap_runtime.host.install_command",
        "install requirements into the interpreter on PATH: a build's step",
    ),
    "cache": ("nuwrap_runtime.host.cache_command", "list what is kept of sources and environments, or clean up"),
    "doctor": ("nuwrap_runtime.host.doctor", "print as JSON what this machine has of what every start needs"),
    "wheels": ("nuwrap_runtime.host.wheels_command", "download wheels for an image before its build"),
    "worker": (
        "nuwrap_runtime.host.worker_command",
        "what a worker of Nuclio's processor becomes to prepare its start",
    ),
}
