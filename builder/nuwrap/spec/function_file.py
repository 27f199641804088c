"""A function from a YAML file: flat, or nested as DigitalHub exports it."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nuwrap.errors import SpecError
from nuwrap.spec.document import load_documents
from nuwrap.spec.function import Function, has_scheme, make_function
from nuwrap.spec.model import show_key
from nuwrap_runtime.launch import ARCHIVES, decode_base64
from nuwrap_runtime.schema import did_you_mean, show

FILE_NAME = "function.yaml"

# Where an export keeps what. Source: digitalhub-sdk, Entity.to_dict, and digitalhub_runtime_python/entities/function.
_TOP = {"project": "project", "name": "name", "kind": "kind", "id": "uuid"}
_METADATA = {"description": "description", "labels": "labels", "embedded": "embedded"}
_SPEC = ("python_version", "image", "base_image", "requirements")
_FLAT_SPEC = ("code_src", "code", "base64", "handler", "init_function", "lang")
_SOURCE = {"source": "code_src", **{name: name for name in _FLAT_SPEC if name != "code_src"}}
# What an export says of itself, and is written anew. A user, and all of metadata, are the platform's: no warning.
_WRITTEN = {"": {"key", "metadata", "spec", "status"}, "metadata": {"project", "name", "created", "updated", "ref"}}
_PLATFORMS_OWN = "user"


@dataclass(frozen=True)
class FunctionFile:
    """A function, the file it came from, and what its author should hear about that file.

    `extra` has what another program has exported beside our fields, in the shape of its document.
    """

    function: Function
    path: Path
    warnings: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder that a relative `code_src` starts from."""
        return self.path.parent


@dataclass
class _Fields:
    """Fields by our names with the path each stood at; unknown keys by path, each with the hint what was meant.

    `extra` has the unknown keys' values, in the shape of the document.
    """

    values: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def take(
        self, place: str, found: Any, names: Mapping[str, str], *, ignored: Collection[str] = (), is_free: bool = False
    ) -> None:
        """Take over a mapping's keys; a field that another place has given with another value is a fault.

        Other keys are unknown, or with `is_free` the platform's own.
        """
        if not isinstance(found, dict):
            self.faults.append(f"{place}: {show(found)} is not a mapping")
            return
        for key, value in found.items():
            path = f"{place}.{show_key(key)}".removeprefix(".")
            if key in names and value is not None:
                self._set(names[key], path, value)
            elif key not in names and key not in ignored:
                if not is_free and path != _PLATFORMS_OWN:
                    self.unknown[path] = did_you_mean(str(key), list(names))
                self._keep(place, str(key), value)

    def _keep(self, place: str, key: str, value: Any) -> None:
        kept = self.extra
        for name in filter(None, place.split(".")):
            kept = kept.setdefault(name, {})
        kept[key] = plain(value)

    def _set(self, name: str, path: str, value: Any) -> None:
        if name in self.values and self.values[name] != value:
            self.faults.append(f"{path}: is given at {self.paths[name]} too, with another value; keep one")
        self.values[name], self.paths[name] = value, path


def read_function(path: Path, *, project: str = "") -> FunctionFile:
    """Return the function in the file, or in `function.yaml` of the folder; one that names no project is in `project`.

    Raises SpecError with all faults of the file at once: also when a local `code_src` is not there.
    """
    path = path / FILE_NAME if path.is_dir() else path
    path = path.absolute()
    document, warnings = _pick(load_documents(path), path)
    file = take_function(document, path, origin=f"function file {str(path)!r}", project=project)
    return replace(file, warnings=(*warnings, *file.warnings))


def take_function(document: Mapping[str, Any], path: Path, *, origin: str, project: str = "") -> FunctionFile:
    """Return the function of a mapping that stands in the file. Raises SpecError, whose text begins with `origin`."""
    fields, warnings = _read_export(document, path) if "spec" in document else (_read_flat(document), [])
    if project:
        fields.values.setdefault("project", project)
    faults = [*fields.faults, *_path_faults(fields, path)]
    function = make_function(fields.values, origin=origin, paths=fields.paths, faults=faults)
    return FunctionFile(function, path, tuple(warnings), fields.extra)


def plain(value: Any) -> Any:
    """Return a value of a YAML file as JSON has it: a date as text, a set as a list, a name as text."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(one) for one in value]
    if isinstance(value, datetime.date):  # a date with its time is one too
        return value.isoformat()
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _pick(documents: list[Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the one document that is a function, and a warning when there are others beside it."""
    mappings = [one for one in documents if isinstance(one, dict)]
    if len(documents) == 1 and mappings:
        return mappings[0], []
    if len(documents) <= 1:
        found = show(documents[0]) if documents else "nothing"
        raise SpecError(f"{str(path)!r} holds {found}; a function file is a mapping with name, kind, handler …")
    functions = [one for one in mappings if one.get("kind") == "python"]
    if len(functions) != 1:
        kinds = ", ".join(show_key(one.get("kind", "none")) for one in mappings)
        raise SpecError(
            f"{str(path)!r} holds {len(documents)} documents (kinds: {kinds}), {len(functions)} of them of kind python;"
            " one file is one function: keep exactly one"
        )
    return functions[0], [f"{len(documents) - 1} documents beside the function are ignored in {str(path)!r}"]


def _read_flat(document: Mapping[str, Any]) -> _Fields:
    """Read a flat mapping; DigitalHub's nested `source` may stand in it, every other unknown key is a fault."""
    fields = _Fields()
    flat = {str(key): value for key, value in document.items() if key != "source"}
    fields.take("", flat, {name: name for name in flat})
    if "source" in document:
        fields.take("source", document["source"], _SOURCE)
    fields.faults += [f"{name}: unknown key{hint}" for name, hint in fields.unknown.items()]
    return fields


def _read_export(document: Mapping[str, Any], path: Path) -> tuple[_Fields, list[str]]:
    fields = _Fields()
    fields.take("", document, _TOP, ignored=_WRITTEN[""])
    if isinstance(document.get("metadata"), dict):
        fields.take("metadata", document["metadata"], _METADATA, ignored=_WRITTEN["metadata"], is_free=True)
    spec = document["spec"]
    fields.take("spec", spec, {name: name for name in (*_SPEC, *_FLAT_SPEC)}, ignored={"source"})
    if isinstance(spec, dict) and spec.get("source") is not None:
        fields.take("spec.source", spec["source"], _SOURCE)
    misplaced = [name for name in fields.unknown if name in Function.model_fields]
    fields.faults += [f"{name}: stands beside spec; move it into spec" for name in misplaced]
    warnings = _settle_source(fields, path)
    unknown = ", ".join(f"{name}{hint}" for name, hint in fields.unknown.items() if name not in misplaced)
    if unknown:
        warnings.append(f"keys of {path.name!r} that nuwrap does not know change nothing here: {unknown}")
    return fields, warnings


def _settle_source(fields: _Fields, path: Path) -> list[str]:
    """Leave one source where an export of a local file has two: its path, and its content of that day as base64.

    The file is taken when it is there and the same. Otherwise the content is, as the platform does, under the name
    main.py; a handler that names the file's module then names none.
    """
    code_src, text = fields.values.get("code_src"), fields.values.get("base64")
    if not isinstance(code_src, str) or not isinstance(text, str) or has_scheme(code_src):
        return []
    here = _local_text(code_src, path)
    try:
        same = here is not None and here == decode_base64(text)
    except ValueError:  # said by the model, with the path
        return []
    if same:
        del fields.values["base64"]
        return []
    del fields.values["code_src"]
    module = code_src.removeprefix("./").removesuffix(".py").replace("/", ".")
    for name in ("handler", "init_function"):
        if isinstance(fields.values.get(name), str):
            fields.values[name] = fields.values[name].removeprefix(f"{module}:")
    if here is None:
        return []
    return [
        f"{code_src!r} differs from the code that {path.name!r} holds; the latter runs: remove base64 to run the file"
    ]


def _local_text(code_src: str, path: Path) -> str | None:
    """Return the text of the local file, None when it is not there or no code of the file's folder."""
    try:
        if path_fault(code_src, path.parent):
            return None
        return (path.parent / code_src).read_bytes().decode("utf-8")
    except (OSError, ValueError):
        return None


def _path_faults(fields: _Fields, path: Path) -> list[str]:
    code_src = fields.values.get("code_src")
    if not isinstance(code_src, str) or not code_src.strip() or has_scheme(code_src):
        return []
    fault = path_fault(code_src, path.parent)
    return [f"{fields.paths['code_src']}: {fault}"] if fault else []


def path_fault(code_src: str, folder: Path, *, base: str = "the function file's folder") -> str:
    """Return what is wrong with a local `code_src`: it is relative, below the folder, and there; "" when nothing is."""
    allowed = f"allowed: a relative path of a .py file, a folder or an archive, at or below {base}"
    if code_src.startswith(("/", "~")):
        return f"{code_src!r} is absolute; {allowed}"
    if ".." in Path(code_src).parts:
        return f"'..' is refused in {code_src!r}; {allowed}"
    if "\0" in code_src:
        return f"{code_src!r} is no path; {allowed}"
    target = folder / code_src
    if not target.exists():
        return f"{code_src!r} does not exist in {str(folder)!r}; {allowed}"
    is_code = code_src.endswith(".py") or code_src.lower().endswith(ARCHIVES)
    if not target.is_dir() and not (target.is_file() and is_code):
        return f"{code_src!r} is neither a .py file, a folder nor an archive; {allowed}"
    return ""
