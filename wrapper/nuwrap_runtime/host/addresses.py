"""Addresses of files: what is pinned behind `#`, how they are shown, what a file is called."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from nuwrap_runtime.host.process import MASK
from nuwrap_runtime.schema import did_you_mean

PINS: Final = ("sha256", "subdir")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIN_NAME = re.compile(r"[a-z0-9_-]{1,12}", re.IGNORECASE)
# A signed link's query: what its parameters are called, or that a value is as long as a signature or a token.
_SECRET_VALUE = re.compile(
    r"([?&#](?!subdir=|sha256=)(?:[^=&#]*(?:sig|token|key|secret|cred|auth|pass|pw)[^=&#]*=|[^=&#]+=(?=[^&#]{20})))[^&#]+",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Address:
    """An address without what is behind `#`. `sha256` is the file's digest in hex, `subdir` a folder in an archive."""

    url: str
    sha256: str = ""
    subdir: str = ""


def parse_address(text: str, *, pins: Collection[str] = PINS) -> Address:
    """Cut `#sha256=DIGEST&subdir=FOLDER` off; the scheme comes out in lower case.

    Raises ValueError for anything else behind the `#`, which is not quoted: it may be the half of a password. An S3
    key may hold a `#` of its own: there, what reads as no pin belongs to the key.
    """
    url, mark, behind = _lower_scheme(text).rpartition("#")
    if not mark:
        return Address(behind)
    pairs = [part.partition("=")[::2] for part in behind.split("&")]
    found = dict(pairs)
    unknown = [name for name in found if name not in pins]
    if unknown and url.startswith("s3:") and not any(name in PINS for name in found):
        return Address(f"{url}#{behind}")
    if unknown:
        raise ValueError(_not_understood(unknown[0], list(pins)))
    if len(found) < len(pairs):
        raise ValueError("one pin is given twice behind '#'; leave one out")
    if "sha256" in found and not _SHA256.fullmatch(found["sha256"]):
        raise ValueError(f"sha256 {found['sha256']!r} is none; allowed: 64 hex digits in lower case")
    if "subdir" in found and not found["subdir"].strip("/"):
        raise ValueError("subdir is empty; name a folder of the archive, or leave it out")
    return Address(url, **{name: unquote(value).strip("/") for name, value in found.items()})


def _lower_scheme(text: str) -> str:
    scheme, colon, rest = text.partition("://")
    return scheme.lower() + colon + rest if colon else text


def _not_understood(name: str, pins: list[str]) -> str:
    what = repr(f"#{name}") if _PIN_NAME.fullmatch(name) else "what is behind '#'"
    if name in PINS:
        what += " is for archives of code" if name == "subdir" else " is for what is read"
    else:
        what += " is not understood"
    allowed = "&".join(f"{pin}=…" for pin in pins)
    return f"{what}; allowed: {f'#{allowed}' if pins else 'nothing'}{did_you_mean(name, pins)}"


def scheme_of(text: str) -> str:
    """Return what stands before the first colon, in lower case."""
    return text.partition(":")[0].lower()


def file_name(url: str) -> str:
    """Return the last name of the address's path, "" when it has none; only an http address is percent-encoded."""
    if url.startswith("s3:"):
        return os.path.basename(url)
    return os.path.basename(unquote(urlsplit(url).path))


def shown(address: str) -> str:
    """Return the address as messages and documents may quote it: `***` in place of a login and of a signed query.

    A password may hold what an address would have to encode: up to the last `@` before the path, or, where what
    precedes the first `/` ends in neither a host nor a port, before anything.
    """
    address = _SECRET_VALUE.sub(rf"\g<1>{MASK}", address)
    begin = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/+|", address)
    head = begin.group() if begin else ""
    rest = address[len(head) :]
    netloc = rest.partition("/")[0]
    if "@" in netloc and (head or ":" in netloc.partition("@")[0]):
        return f"{head}{MASK}@{rest[netloc.rindex('@') + 1 :]}"
    if head and "@" in rest and re.search(r":(?!\d*$)", netloc) and not netloc.startswith("["):
        return f"{head}{MASK}@{rest[rest.rindex('@') + 1 :]}"
    return address
