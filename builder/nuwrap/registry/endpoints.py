"""Where a registry is asked: its own host, those that stand in for it, and by which scheme. Asks nobody."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from nuwrap.spec.build import RegistryAccess
from nuwrap.spec.reference import HUB, Reference

HUB_HOST: Final = f"registry-1.{HUB}"
_HUB_NAMES: Final = (HUB, f"index.{HUB}", HUB_HOST)


@dataclass(frozen=True)
class Endpoint:
    """A repository at a host. `registry` is the name that credentials and settings have for the host.

    `schemes` are tried in turn; without `is_verified` no certificate is checked, which a user has asked for.
    """

    registry: str
    host: str
    repository: str
    schemes: Sequence[str] = ("https",)
    is_verified: bool = True

    @property
    def name(self) -> str:
        """The repository as messages name it."""
        return f"{self.registry}/{self.repository}"


def find_endpoints(reference: Reference, access: RegistryAccess) -> list[Endpoint]:
    """Return where the image can be read: what `access.map` and the mirrors name first, the registry itself last."""
    wanted = [one for name, others in access.map.items() if plain_name(name) == reference.registry for one in others]
    if reference.registry == HUB:
        wanted += access.mirrors
    return [_stand_in(text, reference.repository, access) for text in wanted] + [own_endpoint(reference, access)]


def own_endpoint(reference: Reference, access: RegistryAccess) -> Endpoint:
    """Return the registry itself, which is the only one that images are pushed to."""
    return _make(reference.registry, reference.repository, access)


def plain_name(registry: str) -> str:
    """Return the name that references have for a registry that a setting names: no scheme, one name for Docker Hub."""
    host = registry.partition("://")[2] or registry
    host = host.partition("/")[0]
    return HUB if host in _HUB_NAMES else host


def find_setting(table: Sequence[str], registry: str) -> str:
    """Return the key of the table that means the registry, "" when none does."""
    return next((name for name in table if plain_name(name) == registry), "")


def is_loopback(host: str) -> bool:
    """Tell whether a `host[:port]` is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _stand_in(text: str, repository: str, access: RegistryAccess) -> Endpoint:
    """Return a mirror's endpoint; it may be written with a scheme, as in Docker's settings, and with a folder."""
    scheme, _, rest = text.rpartition("://")
    folder = rest.strip("/").partition("/")[2]
    made = _make(plain_name(text), f"{folder}/{repository}" if folder else repository, access)
    return Endpoint(made.registry, made.host, made.repository, ("http",)) if scheme == "http" else made


def _make(registry: str, repository: str, access: RegistryAccess) -> Endpoint:
    host = HUB_HOST if registry == HUB else registry
    is_insecure = bool(find_setting(access.insecure, registry))
    has_authority = bool(find_setting(list(access.certificates), registry))
    is_plain = is_insecure or (is_loopback(host) and not has_authority)
    return Endpoint(registry, host, repository, ("http", "https") if is_plain else ("https",), not is_insecure)
