"""`nuwrap check`: is the function whole? Its code is fetched and loaded as for a run, and nothing of it is called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from nuwrap.cli.arguments import Options, open_function
from nuwrap.cli.host import ask_about
from nuwrap.cli.looking import choose_python, plan_launch_here
from nuwrap.cli.show import show_rows
from nuwrap.errors import PlatformError
from nuwrap.platforms.interpreters import Interpreter
from nuwrap.spec.function import Function
from nuwrap.spec.run_values import make_run_values

MARKS = {"var_positional": "*", "var_keyword": "**"}
KINDS = {"async": "async ", "generator": "generator ", "asyncgen": "async generator "}


def check_function(file: str, *, python: str, as_json: bool) -> int:
    """Print what the function is, and return 0, or the exit code with which a run of it would end before it begins."""
    found = open_function(Options(file=file))
    function = found.function
    interpreter = choose_python(function, python)
    launch = plan_launch_here(function, make_run_values("job", {}))
    answer = ask_about(replace(launch, python=interpreter.path), "check", str(found.folder))
    if answer.exit_code or not answer.document:
        return answer.exit_code or PlatformError.exit_code
    if as_json:
        print(json.dumps(_document(function, interpreter, answer.document), indent=1))
    else:
        rows = list(_rows(function, interpreter, answer.document))
        show_rows(("what", "found"), rows, f"{function.name!r} is whole: `nuwrap run` and `nuwrap serve` can load it")
    return 0


def _document(function: Function, interpreter: Interpreter, told: Mapping[str, Any]) -> dict[str, Any]:
    signature = {name: value for name, value in told.items() if name != "revision"}
    return {
        "function": function.name,
        "project": function.project,
        "handler": signature,
        "init_function": function.init_function or None,
        "python": {"path": interpreter.path, "version": interpreter.version},
        "requirements": list(function.requirements),
        "revision": told["revision"],
    }


def _rows(function: Function, interpreter: Interpreter, told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    place = f", {told['file']}:{told['line']}" if told["file"] else ""
    yield "function", f"{function.name} of project {function.project}"
    yield "handler", f"{KINDS.get(told['kind'], '')}{function.handler}{place}"
    if told["doc"]:
        yield "", told["doc"]
    yield "arguments", ", ".join(map(_signature, told["parameters"])) or "none"
    if told["binding"] == "nuclio":
        yield "", "called by position, as under Nuclio"
    if told["outputs"]:
        yield "outputs", ", ".join(one if isinstance(one, str) else str(one["name"]) for one in told["outputs"])
    if function.init_function:
        yield "init_function", function.init_function
    yield "python", f"{interpreter.version}, {interpreter.path}"
    yield "requirements", ", ".join(function.requirements) or "none"
    yield "code", f"{function.code_src or 'in the file'} at {told['revision']}"


def _signature(parameter: Mapping[str, Any]) -> str:
    annotation = f": {parameter['annotation']}" if parameter["annotation"] else ""
    equals = " = " if annotation else "="
    default = "" if parameter["default"] is None else f"{equals}{parameter['default']}"
    return f"{MARKS.get(parameter['kind'], '')}{parameter['name']}{annotation}{default}"
