"""The history of a user's projects: what `open_store` gives, behind a Protocol, and the records it keeps.

Times are ISO 8601 in UTC (`2026-11-24T08:19:06.661+00:00`). Documents are JSON values.
"""

# ruff: noqa: A002 - as the records' fields are called

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

CREATED, PENDING, RUNNING = "CREATED", "PENDING", "RUNNING"
COMPLETED, ERROR, STOPPED = "COMPLETED", "ERROR", "STOPPED"
ENDED: Final = frozenset({COMPLETED, ERROR, STOPPED})
CONSUMES, PRODUCES = "consumes", "produces"
BUILT_IMAGE: Final = "built_image"  # in a version's spec: the image that a build gave it

Document = Mapping[str, Any]


@dataclass(frozen=True)
class ProjectRecord:
    """A project; `name` is its identity."""

    name: str
    description: str = ""
    labels: tuple[str, ...] = ()
    created: str = ""
    updated: str = ""


@dataclass(frozen=True)
class FunctionRecord:
    """One version of a function.

    `spec` has the function's fields by our names, defaults left out, without name, kind, project and uuid. `folder` is
    the absolute folder that a relative `code_src` starts from, "" for other sources.
    """

    id: str
    project: str
    name: str
    spec: Document
    folder: str = ""
    kind: str = "python"
    created: str = ""
    updated: str = ""


@dataclass(frozen=True)
class TaskRecord:
    """What a version of a function is asked to do: one for each action."""

    id: str
    project: str
    function: str  # id of the version
    action: str
    spec: Document
    created: str = ""


@dataclass(frozen=True)
class RunRecord:
    """One run. `spec` has the values given to it, as a person names them; secrets by name alone.

    `folder` is the absolute folder of this attempt's launch document, log and result. `service` is what a service has
    told: `{"url", "admin_url"}`. `result` is the result document without its outputs; `outputs` maps a name to
    `{"type", "kind", "path", "key"}`, the path absolute.
    """

    id: str
    project: str
    function: str  # its name
    function_id: str
    task: str
    action: str
    platform: str
    spec: Document
    folder: str
    state: str = CREATED
    message: str = ""
    attempt: int = 1
    exit_code: int | None = None
    created: str = ""
    started: str = ""
    finished: str = ""
    service: Document = field(default_factory=dict)
    outputs: Document = field(default_factory=dict)
    result: Document = field(default_factory=dict)


@dataclass(frozen=True)
class StateChange:
    """A state that a run has entered."""

    at: str
    state: str
    message: str = ""


@dataclass(frozen=True)
class EntityRecord:
    """A version of a dataitem, an artifact or a model: `store://project/type/kind/name:id`.

    `path` is an absolute local path or an address. `spec` and `metadata` are what its author added.
    """

    key: str
    project: str
    type: str
    kind: str
    name: str
    id: str
    path: str
    spec: Document = field(default_factory=dict)
    metadata: Document = field(default_factory=dict)
    created: str = ""


@dataclass(frozen=True)
class LineageRecord:
    """A run consumes or produces an entity, under the argument's or the output's name."""

    run: str
    relation: str
    name: str
    key: str


class Store(Protocol):
    """A user's history, open in several processes at once. Each method is one transaction: whole or not at all.

    Methods raise StoreError for a file that cannot be read or written. What is asked for and not there is None or an
    empty list; a name that must be there, as a new record's project, is a NotFound. An identity that is taken is a
    StoreError. Lists are newest first. Threads of a process take turns; a child by fork opens its own.
    """

    def close(self) -> None:
        """Let the file go; a second call does nothing."""

    def add_project(self, record: ProjectRecord) -> tuple[ProjectRecord, bool]:
        """Return the project of that name, and whether this call has made it: of two at once, one has."""

    def get_project(self, name: str) -> ProjectRecord | None:
        """Return the project."""

    def list_projects(self) -> list[ProjectRecord]:
        """Return all projects."""

    def update_project(self, record: ProjectRecord) -> ProjectRecord:
        """Replace description and labels. Raises NotFound."""

    def delete_project(self, name: str, *, cascade: bool) -> None:
        """Remove the project. Without `cascade` one that has functions, runs or entities is a StoreError naming them.

        Raises NotFound. What lies in folders stays.
        """

    def add_function(self, record: FunctionRecord) -> FunctionRecord:
        """Add a version, the latest from now on. Raises StoreError when the id is taken."""

    def get_function(self, project: str, name: str = "", id: str = "") -> FunctionRecord | None:
        """Return the version of that id (and of that name, when it is given too), or the latest of that name."""

    def get_function_versions(self, project: str, name: str) -> list[FunctionRecord]:
        """Return all versions."""

    def list_functions(self, project: str, *, label: str = "") -> list[FunctionRecord]:
        """Return the latest version of each function; with a label those whose latest version has it."""

    def update_function(self, record: FunctionRecord) -> FunctionRecord:
        """Replace a version's spec and folder in place. Raises NotFound."""

    def delete_function(self, project: str, name: str, *, id: str = "") -> int:
        """Remove one version, or all with id "", and their tasks; return how many. Runs stay. Raises NotFound."""

    def ensure_task(self, function: FunctionRecord, action: str, spec: Document) -> TaskRecord:
        """Return the version's task of that action, made or with its spec replaced."""

    def add_run(self, record: RunRecord, lineage: Sequence[LineageRecord] = ()) -> RunRecord:
        """Add a run with its first state change and what it consumes."""

    def change_run(self, id: str, state: str, message: str = "", **fields: Any) -> RunRecord:
        """Enter a state, with further fields of the record (`started`, `service`, `attempt`, `folder` …).

        `started` and `finished` are set when they are not given. An ended run changes by `resume=True` alone, which
        drops what the earlier attempt has left; otherwise it is returned as it is: of two who end it, the first
        counts. Raises NotFound; StoreError for `resume` of a run that has not ended: of two who resume it, one does.
        """

    def finish_run(
        self,
        id: str,
        state: str,
        message: str,
        *,
        exit_code: int | None,
        outputs: Document,
        result: Document,
        entities: Sequence[EntityRecord] = (),
        lineage: Sequence[LineageRecord] = (),
    ) -> RunRecord:
        """End a run with all that it has left, replacing an earlier attempt's; an ended one is returned as it is."""

    def get_run(self, id: str) -> RunRecord | None:
        """Return the run of that id, or of the only id that begins so (8 characters at least)."""

    def list_runs(
        self,
        project: str = "",
        *,
        function: str = "",
        action: str = "",
        states: Iterable[str] = (),
        limit: int | None = None,
    ) -> list[RunRecord]:
        """Return runs, of all projects with project "", without `result` (10,000 within 200 ms)."""

    def run_states(self, id: str) -> list[StateChange]:
        """Return the run's state changes, oldest first."""

    def delete_run(self, id: str) -> None:
        """Remove an ended run; entities it has made stay. Raises NotFound, StoreError for one that has not ended."""

    def add_entity(self, record: EntityRecord) -> EntityRecord:
        """Add a version, the latest of its project, type and name from now on."""

    def get_entity(self, key: str) -> EntityRecord | None:
        """Return the entity of a `store://` key; without an id the latest of its kind. What is no key names none."""

    def find_entity(self, project: str, type: str, name: str) -> EntityRecord | None:
        """Return the latest of that name, of any kind."""

    def list_entities(self, project: str, type: str, *, label: str = "") -> list[EntityRecord]:
        """Return the latest version of each; with a label those whose latest version has it in its metadata."""

    def get_entity_versions(self, project: str, type: str, name: str) -> list[EntityRecord]:
        """Return all versions."""

    def delete_entity(self, key: str) -> None:
        """Remove one version, or for a key without id all of its kind and name; files stay. Raises NotFound."""

    def lineage(self, *, run: str = "", key: str = "") -> list[LineageRecord]:
        """Return what a run consumed and produced, or which runs had to do with an entity's version.

        A key without an id means the latest version; a deleted version is known to its runs.
        """


def open_store(home: str) -> Store:
    """Open `store.db` of the folder, made with its folder when missing, for this user alone.

    Raises StoreError: read-only, full disk, no database, made by a later nuwrap; each says the path and what to do.
    """
    from nuwrap.store.sqlite import SqliteStore

    return SqliteStore(home)
