"""Whether the image is there already: the same content has the same tag, and says so in its labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nuwrap.engines import docker_images
from nuwrap.errors import RegistryError
from nuwrap.registry.images import read_image
from nuwrap.spec.build import LABEL_CONTENT, Built, ImageFacts

if TYPE_CHECKING:
    from nuwrap.builds.preparing import Prepared


def find_built(prepared: Prepared, environ: Mapping[str, str]) -> Built | None:
    """Return the image with the plan's content where it would go: the registry, else Docker's own store.

    None when there is none, or nobody can tell: building anew is right then.
    """
    plan = prepared.plan
    if prepared.push:
        found = _in_registry(prepared, environ)
        return Built(plan.reference, digest=found.digest) if found and _is_same(found, plan.content) else None
    if prepared.chosen.name != "docker":
        return None
    local = docker_images.read_local(environ, plan.reference, has_files=False, has_history=False)
    if local and _is_same(local, plan.content):
        return Built(plan.reference)
    return None


def _in_registry(prepared: Prepared, environ: Mapping[str, str]) -> ImageFacts | None:
    try:
        return read_image(prepared.plan.reference, prepared.settings.access, environ, has_files=False)
    except RegistryError as exc:
        if exc.kind in ("missing", "auth"):  # one that is not there is refused to some as a thing that is secret
            return None
        raise


def _is_same(facts: ImageFacts, content: str) -> bool:
    return facts.labels.get(LABEL_CONTENT) == content
