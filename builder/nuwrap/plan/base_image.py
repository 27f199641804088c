"""Whether a function can be built on a base image: what is known of it, held against what the function asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nuwrap.plan.dockerfile import PYTHON_PLACE, line_fault
from nuwrap.plan.references import allowed_fault, reference_fault
from nuwrap.spec.build import LABEL_API, LABEL_FEATURES, LABEL_RUNTIME, TREE, BuildFacts, BuildSettings, ImageFacts
from nuwrap.spec.function import PYTHON_VERSIONS, Function
from nuwrap_runtime.launch import API
from nuwrap_runtime.schema import show


def base_faults(function: Function, settings: BuildSettings, facts: BuildFacts) -> list[str]:
    """Return a line for each reason that nothing can be built on the base image, with what to do instead."""
    if function.base_image:
        fault = reference_fault(function.base_image) or allowed_fault(function.base_image, settings.allowed_base_images)
        if fault:
            return [f"base_image: {fault}"]
    unnamed = [fault for one in (facts.base, facts.runtime) if one and (fault := reference_fault(named(one)))]
    if unnamed:
        return [f"base_image: {fault}" for fault in unnamed]
    return [
        *_libc_faults(function, facts),
        *_python_faults(function, settings, facts.base),
        *_tree_faults(facts),
        *_feature_faults(function, facts),
    ]


def named(image: ImageFacts) -> str:
    """Return the image by digest; one of the engine's own store by its name, as BuildKit looks for no other there."""
    return image.reference if image.is_local or not image.pinned else image.pinned


def needs_python(function: Function, settings: BuildSettings, base: ImageFacts) -> bool:
    """Tell whether the Python that the function asks for is to be installed into the base image."""
    return settings.install_python and base.python != PYTHON_VERSIONS[function.python_version]


def is_unknown(base: ImageFacts) -> bool:
    """Tell whether the build itself must look which Python the base image has."""
    return not base.python and not base.looked


def check_command(python: str) -> str:
    """Return the command that fails, with the reason, where `python3` is missing or not of that version."""
    look = (
        "import sys; v = '%d.%d' % sys.version_info[:2]; "
        f"sys.exit('the base image has Python ' + v + ', the function asks for {python}' if v != '{python}' else 0)"
    )
    missing = f"echo 'the base image has no python3 on its PATH, the function asks for Python {python}' >&2"
    return f'command -v python3 >/dev/null || {{ {missing}; exit 1; }}; python3 -c "{look}"'


def install_command(python: str) -> str:
    """Return the command that installs Python of that version below /opt/python, its programs in `current/bin`."""
    return (
        f"{TREE}/bin/uv python install --no-config --no-cache --no-bin --install-dir {PYTHON_PLACE} {python}"
        f" && ln -s {PYTHON_PLACE}/cpython-{python}.* {PYTHON_PLACE}/current"
    )


def _python_faults(function: Function, settings: BuildSettings, base: ImageFacts) -> Iterator[str]:
    wanted = PYTHON_VERSIONS[function.python_version]
    if is_unknown(base) or base.python == wanted or settings.install_python:
        return
    found = f"has Python {base.python}" if base.python else "has no Python (no python3 on its PATH)"
    other = next((name for name, version in PYTHON_VERSIONS.items() if version == base.python), "")
    near = _put_version(base, wanted)
    ways = [
        f"base_image {near!r}" if near else f"a base_image with Python {wanted}",
        *([f"python_version {other}"] if other else []),
        f"the setting build.install_python, which puts Python {wanted} into it",
    ]
    yield (
        f"base_image: {show(base.reference)} {found}, python_version is {function.python_version}; use "
        f"{', or '.join(ways)}"
    )


def _put_version(base: ImageFacts, wanted: str) -> str:
    """Return the base's name with the other version of Python in its tag, "" where the tag has none."""
    name, colon, tag = base.reference.partition("@")[0].rpartition(":")
    other = re.sub(rf"(?<![\d.]){re.escape(base.python)}(?:\.\d+)?(?!\d)", wanted, tag) if base.python else tag
    return f"{name}{colon}{other}" if other != tag else ""


def _libc_faults(function: Function, facts: BuildFacts) -> Iterator[str]:
    if facts.base.libc == "musl":
        yield (
            f"base_image: {show(facts.base.reference)} is built on musl, and what {TREE} holds needs glibc, as Debian, "
            f"Ubuntu, Red Hat and CUDA have it; use 'python:{PYTHON_VERSIONS[function.python_version]}-slim', or leave "
            "base_image out"
        )


def _tree_faults(facts: BuildFacts) -> Iterator[str]:
    """Yield what keeps `/opt/nuwrap` and the base from going together, or its labels from being handed on."""
    tree, base = facts.runtime or facts.base, facts.base
    for name in (LABEL_FEATURES, LABEL_RUNTIME):
        fault = line_fault(tree.labels.get(name, ""))
        if fault:
            yield f"base_image: the label {name} of {show(tree.reference)} {fault}; run make build-images"
    if tree.architecture and base.architecture and tree.architecture != base.architecture:
        yield (
            f"base_image: {show(base.reference)} is for {base.architecture}, {show(tree.reference)} for "
            f"{tree.architecture}; build both for one architecture"
        )
    api = tree.labels.get(LABEL_API, API)
    if api != API:
        yield (
            f"base_image: {TREE} of {show(tree.reference)} ({_version(tree)}) reads "
            f"{api}, this nuwrap writes {API}; run make build-images, or install the nuwrap that it belongs to"
        )


def _feature_faults(function: Function, facts: BuildFacts) -> Iterator[str]:
    tree = facts.runtime or facts.base
    told = tree.labels.get(LABEL_FEATURES, "")
    needed = {"job", *(["install"] if function.requirements else []), *(["compile"] if facts.runtime else [])}
    missing = needed - {*told.split(",")}
    if told and missing:
        yield (
            f"base_image: {TREE} of {show(tree.reference)} ({_version(tree)}) cannot {' and '.join(sorted(missing))}, "
            f"which this build needs; it can {told}; run make build-images"
        )


def _version(tree: ImageFacts) -> str:
    return f"version {tree.labels.get(LABEL_RUNTIME) or 'unknown'}"
