"""Read what a registry knows of an image: its digest, its config, its layers, and what its files tell. No pull."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from nuwrap.errors import RegistryError
from nuwrap.registry.endpoints import Endpoint, find_endpoints
from nuwrap.registry.looking import look
from nuwrap.registry.repository import Manifest, Repository
from nuwrap.spec.build import ImageFacts, Layer, RegistryAccess
from nuwrap.spec.reference import Reference, check_digest, parse_reference

CONFIG_BYTES: Final = 8 * 1024 * 1024
MACHINES: Final = {
    "x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "arm/v7", "armv6l": "arm/v6",
    "i686": "386", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64",
}  # fmt: skip
T = TypeVar("T")


@dataclass(frozen=True)
class _Wanted:
    reference: Reference
    architecture: str
    cache: str
    has_files: bool


def read_image(
    reference: str,
    access: RegistryAccess,
    environ: Mapping[str, str],
    *,
    architecture: str = "",
    cache: str = "",
    has_files: bool = True,
) -> ImageFacts:
    """Return what is known of the image; of an index, the one for `architecture`, this machine's when that is "".

    Python and libc are what the config tells, else the files of the layers, which are read as far as needed and
    remembered in the folder `cache`; without `has_files` none is read. Raises SpecError for a reference that is none,
    RegistryError.
    """
    parsed = parse_reference(reference)
    wanted = _Wanted(parsed, architecture or own_architecture(), cache, has_files)
    return _ask_each(parsed, access, environ, lambda repository: _read(repository, wanted, reference))


def tag_digest(reference: str, access: RegistryAccess, environ: Mapping[str, str]) -> str:
    """Return the digest of what the reference names, "" when the registry has none. Raises SpecError, RegistryError."""
    parsed = parse_reference(reference)

    def ask(repository: Repository) -> str:
        digest = repository.find_digest(parsed.version)
        if not digest:
            raise RegistryError("missing", "missing")
        return digest

    try:
        return _ask_each(parsed, access, environ, ask)
    except RegistryError as exc:
        if exc.kind == "missing":
            return ""
        raise


def own_architecture() -> str:
    """Return this machine's, as images name it."""
    machine = platform.machine().lower()
    return MACHINES.get(machine, machine)


def _ask_each(
    reference: Reference, access: RegistryAccess, environ: Mapping[str, str], ask: Callable[[Repository], T]
) -> T:
    """Return the first answer; what stands in for a registry is passed over when it fails."""
    faults = []
    for endpoint in find_endpoints(reference, access):
        try:
            with _opened(endpoint, access, environ) as repository:
                return ask(repository)
        except RegistryError as exc:
            faults.append(exc)
    before = "; before it, ".join(str(one) for one in (faults[-1], *faults[:-1]))
    raise RegistryError(before, faults[-1].kind) from faults[-1]


@contextmanager
def _opened(endpoint: Endpoint, access: RegistryAccess, environ: Mapping[str, str]) -> Iterator[Repository]:
    repository = Repository(endpoint, access, environ)
    try:
        yield repository
    finally:
        repository.close()


def _read(repository: Repository, wanted: _Wanted, asked: str) -> ImageFacts:
    top = repository.read_manifest(wanted.reference.version)
    manifest = repository.read_manifest(_choose(top, wanted)) if top.is_index else top
    if manifest.is_index:
        raise _broken(wanted, "its index names another index")
    try:
        about = check_digest(manifest.document["config"]["digest"])
        layers = [Layer(check_digest(one["digest"]), int(one["size"])) for one in manifest.document["layers"]]
    except (KeyError, TypeError, ValueError) as exc:
        raise _broken(wanted, "its manifest names no config or layers") from exc
    content = repository.read_blob(about, most_bytes=CONFIG_BYTES)
    try:
        facts = _parse_config(content)
    except (ValueError, AttributeError, TypeError, RecursionError) as exc:
        raise _broken(wanted, "its config is not as specified") from exc
    pinned = str(wanted.reference.pin(top.digest))
    facts = replace(facts, reference=asked, pinned=pinned, digest=top.digest, layers=layers)
    if wanted.has_files:
        found = look(repository, facts, config=about, cache=wanted.cache)
        facts = replace(facts, python=found.python, libc=found.libc, looked=found.looked)
    return facts


def _parse_config(content: bytes) -> ImageFacts:
    """Return what a config tells (opencontainers/image-spec config.md)."""
    image = json.loads(content)
    config = image.get("config") or {}
    pairs = (str(one).partition("=") for one in config.get("Env") or ())
    return ImageFacts(
        reference="",
        pinned="",
        digest="",
        architecture=str(image.get("architecture") or ""),
        user=str(config.get("User") or ""),
        env={name: value for name, _, value in pairs},
        entrypoint=[str(one) for one in config.get("Entrypoint") or ()],
        command=[str(one) for one in config.get("Cmd") or ()],
        labels={str(name): str(value) for name, value in (config.get("Labels") or {}).items()},
        history=[str(one.get("created_by") or "") for one in image.get("history") or ()],
    )


def _choose(index: Manifest, wanted: _Wanted) -> str:
    """Return the digest of the manifest for Linux on the architecture, of its plain variant where there are several."""
    platforms = _platforms(index, wanted)
    architecture, _, variant = wanted.architecture.partition("/")
    fitting = [one for one in platforms if (one.system, one.architecture) == ("linux", architecture)]
    if not fitting:
        names = sorted({str(one) for one in platforms})
        raise RegistryError(
            f"image {wanted.reference.familiar} is not for linux/{wanted.architecture}; "
            f"it is for {', '.join(names) or 'no platform'}",
            "missing",
        )
    plain = variant or ("v8" if architecture == "arm64" else "")
    return min(fitting, key=lambda one: one.variant not in (variant, plain)).digest


@dataclass(frozen=True)
class _Platform:
    system: str
    architecture: str
    variant: str
    digest: str

    def __str__(self) -> str:
        return "/".join(filter(None, (self.system, self.architecture, self.variant)))


def _platforms(index: Manifest, wanted: _Wanted) -> list[_Platform]:
    """Return what the index has, without what is for no platform."""
    found = []
    try:
        for one in index.document["manifests"]:
            about = one.get("platform") or {}
            system, architecture, variant = (str(about.get(name) or "") for name in ("os", "architecture", "variant"))
            if system and system != "unknown":  # as attestations have it
                found.append(_Platform(system, architecture, variant, check_digest(one["digest"])))
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise _broken(wanted, "its index is not as specified") from exc
    return found


def _broken(wanted: _Wanted, what: str) -> RegistryError:
    return RegistryError(f"image {wanted.reference.familiar} cannot be read: {what}", "protocol")
