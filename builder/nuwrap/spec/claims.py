"""Addresses in a claim of a cluster, `pvc://CLAIM/path`: a pod that mounts the claim has a file there, nobody else has.

They name no namespace: the claim is the one of the run that reads or writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nuwrap.errors import SpecError, UsageError
from nuwrap_runtime.launch import Launch
from nuwrap_runtime.schema import show

SCHEME: Final = "pvc://"
FORM: Final = "pvc://CLAIM or pvc://CLAIM/FOLDER"
_CLAIM: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")  # apimachinery: DNS-1123 subdomain


@dataclass(frozen=True)
class InClaim:
    """A place in a claim. `path` is below its root, "" for that itself, and never leads out of it."""

    claim: str
    path: str = ""


def is_in_claim(address: str) -> bool:
    """Tell whether the address means to be one in a claim."""
    return address.startswith(SCHEME)


def parse_claim(address: str) -> InClaim:
    """Return the parts of an address. Raises SpecError for one without a claim's name, or with a path out of it."""
    claim, _, path = address.removeprefix(SCHEME).partition("/")
    parts = path.removesuffix("/").split("/") if path else []
    is_path = address.isprintable() and not {"", ".", ".."} & set(parts)
    if not (is_in_claim(address) and _CLAIM.fullmatch(claim) and ".." not in claim and is_path):
        raise SpecError(f"{show(address)} is no place in a claim; allowed: {FORM}, without '.' and '..' in the path")
    return InClaim(claim, "/".join(parts))


def refuse_claims(launch: Launch, platform: str) -> None:
    """Raises UsageError for a launch that reads or writes in a claim, where the platform mounts none."""
    for what, address in _addresses(launch):
        raise UsageError(
            f"{what}: {show(address)} is in a claim of a cluster, which platform {platform!r} does not reach; run it "
            "on platform 'kubernetes', in the namespace of the claim"
        )


def _addresses(launch: Launch) -> Iterator[tuple[str, str]]:
    """Yield each address in a claim, and what the user knows it as."""
    if is_in_claim(launch.output_path):
        yield "output_path", launch.output_path
    names = {key: f"input {name!r}" for name, key in launch.inputs.items()}
    for key, one in launch.entities.items():
        if is_in_claim(str(one["path"])):
            yield names.get(key, key), str(one["path"])
