"""Stored data as a person has it: dataitems, artifacts and models of the history, with their files."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import uuid as uuid_module
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nuwrap.errors import NotFound, UsageError
from nuwrap.sdk import context
from nuwrap.sdk.fields import Fields
from nuwrap.spec.claims import is_in_claim
from nuwrap.store import EntityRecord, LineageRecord
from nuwrap_runtime import entities as runtime
from nuwrap_runtime.errors import InputsError
from nuwrap_runtime.schema import did_you_mean, show, value_faults

_KIND = r"[\w.+-]+"
_fetched: dict[str, str] = {}  # address → its copy in a folder that goes with this process


class _Stored(runtime.Entity):
    """What dataitems, artifacts and models have in common, beside `key`, `kind`, `name`, `path`, `spec`, `metadata`."""

    def as_file(self) -> str:
        """Return the absolute path of the file on this machine; one in a store is fetched, once in this process."""
        if "://" not in self.path:
            return super().as_file()
        if is_in_claim(self.path):
            raise InputsError(
                f"{self.key} is at {self.path!r}, in a claim of a cluster, which this machine cannot read; give it to "
                "a run there as an input. With artifacts_store s3://BUCKET/FOLDER, as_file() and download() bring it"
            )
        if self.path not in _fetched or not os.path.exists(_fetched[self.path]):
            _fetched[self.path] = _fetch(self.path)
        return _fetched[self.path]

    def lineage(self) -> list[LineageRecord]:
        """Return which runs have made and read this version: `relation` (produces, consumes), `run`, `name`, `key`."""
        return context.current().store.lineage(key=self.key)

    def to_dict(self) -> dict[str, Any]:
        """Return project, name, kind, id, key, spec and metadata as plain values."""
        given = {name: getattr(self, name) for name in ("project", "name", "kind", "id", "key")}
        return {**given, "spec": dict(self.spec), "metadata": dict(self.metadata)}

    def export(self, filename: str | os.PathLike[str] | None = None) -> str:
        """Write the entity as YAML, `TYPE-NAME.yaml` by default, and return the file's absolute path."""
        from nuwrap.sdk.documents import write_entity

        return write_entity(find(self.key), filename)

    def delete(self) -> None:
        """Remove this version from the history; its file stays."""
        context.current().store.delete_entity(self.key)


class Dataitem(_Stored, runtime.Dataitem):
    """A table, or other data."""

    def as_df(self, file_format: str | None = None, **options: Any) -> Any:
        """Return a pandas data frame; `options` go to pandas' reader.

        `file_format` is csv, tsv, parquet, json, jsonl, excel or feather; without it the suffix decides. Raises
        InputsError for another format, and when pandas or what it reads the format with is not installed.
        """
        try:
            return super().as_df(file_format, **options)
        except InputsError as exc:
            if not isinstance(exc.__cause__, ImportError):
                raise
            missing = exc.__cause__.name or "pandas pyarrow"
            raise InputsError(f"{self.key}: as_df needs what is not here: pip install {missing}") from exc


class Artifact(_Stored, runtime.Artifact):
    """A file."""


class Model(_Stored, runtime.Model):
    """A trained model's file or folder."""


TYPES: Mapping[str, type[_Stored]] = {one.type: one for one in (Dataitem, Artifact, Model)}


def make(record: EntityRecord) -> Any:
    """Return the object of a record."""
    return TYPES[record.type](
        key=record.key,
        kind=record.kind,
        path=record.path,
        spec=Fields({"path": record.path, **record.spec}),
        metadata=Fields({"project": record.project, "name": record.name, "created": record.created, **record.metadata}),
    )


def find(key: str) -> EntityRecord:
    """Return the record of a key; one without an id means the latest. Raises NotFound."""
    parts = runtime.parse_key(key)
    found = context.current().store.get_entity(key)
    if found is None:
        version = f" with id {parts.id!r}" if parts.id else ""
        raise _not_found(parts.project, parts.type, parts.name, f"of kind {parts.kind!r}{version}")
    return found


def get(type_: str, identifier: Any, project: str | None, entity_id: str | None) -> Any:
    """Return an entity of the type, by key, or by name and project. Raises NotFound, UsageError."""
    store = context.current().store
    if isinstance(identifier, str) and identifier.startswith("store://"):
        return make(_typed(find(identifier), type_))
    owner = context.check_name(project, "project")
    if not entity_id:
        latest = store.find_entity(owner, type_, context.check_name(identifier, type_))
        versions = [latest] if latest else []
    else:
        versions = [one for one in store.get_entity_versions(owner, type_, identifier) if one.id == entity_id]
    if not versions:
        raise _not_found(owner, type_, identifier, f"with id {entity_id!r}" if entity_id else "")
    return make(versions[0])


def list_all(type_: str, project: str | None, label: str) -> list[Any]:
    """Return the latest version of each entity of the type."""
    name = context.find_project(project).name
    return [make(one) for one in context.current().store.list_entities(name, type_, label=label)]


def versions_of(type_: str, identifier: str, project: str | None) -> list[Any]:
    """Return all versions of an entity, newest first. Raises NotFound when there is none."""
    latest = get(type_, identifier, project, None)
    found = context.current().store.get_entity_versions(latest.project, type_, latest.name)
    return [make(one) for one in found]


def delete(type_: str, identifier: str, project: str | None, entity_id: str | None, *, all_versions: bool) -> None:
    """Remove one version, or all; files stay. A name of several versions that asks for neither is a UsageError."""
    one = get(type_, identifier, project, entity_id)
    is_exact = bool(entity_id) or str(identifier) == one.key
    found = [one] if is_exact and not all_versions else versions_of(type_, one.name, one.project)
    if len(found) > 1 and not all_versions:
        raise UsageError(
            f"{type_} {one.name!r} has {len(found)} versions: give entity_id=ID for one of them, or "
            "delete_all_versions=True"
        )
    for version in found:
        version.delete()


def new(type_: str, project: str | None, name: str | None, kind: str, path: Any, fields: Mapping[str, Any]) -> Any:
    """Keep an entity for what lies at a path or an address already."""
    record = _record(type_, project, name, kind, fields)
    if path is None:
        raise UsageError("path: is missing; allowed: a path that exists, or an address (s3://, http://, https://)")
    return _add(record, _place(path))


def log(
    type_: str, project: str | None, name: str | None, kind: str, source: Any, data: Any, path: str | None,
    fields: Mapping[str, Any],
) -> Any:  # fmt: skip
    """Keep a copy of a file or folder, or a value as a file, below `.nuwrap/data/` or at `path`, with its entity."""
    from nuwrap.sdk import files

    record = _record(type_, project, name, kind, fields)
    if (source is None) == (data is None):
        given = "both are" if source is not None else "none is"
        raise UsageError(
            f"log_{type_} {name!r}: {given} given; allowed: source=PATH of a file or folder, or data=VALUE"
        )
    if path is None and isinstance(source, str) and "://" in source:
        return _add(record, _place(source))
    return _add(record, files.keep(source if data is None else data, record, path, is_path=data is None))


def _record(type_: str, project: Any, name: Any, kind: Any, fields: Mapping[str, Any]) -> EntityRecord:
    """Return the record without its path."""
    owner = context.check_name(project, "project")
    given = dict(fields)
    id_ = _check_id(given.pop("uuid", None) or str(uuid_module.uuid4()))
    if not isinstance(kind, str) or not re.fullmatch(_KIND, kind):
        raise UsageError(f"kind: {show(kind)} is no kind; allowed: one as 'table', 'artifact' or 'sklearn'")
    key = str(runtime.Key(owner, type_, kind, context.check_name(name, "name"), id_))
    metadata = {one: given.pop(one) for one in ("description", "labels", "embedded") if given.get(one) is not None}
    check_labels(metadata.get("labels"))
    return EntityRecord(key, owner, type_, kind, str(name), id_, "", spec=_check_json(given), metadata=metadata)


def check_labels(labels: Any) -> None:
    """Raise UsageError for labels that are no list of texts."""
    is_list = isinstance(labels, Sequence) and not isinstance(labels, str)
    if labels is not None and not (is_list and all(isinstance(one, str) for one in labels)):
        raise UsageError(f"labels: {show(labels)} is no list of texts; allowed: a list of strings")


def _check_id(value: Any) -> str:
    """Return an id that a person gives. Raises UsageError for what is no UUID of version 4."""
    try:
        if isinstance(value, str) and uuid_module.UUID(value).version == 4:
            return value
    except ValueError:
        pass
    raise UsageError(f"uuid: {show(value)} is none; allowed: a UUID of version 4")


def _check_json(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the spec. Raises UsageError for what is no JSON."""
    wrong = value_faults(dict(spec))
    if wrong:
        raise UsageError("fields of the spec are not valid:\n" + "\n".join(f"  {one}" for one in wrong))
    return spec


def _add(record: EntityRecord, path: str) -> Any:
    """Keep the record; the project is made when it is missing."""
    context.ensure_project(record.project)
    return make(context.current().store.add_entity(replace(record, path=path)))


def _place(path: Any) -> str:
    """Return the absolute path, or the address. Raises UsageError for what is not there."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ""
    if text.startswith(("s3://", "http://", "https://")):
        return str(text)
    local = os.path.abspath(os.path.expanduser(str(text).removeprefix("file://")))
    if not text or "://" in local or not os.path.exists(local):
        raise UsageError(
            f"path: {show(path)} is not there; allowed: a path that exists, or an address (s3://, http://, https://)"
        )
    return local


def _typed(record: EntityRecord, wanted: str) -> EntityRecord:
    if record.type != wanted:
        raise UsageError(f"{record.key} is of type {record.type}; use get_{record.type}")
    return record


def _not_found(project: str, type_: str, name: str, what: str) -> NotFound:
    context.find_project(project)
    names = [one.name for one in context.current().store.list_entities(project, type_)]
    there = f"there is: {', '.join(sorted(names)[:20])}" if names else "it has none yet"
    return NotFound(
        f"project {project!r} has no {type_} {name!r} {what}".rstrip() + f"{did_you_mean(name, names)}; {there}"
    )


def _fetch(address: str) -> str:
    from nuwrap.runs.transfer import copy

    folder = tempfile.mkdtemp(prefix="nuwrap-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = os.path.join(folder, os.path.basename(address.rstrip("/").split("?")[0].split("#")[0]) or "file")
    copy(address, target)
    return target
