"""Dataitems, artifacts and models by name and project: made, kept, found, listed, removed."""

from __future__ import annotations

from os import PathLike
from typing import Any, cast

from nuwrap.sdk import entities
from nuwrap.sdk.entities import Artifact, Dataitem, Model

Path = str | PathLike[str]


def new_dataitem(
    project: str | None = None, name: str | None = None, kind: str = "table", path: Path | None = None, **fields: Any
) -> Dataitem:
    """Make a dataitem of what lies at a path or an address (s3, http, https) already.

    Of `fields`, `uuid`, `description`, `labels` and `embedded` describe it; the rest becomes its spec.
    """
    return cast("Dataitem", entities.new("dataitem", project, name, kind, path, fields))


def log_dataitem(
    project: str | None = None,
    name: str | None = None,
    kind: str = "table",
    source: Path | None = None,
    data: Any = None,
    path: str | None = None,
    **fields: Any,
) -> Dataitem:
    """Make a dataitem of a copy of a file or folder (`source`), or of a data frame (`data`).

    It is kept below `.nuwrap/data/` of the current folder, or at the address `path` (`s3://bucket/…`). A source that
    is an address stays there. A frame is written as parquet, as CSV with a notice
    when no parquet library is here. `fields` as in `new_dataitem`.
    """
    return cast("Dataitem", entities.log("dataitem", project, name, kind, source, data, path, fields))


def get_dataitem(identifier: str, project: str | None = None, entity_id: str | None = None) -> Dataitem:
    """Return a dataitem by key, or by name: its latest version, or that of `entity_id`. Raises NotFound."""
    return cast("Dataitem", entities.get("dataitem", identifier, project, entity_id))


def get_dataitem_versions(identifier: str, project: str | None = None) -> list[Dataitem]:
    """Return all versions, by key or name, newest first. Raises NotFound when there is none."""
    return entities.versions_of("dataitem", identifier, project)


def list_dataitems(project: str, *, label: str = "") -> list[Dataitem]:
    """Return the latest version of each, of those with the label when one is given."""
    return entities.list_all("dataitem", project, label)


def delete_dataitem(
    identifier: str, project: str | None = None, entity_id: str | None = None, *, delete_all_versions: bool = False
) -> None:
    """Remove a version, or all, from the history; files stay. A name of several versions asks for either."""
    entities.delete("dataitem", identifier, project, entity_id, all_versions=delete_all_versions)


def new_artifact(
    project: str | None = None, name: str | None = None, kind: str = "artifact", path: Path | None = None, **fields: Any
) -> Artifact:
    """Make an artifact of what lies at a path or an address (s3, http, https) already.

    Of `fields`, `uuid`, `description`, `labels` and `embedded` describe it; the rest becomes its spec.
    """
    return cast("Artifact", entities.new("artifact", project, name, kind, path, fields))


def log_artifact(
    project: str | None = None,
    name: str | None = None,
    kind: str = "artifact",
    source: Path | None = None,
    data: Any = None,
    path: str | None = None,
    **fields: Any,
) -> Artifact:
    """Make an artifact of a copy of a file or folder (`source`), or of bytes or a figure (`data`).

    It is kept below `.nuwrap/data/` of the current folder, or at the address `path` (`s3://bucket/…`). A source that
    is an address stays there. `fields` as in `new_artifact`.
    """
    return cast("Artifact", entities.log("artifact", project, name, kind, source, data, path, fields))


def get_artifact(identifier: str, project: str | None = None, entity_id: str | None = None) -> Artifact:
    """Return an artifact by key, or by name: its latest version, or that of `entity_id`. Raises NotFound."""
    return cast("Artifact", entities.get("artifact", identifier, project, entity_id))


def get_artifact_versions(identifier: str, project: str | None = None) -> list[Artifact]:
    """Return all versions, by key or name, newest first. Raises NotFound when there is none."""
    return entities.versions_of("artifact", identifier, project)


def list_artifacts(project: str, *, label: str = "") -> list[Artifact]:
    """Return the latest version of each, of those with the label when one is given."""
    return entities.list_all("artifact", project, label)


def delete_artifact(
    identifier: str, project: str | None = None, entity_id: str | None = None, *, delete_all_versions: bool = False
) -> None:
    """Remove a version, or all, from the history; files stay. A name of several versions asks for either."""
    entities.delete("artifact", identifier, project, entity_id, all_versions=delete_all_versions)


def new_model(
    project: str | None = None, name: str | None = None, kind: str = "model", path: Path | None = None, **fields: Any
) -> Model:
    """Make a model of what lies at a path or an address (s3, http, https) already.

    Of `fields`, `uuid`, `description`, `labels` and `embedded` describe it; the rest becomes its spec.
    """
    return cast("Model", entities.new("model", project, name, kind, path, fields))


def log_model(
    project: str | None = None,
    name: str | None = None,
    kind: str = "model",
    source: Path | None = None,
    data: Any = None,
    path: str | None = None,
    **fields: Any,
) -> Model:
    """Make a model of a copy of a file or folder (`source`), or of bytes (`data`).

    It is kept below `.nuwrap/data/` of the current folder, or at the address `path` (`s3://bucket/…`). A source that
    is an address stays there. `fields` as in `new_model`.
    """
    return cast("Model", entities.log("model", project, name, kind, source, data, path, fields))


def get_model(identifier: str, project: str | None = None, entity_id: str | None = None) -> Model:
    """Return a model by key, or by name: its latest version, or that of `entity_id`. Raises NotFound."""
    return cast("Model", entities.get("model", identifier, project, entity_id))


def get_model_versions(identifier: str, project: str | None = None) -> list[Model]:
    """Return all versions, by key or name, newest first. Raises NotFound when there is none."""
    return entities.versions_of("model", identifier, project)


def list_models(project: str, *, label: str = "") -> list[Model]:
    """Return the latest version of each, of those with the label when one is given."""
    return entities.list_all("model", project, label)


def delete_model(
    identifier: str, project: str | None = None, entity_id: str | None = None, *, delete_all_versions: bool = False
) -> None:
    """Remove a version, or all, from the history; files stay. A name of several versions asks for either."""
    entities.delete("model", identifier, project, entity_id, all_versions=delete_all_versions)
