"""Stored things as a user's function gets them: by key, with their local file. pandas only when a table is read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from nuwrap_runtime.errors import InputsError

KEY_FORM = "store://project/dataitem|artifact|model/kind/name:id"
_KEY = re.compile(
    r"store://(?P<project>[\w.-]+)/(?P<type>dataitem|artifact|model)/(?P<kind>[\w.+-]+)/(?P<name>[\w.-]+)(?::(?P<id>[\w.-]+))?"
)

# suffix → pandas' reader and what it needs to be told
_READERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "csv": ("read_csv", {}),
    "tsv": ("read_csv", {"sep": "\t"}),
    "parquet": ("read_parquet", {}),
    "json": ("read_json", {}),
    "jsonl": ("read_json", {"lines": True}),
    "excel": ("read_excel", {}),
    "feather": ("read_feather", {}),
}
_SUFFIXES = {"pq": "parquet", "ndjson": "jsonl", "xlsx": "excel", "xls": "excel", "arrow": "feather"}
_COMPRESSED = ("gz", "bz2", "xz", "zst", "zip")


@dataclass(frozen=True)
class Key:
    """A `store://` key's parts; `id` is "" when the key means the latest."""

    project: str
    type: str
    kind: str
    name: str
    id: str = ""

    def __str__(self) -> str:
        base = f"store://{self.project}/{self.type}/{self.kind}/{self.name}"
        return f"{base}:{self.id}" if self.id else base


def parse_key(key: Any) -> Key:
    """Return the key's parts. Raises InputsError with the form that a key has."""
    found = _KEY.fullmatch(key) if isinstance(key, str) else None
    if found is None:
        raise InputsError(f"{key!r} is no store key; its form is {KEY_FORM}, where ':id' may be left out")
    return Key(**{name: part or "" for name, part in found.groupdict().items()})


class Fields(dict[str, Any]):
    """A mapping whose keys are attributes too, as in `entity.spec.path`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no field {name!r}; there is: {', '.join(self) or 'nothing'}") from None


@dataclass(frozen=True, repr=False, eq=False)
class Entity:
    """Something stored, by its key. `path` is the local file, or the address when the host did not fetch it."""

    key: str
    kind: str = ""
    path: str = ""
    spec: Fields = field(default_factory=Fields)
    metadata: Fields = field(default_factory=Fields)

    type = "entity"

    @property
    def project(self) -> str:
        """Name of the project that the key belongs to."""
        return parse_key(self.key).project

    @property
    def name(self) -> str:
        """The name in the key."""
        return parse_key(self.key).name

    @property
    def id(self) -> str:
        """The version's id, "" when the key has none."""
        return parse_key(self.key).id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key}>"

    def as_file(self) -> str:
        """Return the absolute path of the local file. Raises InputsError when there is none."""
        path = self.path.removeprefix("file://")
        if "://" in path:
            raise InputsError(f"{self.key} is at {path!r} and was not fetched; give it to the run as an input")
        if not path or not os.path.exists(path):
            raise InputsError(f"{self.key}: its file {path!r} is not there")
        return os.path.abspath(path)

    def download(self, destination: Optional[str] = None, *, overwrite: bool = False) -> str:
        """Return the path of the local file; with `destination` that of a copy there, which is the caller's."""
        source = self.as_file()
        if destination is None:
            return source
        import shutil

        target = os.fspath(destination)
        if os.path.isdir(target) or target.endswith(os.sep):
            target = os.path.join(target, os.path.basename(source))
        if os.path.exists(target) and not overwrite:
            raise InputsError(f"{target!r} exists; download {self.key} elsewhere, or with overwrite=True")
        os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        if os.path.isdir(source):
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
        return os.path.abspath(target)


class Dataitem(Entity):
    """Data, usually a table."""

    type = "dataitem"

    def as_df(self, file_format: Optional[str] = None, **options: Any) -> Any:
        """Return a pandas data frame; `options` go to pandas' reader.

        `file_format` is csv, tsv, parquet, json, jsonl, excel or feather; without it the suffix decides. Raises
        InputsError for another format, and when pandas or what it reads the format with is not installed.
        """
        path = self.as_file()
        reader, defaults = _READERS[self._format(path, file_format)]
        if options.get("engine") == "pandas":  # DigitalHub's argument, which chooses the library
            del options["engine"]
        elif options.get("engine") == "polars":
            raise InputsError(f"{self.key}: as_df gives pandas; use polars.read_{reader[5:]}(entity.as_file())")
        try:
            from importlib import import_module

            return getattr(import_module("pandas"), reader)(path, **{**defaults, **options})
        except ImportError as exc:
            missing = exc.name or "pandas and what it reads this format with"
            raise InputsError(f"{self.key}: as_df needs {missing}, add it to the requirements ({exc})") from exc

    def _format(self, path: str, file_format: Optional[str]) -> str:
        parts = os.path.basename(path).lower().split(".")
        if parts[-1] in _COMPRESSED:
            parts.pop()
        wanted = (file_format or (parts[-1] if len(parts) > 1 else "")).lower()
        if not file_format and os.path.isdir(path):
            wanted = "parquet"  # a data set of several files
        wanted = _SUFFIXES.get(wanted, wanted)
        if wanted not in _READERS:
            raise InputsError(
                f"{self.key}: {path!r} has format {wanted!r}; as_df reads {', '.join(_READERS)}: name one with "
                "as_df(file_format=…), or read as_file() yourself"
            )
        return wanted


class Artifact(Entity):
    """A file."""

    type = "artifact"


class Model(Entity):
    """A trained model's file."""

    type = "model"


TYPES: Mapping[str, type[Entity]] = {one.type: one for one in (Dataitem, Artifact, Model)}
