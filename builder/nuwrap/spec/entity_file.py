"""A dataitem, an artifact or a model as a YAML file has it: in a file of its own, or within its project's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nuwrap.errors import SpecError
from nuwrap.spec.document import load_documents
from nuwrap.spec.function_file import plain
from nuwrap.spec.model import show_key
from nuwrap_runtime.launch import STORE_KEY
from nuwrap_runtime.schema import did_you_mean, show, value_faults

# What an export says of itself, and is written anew.
_TOP = ("project", "name", "kind", "id", "key", "metadata", "spec", "status", "user")
_METADATA = {"project", "name", "created", "updated", "ref"}
_READ = ("s3://", "http://", "https://")


@dataclass(frozen=True)
class EntityFile:
    """An entity, and what its author should hear about the file.

    `path` is an absolute local path or an address. One that a person wrote need not have an `id` or `created`.
    """

    project: str
    type: str
    kind: str
    name: str
    path: str
    id: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """`store://project/type/kind/name:id`."""
        version = f":{self.id}" if self.id else ""
        return f"store://{self.project}/{self.type}/{self.kind}/{self.name}{version}"


def read_entity(type_: str, path: Path, *, project: str) -> EntityFile:
    """Return the entity in the file; one that names no project is in `project`. Raises SpecError with all faults."""
    documents = load_documents(path)
    if len(documents) == 1 and isinstance(documents[0], dict):
        return take_entity(type_, documents[0], path, origin=f"{type_} file {str(path)!r}", project=project)
    raise SpecError(f"{str(path)!r} is not one mapping with name, kind, spec …")


def take_entity(type_: str, document: Mapping[str, Any], path: Path, *, origin: str, project: str) -> EntityFile:
    """Return the entity of a mapping that stands in the file. Raises SpecError, whose text begins with `origin`.

    A relative path starts from the file's folder.
    """
    faults: list[str] = []
    texts = {name: _text(document, name, faults) for name in ("name", "kind")}
    texts |= {name: _text(document, name, faults, default=text) for name, text in (("id", ""), ("project", project))}
    metadata, spec = (_mapping(document, name, faults) for name in ("metadata", "spec"))
    place = _text(spec, "path", faults, prefix="spec.")
    found = EntityFile(
        type=type_,
        path=place if "://" in place else os.path.abspath(path.parent / place),
        spec={name: plain(value) for name, value in spec.items() if name != "path"},
        metadata={name: plain(value) for name, value in metadata.items() if name not in _METADATA},
        created=str(plain(metadata.get("created")) or ""),
        warnings=tuple(_warnings(document, place, path)),
        **texts,
    )
    faults += [*value_faults(found.spec, "spec"), *value_faults(found.metadata, "metadata")]
    faults += label_faults(found.metadata.get("labels"))
    if not faults and (not re.search(STORE_KEY, found.key) or found.key.endswith("\n")):
        allowed = "letters, digits, '.', '_' and '-' in project, name and id, in a kind '+' too"
        faults.append(f"key: {show(found.key)} is none; allowed: {allowed}")
    if faults:
        raise SpecError(f"{origin} is not valid:\n" + "\n".join(f"  {one}" for one in faults))
    return found


def label_faults(labels: Any) -> list[str]:
    """Return what is wrong with labels of metadata; none are no fault."""
    if labels is None or (isinstance(labels, list) and all(isinstance(one, str) for one in labels)):
        return []
    return [f"metadata.labels: {show(labels)} is not a list of texts"]


def _text(
    found: Mapping[str, Any], name: str, faults: list[str], *, default: str | None = None, prefix: str = ""
) -> str:
    value = found.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or not value:
        faults.append(f"{prefix}{name}: " + ("is missing" if value in (None, "") else f"{show(value)} is not a text"))
        return ""
    return value


def _mapping(document: Mapping[str, Any], name: str, faults: list[str]) -> Mapping[str, Any]:
    value = document.get(name) or {}
    if isinstance(value, dict):
        return value
    faults.append(f"{name}: {show(value)} is not a mapping")
    return {}


def _warnings(document: Mapping[str, Any], place: str, path: Path) -> list[str]:
    name = show_key(document.get("name", "it"))
    others = [
        f"{show_key(key)}{did_you_mean(str(key), list(_TOP))}"
        for key, value in document.items()
        if key not in _TOP and value not in (None, [], {})
    ]
    found = [f"keys of {name} that nuwrap has nothing for are left out: {', '.join(others)}"] if others else []
    if "://" in place and not place.startswith(_READ):
        found.append(
            f"{name}: nuwrap cannot read {place.partition('://')[0]}://…; it reads {', '.join(_READ)} and files"
        )
    elif place and "://" not in place and not os.path.exists(path.parent / place):
        found.append(f"{name}: {show(place)} is not on this machine")
    return found
