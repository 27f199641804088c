"""Projects as a person has them: the name under which functions, runs, data and secrets are kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nuwrap.errors import StoreError, UsageError
from nuwrap.sdk import context, functions, runs
from nuwrap.sdk.absent import explain_absence
from nuwrap.sdk.entities import check_labels
from nuwrap.sdk.fields import Fields
from nuwrap.sdk.functions import Function
from nuwrap.sdk.project_data import ProjectData, within
from nuwrap.sdk.runs import Run
from nuwrap.store import ProjectRecord
from nuwrap.store.secrets import Secrets
from nuwrap_runtime.schema import did_you_mean

if TYPE_CHECKING:
    from nuwrap.sdk.arguments import Action, FunctionFields, RunFields, Unpack

# What DigitalHub's functions take and has no meaning here: code is looked for in the folder that one stands in.
_NO_MEANING = ("config", "context", "setup_kwargs", "local", "source")


class Project(ProjectData):
    """A project of the history. Its methods are the module's functions of the same names, for this project."""

    def __init__(self, record: ProjectRecord) -> None:
        self._record = record

    @property
    def name(self) -> str:  # type: ignore[override] # read-only here
        """The name, which is the project's identity."""
        return self._record.name

    @property
    def id(self) -> str:
        """The name again: DigitalHub has an id."""
        return self.name

    @property
    def key(self) -> str:
        """`store://name`."""
        return f"store://{self.name}"

    @property
    def metadata(self) -> Fields:
        """Name, description, labels, created, updated."""
        one = self._record
        about = {"project": one.name, "name": one.name, "description": one.description, "labels": list(one.labels)}
        return Fields({**about, "created": one.created, "updated": one.updated})

    @property
    def status(self) -> Fields:
        """`state`: CREATED, as a project is from the beginning."""
        return Fields({"state": "CREATED"})

    def __repr__(self) -> str:
        return f"<Project {self.name}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        names = [one for one in dir(type(self)) if not one.startswith("_")]
        raise AttributeError(f"a project has no {name!r}{explain_absence(name) or did_you_mean(name, names)}")

    @within
    def new_function(
        self, name: str | None = None, kind: str | None = None, **fields: Unpack[FunctionFields]
    ) -> Function:
        """Make a version of a function in this project; see `nuwrap.new_function`."""
        return functions.new_function(self.name, name, kind, **fields)

    @within
    def get_function(self, identifier: str, entity_id: str | None = None) -> Function:
        """Return a function by name or key; without `entity_id` the latest version. Raises NotFound."""
        return functions.get_function(identifier, self.name, entity_id)

    @within
    def get_function_versions(self, identifier: str) -> list[Function]:
        """Return all versions of a function, newest first. Raises NotFound when there is none."""
        return functions.get_function_versions(identifier, self.name)

    @within
    def list_functions(self, *, label: str = "") -> list[Function]:
        """Return the latest version of each function, of those with the label when one is given."""
        return functions.list_functions(self.name, label=label)

    @within
    def update_function(self, function: Function) -> Function:
        """Keep what was set on the function, in the same version."""
        return functions.update_function(function)

    @within
    def delete_function(
        self, identifier: str, entity_id: str | None = None, *, delete_all_versions: bool = False
    ) -> None:
        """Remove a version of a function, or all; its runs stay. Raises NotFound."""
        functions.delete_function(identifier, self.name, entity_id, delete_all_versions=delete_all_versions)

    @within
    def run(
        self,
        function: str,
        action: Action | None = None,
        wait: bool | None = None,  # noqa: FBT001 - as Function.run
        **fields: Unpack[RunFields],
    ) -> Run:
        """Run the latest version of a function of this project; see `Function.run`."""
        return self.get_function(function).run(action, wait, **fields)

    @within
    def get_run(self, identifier: str) -> Run:
        """Return a run of this project by id, by the first 8 characters of it or more, or by key. Raises NotFound."""
        return runs.get_run(identifier, self.name)

    @within
    def list_runs(
        self, *, function: str = "", action: str = "", states: Iterable[str] = (), limit: int | None = None
    ) -> list[Run]:
        """Return this project's runs, newest first: of a function, of an action, in one of the states."""
        return runs.list_runs(self.name, function=function, action=action, states=states, limit=limit)

    @within
    def delete_run(self, identifier: str) -> None:
        """Remove an ended run from the history; its folder stays. Raises NotFound."""
        runs.delete_run(identifier, self.name)

    def update(self, *, description: str | None = None, labels: Sequence[str] | None = None) -> Project:
        """Change description or labels."""
        check_labels(labels)
        one = self._record
        changed = replace(
            one,
            description=one.description if description is None else description,
            labels=one.labels if labels is None else tuple(labels),
        )
        self._record = context.current().store.update_project(changed)
        return self

    def refresh(self) -> Project:
        """Read the project from the history again."""
        self._record = context.find_project(self.name)
        return self

    def export(self, filename: str | os.PathLike[str] | None = None) -> str:
        """Write the project as YAML, `project-NAME.yaml` by default, and return the file's absolute path.

        Functions stand in it by reference; one that is `embedded` with its whole spec.
        """
        from nuwrap.sdk.documents import write_project

        return write_project(self._record, filename)


def get_or_create_project(name: str, *, description: str = "", labels: Sequence[str] = (), **unused: Any) -> Project:
    """Return the project of that name, made when it is missing. Raises UsageError for an impossible name."""
    _check_unused(unused)
    check_labels(labels)
    record = ProjectRecord(context.check_name(name, "name"), description, tuple(labels))
    return Project(context.current().store.add_project(record)[0])


def new_project(name: str, *, description: str = "", labels: Sequence[str] = (), **unused: Any) -> Project:
    """Make a project. Raises UsageError when there is one of that name."""
    _check_unused(unused)
    check_labels(labels)
    record = ProjectRecord(context.check_name(name, "name"), description, tuple(labels))
    made, is_new = context.current().store.add_project(record)
    if not is_new:
        raise UsageError(f"there is a project {name!r} already; get_project({name!r}) returns it")
    return Project(made)


def get_project(name: str, **unused: Any) -> Project:
    """Return the project of that name. Raises NotFound naming what is alike."""
    _check_unused(unused)
    return Project(context.find_project(name))


def load_project(name: str | None = None, filename: str | os.PathLike[str] | None = None, **unused: Any) -> Project:
    """Return the project of that name, or that of a YAML file, which is imported."""
    if (name is None) == (filename is None):
        raise UsageError("load_project takes one of name=NAME and filename=FILE")
    return get_project(name, **unused) if name is not None else import_project(str(filename), **unused)


def list_projects() -> list[Project]:
    """Return all projects, newest first."""
    return [Project(one) for one in context.current().store.list_projects()]


def update_project(project: Project, **fields: Any) -> Project:
    """Change description or labels of a project."""
    return project.update(**fields)


def delete_project(name: str, *, cascade: bool = False, **unused: Any) -> None:
    """Remove a project, with `cascade` all that is in it too, its secrets; folders of runs and files of data stay.

    Raises NotFound, and without `cascade` a StoreError for a project that is not empty.
    """
    _check_unused({key: value for key, value in unused.items() if key != "clean_context"})
    ctx = context.current()
    secrets = Secrets(ctx.home)
    kept = secrets.names(context.find_project(name).name)
    if kept and not cascade:
        raise StoreError(
            f"project {name!r} has secrets ({', '.join(kept)}); delete it with cascade=True, and they go too"
        )
    ctx.store.delete_project(name, cascade=cascade)
    secrets.delete_project(name)


def import_project(file: str | os.PathLike[str], **unused: Any) -> Project:
    """Make or complete a project from a YAML file, as `Project.export` and DigitalHub write it. Raises SpecError."""
    from nuwrap.sdk.documents import read_project_file

    _check_unused(unused)
    return Project(read_project_file(file))


def _check_unused(given: dict[str, Any]) -> None:
    """Say which of DigitalHub's arguments change nothing here; refuse all others."""
    known = ["name", "description", "labels", *_NO_MEANING]
    context.refuse({name: value for name, value in given.items() if name not in _NO_MEANING}, known, "project")
    unused = [name for name, value in given.items() if value not in (None, "./", ".")]
    if unused:
        context.say(f"{', '.join(unused)} of a project changes nothing here: local code is looked for where you stand")
