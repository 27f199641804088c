"""Our entities in the shapes that DigitalHub's client exports and imports.

Source: digitalhub 0.15, `Entity.to_dict`, `entities/project/_base/entity.py`; digitalhub_runtime_python 0.15, which
names a run's kind `python+job:run`. What another program has kept beside our fields (`extra`) is written back.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from nuwrap.spec.requirements import hide_credentials

ENTITY_LISTS: Mapping[str, str] = {"artifacts": "artifact", "dataitems": "dataitem", "models": "model"}
_METADATA = ("description", "labels", "embedded")
_SPEC = ("python_version", "image", "base_image", "requirements")
_SOURCE = ("handler", "init_function", "lang")

Document = Mapping[str, Any]


def function_document(
    fields: Document,
    *,
    created: str = "",
    updated: str = "",
    file_text: str | None = None,
    extra: Document | None = None,
) -> dict[str, Any]:
    """Return the document of one version; `fields` are a function's by our names, `uuid` its id.

    `file_text` is the text of the file that a local `code_src` names: DigitalHub delivers nothing else of it.
    """
    project, name, version = fields["project"], fields["name"], fields["uuid"]
    document = {
        "project": project,
        "name": name,
        "kind": "python",
        "id": version,
        "key": f"store://{project}/function/python/{name}:{version}",
        "metadata": _metadata(fields, created, updated),
        "spec": {"source": _source(fields, file_text), **_given(fields, _SPEC)},
        "status": {"state": "CREATED"},
    }
    return _merged(document, extra or {})


def function_reference(document: Document, file: str) -> dict[str, Any]:
    """Return what a project's document has of a function that stands in a file of its own."""
    kept = {key: document[key] for key in ("project", "name", "kind", "id", "key")}
    return {**kept, "metadata": {**document["metadata"], "embedded": False, "ref": file}}


def run_document(
    fields: Document, values: Document, *, status: Document, created: str = "", updated: str = ""
) -> dict[str, Any]:
    """Return the document of a run.

    `fields` has `project`, `id`, `action`, `function`, `function_id` and `task`, the task's id; `values` are the run's
    given ones. `status` has its state, and what it has left: `message`, `outputs` (name to key), `results`, `service`.
    """
    project, action, run = fields["project"], fields["action"], fields["id"]
    spec = {
        "task": f"python+{action}://{project}/{fields['task']}",
        "function": f"python://{project}/{fields['function']}:{fields['function_id']}",
        **values,
    }
    return {
        "project": project,
        "name": run,
        "kind": f"python+{action}:run",
        "id": run,
        "key": f"store://{project}/run/python+{action}:run/{run}",
        "metadata": _metadata({"project": project, "name": run}, created, updated),
        "spec": spec,
        "status": {key: value for key, value in status.items() if value not in (None, "", {}, [])},
    }


def entity_document(
    fields: Document, *, spec: Document | None = None, metadata: Document | None = None, created: str = ""
) -> dict[str, Any]:
    """Return the document of a dataitem, an artifact or a model.

    `fields` has `project`, `key`, `kind`, `name`, `id` and `path`; `spec` and `metadata` are what its author added.
    """
    return {
        **{key: fields[key] for key in ("project", "name", "kind", "id", "key")},
        "metadata": {**_metadata(fields, created, created), **(metadata or {})},
        "spec": {"path": without_credentials(fields["path"]), **(spec or {})},
        "status": {"state": "READY"},
    }


def project_document(
    fields: Document,
    *,
    functions: Iterable[Document] = (),
    entities: Mapping[str, Iterable[Document]] | None = None,
    created: str = "",
    updated: str = "",
) -> dict[str, Any]:
    """Return the document of a project.

    `fields` has `name`, `description` and `labels`. `functions` are whole documents of embedded ones and references
    (`function_reference`); `entities` maps `artifacts`, `dataitems` and `models` to whole documents.
    """
    name = fields["name"]
    lists = {key: [dict(one) for one in (entities or {}).get(key, ())] for key in ENTITY_LISTS}
    return {
        "name": name,
        "kind": "project",
        "id": name,
        "key": f"store://{name}",
        "metadata": _metadata({**fields, "project": name}, created, updated),
        "spec": {"source": "./", "functions": [dict(one) for one in functions], **lists},
        "status": {"state": "CREATED"},
    }


def without_credentials(address: str) -> str:
    """Return the address without what stands before its `@`; the user of an SSH address is no secret."""
    if "://" not in address or re.match(r"(git\+)?ssh://[^:/@]*@", address):
        return address
    return hide_credentials(address).replace("//***@", "//")


def _metadata(fields: Document, created: str, updated: str) -> dict[str, Any]:
    times = {"created": created, "updated": updated or created}
    named = {"project": fields["project"], "name": fields["name"]}
    return {**named, **{key: value for key, value in times.items() if value}, **_given(fields, _METADATA)}


def _source(fields: Document, file_text: str | None) -> dict[str, Any]:
    """Return a source; code stands as text, of which DigitalHub makes base64 when it reads it."""
    found = {"source": without_credentials(fields.get("code_src", "")), **_given(fields, ("code", "base64"))}
    if file_text is not None:
        found["base64"] = base64.b64encode(file_text.encode()).decode()
    return {**_given(found, found), **_given(fields, _SOURCE)}


def _given(fields: Document, names: Iterable[str]) -> dict[str, Any]:
    found = {name: fields.get(name) for name in names}
    return {name: list(one) if isinstance(one, tuple) else one for name, one in found.items() if one}


def _merged(document: dict[str, Any], extra: Document) -> dict[str, Any]:
    """Return the document with what is not in it yet."""
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(document.get(key), dict):
            document[key] = _merged(document[key], value)
        else:
            document.setdefault(key, value)
    return document
