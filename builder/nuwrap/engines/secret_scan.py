"""Secret values in what an image tells of itself: configuration, labels, history; plain, base64 or URL-quoted."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

from nuwrap.spec.build import ImageFacts

LEAST_CHARACTERS: Final = 5  # a shorter value stands in many texts by chance
LEAST_CODED: Final = 8


def find_secrets(facts: ImageFacts, secrets: Mapping[str, str]) -> list[str]:
    """Return where the image's configuration and history have one of the values, by the secret's name."""
    forms = {name: set(_forms(value.strip())) for name, value in secrets.items()}
    return [
        f"secret {name!r} in {place}"
        for place, text in _places(facts)
        for name, texts in forms.items()
        if any(one in text for one in texts)
    ]


def _places(facts: ImageFacts) -> Iterator[tuple[str, str]]:
    for name, value in facts.env.items():
        yield f"environment variable {name}", value
    for name, value in facts.labels.items():
        yield f"label {name}", value
    for number, text in enumerate(facts.history, 1):
        yield f"history, line {number} of {len(facts.history)} ({_what(text)})", text
    yield "entry point", "\n".join(facts.entrypoint)
    yield "command", "\n".join(facts.command)
    yield "user", facts.user


def _what(line: str) -> str:
    """Return the instruction's name of a line of the history: the rest may have the value in it."""
    words = line.replace("/bin/sh -c #(nop)", "").split()
    first = words[0] if words else ""
    return first if first.isalpha() and first.isupper() else "RUN"


def _forms(value: str) -> Iterator[str]:
    """Give the texts by which a value could stand there: of several lines each long one too."""
    texts = {value, *(line.strip() for line in value.splitlines() if len(line.strip()) >= LEAST_CODED)}
    for text in texts:
        if len(text) >= LEAST_CHARACTERS:
            yield text
            yield quote(text, safe="", errors="surrogateescape")
            yield quote(text, errors="surrogateescape")
            yield quote_plus(text, errors="surrogateescape")
            yield json.dumps(text, ensure_ascii=False)[1:-1]
            yield from _coded(text.encode("utf-8", "surrogateescape"))


def _coded(data: bytes) -> Iterator[str]:
    """Give what base64 makes of the value, also in the middle of another one (`user:value`)."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data).decode("ascii")
        begin = (0, 2, 3)[before]
        end = len(whole) - (0, 3, 2)[(before + len(data)) % 3]
        form = whole[begin:end]
        if len(form) >= LEAST_CODED:
            yield form
            yield form.replace("+", "-").replace("/", "_")
