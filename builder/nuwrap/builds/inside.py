"""What an image tells of itself: the inputs that it was made of, and the bytes of its layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from nuwrap.spec.build import LABEL_INPUTS, ImageFacts

TEXT_CHARACTERS = 100


@dataclass(frozen=True)
class LayerRow:
    """A layer: the step that made it, where the image tells, and its bytes, compressed where a registry has it."""

    text: str
    bytes: int | None


def read_inputs(facts: ImageFacts) -> Mapping[str, str]:
    """Return the digests of what the image was made of, {} of one that is not ours. An image may say anything."""
    try:
        found = json.loads(facts.labels.get(LABEL_INPUTS, "{}"))
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: one for name, one in found.items() if isinstance(name, str) and isinstance(one, str)}


def layer_rows(facts: ImageFacts) -> list[LayerRow]:
    """Return the layers, the base's first, each with the step that made it where as many are told of as there are."""
    steps = list(facts.history)
    if len(steps) != len(facts.layers):
        steps = [one.digest[:19] for one in facts.layers]
    return [LayerRow(_line(text), layer.bytes) for text, layer in zip(steps, facts.layers)]


def _line(text: str) -> str:
    """Return a step as one line; one that says nothing was imported from a file."""
    return " ".join(text.split()).replace("RUN /bin/sh -c ", "RUN ")[:TEXT_CHARACTERS] or "(files)"
