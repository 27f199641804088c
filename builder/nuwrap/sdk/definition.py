"""From what a person says of a function, functions as objects among it, to the checked Function and its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nuwrap.errors import SpecError
from nuwrap.sdk.context import say
from nuwrap.sdk.source import take_code
from nuwrap.spec.function import SOURCES, Function, has_scheme, make_function
from nuwrap.spec.function_file import path_fault

_OBJECTS = ("code", "handler", "init_function")


def define(fields: Mapping[str, Any], folder: str = "") -> tuple[Function, str]:
    """Return the function, and the absolute folder that a local `code_src` starts from, "" for other sources.

    The folder is `folder`, else the current one. Raises SpecError with all faults at once.
    """
    objects = {name: value for name, value in fields.items() if callable(value)}
    given = {**fields, **(_code_of(objects, fields) if objects else {})}
    code_src = given.get("code_src")
    start = ""
    if isinstance(code_src, str) and code_src.strip() and not has_scheme(code_src):
        start = folder or os.getcwd()
    function = make_function(given, origin=_origin(fields), faults=_path_faults(code_src, start))
    return function, start


def _origin(fields: Mapping[str, Any]) -> str:
    return f"function {fields['name']!r}" if fields.get("name") else "the function"


def _path_faults(code_src: Any, folder: str) -> list[str]:
    if not folder:
        return []
    base = "the current folder" if folder == os.getcwd() else repr(folder)
    fault = path_fault(code_src, Path(folder), base=base)
    return [f"code_src: {fault}"] if fault else []


def _code_of(objects: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that functions given as objects stand for. Raises SpecError for what does not go together."""
    main: Any = objects.get("code") or objects.get("handler")
    _check_together(objects, fields, main)
    parts = [one for one in (main, objects.get("init_function")) if one is not None]
    code = take_code(list(dict.fromkeys(parts)))
    if code.lacking:
        say(
            f"{', '.join(code.lacking)} does not come along with {main.__name__!r}: of what stands around a function "
            "only the imports do"
        )
    names = {name: one.__name__ for name, one in objects.items() if name != "code"}
    handler = fields["handler"] if isinstance(fields.get("handler"), str) else main.__name__
    return {"handler": handler, **names, "code": code.text}


def _check_together(objects: Mapping[str, Any], fields: Mapping[str, Any], main: Any) -> None:
    faults = [f"{name}: is a function" for name in objects if name not in _OBJECTS]
    given = [name for name in SOURCES if fields.get(name) and name not in objects]
    faults += [f"{name}: is given, and {', '.join(objects)} is a function" for name in given]
    if main is None:
        faults.append("init_function: is a function, and the handler is none")
    if objects.get("code", main) is not main or objects.get("handler", main) is not main:
        faults.append("handler: is another function than code")
    if faults:
        allowed = "allowed: a function as code, with one as init_function or none, and no other source"
        raise SpecError(f"{_origin(fields)} is not valid:\n" + "\n".join(f"  {one}; {allowed}" for one in faults))
