"""nuwrap's own images: their names, and which there are. One table for images/build.py, plans and docs."""

from __future__ import annotations

from typing import Final

PYTHONS: Final = ("3.9", "3.10", "3.11", "3.12", "3.13")
BASE: Final = "python"  # what the images of a Python are built on: BASE:3.11-slim
BASE_SUFFIX: Final = "-slim"
# What `nuwrap-host` of an image can do, for plans that need more than an older image has.
FEATURES: Final = ("compile", "exec", "fetch", "install", "job", "serve")

RUNTIME: Final = "nuwrap/runtime"  # /opt/nuwrap and nothing else
PYTHON: Final = "nuwrap/python"  # runs a function: slim, git, CA certificates, /opt/nuwrap
NUCLIO: Final = "nuwrap/nuclio"  # the same with Nuclio's processor as what it becomes
KANIKO: Final = "nuwrap/kaniko"  # builds images inside a throw-away container


def base_image(python: str, base: str = BASE) -> str:
    """`python:3.11-slim`; `base` is the same repository elsewhere (`mirror:5000/library/python`)."""
    return f"{base}:{python}{BASE_SUFFIX}"


def runtime_image(images_registry: str, version: str, *, has_uv: bool = True) -> str:
    """`nuwrap/runtime:0.1.0`, and `-slim` for the one without uv; `images_registry` is `host/team` or ""."""
    return _reference(images_registry, RUNTIME, version if has_uv else f"{version}-slim")


def python_image(images_registry: str, version: str, python: str) -> str:
    """`nuwrap/python:0.1.0-3.11`."""
    return _reference(images_registry, PYTHON, f"{version}-{python}")


def nuclio_image(images_registry: str, version: str, python: str) -> str:
    """`nuwrap/nuclio:0.1.0-3.11`; there only where a processor was given when the images were built."""
    return _reference(images_registry, NUCLIO, f"{version}-{python}")


def kaniko_image(images_registry: str, version: str) -> str:
    """`nuwrap/kaniko:0.1.0`; there only where an executor was given when the images were built."""
    return _reference(images_registry, KANIKO, version)


def _reference(images_registry: str, name: str, tag: str) -> str:
    return f"{images_registry.rstrip('/')}/{name}:{tag}" if images_registry else f"{name}:{tag}"
