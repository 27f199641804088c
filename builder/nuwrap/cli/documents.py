"""`nuwrap export` and `nuwrap import`: functions and projects to and from YAML; runs and data to YAML alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nuwrap.cli.finding import find_thing
from nuwrap.cli.listing import function_document, project_document
from nuwrap.errors import UsageError
from nuwrap.sdk.functions import Function, import_function
from nuwrap.sdk.projects import Project, get_project, import_project
from nuwrap.spec.document import load_documents
from nuwrap.spec.project_file import PROJECT_BYTES


def export_thing(text: str, project: str, output: str, *, as_json: bool) -> int:
    """Write what the text names, or without one the project, as YAML; print where."""
    if not (text or project):
        raise UsageError("nothing to export is named; allowed: a function, a run, a key store://…, or --project NAME")
    thing = find_thing(text, project) if text else get_project(project)
    path = thing.export(output or None)
    print(json.dumps({"path": path}) if as_json else path, flush=True)
    return 0


def import_files(files: Sequence[str], *, as_json: bool) -> int:
    """Make what the files describe, one after the other, and print what there is then. Raises SpecError."""
    found = []
    for file in files:
        made = import_project(file) if _kind(file) == "project" else import_function(file)
        found.append(project_document(made) if isinstance(made, Project) else function_document(made))
        if not as_json:
            print(_told(made), flush=True)
    if as_json:
        print(json.dumps(found, indent=1), flush=True)
    return 0


def _told(made: Project | Function) -> str:
    if isinstance(made, Project):
        return f"project {made.name}"
    return f"function {made.project}/{made.name}, version {made.id}"


def _kind(file: str) -> str:
    """Return the kind of the file's document. Raises UsageError for one that cannot be imported, SpecError."""
    if os.path.isdir(file):
        return "python"
    documents = load_documents(Path(file), most=PROJECT_BYTES)
    first: Mapping[str, Any] = documents[0] if documents and isinstance(documents[0], Mapping) else {}
    kind, key = str(first.get("kind", "")), str(first.get("key", ""))
    type_ = key.split("/")[3] if key.count("/") > 3 else ""
    if type_ not in ("", "function"):
        raise UsageError(f"{file!r} is a {type_}; allowed: a function or a project, as `nuwrap export` writes them")
    return kind
