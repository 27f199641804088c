"""`nuwrap explain`: what an image was made of, and what has changed since."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nuwrap.builds import facts as known
from nuwrap.builds.choosing import choose_engine
from nuwrap.builds.inside import layer_rows, read_inputs
from nuwrap.cli.arguments import Options, open_function
from nuwrap.cli.build_plan import built_image, look_at_build
from nuwrap.cli.show import show_below, show_fields, show_text, size_text
from nuwrap.errors import UsageError
from nuwrap.plan.changes import Change, explain_changes
from nuwrap.spec import build as names
from nuwrap.spec.build import ImageFacts
from nuwrap.store.config import read_config
from nuwrap.store.home import home_folder


def explain(what: str, instructions: Sequence[str], *, as_json: bool) -> int:
    """Explain a function's image, where `what` is its file, else the image of that name."""
    if os.path.exists(what) or Path(what).suffix in (".yaml", ".yml"):
        return _explain_file(Options(file=what, as_json=as_json), instructions)
    if instructions:
        raise UsageError("--instruction goes with a function's FILE; an image has its own already")
    facts = known.find_image(what, _look())
    if as_json:
        print(json.dumps(_image_document(facts), indent=1), flush=True)
    else:
        _show_image(facts)
    return 0


def _look() -> known.Look:
    settings = read_config(home_folder(os.environ)).build
    environ = dict(os.environ)
    chosen = choose_engine(settings, environ, push=False)
    return known.Look(chosen.name, settings, environ, known.facts_cache(environ), has_history=True)


def _explain_file(options: Options, instructions: Sequence[str]) -> int:
    """Compare what a build would make now with the image that the function has."""
    file = open_function(options)
    with look_at_build(file, {"instructions": list(instructions) or None}) as look:
        image = built_image(file.function)
        now = look.prepared.plan
        if not image:
            raise UsageError(
                f"function {file.function.name!r} has no image yet to compare with; `nuwrap build {options.file}` "
                "makes one"
            )
        facts = known.find_image(image, _look())
        is_same = facts.labels.get(names.LABEL_CONTENT) == now.content
        changes = [] if is_same else explain_changes(read_inputs(facts), now.inputs)
    if options.as_json:
        changed = [asdict(one) for one in changes]
        print(json.dumps({**_image_document(facts), "changes": changed}, indent=1), flush=True)
        return 0
    _show_image(facts)
    _show_changes(changes, f"nuwrap build {options.file}")
    return 0


def _show_changes(changes: Sequence[Change], command: str) -> None:
    if not changes:
        show_text("\nnothing has changed since it was built")
        return
    show_below(("changed", "how", "so these steps are built again"), [_row(one) for one in changes])
    show_text(f"`{command}` builds it anew")


def _row(change: Change) -> tuple[str, str, str]:
    return change.name, change.text, change.rebuilds


def _show_image(facts: ImageFacts) -> None:
    show_fields(_fields(facts))
    layers = [row for row in layer_rows(facts) if row.bytes]  # others only change the configuration
    show_below(("layer", "size"), [(row.text, size_text(row.bytes or 0)) for row in layers])


def _fields(facts: ImageFacts) -> dict[str, str]:
    labels: Mapping[str, str] = facts.labels
    return {
        "image": facts.reference,
        "digest": facts.digest,
        "function": labels.get(names.LABEL_TITLE, ""),
        "source": labels.get(names.LABEL_SOURCE, ""),
        "revision": labels.get(names.LABEL_REVISION, ""),
        "base": labels.get(names.LABEL_BASE_NAME, ""),
        "base digest": labels.get(names.LABEL_BASE_DIGEST, ""),
        "python": labels.get(names.LABEL_PYTHON, "") or facts.python,
        "nuwrap": labels.get(names.LABEL_RUNTIME, ""),
        "architecture": facts.architecture,
        "user": facts.user,
        "content": labels.get(names.LABEL_CONTENT, ""),
    }


def _image_document(facts: ImageFacts) -> dict[str, Any]:
    fields = {name.replace(" ", "_"): text for name, text in _fields(facts).items()}
    layers = [asdict(row) for row in layer_rows(facts)]
    return {**fields, "inputs": read_inputs(facts), "layers": layers}
