"""Images built and pushed with Docker, and what came of each: digest, bytes, seconds."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from archives import ROOT
from wanted import Image

from nuwrap import docker
from nuwrap.command import Command, stream
from nuwrap.errors import BuildError, PlatformError
from nuwrap.registry.images import read_image
from nuwrap.spec import build as labels

SECONDS = 1800.0
LINES = 30
PROCESSOR = "/usr/local/bin/processor"
VERSION = re.compile(r"(?:^|[:\"-])v?(\d+\.\d+\.\d+)")
PLATFORMS = ("linux/amd64", "linux/arm64")


@dataclass(frozen=True)
class Made:
    """An image that is there. `bytes` are unpacked ones, `compressed_bytes` a registry's, None where none was asked."""

    kind: str
    reference: str
    python: str
    image_id: str
    bytes: int
    seconds: float
    compressed_bytes: int | None = None
    digest: str = ""
    tried_seconds: float | None = None

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Workshop:
    """Where images are built: the context, a folder for logs, docker's environment; `pull` asks for newer bases."""

    context: str
    logs: str
    environ: Mapping[str, str]
    pull: bool = False


def find_platform(environ: Mapping[str, str]) -> str:
    """Return the platform of Docker's daemon. Raises PlatformError for one that nuwrap has no images for."""
    reason = docker.why_unusable(environ)
    if reason:
        raise PlatformError(reason)
    answer = docker.ask(environ, ["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"])
    found = answer.output.decode("utf-8", "replace").strip()
    if found not in PLATFORMS:
        raise PlatformError(f"Docker here is {found!r}; nuwrap has images for {' and '.join(PLATFORMS)}")
    return found


def build(image: Image, workshop: Workshop) -> Made:
    """Build the image. Raises BuildError with the last lines of its log."""
    began = time.monotonic()
    base = _base_labels(image, workshop)
    if image.kind == "nuclio":
        image = _with_processor_version(image, workshop)
    _docker_build(image, workshop, base)
    found = docker.inspect_image(workshop.environ, image.reference)
    if found is None:
        raise BuildError(f"{image.reference} was built and Docker does not have it; is its builder a remote one?")
    seconds = round(time.monotonic() - began, 1)
    return Made(image.kind, image.reference, image.python, found["Id"], found["Size"], seconds)


def push(made: Made, environ: Mapping[str, str]) -> Made:
    """Push the image and return it with its digest and the bytes of its layers. Raises BuildError, RegistryError."""
    answer = docker.ask(environ, ["push", made.reference], timeout_s=SECONDS)
    if answer.returncode:
        raise BuildError(f"cannot push {made.reference}: {docker.last_words(answer)}", "push")
    facts = read_image(made.reference, labels.RegistryAccess(), environ, has_files=False)
    return replace(made, digest=facts.digest, compressed_bytes=sum(layer.bytes for layer in facts.layers))


def _base_labels(image: Image, workshop: Workshop) -> dict[str, str]:
    """Return what names the base, having pulled it where Docker has none: a local one has no digest."""
    if not image.base:
        return {}
    is_own = image.kind == "nuclio"
    if workshop.pull and not is_own:
        _pull(image.base, workshop)
    found = docker.inspect_image(workshop.environ, image.base)
    if found is None:
        _pull(image.base, workshop)
        found = docker.inspect_image(workshop.environ, image.base) or {}
    digests = [one.partition("@")[2] for one in found.get("RepoDigests") or ()]
    return {labels.LABEL_BASE_NAME: image.base, labels.LABEL_BASE_DIGEST: digests[0] if digests else ""}


def _pull(reference: str, workshop: Workshop) -> None:
    answer = docker.ask(workshop.environ, ["pull", reference], timeout_s=SECONDS)
    if answer.returncode:
        raise BuildError(
            f"cannot pull {reference}: {docker.last_words(answer)}; for an image of Python, BASE=HOST/REPOSITORY says "
            "where else they are",
            "pull",
        )


def _with_processor_version(image: Image, workshop: Workshop) -> Image:
    """Return the image with its processor's version: what that tells, else what the tag of its image does, else none.

    To ask the processor it takes an image that has what the processor needs: this one, which is built for it.
    """
    _docker_build(image, workshop, {})
    answer = docker.ask(workshop.environ, ["run", "--rm", "--entrypoint", PROCESSOR, image.reference, "-version"])
    told = answer.output.decode("utf-8", "replace")
    if not told.startswith("Processor version:"):
        raise BuildError(
            f"PROCESSOR_IMAGE={image.args['PROCESSOR_IMAGE']}: {PROCESSOR} -version answers {told[:200]!r} "
            f"{docker.last_words(answer)!r}, as Nuclio's processor does not",
            "check",
        )
    found = VERSION.search(told.partition('Label:"')[2][:40]) or VERSION.search(image.args["PROCESSOR_IMAGE"])
    return replace(image, args={**image.args, "PROCESSOR_VERSION": found[1] if found else ""})


def _docker_build(image: Image, workshop: Workshop, base: Mapping[str, str]) -> None:
    folder = os.path.join(ROOT, "images", image.folder)
    argv = [docker.find_docker(workshop.environ), "build", "--progress", "plain", "--tag", image.reference]
    argv += ["--file", os.path.join(folder, "Dockerfile")]
    for name, value in image.args.items():
        argv += ["--build-arg", f"{name}={value}"]
    for name, value in {**image.labels, **base}.items():
        argv += ["--label", f"{name}={value}"]
    path = os.path.join(workshop.logs, image.reference.rpartition("/")[2].replace(":", "-") + ".log")
    with open(path, "wb") as log:
        environ = {**workshop.environ, "DOCKER_BUILDKIT": "1"}
        command = Command([*argv, ROOT if image.is_from_checkout else workshop.context], environ)
        code = stream(command, out=[log.fileno()], err=[log.fileno()], timeout_s=SECONDS)
    if code:
        raise BuildError(f"cannot build {image.reference}:\n{_last_lines(path)}\nthe whole log: {path}", "instruction")


def _last_lines(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as log:
        return "\n".join(log.read().splitlines()[-LINES:])
