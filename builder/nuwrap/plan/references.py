"""Names of images: the grammar of distribution/reference (`regexp.go`), and the name that a built image gets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from nuwrap.errors import SpecError
from nuwrap.spec.build import BuildSettings
from nuwrap.spec.function import Function
from nuwrap_runtime.schema import show

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"(?P<name>{_NAME})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_REGISTRY = re.compile(rf"{_HOST}(?:/{_PART})*")
_HUBS = ("docker.io", "index.docker.io")
FORM: Final = "a container image, as 'python:3.11-slim' or 'registry:5000/team/name@sha256:...'"
NAME_CHARACTERS: Final = 255
_PLAIN = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"  # of the grammar, what every registry takes
_LIKE_OURS = re.compile(r"-[0-9a-f]{8}$")
_KEPT_CHARACTERS = 100


def reference_fault(text: str) -> str:
    """Return why the text names no image, "" when it does."""
    found = _REFERENCE.fullmatch(text)
    if found and len(found["name"]) <= NAME_CHARACTERS:
        return ""
    lower = text.lower()
    near = f"; did you mean {lower!r}?" if not found and _REFERENCE.fullmatch(lower) else ""
    return f"{show(text)} names no image; allowed: {FORM}{near}"


def repository(reference: str) -> str:
    """Return the image's name without tag and digest: of `registry:5000/team/fn:1`, `registry:5000/team/fn`.

    Raises SpecError for what names no image.
    """
    found = _REFERENCE.fullmatch(reference)
    if not found:
        raise SpecError(reference_fault(reference))
    return found["name"]


def name_faults(function: Function, settings: BuildSettings) -> list[str]:
    """Return why an image of the function cannot have a name, as field or setting are none."""
    if function.image:
        fault = reference_fault(function.image)
        return [f"image: {fault}"] if fault else []
    if not settings.registry or _REGISTRY.fullmatch(settings.registry.strip("/")):
        return []
    allowed = "a registry's host and port with a path or none, as 'registry:5000/team', without scheme and tag"
    return [f"the setting registry: {show(settings.registry)} is no place for images; allowed: {allowed}"]


def image_name(function: Function, settings: BuildSettings) -> str:
    """Return the repository that the function's image goes to: the one of its `image`, else one of its own in the
    settings' registry.
    """
    if function.image:
        return repository(function.image)
    registry, own = settings.registry.strip("/"), own_name(function.project, function.name)
    return f"{registry}/{own}" if registry else own


def own_name(project: str, function: str) -> str:
    """Return `project-function` as every registry takes it, another one for each two names.

    Where a letter had to go, or where it could be read in two ways, eight digits of the names' digest follow.
    """
    text = f"{project}-{function}"
    is_clear = re.fullmatch(_PLAIN, text) and "-" not in project and not _LIKE_OURS.search(text)
    if is_clear and len(text) <= _KEPT_CHARACTERS:
        return text
    kept = re.sub(r"[^a-z0-9]*([._-])[^a-z0-9]*", r"\1", re.sub(r"[^a-z0-9._-]+", "-", text.lower()))
    digest = hashlib.sha256(f"{project}\0{function}".encode()).hexdigest()[:8]
    return f"{kept[:_KEPT_CHARACTERS].strip('._-')}-{digest}"


def allowed_fault(reference: str, patterns: Sequence[str]) -> str:
    """Return why the settings do not allow to build on the image, "" when they do; without patterns all are allowed.

    A pattern is as a shell's (`python:3.*`, `registry:5000/base/*`) and may write Docker Hub out or not.
    """
    if not patterns or any(fnmatchcase(one, pattern) for pattern in patterns for one in _spellings(reference)):
        return ""
    return f"{show(reference)} is none of the images that may be built on; allowed_base_images: {', '.join(patterns)}"


def _spellings(reference: str) -> list[str]:
    """Return the ways in which the same image may be written: Docker Hub's with and without its name, `:latest`."""
    found = _REFERENCE.fullmatch(reference)
    named = reference if not found or found["tag"] or found["digest"] else f"{reference}:latest"
    first, slash, _ = named.partition("/")
    is_elsewhere = slash and (first == "localhost" or re.search(r"[.:A-Z]", first)) and first not in _HUBS
    if is_elsewhere:
        return [reference, named]
    short = re.sub(rf"^(?:{'|'.join(map(re.escape, _HUBS))})/", "", named).removeprefix("library/")
    return [reference, short, f"docker.io/{short if '/' in short else f'library/{short}'}"]
