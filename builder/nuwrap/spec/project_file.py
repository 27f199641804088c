"""A project from a YAML file, as `Project.export` and DigitalHub write it: its functions, and what is stored in it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nuwrap.errors import SpecError
from nuwrap.spec.document import FILE_BYTES, load_documents
from nuwrap.spec.entity_file import EntityFile, label_faults, read_entity, take_entity
from nuwrap.spec.export import ENTITY_LISTS
from nuwrap.spec.function_file import FunctionFile, read_function, take_function
from nuwrap.spec.model import show_key
from nuwrap_runtime.launch import NAME, NAME_FORM
from nuwrap_runtime.schema import did_you_mean, show

PROJECT_BYTES = 4 * FILE_BYTES  # some ten thousand entities, which are read in 10 s

_TOP = ("name", "kind", "id", "key", "metadata", "spec", "status", "user")
_SPEC = ("source", "functions", *ENTITY_LISTS)
_REFERENCE = {"project", *_TOP} - {"spec"}  # keys of an entry that says no more than which one it is

Place = tuple[str, Mapping[str, Any]]  # `spec.functions[0]`, and the mapping that stands there
T = TypeVar("T")


@dataclass(frozen=True)
class ProjectFile:
    """A project, what the file has of its functions and data, and what its author should hear about that file."""

    name: str
    path: Path
    description: str = ""
    labels: tuple[str, ...] = ()
    functions: tuple[FunctionFile, ...] = ()
    entities: tuple[EntityFile, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass
class _Reader:
    """The file that is read. Faults and warnings come together, so that a person hears of all at once."""

    path: Path
    project: str
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_project(path: Path) -> ProjectFile:
    """Return the project in the file, with the functions and entities of the files beside it that it refers to.

    Raises SpecError with all faults at once.
    """
    path = path.absolute()
    document = _pick(load_documents(path, most=PROJECT_BYTES), path)
    reader = _Reader(path, _read_name(document, path))
    metadata, spec = _mapping(reader, document, "metadata"), _mapping(reader, document, "spec")
    _check_keys(reader, document, spec)
    functions = tuple(_read_functions(reader, _entries(reader, spec, "functions")))
    entities = tuple(
        one for key, type_ in ENTITY_LISTS.items() for one in _read_entities(reader, type_, _entries(reader, spec, key))
    )
    _refuse_repetition(reader, [*(one.function.uuid for one in functions), *(one.id for one in entities)])
    labels, description = metadata.get("labels"), metadata.get("description") or ""
    reader.faults += label_faults(labels)
    if not isinstance(description, str):
        reader.faults.append(f"metadata.description: {show(description)} is not a text")
    if reader.faults:
        raise SpecError(f"project file {str(path)!r} is not valid:\n" + "\n".join(f"  {one}" for one in reader.faults))
    warnings = tuple(reader.warnings)
    return ProjectFile(reader.project, path, description, tuple(labels or ()), functions, entities, warnings)


def _pick(documents: list[Any], path: Path) -> Mapping[str, Any]:
    mappings = [one for one in documents if isinstance(one, dict)]
    found = [one for one in mappings if one.get("kind") == "project"]
    if len(found) == 1:
        return found[0]
    kinds = ", ".join(show_key(one.get("kind", "none")) for one in mappings) or "none"
    raise SpecError(
        f"{str(path)!r} has {len(found)} documents of kind project (kinds: {kinds}); one file is one project"
        + ("; import_function reads a function" if "python" in kinds else "")
    )


def _read_name(document: Mapping[str, Any], path: Path) -> str:
    name = document.get("name")
    if isinstance(name, str) and re.search(NAME, name) and not name.endswith("\n"):
        return name
    what = f"{show(name)} is no name" if name else "is missing"
    raise SpecError(f"project file {str(path)!r} is not valid:\n  name: {what}; allowed: {NAME_FORM}")


def _mapping(reader: _Reader, document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name) or {}
    if isinstance(found, dict):
        return found
    reader.faults.append(f"{name}: {show(found)} is not a mapping")
    return {}


def _entries(reader: _Reader, spec: Mapping[str, Any], name: str) -> list[Place]:
    found = spec.get(name) or []
    if not isinstance(found, list):
        reader.faults.append(f"spec.{name}: {show(found)} is not a list")
        return []
    placed = [(f"spec.{name}[{index}]", one) for index, one in enumerate(found)]
    reader.faults += [f"{where}: {show(one)} is not a mapping" for where, one in placed if not isinstance(one, dict)]
    return [(where, one) for where, one in placed if isinstance(one, dict)]


def _check_keys(reader: _Reader, document: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    """Refuse what stands outside the mapping that it belongs into, and say which other keys are left out."""
    homes = {**dict.fromkeys(_SPEC, "spec"), "description": "metadata", "labels": "metadata"}
    reader.faults += [
        f"{name}: stands beside {home}; move it into {home}" for name, home in homes.items() if name in document
    ]
    others = [*_unknown(document, (*_TOP, *homes)), *(f"spec.{one}" for one in _unknown(spec, _SPEC))]
    if others:
        what = ", ".join(others)
        reader.warnings.append(f"keys of {reader.path.name!r} that nuwrap has nothing for are left out: {what}")


def _unknown(found: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """Return the keys that have a value and are not known, each with what was meant."""
    given = [key for key, value in found.items() if key not in known and value not in (None, [], {})]
    return [f"{show_key(key)}{did_you_mean(str(key), list(known))}" for key in given]


def _read_functions(reader: _Reader, entries: list[Place]) -> Iterator[FunctionFile]:
    for where, entry in entries:
        kind = entry.get("kind", "python")
        if kind != "python":
            name = show_key(entry.get("name", "it"))
            reader.warnings.append(f"{where}: {name} is of kind {show(kind)}, nuwrap runs python: it is left out")
            continue
        found = _read(reader, (where, entry), read_function, take_function)
        if found:
            reader.warnings += found.warnings
            yield from _own(reader, where, found, found.function.project)


def _read_entities(reader: _Reader, type_: str, entries: list[Place]) -> Iterator[EntityFile]:
    for place in entries:
        found = _read(reader, place, partial(read_entity, type_), partial(take_entity, type_))
        if found:
            reader.warnings += [f"{place[0]}: {one}" for one in found.warnings]
            yield from _own(reader, place[0], found, found.project)


def _read(reader: _Reader, place: Place, read: Callable[..., T], take: Callable[..., T]) -> T | None:
    """Return what `take` makes of the entry, or `read` of the file that it refers to; None when there is neither."""
    where, entry = place
    try:
        if not set(entry) <= _REFERENCE:
            return take(entry, reader.path, origin=where, project=reader.project)
        file = _referred(reader, place)
        return read(file, project=reader.project) if file else None
    except SpecError as exc:
        head, *lines = str(exc).splitlines()
        stands_here = head.startswith(where)
        reader.faults += [f"{where}.{line.strip()}" for line in lines] if stands_here else [f"{where}: {head}", *lines]
        return None


def _referred(reader: _Reader, place: Place) -> Path | None:
    """Return the file that an entry refers to, None when it refers to none. Raises SpecError for one that is not there.

    DigitalHub writes a path from where its user stood then; the file lies beside the project's all the same.
    """
    where, entry = place
    metadata = entry.get("metadata")
    ref = metadata.get("ref") if isinstance(metadata, dict) else None
    if not isinstance(ref, str) or not ref:
        name = show_key(entry.get("name", "it"))
        reader.warnings.append(f"{where}: {name} has neither a spec nor a metadata.ref: it is left out")
        return None
    folder = reader.path.parent
    for file in (folder / ref, folder / os.path.basename(ref)):
        if file.is_file():
            return file
    raise SpecError(f"metadata.ref: {show(ref)} is not there; allowed: a file beside {reader.path.name!r}")


def _own(reader: _Reader, where: str, found: T, project: str) -> Iterator[T]:
    """Yield what belongs to the file's project; another's is a fault."""
    if project == reader.project:
        yield found
    else:
        reader.faults.append(
            f"{where}.project: is {project!r}, the file's is {reader.project!r}; they must be the same"
        )


def _refuse_repetition(reader: _Reader, ids: list[str]) -> None:
    reader.faults += [f"id {one!r} is there {times} times" for one, times in Counter(ids).items() if one and times > 1]
