"""What a plan needs to know of the world: the base image and the image that has `/opt/nuwrap`. Nothing is pulled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from nuwrap.engines import docker_images
from nuwrap.errors import BuildError, RegistryError
from nuwrap.registry.images import read_image
from nuwrap.spec.build import LABEL_API, BuildSettings, ImageFacts
from nuwrap.spec.function import PYTHON_VERSIONS, Function
from nuwrap.spec.images import python_image, runtime_image
from nuwrap_runtime import __version__


@dataclass(frozen=True)
class Look:
    """Where images are looked for: `engine` is who will build, `cache` a folder for what was found in layers.

    With `has_history` the layers of an image are told too, which a plan does not need.
    """

    engine: str
    settings: BuildSettings
    environ: Mapping[str, str]
    cache: str = ""
    has_history: bool = False


def find_base(function: Function, look: Look) -> ImageFacts:
    """Return what is known of the function's base image, of nuwrap's own where it names none.

    Raises RegistryError, and BuildError that names `make build-images` for one of ours that is not there.
    """
    if function.base_image:
        try:
            return find_image(function.base_image, look)
        except RegistryError as exc:
            raise RegistryError(f"base_image {function.base_image!r}: {exc}", exc.kind) from exc
    version = PYTHON_VERSIONS[function.python_version]
    return _find_own(python_image(look.settings.images_registry, __version__, version), look)


def find_runtime(base: ImageFacts, look: Look) -> ImageFacts | None:
    """Return the image with `/opt/nuwrap` alone, None for a base that has it. Raises BuildError, RegistryError."""
    if LABEL_API in base.labels:
        return None
    return _find_own(runtime_image(look.settings.images_registry, __version__), look, has_files=False)


def find_image(reference: str, look: Look, *, has_files: bool = True) -> ImageFacts:
    """Return what is known of an image; the engine's own store is asked first, as it does. Raises RegistryError."""
    if look.engine == "docker":
        found = docker_images.read_local(
            look.environ, reference, has_files=has_files, has_history=look.has_history, cache=look.cache
        )
        if found:
            return found
    return read_image(reference, look.settings.access, look.environ, has_files=has_files, cache=look.cache)


def _find_own(reference: str, look: Look, *, has_files: bool = True) -> ImageFacts:
    where = look.settings.images_registry
    if not where and look.engine != "docker":
        raise BuildError(
            f"nuwrap's own image {reference!r} is in no registry, and {look.engine} builds from registries alone; "
            "push it with `make build-images REGISTRY=HOST/TEAM PUSH=1`, then "
            "`nuwrap config set images.registry HOST/TEAM`",
            "pull",
        )
    if not where:
        found = docker_images.read_local(
            look.environ, reference, has_files=has_files, has_history=look.has_history, cache=look.cache
        )
        if found:
            return found
        raise BuildError(_missing(reference, "Docker has no such image"), "pull")
    try:
        return find_image(reference, look, has_files=has_files)
    except RegistryError as exc:
        if exc.kind != "missing":
            raise
        raise BuildError(_missing(reference, str(exc)), "pull") from exc


def _missing(reference: str, why: str) -> str:
    return (
        f"nuwrap's own image {reference!r} is not there: {why}; `make build-images` in a checkout of nuwrap makes it "
        "(with REGISTRY=HOST/TEAM PUSH=1 in a registry), and the setting images.registry says where it is"
    )


def facts_cache(environ: Mapping[str, str]) -> str:
    """Return the folder that keeps what was found in layers: it depends on their digest alone."""
    cache = environ.get("NUWRAP_CACHE") or os.path.join(
        environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "nuwrap"
    )
    return os.path.join(os.path.abspath(cache), "images")
