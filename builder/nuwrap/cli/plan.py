"""`nuwrap plan`: what a run of these arguments would do and what it would use again. Nothing is touched."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nuwrap.cli.arguments import Options, open_function, task_fields
from nuwrap.cli.host import ask_about
from nuwrap.cli.looking import choose_python, plan_launch_here
from nuwrap.cli.show import cut, show_rows
from nuwrap.cli.terminal import tell
from nuwrap.errors import PlatformError, UsageError
from nuwrap.platforms.interpreters import Interpreter
from nuwrap.runs.order import choose_platform
from nuwrap.spec.fields import platform_notes
from nuwrap.spec.function import PYTHON_VERSIONS
from nuwrap.spec.function_file import FunctionFile
from nuwrap.spec.inputs import parse_parameters, split_pairs
from nuwrap.spec.run_values import RunValues, make_run_values
from nuwrap.store.home import home_folder
from nuwrap.text import escape
from nuwrap_runtime.launch import Serve

SHOWN_PACKAGES, SHOWN_COMMITS = 6, 3
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class PlanOptions(Options):
    """The arguments of `nuwrap plan` as they were typed."""

    action: str = "job"


@dataclass(frozen=True)
class Plan:
    """What was found. `told` is the host's document; `problems` are what would end the run before it begins."""

    file: FunctionFile
    action: str
    platform: str
    notes: Sequence[str]
    told: Mapping[str, Any]
    python: Interpreter | None = None
    problems: Sequence[tuple[str, int]] = field(default=())

    def part(self, name: str) -> Mapping[str, Any]:
        """Return what the host tells of a part, {} for what it cannot be."""
        found: Mapping[str, Any] = self.told[name]
        return {} if "error" in found else found


def show_plan(options: PlanOptions) -> int:
    """Print the plan and return 0, or the exit code with which the run would end before it begins."""
    plan = _make(options)
    if options.as_json:
        print(json.dumps(_document(plan), indent=1))
    else:
        show_rows(("what", "how"), list(_rows(plan)), "launch document:")
        print(escape(json.dumps(_launch(plan), indent=1, ensure_ascii=False)), flush=True)
    for text, _ in plan.problems:
        tell(f"nuwrap: {text}")
    return plan.problems[0][1] if plan.problems else 0


def _make(options: PlanOptions) -> Plan:
    file = open_function(options)
    values = _values(file, options)
    platform = choose_platform(values, home_folder(os.environ))
    notes = platform_notes(file.function, values, platform)
    launch = plan_launch_here(file.function, values)
    problems: list[tuple[str, int]] = []
    python = None
    try:
        python = choose_python(file.function, options.python)
        launch = replace(launch, python=python.path)
    except PlatformError as exc:
        problems.append((str(exc), exc.exit_code))
    answer = ask_about(launch, "plan", str(file.folder))
    if not answer.document:
        refused = UsageError if answer.exit_code == UsageError.exit_code else PlatformError
        raise refused("the host cannot tell what a run would do; why, stands above")
    parts = [name for name in ("inputs", "environment", "source") if python or name != "environment"]
    problems += [(one["error"], one["exit_code"]) for one in map(answer.document.get, parts) if one and "error" in one]
    return Plan(file, options.action, platform, notes, answer.document, python, problems)


def _values(file: FunctionFile, options: PlanOptions) -> RunValues:
    given = {
        "inputs": split_pairs(options.inputs, flag="-i"),
        "parameters": parse_parameters(options.params, flag="-p"),
        "init_parameters": parse_parameters(options.init_params, flag="--init-param"),
        "python": options.python,
        "refresh": options.refresh,
    }
    given = {name: value for name, value in given.items() if value}
    given.update(task_fields(options, taken=given))
    return make_run_values(options.action, given, origin=f"the run of {file.function.name!r}")


def _launch(plan: Plan) -> dict[str, Any]:
    """Return the launch document; without an interpreter it names none."""
    return {key: value for key, value in plan.told["launch"].items() if plan.python or key != "python"}


def _document(plan: Plan) -> dict[str, Any]:
    python = plan.python
    return {
        "function": plan.file.function.name,
        "project": plan.file.function.project,
        "action": plan.action,
        "platform": plan.platform,
        "folder": str(plan.file.folder),
        "python": {"path": python.path, "version": python.version} if python else None,
        "source": plan.part("source") or None,
        "environment": (python and plan.part("environment")) or None,
        "inputs": plan.part("inputs"),
        "cache": plan.told["cache"],
        "notes": list(plan.notes),
        "problems": [{"message": text, "exit_code": code} for text, code in plan.problems],
        "launch": _launch(plan),
    }


def _rows(plan: Plan) -> Iterator[tuple[str, str]]:
    function, launch = plan.file.function, plan.told["launch"]
    yield "function", f"{function.name} of project {function.project}"
    yield "action", f"{plan.action} on platform {plan.platform}"
    yield "python", _python(plan)
    yield "code", _source(plan.part("source"))
    yield "requirements", _environment(plan)
    yield from (("input", f"{name}: {_input(one)}") for name, one in plan.part("inputs").items())
    for name in ("parameters", "init_parameters"):
        yield from ((name.removesuffix("s"), f"{key} = {cut(value)}") for key, value in launch.get(name, {}).items())
    yield _end(plan)
    if not plan.told["is_set_up"]:
        yield "nuwrap", "its own files are set up first, in the cache"
    yield "cache", plan.told["cache"]
    yield from (("note", text) for text in plan.notes)


def _python(plan: Plan) -> str:
    version = PYTHON_VERSIONS[plan.file.function.python_version]
    return f"{plan.python.version}, {plan.python.path}" if plan.python else f"no Python {version}, see below"


def _source(found: Mapping[str, Any]) -> str:
    """Say how the code comes, and what is kept of it."""
    if not found:
        return "cannot be had, see below"
    how, kept = found["how"], found["kept"]
    if how == "written":
        return "of the function file, written as main.py"
    if how == "copied":
        return f"{found['address']}, copied anew"
    if not kept:
        return f"{found['address']}, fetched; nothing of it is in the cache"
    names = ", ".join(one[:19] for one in kept[:SHOWN_COMMITS]) + ", …" * (len(kept) > SHOWN_COMMITS)
    return f"{found['address']}, from the cache if its server still has what is kept: {names}"


def _environment(plan: Plan) -> str:
    """Say where the requirements are found, or why they are installed."""
    wanted, found = plan.file.function.requirements, plan.part("environment")
    if not wanted:
        return "none"
    if not plan.python or not found:
        return f"{', '.join(wanted)}: cannot be told, see below"
    if found["from"] == "interpreter":
        return f"{', '.join(wanted)}: all in the interpreter"
    if found["from"] == "kept":
        return f"{', '.join(wanted)}: in an environment from before, used again: {_packages(found['installed'])}"
    return f"{', '.join(wanted)}: installed into a new environment, kept for later runs; {_why_new(found)}"


def _why_new(found: Mapping[str, Any]) -> str:
    if found["lacks"]:
        return f"the interpreter lacks {', '.join(found['lacks'])}"
    return "isolated from the interpreter's own packages"  # nothing else makes one where the interpreter has all


def _packages(lines: Sequence[str]) -> str:
    return ", ".join(lines[:SHOWN_PACKAGES]) + f" and {len(lines) - SHOWN_PACKAGES} more" * (
        len(lines) > SHOWN_PACKAGES
    )


def _input(one: Mapping[str, Any]) -> str:
    return f"{one['path']}, fetched first" if one["is_fetched"] else f"{one['path']}, read where it lies"


def _end(plan: Plan) -> tuple[str, str]:
    """Say where the results come, or where the service listens."""
    if plan.action == "job":
        return "outputs", os.path.join(".nuwrap", "runs", "<id>", "")
    serve = Serve()
    return "listens", f"http://{LOOPBACK}:{serve.port}, and on port {serve.admin_port} for /ready, /metrics and /docs"
