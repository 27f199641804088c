"""What kaniko has made, read where it was left: an archive, an OCI layout, Docker's store of images, a registry."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Mapping
from typing import Any

from nuwrap.engines import Order
from nuwrap.engines.docker_images import read_local
from nuwrap.errors import BuildError
from nuwrap.registry.images import read_image
from nuwrap.spec.build import Built, ImageFacts


def read_built(order: Order, built: Built) -> ImageFacts:
    """Return what the image tells of itself. Raises BuildError for one that cannot be read, RegistryError."""
    if order.push:
        return read_image(built.pinned, order.settings.access, order.environ, has_files=False)
    try:
        if order.tar_path:
            return _facts(built, read_archive(order.tar_path))
        if order.oci_path:
            return _facts(built, read_layout(order.oci_path))
    except (OSError, tarfile.TarError, ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
        raise BuildError(f"what kaniko made of {built.reference} cannot be read back: {exc!r}", "check") from exc
    found = read_local(order.environ, built.image_id, has_files=False)
    if not found:
        raise BuildError(f"{built.reference} is not in Docker's store any more: it cannot be checked", "check")
    return found


def read_archive(path: str) -> Mapping[str, Any]:
    """Return the configuration of an image's archive, as `docker save` writes one."""
    with tarfile.open(path) as archive:
        name = _member(archive, "manifest.json")[0]["Config"]
        found: Mapping[str, Any] = _member(archive, name)
        return found


def read_layout(folder: str) -> Mapping[str, Any]:
    """Return the configuration of the first image of an OCI layout."""
    index = _load(os.path.join(folder, "index.json"))
    manifest = _load(_blob(folder, index["manifests"][0]["digest"]))
    return _load(_blob(folder, manifest["config"]["digest"]))


def _facts(built: Built, document: Mapping[str, Any]) -> ImageFacts:
    config = document.get("config") or {}
    return ImageFacts(
        built.reference,
        "",
        "",
        user=config.get("User") or "",
        env=dict(one.split("=", 1) for one in config.get("Env") or ()),
        entrypoint=config.get("Entrypoint") or (),
        command=config.get("Cmd") or (),
        labels=config.get("Labels") or {},
        history=[one.get("created_by") or "" for one in document.get("history") or ()],
    )


def _member(archive: tarfile.TarFile, name: str) -> Any:
    found = archive.extractfile(name)
    return json.load(found) if found else {}


def _blob(folder: str, digest: str) -> str:
    return os.path.join(folder, "blobs", *digest.split(":", 1))


def _load(path: str) -> Mapping[str, Any]:
    with open(path, encoding="utf-8") as stream:
        found: Mapping[str, Any] = json.load(stream)
        return found
