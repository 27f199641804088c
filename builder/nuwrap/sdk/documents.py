"""Export to YAML files and import from them: between the history's records and the documents of `spec`."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from nuwrap.errors import SpecError, UsageError
from nuwrap.runs.order import record_function
from nuwrap.sdk import context
from nuwrap.sdk.document_files import choose_path, write_documents
from nuwrap.sdk.exports import EXTRA, entity_document, function_document, project_document, run_document, tell_of_code
from nuwrap.spec.entity_file import EntityFile
from nuwrap.spec.export import ENTITY_LISTS, function_reference, without_credentials
from nuwrap.spec.function import Function, has_scheme
from nuwrap.spec.function_file import FunctionFile, read_function, take_function
from nuwrap.spec.project_file import PROJECT_BYTES, ProjectFile, read_project
from nuwrap.store import EntityRecord, FunctionRecord, ProjectRecord, RunRecord, Store

Filename = str | os.PathLike[str] | None


def write_function(record: FunctionRecord, filename: Filename) -> str:
    """Write the version, and return the file's absolute path. Raises UsageError, PlatformError: nothing is written."""
    path = choose_path(filename, f"function-{record.name}.yaml")
    tell_of_code(record, os.path.dirname(path))
    write_documents({path: function_document(record)})
    return path


def write_run(record: RunRecord, filename: Filename) -> str:
    """Write the run, and return the file's absolute path. Raises UsageError, PlatformError: nothing is written."""
    path = choose_path(filename, f"run-{record.id}.yaml")
    write_documents({path: run_document(record)})
    return path


def write_entity(record: EntityRecord, filename: Filename) -> str:
    """Write the entity, and return the file's absolute path. Raises UsageError, PlatformError: nothing is written."""
    path = choose_path(filename, f"{record.type}-{record.name}.yaml")
    write_documents({path: entity_document(record)})
    return path


def write_project(record: ProjectRecord, filename: Filename) -> str:
    """Write the project with the latest version of all that is in it, and return the file's absolute path.

    A function that is not `embedded` gets a file beside it. Raises UsageError, PlatformError: nothing is written.
    """
    path = choose_path(filename, f"project-{record.name}.yaml")
    store, folder = context.current().store, os.path.dirname(path)
    functions, files = [], {}
    for one in store.list_functions(record.name):
        document, name = function_document(one), f"function-{one.name}.yaml"
        tell_of_code(one, folder)
        if one.spec.get("embedded"):
            functions.append(document)
        else:
            files[os.path.join(folder, name)] = document
            functions.append(function_reference(document, name))
    if path in files:
        raise UsageError(f"{path!r} is to have the project and one of its functions; name another file")
    entities = {name: store.list_entities(record.name, type_) for name, type_ in ENTITY_LISTS.items()}
    files[path] = project_document(record, functions, entities)
    write_documents(files, most=PROJECT_BYTES)
    return path


def read_function_file(file: str | os.PathLike[str]) -> FunctionRecord:
    """Keep the function of a YAML file, in its project, which is made with a notice when it is missing.

    A version whose id is in the history is that version, when it is the same. Raises SpecError, also when it is not.
    """
    found = read_function(_path(file))
    _tell(found.warnings)
    store = context.current().store
    faults = _conflicts(store, found)
    if faults:
        raise SpecError(f"{str(found.path)!r} cannot be imported:\n" + "\n".join(f"  {one}" for one in faults))
    context.ensure_project(found.function.project)
    return _keep_function(store, found)


def read_project_file(file: str | os.PathLike[str]) -> ProjectRecord:
    """Make the project of a YAML file, or complete the one that is there: nothing that it has is changed or removed.

    Raises SpecError for a file that is not valid, or has a version that is in the history and differs; with all
    faults, and nothing is kept then.
    """
    found = read_project(_path(file))
    _tell(found.warnings)
    store = context.current().store
    faults = [line for one in found.functions for line in _conflicts(store, one)]
    faults += [line for one in found.entities for line in _entity_conflicts(store, one)]
    if faults:
        raise SpecError(f"{str(found.path)!r} cannot be imported:\n" + "\n".join(f"  {one}" for one in faults))
    record = _ensure_project(store, found)
    for function in reversed(found.functions):  # they stand there newest first
        _keep_function(store, function)
    for entity in reversed(found.entities):
        _keep_entity(store, entity)
    return record


def _path(file: Any) -> Path:
    if isinstance(file, (str, os.PathLike)) and os.fspath(file):
        return Path(os.fsdecode(file)).expanduser()
    raise UsageError(f"file: {file!r} is no path; allowed: a YAML file, as export writes it or by hand")


def _tell(warnings: tuple[str, ...]) -> None:
    for text in warnings:
        context.say(f"warning: {text}")


def _conflicts(store: Store, file: FunctionFile) -> list[str]:
    """Return why the file's function cannot be kept: its id is in the history, and is not the same."""
    function = file.function
    known = _find_version(store, function.uuid) if function.uuid else None
    if known is None:
        return []
    what = f"{function.name!r}: id {function.uuid!r}"
    if (known.project, known.name) != (function.project, function.name):
        return [f"{what} is function {known.name!r} of project {known.project!r}; remove the id from the file"]
    differing = _differences(known, file)
    if not differing:
        return []
    return [
        f"{what} is in the history with another {', '.join(differing)}; without its id the file makes a new version"
    ]


def _find_version(store: Store, version: str) -> FunctionRecord | None:
    """Return the version of that id, in whichever project it is."""
    found = (store.get_function(one.name, id=version) for one in store.list_projects())
    return next((one for one in found if one), None)


def _differences(known: FunctionRecord, file: FunctionFile) -> list[str]:
    """Return the fields in which a version differs from the file, had it been exported there."""
    try:
        there = take_function(function_document(known), file.path, origin="the version").function
    except SpecError:  # its code is not beside the file
        return ["code_src"]
    return [name for name in Function.model_fields if getattr(there, name) != getattr(file.function, name)]


def _keep_function(store: Store, file: FunctionFile) -> FunctionRecord:
    function = file.function
    is_local = function.code_src and not has_scheme(function.code_src)
    folder = str(file.folder) if is_local else ""
    known = store.get_function(function.project, function.name, function.uuid) if function.uuid else None
    if known is None:
        made = record_function(store, function, folder)
        return store.update_function(replace(made, spec={**made.spec, EXTRA: file.extra})) if file.extra else made
    if not is_local or known.folder == folder:
        return known
    context.say(f"function {known.name!r}: its code is looked for in {folder!r} from now on, not in {known.folder!r}")
    return store.update_function(replace(known, folder=folder))


def _ensure_project(store: Store, file: ProjectFile) -> ProjectRecord:
    made, is_new = store.add_project(ProjectRecord(file.name, file.description, file.labels))
    completed = replace(made, description=made.description or file.description, labels=made.labels or file.labels)
    return made if is_new or completed == made else store.update_project(completed)


def _entity_conflicts(store: Store, file: EntityFile) -> list[str]:
    known = store.get_entity(file.key) if file.id else None
    if known is None or _content(known) == _content(file):
        return []
    differing = [name for name, value in _content(known).items() if _content(file)[name] != value]
    what = f"{file.type} {file.name!r}: id {file.id!r} is in the history with another {', '.join(differing)}"
    return [f"{what}; without its id the file makes a new version"]


def _keep_entity(store: Store, file: EntityFile) -> None:
    """Add the entity, unless it is there: by its id, or without one when it is the latest again."""
    known = store.get_entity(file.key)
    if known and (file.id or _content(known) == _content(file)):
        return
    version = file.id or str(uuid.uuid4())
    named = {name: getattr(file, name) for name in ("project", "type", "kind", "name", "path", "spec", "metadata")}
    store.add_entity(EntityRecord(key=replace(file, id=version).key, id=version, created=file.created, **named))


def _content(one: EntityRecord | EntityFile) -> dict[str, Any]:
    """Return what makes a version the same; other metadata is what a platform notes as time goes by."""
    said = {name: one.metadata.get(name) for name in ("description", "labels", "embedded")}
    return {"path": without_credentials(one.path), "spec": one.spec, **said}
