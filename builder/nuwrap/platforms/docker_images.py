"""Which images a run needs: the one that its function runs in, and ours where that one has no runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nuwrap.errors import PlatformError
from nuwrap.platforms import Container
from nuwrap.platforms.docker_engine import Engine
from nuwrap.spec.build import GROUP, LABEL_API, LABEL_CONTENT, USER
from nuwrap.spec.images import python_image, runtime_image
from nuwrap_runtime import __version__
from nuwrap_runtime.launch import API

ROOT = ("", "0", "root")


@dataclass(frozen=True)
class Images:
    """`image` has the function; `runtime` and `fetcher` are ours for one that is foreign, or of which that is not
    known yet. `is_baked` tells that the function's code is in the image.
    """

    image: str
    runtime: str = ""
    fetcher: str = ""
    is_baked: bool = False


def choose_images(container: Container, python_version: str, engine: Engine, *, say: Callable[[str], None]) -> Images:
    """Return the images of a run; a function's own image is pulled where it is not here.

    Raises PlatformError for one that cannot be had; where ours are nowhere it names `make build-images`.
    """
    own = container.images_registry
    fetcher = python_image(own, __version__, python_version)
    image = container.image or container.base_image
    if not image:
        check_own(fetcher, own, engine)
        return Images(fetcher)
    found = engine.find_image(image)
    if not found and container.image:  # whether it has the runtime and the code decides what else a run needs
        say(f"image {image!r} is not here yet: it is pulled first")
        found = engine.pull(image, ())
    if found and not is_foreign(image, found):
        return Images(image, is_baked=bool(labels_of(found).get(LABEL_CONTENT)))
    runtime = runtime_image(own, __version__)
    for one in (runtime, fetcher) if found else ():
        check_own(one, own, engine)
    return Images(image, runtime, fetcher)


def check_own(reference: str, registry: str, engine: Engine) -> None:
    """See that one of our images is here, or can be pulled. Raises PlatformError."""
    if not registry and not engine.find_image(reference):
        raise PlatformError(
            f"nuwrap's own image {reference!r} is not here; make it with `make build-images`, or say which registry "
            "has it: `nuwrap config set images.registry HOST/TEAM`"
        )


def is_foreign(reference: str, found: Mapping[str, Any]) -> bool:
    """Tell whether the image has no runtime of ours. Raises PlatformError for one of another version of the API."""
    api = labels_of(found).get(LABEL_API, "")
    if api and api != API:
        raise PlatformError(f"image {reference!r} speaks {api!r}, this nuwrap {API!r}; build the image anew")
    return not api


def labels_of(found: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the image's labels."""
    return found["Config"].get("Labels") or {}


def user_of(found: Mapping[str, Any], user: str, group: str) -> str:
    """Return `user:group` for the container: what is asked for, else the image's own, never root by default."""
    own, _, own_group = str(found["Config"].get("User") or "").partition(":")
    if own in ROOT:
        own, own_group = str(USER), str(GROUP)
    if user:  # the image knows no group of another user's; none would be root's
        own, own_group = user, str(GROUP)
    return f"{own}:{group or own_group}" if group or own_group else own
