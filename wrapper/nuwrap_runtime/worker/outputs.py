"""What a job's function returned, as results (JSON) and outputs (files). Decides for all items, then writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Union

from nuwrap_runtime.errors import OutputsError
from nuwrap_runtime.worker import files
from nuwrap_runtime.worker.files import check_writable
from nuwrap_runtime.worker.plain import RESULT_BYTES, Budget, refusal, to_plain

__all__ = ["Collected", "OutputWriter", "check_writable"]

# kind of `{"name", "kind"}` → (type of the entity, kind of the entity)
_KINDS = {
    "dataitem": ("dataitem", "table"),
    "table": ("dataitem", "table"),
    "artifact": ("artifact", "artifact"),
    "model": ("model", "model"),
    "pickle": ("artifact", "pickle"),
}


@dataclass(frozen=True)
class Collected:
    """A job's items by name. An output is `{"type", "kind", "path"}`, and `key` and `spec` where it has one.

    `path` is a file's name in the outputs folder; "" for an entity that was there before, which `key` tells.
    """

    results: dict[str, Any]
    outputs: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class _Named:
    name: str
    kind: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Output:
    """A file to be written, or an entity to be named."""

    name: str
    value: Any
    type: str
    kind: str
    spec: Mapping[str, Any]


class OutputWriter:
    """Turns return values into `Collected`.

    Made before the handler runs: it raises OutputsError then for a folder that cannot be written and for names and
    kinds that are not possible, so that no work is lost to them. Without `keeps_files` a kind that is a file is none.
    """

    def __init__(
        self,
        folder: str,
        root: str,
        names: Sequence[Union[str, Mapping[str, Any]]],
        project: str,
        warn: Callable[[str], None],
        *,
        keeps_files: bool = True,
    ) -> None:
        self._names = _named(names)
        self._keeps_files = keeps_files
        for one in self._names:
            if one.kind and not keeps_files:
                raise OutputsError(f"output {one.name!r} of kind {one.kind!r} is {files.UNKEPT}; nothing was run")
        self._folder = folder
        self._project = project
        self._warn = warn
        self._allowed = {
            **files.own_folders(root),
            "the outputs folder": folder,
        }
        check_writable(folder)
        self._files = files.FileWriter(folder, warn)
        self._files.parquet = files.has_parquet()

    def collect(self, value: Any) -> Collected:
        """Write the outputs and return both. Raises OutputsError that names the output, its type and a way out.

        Nothing is written when one of the items cannot be returned.
        """
        items = self._items(value)
        results: dict[str, Any] = {}
        planned: list[_Output] = []
        budget = Budget()
        for named, item in items:
            if item is None:
                continue
            output = self._plan(named, item)
            if output is None:
                results[named.name] = to_plain(item, named.name, budget)
            elif not self._keeps_files and not files.is_entity(item):
                raise OutputsError(f"output {named.name!r}: {type(item).__name__} becomes {files.UNKEPT}")
            else:
                planned.append(output)
        _check_size(results)
        return Collected(results, {one.name: self._write(one) for one in planned})

    def _items(self, value: Any) -> list[tuple[_Named, Any]]:
        """Return the value's items with their names: a tuple's, a list's where as many names were given, else one."""
        wanted = len(self._names)
        if value is None:
            items = []
        elif isinstance(value, tuple) or (isinstance(value, list) and wanted >= 2 and len(value) == wanted):
            items = list(value)
        else:
            items = [value]
        if wanted and len(items) != wanted:
            self._warn(f"the function returned {len(items)} values, @handler names {wanted} outputs")
        extra = [_Named(f"output_{index}") for index in range(wanted, len(items))]
        return list(zip([*self._names, *extra], items))

    def _plan(self, named: _Named, value: Any) -> Any:
        """Return what is to be written for the item, None when it is a result."""
        if files.is_entity(value):
            return _Output(named.name, value, value.type, value.kind, named.spec)
        if named.kind == "pickle":
            return _Output(named.name, value, *_KINDS["pickle"], named.spec)
        if named.kind and isinstance(value, str):  # DigitalHub reads text there as the path of the file
            value = _Path(value)
        form = files.form_of(value)
        if not form:
            if named.kind:
                raise OutputsError(f"output {named.name!r} of kind {named.kind!r}: {refusal(value, is_inside=False)}")
            return None
        if form == files.FILE:
            value = _Path(files.check_inside(value, self._allowed, named.name))
        default = "table" if form == files.FRAME else "artifact"
        return _Output(named.name, value, *_KINDS[named.kind or default], named.spec)

    def _write(self, output: _Output) -> dict[str, Any]:
        document: dict[str, Any] = {"type": output.type, "kind": output.kind, "path": ""}
        if files.is_entity(output.value):
            document["key"] = output.value.key
            document["path"] = self._own_file(output.value.path)
        elif output.kind == "pickle":
            document["path"] = self._files.write_pickle(output.value, output.name)
        else:
            document["path"] = self._files.write(output.value, output.name)
        if output.spec:
            document["spec"] = to_plain(dict(output.spec), output.name, Budget())
        return document

    def _own_file(self, path: str) -> str:
        """Return the file's name in the outputs folder when `project.log_…` put it there, else ""."""
        folder, name = os.path.split(path)
        return name if folder == os.path.abspath(self._folder) else ""


@dataclass(frozen=True)
class _Path:
    """A path whose text is one, without pathlib's import."""

    text: str

    def __fspath__(self) -> str:
        return self.text


os.PathLike.register(_Path)


def _named(names: Sequence[Union[str, Mapping[str, Any]]]) -> tuple[_Named, ...]:
    """Return the outputs that `@handler` names. Raises OutputsError for a kind or a name that is not possible."""
    found: list[_Named] = []
    for index, one in enumerate(names):
        named = _Named(one) if isinstance(one, str) else _with_kind(one)
        if named.name in [other.name for other in found]:
            raise OutputsError(f"output {named.name!r} is named twice; each output needs a name of its own")
        if _is_later_default(named.name, index, len(names)):
            raise OutputsError(f"output {named.name!r} has the name that item {named.name[7:]} gets; rename it")
        found.append(named)
    return tuple(found)


def _with_kind(output: Mapping[str, Any]) -> _Named:
    kind = output.get("kind") or ""
    if kind and kind not in _KINDS:
        raise OutputsError(
            f"output {output['name']!r} has kind {kind!r}; a return value can be {', '.join(_KINDS)}; for other kinds "
            "use project.log_model, project.log_artifact or project.log_dataitem"
        )
    return _Named(output["name"], kind, output.get("spec_kwargs") or {})


def _is_later_default(name: str, index: int, count: int) -> bool:
    number = name[7:] if name.startswith("output_") else ""
    return number.isdecimal() and str(int(number)) == number and int(number) >= count and int(number) != index


def _check_size(results: Mapping[str, Any]) -> None:
    size = len(json.dumps(results, ensure_ascii=False).encode("utf-8", "surrogatepass")) if results else 0
    if size > RESULT_BYTES:
        largest = max(results, key=lambda name: len(json.dumps(results[name])))
        Budget().take(size, largest)
