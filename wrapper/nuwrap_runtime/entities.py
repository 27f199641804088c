"""What a user's function is given beside plain values: its project and its run, and through them what is stored.

Knows no platform: what it says comes from the worker spec, what it is told goes to a journal that the host reads.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from nuwrap_runtime.errors import InputsError, OutputsError
from nuwrap_runtime.journal import Journal, Logged
from nuwrap_runtime.stored import TYPES, Artifact, Dataitem, Entity, Fields, Key, Model, parse_key

if TYPE_CHECKING:
    from nuwrap_runtime.worker.files import FileWriter
    from nuwrap_runtime.worker.spec import WorkerSpec

__all__ = [
    "Artifact",
    "Dataitem",
    "Entity",
    "Fields",
    "Journal",
    "Key",
    "Logged",
    "Model",
    "Project",
    "Run",
    "Secret",
    "open_files",
    "parse_key",
    "write_value",
]

_KIND = re.compile(r"[\w.+-]+")
_NAME = re.compile(r"[\w.-]+")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_](?:[\w.-]{0,251}\w)?")


class Secret(str):
    """A secret's value: a str that does not show itself in a repr, so not in most logs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def read_secret_value(self) -> str:
        """Return the value; the name that DigitalHub's entity has for it."""
        return str(self)


class Project:
    """The run's project, as far as a function may see it: what the run was given, its secrets, and what it logs."""

    def __init__(self, spec: WorkerSpec, journal: Journal) -> None:
        self.name = spec.project
        self._entities = spec.entities
        self._secrets = spec.secrets or os.environ.get("NUWRAP_SECRETS", "")
        self._journal = journal
        self._keeps_outputs = spec.keep_outputs
        self._files: Any = None

    def __repr__(self) -> str:
        return f"<Project {self.name}>"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a function's project has no {name!r}; it has name, get_dataitem, get_artifact, get_model, get_secret, "
            "log_dataitem, log_artifact and log_model"
        )

    def entity(self, key: str) -> Entity:
        """Return the entity of the key, or of the only one with this key and an id. Raises InputsError."""
        parts = parse_key(key)
        found = [key] if key in self._entities else []
        if not found and not parts.id:
            found = [one for one in self._entities if one.startswith(f"{key}:")]
        return self._make(self._one(found, key, parts.type))

    def get_dataitem(self, identifier: Any) -> Entity:
        """Return the dataitem by `store://` key or name. Raises InputsError for one that the run was not given."""
        return self._get(identifier, "dataitem")

    def get_artifact(self, identifier: Any) -> Entity:
        """Return the artifact by `store://` key or name. Raises InputsError for one that the run was not given."""
        return self._get(identifier, "artifact")

    def get_model(self, identifier: Any) -> Entity:
        """Return the model by `store://` key or name. Raises InputsError for one that the run was not given."""
        return self._get(identifier, "model")

    def get_secret(self, name: Any) -> Secret:
        """Return the value of `$NUWRAP_SECRETS/NAME`, else of the environment variable. Raises InputsError."""
        if not isinstance(name, str) or not _SECRET_NAME.fullmatch(name):
            raise InputsError(f"{name!r} is no name of a secret; allowed: letters, digits, '_', '-' and '.'")
        path = os.path.join(self._secrets, name)
        if self._secrets and os.path.isfile(path):
            with open(path, encoding="utf-8", newline="") as stream:
                return Secret(stream.read())
        if name in os.environ:
            return Secret(os.environ[name])
        place = f"no file {path!r}" if self._secrets else "no folder of secrets ($NUWRAP_SECRETS)"
        raise InputsError(
            f"secret {name!r} is not there: {place} and no variable of the name; list it in the run's secrets"
        )

    def log_dataitem(self, name: str, kind: str = "table", source: Any = None, data: Any = None, **spec: Any) -> Entity:
        """Keep a data frame (`data`) or a file (`source`) as an output called `name`; return its entity.

        The rest becomes the entity's spec. Raises OutputsError for what cannot be written, and in a service.
        """
        return self._log("dataitem", name, kind, source if data is None else data, spec)

    def log_artifact(
        self, name: str, kind: str = "artifact", source: Any = None, data: Any = None, **spec: Any
    ) -> Entity:
        """Keep a file, bytes or a figure as an output called `name`, as `log_dataitem` does."""
        return self._log("artifact", name, kind, source if data is None else data, spec)

    def log_model(self, name: str, kind: str = "model", source: Any = None, data: Any = None, **spec: Any) -> Entity:
        """Keep a model's file, or its folder as a zip archive, as an output called `name`, as `log_dataitem` does."""
        return self._log("model", name, kind, source if data is None else data, spec)

    def _get(self, identifier: Any, wanted: str) -> Entity:
        if not str(identifier).startswith("store://"):
            keys = [(key, parse_key(key)) for key in self._entities]
            found = [key for key, parts in keys if parts.type == wanted and parts.name == identifier]
            return self._make(self._one(found, identifier, wanted))
        entity = self.entity(identifier)
        if entity.type != wanted:
            raise InputsError(f"{identifier} is of type {entity.type}; use project.get_{entity.type}")
        return entity

    def _one(self, found: list[str], asked: str, wanted: str) -> str:
        if len(found) == 1:
            return found[0]
        if found:
            raise InputsError(f"{asked!r} may be any of {', '.join(sorted(found))}; ask for one of these keys")
        there = ", ".join(sorted(self._entities)) or "none"
        raise InputsError(
            f"{wanted} {asked!r} was not given to this run; a function sees only the keys named in its inputs, "
            f"parameters and init_parameters: {there}"
        )

    def _make(self, key: str) -> Entity:
        entry = self._entities[key]
        parts = parse_key(key)
        path = str(entry.get("path", ""))
        return TYPES[parts.type](
            key=key,
            kind=str(entry.get("kind") or parts.kind),
            path=path,
            spec=Fields({"path": path, **(entry.get("spec") or {})}),
            metadata=Fields({"project": parts.project, "name": parts.name, **(entry.get("metadata") or {})}),
        )

    def _log(self, kind_of: str, name: Any, kind: Any, value: Any, spec: Mapping[str, Any]) -> Entity:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise OutputsError(f"log_{kind_of}: name {name!r} is not possible; allowed: letters, digits, '.', '_', '-'")
        if not isinstance(kind, str) or not _KIND.fullmatch(kind):
            raise OutputsError(
                f"log_{kind_of} {name!r}: kind {kind!r} is not possible; write it as 'table' or 'sklearn'"
            )
        if not self._journal.folder:
            raise OutputsError(f"log_{kind_of} {name!r}: a service has no outputs; a job's function can log {kind_of}s")
        if not self._keeps_outputs:
            from nuwrap_runtime.worker.files import UNKEPT

            raise OutputsError(f"log_{kind_of} {name!r}: this is {UNKEPT}")
        path = self._write(value, name, kind_of)
        key = str(Key(self.name, kind_of, kind, name, _new_id()))
        file = os.path.basename(path)
        entry = {"type": kind_of, "kind": kind, "path": file, "key": key, "spec": _json_spec(spec, name)}
        self._journal.append({"output": name, **entry})
        return TYPES[kind_of](
            key=key,
            kind=kind,
            path=path,
            spec=Fields({**spec, "path": path}),
            metadata=Fields({"project": self.name, "name": name}),
        )

    def _write(self, value: Any, name: str, kind_of: str) -> str:
        if self._files is None:
            self._files = open_files(self._journal.folder, _warn, prefix="log-")
        return write_value(self._files, value, name, kind_of)


def open_files(folder: str, tell: Callable[[str], None], prefix: str = "") -> FileWriter:
    """Return what writes values to the folder, which is made; `tell` gets what its author should hear."""
    from nuwrap_runtime.worker.files import FileWriter

    os.makedirs(folder, exist_ok=True)
    return FileWriter(os.path.abspath(folder), tell, prefix)


def write_value(files: FileWriter, value: Any, name: str, kind_of: str) -> str:
    """Write a path's file (or its folder, zipped), a data frame, bytes or a figure; return the new file's path.

    Raises OutputsError.
    """
    from nuwrap_runtime.worker.files import form_of

    source = os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""
    if source and os.path.isdir(source):
        file = files.write_folder(source, name)
    elif source and os.path.isfile(source):
        file = files.write_file(source, name)
    elif source:
        raise OutputsError(f"log_{kind_of} {name!r}: source {source!r} is no file or folder of this machine")
    elif form_of(value):
        file = files.write(value, name)
    else:
        raise OutputsError(
            f"log_{kind_of} {name!r}: {type(value).__name__} cannot be logged; give source=PATH of a file or "
            "folder, or data= a data frame, bytes or a matplotlib figure"
        )
    return os.path.join(files.folder, file)


class Run:
    """The run under way; `id` is "" when the host gave none."""

    def __init__(self, spec: WorkerSpec, journal: Journal) -> None:
        self.id = spec.run
        self.project = spec.project
        self.function = spec.function
        self._journal = journal

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.project}/{self.function}>"

    def log_metric(self, name: Any, value: Any, *, overwrite: bool = False, single_value: bool = False) -> None:
        """Add a number, or a list of them, to the metric's values; with `overwrite` they take the place of all.

        A value that is not finite is left out with a warning: JSON has no word for it. Raises OutputsError for what
        is no number. In a service nothing is kept.
        """
        if not isinstance(name, str) or not name:
            raise OutputsError(f"log_metric: name {name!r} is not possible; give a text")
        numbers = [_number(one, name) for one in (value if isinstance(value, (list, tuple)) else [value])]
        finite = [one for one in numbers if math.isfinite(one)]
        if len(finite) < len(numbers):
            _warn(f"metric {name!r}: {len(numbers) - len(finite)} values that are not finite are left out")
        self._journal.append({"metric": name, "values": finite, "replace": overwrite or single_value})

    def log_metrics(self, metrics: Mapping[str, Any], *, overwrite: bool = False, single_value: bool = False) -> None:
        """Do `log_metric` for each name of the mapping."""
        for name, value in metrics.items():
            self.log_metric(name, value, overwrite=overwrite, single_value=single_value)


def _number(value: Any, name: str) -> Any:
    from nuwrap_runtime.worker.plain import plain_scalar

    if isinstance(value, float):
        return float(value)
    plain = plain_scalar(value)
    if isinstance(plain, str) and not isinstance(value, str):  # a numpy scalar that is not finite
        return math.nan
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise OutputsError(f"metric {name!r}: {value!r} is {type(value).__name__}; give an int or a float")
    return plain


def _json_spec(spec: Mapping[str, Any], name: str) -> Any:
    from nuwrap_runtime.worker.plain import Budget, to_plain

    return to_plain(dict(spec), name, Budget())


def _new_id() -> str:
    import uuid

    return str(uuid.uuid4())


def _warn(text: str) -> None:
    if sys.stderr:
        print(f"warning: {text}", file=sys.stderr)
