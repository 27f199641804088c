"""Where an S3 store is and who asks, read from variables: what botocore has no word for, or another default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Optional

from nuwrap_runtime.host.stores import StoreError

SCHEME: Final = "s3://"
DEFAULT_REGION: Final = "us-east-1"
SIGNATURES: Final = ("s3v4", "s3")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
# botocore's own variables, where we want another default: MinIO and others of before 2025 refuse the new checksums.
_DEFAULTS: Final = {
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    "AWS_RETRY_MODE": "standard",
    "AWS_MAX_ATTEMPTS": "5",
}
# What other tools call it, and what botocore for Python does: the first one given wins over the last.
_ALIASES: Final = (("AWS_REGION", "AWS_DEFAULT_REGION"),)
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL")


@dataclass(frozen=True)
class Location:
    """An object, or with a key that is "" or ends with `/` all objects below it. The key is literal, never encoded."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    @property
    def is_folder(self) -> bool:
        return not self.key or self.key.endswith("/")


def parse_location(address: str) -> Location:
    """Split `s3://bucket/key`. Raises StoreError for anything else."""
    bucket, _, key = address[len(SCHEME) :].partition("/")
    if not address.startswith(SCHEME) or not bucket:
        raise StoreError(f"{address!r} is no S3 address; allowed: s3://BUCKET/KEY, s3://BUCKET/PREFIX/")
    return Location(bucket, key)


def parse_object(address: str) -> Location:
    """Split the address of one object. Raises StoreError for that of a folder too."""
    location = parse_location(address)
    if location.is_folder:
        raise StoreError(f"{address!r} names a folder; name one object: s3://BUCKET/KEY")
    return location


def revision(etag: str, version: str = "") -> str:
    """Return what tells an object's contents apart: its ETag, with the version when its bucket keeps versions."""
    etag = etag.strip('"')
    return f"{etag} {version}" if version not in ("", "null") else etag


def botocore_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables as botocore reads them: our aliases under its names, our defaults where nothing is set."""
    result = {**_DEFAULTS, **{name: value for name, value in environ.items() if value}}
    for alias, name in _ALIASES:
        if alias in result:
            result[name] = result[alias]
    endpoint = next((result[name] for name in _ENDPOINTS if name in result), "")
    return {**result, _ENDPOINTS[0]: endpoint} if endpoint else result


def addressing_style(environ: Mapping[str, str]) -> Optional[str]:
    """Return what S3_PATH_STYLE says; None leaves it to botocore: path for an endpoint of one's own, else virtual.

    Raises StoreError when it is neither true nor false.
    """
    given = environ.get("S3_PATH_STYLE", "")
    if not given:
        return None
    if given.lower() not in _TRUE + _FALSE:
        raise StoreError(f"S3_PATH_STYLE is {given!r}; allowed: true, false")
    return "path" if given.lower() in _TRUE else "virtual"


def signature_version(environ: Mapping[str, str]) -> Optional[str]:
    """Return what S3_SIGNATURE_VERSION says, None when it is not set. Raises StoreError for what it cannot be."""
    given = environ.get("S3_SIGNATURE_VERSION", "")
    if given and given not in SIGNATURES:
        raise StoreError(f"S3_SIGNATURE_VERSION is {given!r}; allowed: {', '.join(SIGNATURES)}")
    return given or None
