"""What a run's inputs and keys mean: entities of the history, and new ones for paths and addresses."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nuwrap.errors import NotFound
from nuwrap.spec.function import Function
from nuwrap.spec.inputs import Found, locate
from nuwrap.spec.run_values import RunValues
from nuwrap.store import EntityRecord, Store
from nuwrap_runtime.entities import Key, parse_key
from nuwrap_runtime.launch import STORE_KEY
from nuwrap_runtime.schema import did_you_mean


@dataclass
class Resolved:
    """`keys` maps an argument to its whole `store://` key, `entities` each key in use to the launch's entry.

    `made` are the entities that paths and addresses have become; `code_src` is the whole key of code that is one.
    """

    keys: dict[str, str] = field(default_factory=dict)
    entities: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    made: list[EntityRecord] = field(default_factory=list)
    code_src: str = ""


def resolve(store: Store, function: Function, values: RunValues, folder: str) -> Resolved:
    """Return what inputs, keys among the parameters and a `code_src` that is a key mean; paths start from `folder`.

    Raises NotFound for a key of inputs or code that the history does not have, UsageError for text that means nothing.
    """
    resolved = Resolved()
    for name, value in values.inputs.items():
        resolved.keys[name] = _resolve_input(store, function.project, name, value, folder, resolved)
    if function.code_src.startswith("store://"):
        resolved.code_src = _take(resolved, _find(store, function.code_src, "code_src"))
    for key in {*_keys_in(values.parameters), *_keys_in(values.init_parameters)}:
        found = store.get_entity(key)
        if found:  # another text that looks like a key may mean something to the function alone
            _take(resolved, found)
    return resolved


def _resolve_input(store: Store, project: str, name: str, value: Any, folder: str, resolved: Resolved) -> str:
    text = value if isinstance(value, str) else str(value.key)
    if text.startswith("store://"):
        return _take(resolved, _find(store, text, f"input {name!r}"))
    found = locate(name, text, folder)
    entity = _make(project, name, found)
    resolved.made.append(entity)
    return _take(resolved, entity)


def _take(resolved: Resolved, entity: EntityRecord) -> str:
    entry = {"kind": entity.kind, "path": entity.path, "spec": entity.spec, "metadata": entity.metadata}
    resolved.entities[entity.key] = {key: value for key, value in entry.items() if value}
    return entity.key


def _make(project: str, name: str, found: Found) -> EntityRecord:
    safe = re.sub(r"[^\w.-]", "-", name)
    key = Key(project, found.type, found.kind, safe, str(uuid.uuid4()))
    return EntityRecord(str(key), project, found.type, found.kind, safe, key.id, found.path)


def _find(store: Store, key: str, what: str) -> EntityRecord:
    found = store.get_entity(key)
    if found:
        return found
    parts = parse_key(key)
    others = store.list_entities(parts.project, parts.type)
    near = did_you_mean(parts.name, [one.name for one in others])
    there = f"there is: {', '.join(sorted(one.name for one in others)[:20])}" if others else "there is none"
    raise NotFound(
        f"{what}: there is no {parts.type} {key!r}{near}; of project {parts.project!r} {there}. Give the key of one of "
        "these, a path or an address"
    )


def _keys_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if re.search(STORE_KEY, value) and not value.endswith("\n"):
            yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _keys_in(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _keys_in(one)
