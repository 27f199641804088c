"""What is to be built, as plain values: each image's name, Dockerfile, arguments and labels. Touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nuwrap.spec import build as labels
from nuwrap.spec import images
from nuwrap_runtime.launch import API

RUNTIME, RUNTIME_SLIM = "runtime.tar", "runtime-slim.tar"  # archives of the context
KANIKO_PYTHON = "3.11"  # that the toolkit runs in, beside the executor
TITLES = {
    "runtime": "nuwrap's runtime: /opt/nuwrap, for other images to copy",
    "python": "runs a Python function as a job or a service",
    "nuclio": "runs a Python function under Nuclio's processor",
    "kaniko": "builds images with kaniko, one in each container",
}


@dataclass(frozen=True)
class Choice:
    """What the caller asks for. Without `processor_image` or `kaniko_image` the images that need it are left out."""

    pythons: Sequence[str]
    version: str
    registry: str = ""
    base: str = images.BASE
    processor_image: str = ""
    kaniko_image: str = ""


@dataclass(frozen=True)
class Image:
    """An image to build: `folder` has its Dockerfile, `base` is the image that its labels name, "" for none.

    Its context are the archives, or with `is_from_checkout` the checkout.
    """

    kind: str
    reference: str
    folder: str
    python: str = ""
    base: str = ""
    args: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    is_from_checkout: bool = False


def list_images(choice: Choice) -> list[Image]:
    """Return the images in the order in which they can be built."""
    found = [_runtime(choice, has_uv=True), _runtime(choice, has_uv=False)]
    found += [_python(choice, python) for python in choice.pythons]
    if choice.processor_image:
        found += [_nuclio(choice, python) for python in choice.pythons]
    return [*found, _kaniko(choice)] if choice.kaniko_image else found


def _runtime(choice: Choice, *, has_uv: bool) -> Image:
    reference = images.runtime_image(choice.registry, choice.version, has_uv=has_uv)
    args = {"ARCHIVE": RUNTIME if has_uv else RUNTIME_SLIM}
    return Image("runtime", reference, "runtime", args=args, labels=_labels(choice, "runtime"))


def _python(choice: Choice, python: str) -> Image:
    base = images.base_image(python, choice.base)
    args = {"ARCHIVE": RUNTIME, "BASE_IMAGE": base, "PYTHON": python, **_user()}
    reference = images.python_image(choice.registry, choice.version, python)
    return Image("python", reference, "python", python, base, args, _labels(choice, "python", python))


def _nuclio(choice: Choice, python: str) -> Image:
    base = images.python_image(choice.registry, choice.version, python)
    args = {"PROCESSOR_IMAGE": choice.processor_image, "PYTHON_IMAGE": base, **_user()}
    reference = images.nuclio_image(choice.registry, choice.version, python)
    return Image("nuclio", reference, "nuclio", python, base, args, _labels(choice, "nuclio", python))


def _kaniko(choice: Choice) -> Image:
    args = {"KANIKO_IMAGE": choice.kaniko_image, "PYTHON_IMAGE": images.base_image(KANIKO_PYTHON, choice.base)}
    reference = images.kaniko_image(choice.registry, choice.version)
    titles = _labels(choice, "kaniko")
    return Image("kaniko", reference, "kaniko", "", choice.kaniko_image, args, titles, is_from_checkout=True)


def _user() -> dict[str, str]:
    return {"UID": str(labels.USER), "GID": str(labels.GROUP)}


def _labels(choice: Choice, kind: str, python: str = "") -> dict[str, str]:
    return {
        labels.LABEL_TITLE: TITLES[kind],
        "org.opencontainers.image.version": choice.version,
        "org.opencontainers.image.licenses": "Apache-2.0",  # of what is ours; the rest: /opt/nuwrap/licenses/NOTICE
        labels.LABEL_API: API,
        labels.LABEL_FEATURES: ",".join(images.FEATURES),
        labels.LABEL_RUNTIME: choice.version,
        **({labels.LABEL_PYTHON: python} if python else {}),
    }
