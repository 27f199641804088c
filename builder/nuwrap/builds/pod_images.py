"""Which images a pod of a cluster runs: looked up in their registries, and pinned, so that all nodes run the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nuwrap.builds.facts import facts_cache
from nuwrap.errors import PlatformError, RegistryError
from nuwrap.platforms import Container, PodImages
from nuwrap.registry.images import read_image
from nuwrap.spec.build import LABEL_API, LABEL_CONTENT, BuildSettings, ImageFacts
from nuwrap.spec.images import nuclio_image, python_image
from nuwrap.spec.reference import parse_reference
from nuwrap_runtime import __version__
from nuwrap_runtime.launch import API


def choose_pod_images(
    container: Container,
    python_version: str,
    settings: BuildSettings,
    environ: Mapping[str, str],
    *,
    say: Callable[[str], None],
    has_processor: bool = False,
) -> PodImages:
    """Return the images of a run. One that only the cluster can reach is taken as it is named, and said so.

    With `has_processor` ours is the one that becomes Nuclio's processor.

    Raises PlatformError where ours are in no registry, or the image is of another version of the launch document.
    """
    image = container.image or container.base_image
    own = settings.images_registry
    name_of = nuclio_image if has_processor else python_image
    fetcher = name_of(own, __version__, python_version) if own else ""
    found = _find(image or fetcher, settings, environ, say) if image or fetcher else None
    is_ours = not image or (found is not None and LABEL_API in found.labels)
    if not fetcher and not (image and is_ours):
        raise no_images(has_processor=has_processor)
    if found:
        _check_api(image or fetcher, found)
    pinned = _pin(image or fetcher, found)
    if not image:
        return PodImages(pinned, pinned)
    if is_ours:  # it has what fetches, too
        is_baked = bool(found and found.labels.get(LABEL_CONTENT))
        return PodImages(pinned, pinned, is_baked=is_baked, becomes_another=bool(found and found.becomes_another))
    return PodImages(pinned, _pin(fetcher, _find(fetcher, settings, environ, say)), is_foreign=True)


def pin_image(reference: str, settings: BuildSettings, environ: Mapping[str, str], say: Callable[[str], None]) -> str:
    """Return the image by its digest, as it is named where this machine cannot ask its registry.

    Raises PlatformError for one that is not there.
    """
    return _pin(reference, _find(reference, settings, environ, say))


def _find(
    reference: str, settings: BuildSettings, environ: Mapping[str, str], say: Callable[[str], None]
) -> ImageFacts | None:
    """Return what the registry knows of the image, None where this machine cannot ask it."""
    try:
        return read_image(
            reference, settings.access, environ, architecture="amd64", cache=facts_cache(environ), has_files=False
        )
    except RegistryError as exc:
        if exc.kind == "missing":
            raise PlatformError(f"image {reference!r} is not there: {exc}") from exc
        say(f"image {reference!r} cannot be looked at from here, so it is not pinned to what it is now: {exc}")
        return None


def no_images(*, has_processor: bool = False) -> PlatformError:
    """Return the error where no registry is set that has ours."""
    how = f"make build-images REGISTRY=HOST/TEAM PUSH=1{' PROCESSOR_IMAGE=IMAGE' if has_processor else ''}"
    return PlatformError(
        f"a cluster takes nuwrap's own images from a registry, and none is set; push them with `{how}`, then `nuwrap "
        "config set images.registry HOST/TEAM`"
    )


def _check_api(reference: str, found: ImageFacts) -> None:
    api = found.labels.get(LABEL_API, "")
    if api and api != API:
        raise PlatformError(f"image {reference!r} speaks {api!r}, this nuwrap {API!r}; build the image anew")


def _pin(reference: str, found: ImageFacts | None) -> str:
    return str(parse_reference(reference).pin(found.digest)) if reference and found and found.digest else reference
