"""Read what a registry knows of an image: its digest, its config, its layers, and what its files tell. No pull."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from nuwrap.errors import RegistryError
from nuwrap.registry.endpoints import Endpoint, find_endpoints
from nuwrap.registry.looking import Found, env_of, look
from nuwrap.registry.reference import Reference, parse_reference
from nuwrap.registry.repository import Manifest, Repository
from nuwrap.spec.build import ImageFacts, Layer, RegistryAccess

CONFIG_BYTES: Final = 8 * 1024 * 1024
MOST_LAYERS: Final = 1000
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
        about = manifest.document["config"]["digest"]
        layers = [Layer(str(one["digest"]), int(one["size"])) for one in manifest.document["layers"][:MOST_LAYERS]]
    except (KeyError, TypeError, ValueError) as exc:
        raise _broken(wanted, "its manifest names no config or layers") from exc
    image = _parse(repository.read_blob(str(about), most_bytes=CONFIG_BYTES), wanted)
    config = image.get("config") or {}
    found = Found()
    if wanted.has_files:
        found = look(repository, layers, config, digest=str(about), cache=wanted.cache)
    return _make_facts(asked, wanted, top.digest, image, layers, found)


def _make_facts(
    asked: str, wanted: _Wanted, digest: str, image: Mapping[str, Any], layers: list[Layer], found: Found
) -> ImageFacts:
    config = image.get("config") or {}
    try:
        return ImageFacts(
            reference=asked,
            pinned=str(wanted.reference.pin(digest)),
            digest=digest,
            architecture=str(image.get("architecture") or ""),
            python=found.python,
            libc=found.libc,
            looked=found.looked,
            user=str(config.get("User") or ""),
            env=env_of(config),
            entrypoint=[str(one) for one in config.get("Entrypoint") or ()],
            command=[str(one) for one in config.get("Cmd") or ()],
            labels={str(name): str(value) for name, value in (config.get("Labels") or {}).items()},
            history=[str(one.get("created_by") or "") for one in image.get("history") or ()],
            layers=layers,
        )
    except (AttributeError, TypeError) as exc:
        raise _broken(wanted, "its config is not as specified") from exc


def _choose(index: Manifest, wanted: _Wanted) -> str:
    """Return the digest of the manifest for Linux on the architecture, its plain variant where there are several."""
    architecture, _, variant = wanted.architecture.partition("/")
    found: list[tuple[bool, str]] = []
    names = []
    for one in index.document.get("manifests") or ():
        about = one.get("platform") if isinstance(one, dict) else None
        if not isinstance(about, dict) or about.get("os") == "unknown":  # an attestation
            continue
        names.append("/".join(filter(None, (about.get("os"), about.get("architecture"), about.get("variant")))))
        if about.get("os") == "linux" and about.get("architecture") == architecture:
            found.append(
                (
                    about.get("variant", "") not in (variant, "v8" if architecture == "arm64" else ""),
                    str(one.get("digest")),
                )
            )
    if not found:
        raise RegistryError(
            f"image {wanted.reference.familiar} is not for linux/{wanted.architecture}; "
            f"it is for {', '.join(sorted(set(names))) or 'no platform'}",
            "missing",
        )
    return min(found)[1]


def _parse(content: bytes, wanted: _Wanted) -> Mapping[str, Any]:
    try:
        image = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise _broken(wanted, "its config is not JSON") from exc
    if not isinstance(image, dict) or not isinstance(image.get("config") or {}, dict):
        raise _broken(wanted, "its config is not as specified")
    return image


def _broken(wanted: _Wanted, what: str) -> RegistryError:
    return RegistryError(f"image {wanted.reference.familiar} cannot be read: {what}", "protocol")
