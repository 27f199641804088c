"""Functions as a person has them: made, found, changed and run. What is valid is said by `spec`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nuwrap.errors import NotFound, UsageError
from nuwrap.runs.order import IDENTITY, foreign, record_function, stored
from nuwrap.sdk import context
from nuwrap.sdk.definition import define
from nuwrap.sdk.fields import Fields
from nuwrap.spec.function import SOURCES
from nuwrap.spec.function import Function as Spec
from nuwrap.store import BUILT_IMAGE, FunctionRecord
from nuwrap_runtime.schema import did_you_mean

if TYPE_CHECKING:
    from nuwrap.sdk.arguments import Action, FunctionFields, RunFields, Unpack
    from nuwrap.sdk.runs import Run

_METADATA = ("description", "labels", "embedded")


class Function:
    """A version of a function, as it is in the history. Its fields are attributes, and stand under `spec` too.

    A field that is set (`function.requirements = ["numpy"]`) counts when it is saved: `save()` makes a new version of
    it, `save(update=True)` changes this one.
    """

    def __init__(self, record: FunctionRecord) -> None:
        self._record = record
        self._changes: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """The version's id."""
        return self._record.id

    @property
    def key(self) -> str:
        """`store://project/function/python/name:id`."""
        one = self._record
        return f"store://{one.project}/function/{one.kind}/{one.name}:{one.id}"

    @property
    def metadata(self) -> Fields:
        """Project, name, description, labels, embedded, created, updated."""
        one, fields = self._record, self._fields()
        given = {name: fields[name] for name in _METADATA}
        times = {"created": one.created, "updated": one.updated}
        return Fields({"project": one.project, "name": one.name, **given, **times}, self._set)

    @property
    def spec(self) -> Fields:
        """The other fields; what is not given has its default."""
        fields = self._fields()
        return Fields({name: fields[name] for name in fields if name not in (*_METADATA, *IDENTITY)}, self._set)

    @property
    def status(self) -> Fields:
        """`state`: CREATED, as a version is from the beginning."""
        return Fields({"state": "CREATED"})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        fields = self._fields()
        if name in fields:
            return fields[name]
        raise AttributeError(f"a function has no {name!r}{did_you_mean(name, list(Spec.model_fields))}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._set(name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *Spec.model_fields]

    def __repr__(self) -> str:
        one = self._record
        return f"<Function {one.project}/{one.name} {one.id[:8]}{' with unsaved changes' if self._changes else ''}>"

    def run(
        self,
        action: Action | None = None,
        wait: bool | None = None,  # noqa: FBT001 - a name that users know
        *,
        log_info: bool = True,
        **fields: Unpack[RunFields],
    ) -> Run:
        """Run this version as a job, as a service, or build its image; return the run.

        A build that is done gives this version its image, by digest, and the next run starts from it.

        A job with `local_execution=True` is waited for, any other run by `wait=True`: a job to its end, a service
        until it is ready. A run that fails does not raise: its reason is printed (not with `log_info=False`), and is
        `run.status.message`. Ctrl-C while a job with `local_execution=True` is waited for stops it; other runs go on.

        Raises SpecError for fields that are not valid, all at once, and PlatformError when it cannot be started;
        there is no run then.
        """
        from nuwrap.sdk.starting import start_run

        if self._changes:
            names = ", ".join(self._changes)
            raise UsageError(f"{self!r}: {names} changed; save() makes a version of that, refresh() drops it")
        self._take_image()
        return start_run(self._record, action, fields, wait=wait, log_info=log_info)

    def update(self, **fields: Unpack[FunctionFields]) -> Function:
        """Change fields of this version, in the history too; one source takes the place of another."""
        for name, value in fields.items():
            self._set(name, value)
        return self.save(update=True)

    def save(self, *, update: bool = False) -> Function:
        """Keep what was set: as a new version, or with `update` in this one. Raises SpecError, nothing is kept then."""
        if not self._changes:
            return self
        fields = {**self._given(), **self._changes}
        if update:
            function, folder = define(fields, "" if "code_src" in self._changes else self._record.folder)
            changed = replace(self._record, spec={**foreign(self._record.spec), **stored(function)}, folder=folder)
            self._record = context.current().store.update_function(changed)
        else:
            self._record = _record(fields)
        self._changes = {}
        return self

    def refresh(self) -> Function:
        """Read this version from the history again; what was set and not saved is dropped."""
        self._record = _find(self._record.project, self._record.name, self._record.id)
        self._changes = {}
        return self

    def versions(self) -> list[Function]:
        """Return all versions of the function, newest first."""
        return get_function_versions(self._record.name, project=self._record.project)

    def export(self, filename: str | os.PathLike[str] | None = None) -> str:
        """Write the function as YAML, `function-NAME.yaml` by default, and return the file's absolute path."""
        from nuwrap.sdk.documents import write_function

        return write_function(self._record, filename)

    def delete(self) -> None:
        """Remove this version; its runs stay."""
        context.current().store.delete_function(self._record.project, self._record.name, id=self._record.id)

    def _given(self) -> dict[str, Any]:
        """Return what was given for this version, without its id: a new version gets one of its own."""
        one = self._record
        known = {name: value for name, value in one.spec.items() if name in Spec.model_fields}
        return {"name": one.name, "kind": one.kind, "project": one.project, **known}

    def _fields(self) -> dict[str, Any]:
        """Return all fields, lists as lists."""
        self._take_image()
        defaults = {name: field.default for name, field in Spec.model_fields.items()}
        fields = {**defaults, **self._given(), "uuid": self._record.id, **self._changes}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    def _take_image(self) -> None:
        """Take the image that a build has given this version meanwhile."""
        there = context.current().store.get_function(self._record.project, self._record.name, self._record.id)
        built = there.spec.get(BUILT_IMAGE) if there else None
        if built and built != self._record.spec.get(BUILT_IMAGE):
            self._record = replace(self._record, spec={**self._record.spec, "image": built, BUILT_IMAGE: built})

    def _set(self, name: str, value: Any) -> None:
        if name not in Spec.model_fields:
            raise UsageError(f"a function has no field {name!r}{did_you_mean(name, list(Spec.model_fields))}")
        if name in IDENTITY:
            raise UsageError(f"{name} of {self!r} cannot be changed; new_function makes another function")
        if name in SOURCES and value:
            self._changes.update({other: None for other in SOURCES if other != name and self._given().get(other)})
        self._changes[name] = value


def new_function(
    project: str | None = None, name: str | None = None, kind: str | None = None, **fields: Unpack[FunctionFields]
) -> Function:
    """Make a version of a function; one that is the same as the latest is that one again.

    `code` is the code as text, or a function of this notebook or module: its own source is stored then, with the
    imports of the names that it uses, and `handler` is its name. A local `code_src` is a path in the current folder.
    A project that is missing is made, with a notice. Raises SpecError with all that is not valid.
    """
    given = {"project": context.check_name(project, "project"), "name": name, "kind": kind, **fields}
    return Function(_record({key: value for key, value in given.items() if value is not None}))


def get_function(identifier: str, project: str | None = None, entity_id: str | None = None) -> Function:
    """Return a function by name (its latest version, or that of `entity_id`), or by key. Raises NotFound."""
    return Function(_find(*_identify(identifier, project, entity_id)))


def get_function_versions(identifier: str, project: str | None = None) -> list[Function]:
    """Return all versions of a function, by name or key, newest first. Raises NotFound when there is none."""
    project, name, _ = _identify(identifier, project, None)
    found = context.current().store.get_function_versions(project, name)
    return [Function(one) for one in found] or [Function(_find(project, name, ""))]


def list_functions(project: str, *, label: str = "") -> list[Function]:
    """Return the latest version of each function, of those with the label when one is given."""
    store = context.current().store
    return [Function(one) for one in store.list_functions(context.find_project(project).name, label=label)]


def update_function(function: Function) -> Function:
    """Keep what was set on the function, in the same version."""
    return function.save(update=True)


def delete_function(
    identifier: str,
    project: str | None = None,
    entity_id: str | None = None,
    *,
    delete_all_versions: bool = False,
) -> None:
    """Remove a version, or with `delete_all_versions` all of the function; their runs stay. Raises NotFound.

    A name without `entity_id` means all versions when there is but one, else it is an error that asks for either.
    """
    project, name, id_ = _identify(identifier, project, entity_id)
    store = context.current().store
    found = [_find(project, name, id_)] if id_ else store.get_function_versions(project, name)
    if len(found) > 1 and not delete_all_versions:
        raise UsageError(
            f"function {name!r} has {len(found)} versions: give entity_id=ID for one of them, or delete_all_versions="
            "True"
        )
    store.delete_function(project, name, id="" if delete_all_versions else _find(project, name, id_).id)


def import_function(file: str | os.PathLike[str]) -> Function:
    """Make a function of a YAML file: flat, or as `export` and DigitalHub write it. Raises SpecError.

    A version whose id is in the history already is that version, when it is the same.
    """
    from nuwrap.sdk.documents import read_function_file

    return Function(read_function_file(file))


def _record(fields: Mapping[str, Any]) -> FunctionRecord:
    """Check the fields and keep them, in the project, which is made when it is missing."""
    function, folder = define(fields)
    context.ensure_project(function.project)
    return record_function(context.current().store, function, folder)


def _identify(identifier: Any, project: str | None, id_: str | None) -> tuple[str, str, str]:
    """Return project, name and id of a name or a key."""
    if not isinstance(identifier, str) or not identifier.startswith("store://"):
        return context.check_name(project, "project"), context.check_name(identifier, "function"), id_ or ""
    parts = identifier.removeprefix("store://").split("/")
    if len(parts) != 4 or parts[1] != "function":
        raise UsageError(f"{identifier!r} is no key of a function; its form is store://project/function/python/name:id")
    name, _, version = parts[3].partition(":")
    return parts[0], name, id_ or version


def _find(project: str, name: str, id_: str) -> FunctionRecord:
    store = context.current().store
    record = store.get_function(project, name, id_)
    if record and record.name == name:
        return record
    context.find_project(project)
    if id_:
        raise NotFound(
            f"function {name!r} of project {project!r} has no version {id_!r}; get_function_versions has all"
        )
    names = [one.name for one in store.list_functions(project)]
    there = f"there is: {', '.join(sorted(names)[:20])}" if names else "it has none yet"
    raise NotFound(f"project {project!r} has no function {name!r}{did_you_mean(name, names)}; {there}")
