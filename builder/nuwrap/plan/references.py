"""Which images may be built on, and the name that a built image gets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from nuwrap.errors import SpecError
from nuwrap.spec.build import BuildSettings
from nuwrap.spec.function import Function
from nuwrap.spec.reference import parse_reference
from nuwrap_runtime.schema import show

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REGISTRY = re.compile(rf"{_HOST}(?:/{_PART})*")
_PLAIN = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"  # of the grammar, what every registry takes
_LIKE_OURS = re.compile(r"-[0-9a-f]{8}$")
_KEPT_CHARACTERS = 100


def reference_fault(text: str) -> str:
    """Return why the text names no image, "" when it does."""
    try:
        parse_reference(text)
    except SpecError as exc:
        return str(exc)
    return ""


def repository(reference: str) -> str:
    """Return the image's name without tag and digest: of `registry:5000/team/fn:1`, `registry:5000/team/fn`.

    Raises SpecError for what names no image.
    """
    return replace(parse_reference(reference), tag="", digest="").familiar


def name_faults(function: Function, settings: BuildSettings) -> list[str]:
    """Return why an image of the function cannot have a name, as field or setting are none."""
    if function.image:
        fault = reference_fault(function.image)
        return [f"image: {fault}"] if fault else []
    if not settings.registry or _REGISTRY.fullmatch(settings.registry.strip("/")):
        return []
    allowed = "a registry's host and port with a path or none, as 'registry:5000/team', without scheme and tag"
    return [f"the setting build.registry: {show(settings.registry)} is no place for images; allowed: {allowed}"]


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
    parsed = parse_reference(reference)
    named = parsed if parsed.tag or parsed.digest else replace(parsed, tag="latest")
    return [reference, str(named), named.familiar]
