"""What a built image says of itself: its records below /opt/nuwrap-image, and its labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nuwrap.plan.launch import plan_launch
from nuwrap.spec.build import (
    LABEL_API,
    LABEL_BASE_DIGEST,
    LABEL_BASE_NAME,
    LABEL_CONTENT,
    LABEL_FEATURES,
    LABEL_INPUTS,
    LABEL_PYTHON,
    LABEL_REVISION,
    LABEL_RUNTIME,
    LABEL_SOURCE,
    LABEL_SPEC,
    LABEL_TITLE,
    BuildFacts,
    SourceFacts,
)
from nuwrap.spec.function import PYTHON_VERSIONS, Function, has_scheme
from nuwrap.spec.run_values import RunValues, TaskValues
from nuwrap.spec.task import JobTask
from nuwrap_runtime.launch import API, decode_base64

NAMED_FILES: Final = 200  # more are told by their number and one digest: labels are small
SHORT: Final = 12  # digits of a file's digest in a label
# Of the inputs in a label: quoted, each byte may become two, and a Dockerfile's line has 65,535 at most.
INPUT_BYTES: Final = 30_000
_PER_LAYER: Final = ("requirements", "code", "base64", "code_src")  # of the launch document: inputs of their own


def digest_of(value: Any) -> str:
    """Return the digest of a text, or of a JSON value however its keys are ordered."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode('utf-8')).hexdigest()}"


def code_digest(source: SourceFacts) -> str:
    """Return the digest of all code: paths, contents and which can be executed."""
    return digest_of({path: [digest, path in source.is_executable] for path, digest in source.files.items()})


def spec_digest(function: Function, values: RunValues) -> str:
    """Return the digest of all that was asked for: function and task, not who builds and where."""
    asked = {name: value for name, value in values.given().items() if name in TaskValues.model_fields}
    return digest_of([function.model_dump(mode="json", exclude={"uuid"}), asked])


def launch_record(function: Function) -> dict[str, Any]:
    """Return the launch document of an image that is started by itself: the function's job, with no values."""
    return plan_launch(function, JobTask(run="")).to_document()


def source_record(function: Function, source: SourceFacts) -> dict[str, Any]:
    """Return what the host compares with a launch's source: code of the same source is not fetched again."""
    text = function.code or (decode_base64(function.base64) if function.base64 else "")
    return {
        "api": API,
        "code_src": function.code_src,
        "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest() if text else "",
        "revision": source.revision,
        "content": code_digest(source),
        "default_module": source.default_module,
    }


def as_text(document: Mapping[str, Any]) -> str:
    """Return the document as a file has it."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def without_place(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document without a path of the machine that it was made on, for what must be the same on all."""
    path = str(document.get("code_src", ""))
    return dict(document) if has_scheme(path) else {**document, "code_src": ""}


def list_inputs(
    function: Function, values: RunValues, facts: BuildFacts, *, requirements: Sequence[str], told: Mapping[str, str]
) -> dict[str, str]:
    """Return a digest for each input of the image by name, in the order of the layers that they are in.

    `told` has `python`, and in `layout` the digest of what is the same for all functions: our template, the user.
    Single files, requirements and variables are left out where there are more of them than a label holds.
    """
    source, launch = facts.source, launch_record(function)
    fields = {name: value for name, value in launch.items() if name not in _PER_LAYER}
    found = {
        "base": facts.base.digest or facts.base.reference,
        "runtime": facts.runtime.digest or facts.runtime.reference if facts.runtime else "",
        "python": told["python"],
        "layout": _short(told["layout"]),
        **{f"env:{one.name}": _short(digest_of([one.value, one.persist])) for one in values.envs},
        **{f"secret:{name}": "1" for name in values.secrets},
        **{f"instruction {number}": _short(digest_of(text)) for number, text in enumerate(values.instructions, 1)},
        **{f"requirement:{text}": "1" for text in requirements},
        "requirements": _short(digest_of(list(requirements))) if requirements else "",
        "code": f"{_short(code_digest(source))} {len(source.files)}",
        "revision": source.revision,
        "function": _short(digest_of(fields)),
    }
    if len(source.files) <= NAMED_FILES:
        found |= {f"file:{path}": _short(digest) for path, digest in sorted(source.files.items())}
    return _fit({name: value for name, value in found.items() if value})


def _fit(inputs: dict[str, str]) -> dict[str, str]:
    for group in ("file:", "requirement:", "env:", "instruction "):
        if len(inputs_text(inputs)) <= INPUT_BYTES:
            break
        inputs = {name: value for name, value in inputs.items() if not name.startswith(group)}
    return inputs


def inputs_text(inputs: Mapping[str, str]) -> str:
    """Return the inputs as their label has them, in ASCII: paths may hold any character."""
    return json.dumps(inputs, separators=(",", ":"))


def list_labels(
    function: Function, values: RunValues, facts: BuildFacts, *, content: str, inputs: Mapping[str, str]
) -> dict[str, str]:
    """Return the image's labels. Those of the base that would tell of it, not of the image, are emptied."""
    source, base, tree = facts.source, facts.base, facts.runtime or facts.base
    labels = {
        LABEL_TITLE: function.name,
        LABEL_SOURCE: source.address if has_scheme(source.address) else "",
        LABEL_REVISION: source.revision,
        LABEL_BASE_NAME: base.reference,
        LABEL_BASE_DIGEST: base.digest,
        LABEL_API: API,
        LABEL_FEATURES: tree.labels.get(LABEL_FEATURES, ""),
        LABEL_RUNTIME: tree.labels.get(LABEL_RUNTIME, ""),
        LABEL_PYTHON: PYTHON_VERSIONS[function.python_version],
        LABEL_SPEC: spec_digest(function, values),
        LABEL_CONTENT: content,
        LABEL_INPUTS: inputs_text(inputs),
    }
    return {name: value for name, value in labels.items() if value or base.labels.get(name)}


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:SHORT]
