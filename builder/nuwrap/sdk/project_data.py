"""What a project keeps beside functions and runs, as its methods: dataitems, artifacts, models, secrets."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from nuwrap.errors import UsageError
from nuwrap.sdk import data as _data
from nuwrap.sdk import secrets
from nuwrap.sdk.data import Path
from nuwrap.sdk.entities import Artifact, Dataitem, Model
from nuwrap.sdk.secrets import Secret

P = ParamSpec("P")
R = TypeVar("R")


def within(method: Callable[P, R]) -> Callable[P, R]:
    """Return the method of a project such that `project=` is refused: the project is the one it is a method of."""

    @functools.wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if "project" in kwargs:
            name = method.__name__
            raise UsageError(f"project= must not be given to a project's own {name}; nuwrap.{name}(project=…) has it")
        return method(*args, **kwargs)

    return checked


class ProjectData:
    """The part of Project that has to do with what is stored."""

    name: str

    @within
    def new_dataitem(
        self, name: str | None = None, kind: str = "table", path: Path | None = None, **fields: Any
    ) -> Dataitem:
        """Make a dataitem of what lies at a path or an address already; see `nuwrap.new_dataitem`."""
        return _data.new_dataitem(self.name, name, kind, path, **fields)

    @within
    def log_dataitem(
        self,
        name: str | None = None,
        kind: str = "table",
        source: Path | None = None,
        data: Any = None,
        path: str | None = None,
        **fields: Any,
    ) -> Dataitem:
        """Make a dataitem of a copy of a file or folder, or of a value; see `nuwrap.log_dataitem`."""
        return _data.log_dataitem(self.name, name, kind, source, data, path, **fields)

    @within
    def get_dataitem(self, identifier: str, entity_id: str | None = None) -> Dataitem:
        """Return a dataitem by name or key; without `entity_id` the latest version. Raises NotFound."""
        return _data.get_dataitem(identifier, self.name, entity_id)

    @within
    def get_dataitem_versions(self, identifier: str) -> list[Dataitem]:
        """Return all versions, newest first. Raises NotFound when there is none."""
        return _data.get_dataitem_versions(identifier, self.name)

    @within
    def list_dataitems(self, *, label: str = "") -> list[Dataitem]:
        """Return the latest version of each, of those with the label when one is given."""
        return _data.list_dataitems(self.name, label=label)

    @within
    def delete_dataitem(
        self, identifier: str, entity_id: str | None = None, *, delete_all_versions: bool = False
    ) -> None:
        """Remove a version, or all, from the history; files stay."""
        _data.delete_dataitem(identifier, self.name, entity_id, delete_all_versions=delete_all_versions)

    @within
    def new_artifact(
        self, name: str | None = None, kind: str = "artifact", path: Path | None = None, **fields: Any
    ) -> Artifact:
        """Make an artifact of what lies at a path or an address already; see `nuwrap.new_artifact`."""
        return _data.new_artifact(self.name, name, kind, path, **fields)

    @within
    def log_artifact(
        self,
        name: str | None = None,
        kind: str = "artifact",
        source: Path | None = None,
        data: Any = None,
        path: str | None = None,
        **fields: Any,
    ) -> Artifact:
        """Make an artifact of a copy of a file or folder, or of a value; see `nuwrap.log_artifact`."""
        return _data.log_artifact(self.name, name, kind, source, data, path, **fields)

    @within
    def get_artifact(self, identifier: str, entity_id: str | None = None) -> Artifact:
        """Return an artifact by name or key; without `entity_id` the latest version. Raises NotFound."""
        return _data.get_artifact(identifier, self.name, entity_id)

    @within
    def get_artifact_versions(self, identifier: str) -> list[Artifact]:
        """Return all versions, newest first. Raises NotFound when there is none."""
        return _data.get_artifact_versions(identifier, self.name)

    @within
    def list_artifacts(self, *, label: str = "") -> list[Artifact]:
        """Return the latest version of each, of those with the label when one is given."""
        return _data.list_artifacts(self.name, label=label)

    @within
    def delete_artifact(
        self, identifier: str, entity_id: str | None = None, *, delete_all_versions: bool = False
    ) -> None:
        """Remove a version, or all, from the history; files stay."""
        _data.delete_artifact(identifier, self.name, entity_id, delete_all_versions=delete_all_versions)

    @within
    def new_model(self, name: str | None = None, kind: str = "model", path: Path | None = None, **fields: Any) -> Model:
        """Make a model of what lies at a path or an address already; see `nuwrap.new_model`."""
        return _data.new_model(self.name, name, kind, path, **fields)

    @within
    def log_model(
        self,
        name: str | None = None,
        kind: str = "model",
        source: Path | None = None,
        data: Any = None,
        path: str | None = None,
        **fields: Any,
    ) -> Model:
        """Make a model of a copy of a file or folder, or of a value; see `nuwrap.log_model`."""
        return _data.log_model(self.name, name, kind, source, data, path, **fields)

    @within
    def get_model(self, identifier: str, entity_id: str | None = None) -> Model:
        """Return a model by name or key; without `entity_id` the latest version. Raises NotFound."""
        return _data.get_model(identifier, self.name, entity_id)

    @within
    def get_model_versions(self, identifier: str) -> list[Model]:
        """Return all versions, newest first. Raises NotFound when there is none."""
        return _data.get_model_versions(identifier, self.name)

    @within
    def list_models(self, *, label: str = "") -> list[Model]:
        """Return the latest version of each, of those with the label when one is given."""
        return _data.list_models(self.name, label=label)

    @within
    def delete_model(self, identifier: str, entity_id: str | None = None, *, delete_all_versions: bool = False) -> None:
        """Remove a version, or all, from the history; files stay."""
        _data.delete_model(identifier, self.name, entity_id, delete_all_versions=delete_all_versions)

    @within
    def new_secret(self, name: str | None = None, secret_value: str | None = None) -> Secret:
        """Keep a secret's value in a file of yours alone; see `nuwrap.new_secret`."""
        return secrets.new_secret(self.name, name, secret_value)

    @within
    def get_secret(self, identifier: str) -> Secret:
        """Return a secret by name; `read_secret_value()` has its value. Raises NotFound."""
        return secrets.get_secret(identifier, self.name)

    @within
    def list_secrets(self) -> list[Secret]:
        """Return the project's secrets."""
        return secrets.list_secrets(self.name)

    @within
    def delete_secret(self, identifier: str) -> None:
        """Remove a secret. Raises NotFound."""
        secrets.delete_secret(identifier, self.name)
