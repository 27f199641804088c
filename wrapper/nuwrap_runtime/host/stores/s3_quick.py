"""Ask S3 what an object's or a folder's ETags are, without boto3. See `find_quickly`.

Only where variables alone say who asks and where: a profile, a role, a proxy, a gateway of AWS's many kinds is
boto3's to understand. A variable that is not known here is one of those.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from ssl import SSLContext, create_default_context
from typing import Final, Optional
from urllib.parse import unquote_plus

from nuwrap_runtime.host.stores import Access, Entry, StoreError
from nuwrap_runtime.host.stores.http_address import Url, parse_url
from nuwrap_runtime.host.stores.http_ask import BODY_BYTES, Told, ask
from nuwrap_runtime.host.stores.http_headers import HEADERS
from nuwrap_runtime.host.stores.http_network import find_proxy
from nuwrap_runtime.host.stores.s3_settings import (
    DEFAULT_REGION,
    SCHEME,
    Location,
    addressing_style,
    botocore_environment,
    parse_location,
    revision,
    signature_version,
)
from nuwrap_runtime.host.stores.s3_signing import Account, encoded_key, encoded_query, sign

_UNDERSTOOD: Final = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL", "S3_PATH_STYLE", "S3_SIGNATURE_VERSION"),
    *("AWS_CA_BUNDLE", "AWS_EC2_METADATA_DISABLED", "AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS"),
    *("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"),
}
_FILES: Final = (os.path.join(".aws", "config"), os.path.join(".aws", "credentials"))
_REGION: Final = re.compile(r"(?:af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-\d")  # those of amazonaws.com; others differ
_BUCKET: Final = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")  # what can be a part of a host's name
_DOTS: Final = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")  # what a server on the way may resolve


def find(address: str, known: str, access: Access) -> Optional[Sequence[Entry]]:
    """Return the object, or all below the folder, as the server tells; None when it tells nothing so easily.

    The object's revision is without its version when `known` is: a list tells none.
    """
    location = parse_location(address)
    server = _server(location, access)
    if server is None or _DOTS.search(location.key):
        return None
    told = None if location.is_folder else server.ask("HEAD", encoded_key(location.key))
    if told and told.status == 200 and "etag" in told.headers:
        etag, version = told.headers["etag"], told.headers.get("x-amz-version-id", "")
        return (Entry(address, revision=revision(etag, "" if known == revision(etag) else version)),)
    is_to_list = location.is_folder or (told is not None and told.status == 404)
    return _list(server, location, access.max_files) if is_to_list else None


@dataclass(frozen=True)
class _Server:
    """The bucket's address, who asks there and whom he trusts, and until when."""

    bucket: str
    account: Account
    trust: Optional[SSLContext]
    until: float

    def ask(self, method: str, key: str, query: Optional[Mapping[str, str]] = None) -> Optional[Told]:
        url = parse_url(self.bucket + (f"/{key}" if key else "") + (f"?{encoded_query(query)}" if query else ""))
        target = "/" + url.text.split("/", 3)[3]
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = sign(method, url.server, target, self.account, moment)
        most = BODY_BYTES if query else 0
        return ask(url, {**HEADERS, **headers}, self.trust, self.until, method=method, most=most)


def _server(location: Location, access: Access) -> Optional[_Server]:
    """Return what boto3 would ask too, None where that is for it to find out."""
    given = botocore_environment(access.environ)
    if any(name.startswith(("AWS_", "S3_")) and name not in _UNDERSTOOD for name in given) or _has_files(given):
        return None
    key, secret = given.get("AWS_ACCESS_KEY_ID", ""), given.get("AWS_SECRET_ACCESS_KEY", "")
    bucket = bucket_address(location.bucket, given)
    if not key or not secret or not bucket or signature_version(given) == "s3":
        return None
    url = parse_url(bucket)
    if find_proxy(url, access.network, access.environ):
        return None
    account = Account(key, secret, given.get("AWS_SESSION_TOKEN", ""), _region(given))
    return _Server(bucket, account, _trust(url, given, access), access.deadline)


def _has_files(environ: Mapping[str, str]) -> bool:
    home = environ.get("HOME", "")
    return not home or any(os.path.exists(os.path.join(home, name)) for name in _FILES)


def bucket_address(bucket: str, given: Mapping[str, str]) -> str:
    """Return where boto3 asks for the bucket, "" where that is more than these two ways to say it.

    `given` are the variables as botocore reads them.
    """
    endpoint = given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL", "")
    style = addressing_style(given)
    if not re.fullmatch(r"[a-z0-9.-]{3,63}", bucket):
        return ""
    if endpoint:
        is_plain = re.fullmatch(r"https?://[^/?#@]+/?", endpoint)
        return f"{endpoint.rstrip('/')}/{bucket}" if is_plain and style != "virtual" else ""
    region = _region(given)
    is_usual = _REGION.fullmatch(region) and _BUCKET.fullmatch(bucket) and style != "path"
    return f"https://{bucket}.s3.{region}.amazonaws.com" if is_usual else ""


def _region(given: Mapping[str, str]) -> str:
    return given.get("AWS_DEFAULT_REGION", DEFAULT_REGION)


def _trust(url: Url, given: Mapping[str, str], access: Access) -> Optional[SSLContext]:
    """Return a context that trusts whom botocore trusts: its own list, unless a CA is named."""
    if url.scheme != "https":
        return None
    named = access.network.ca or given.get("AWS_CA_BUNDLE", "")
    spec = find_spec("botocore")
    own = os.path.join(os.path.dirname(spec.origin), "cacert.pem") if spec and spec.origin else ""
    try:
        return create_default_context(cafile=named or own)
    except OSError as exc:
        raise StoreError(f"the CA bundle {named or own!r} cannot be read: {exc.strerror}") from exc


def _list(server: _Server, location: Location, most: int) -> Optional[Sequence[Entry]]:
    """Return what is below the folder; None when that is nothing, or more than the server tells at once."""
    prefix = location.key if location.is_folder else location.key + "/"
    told = server.ask("GET", "", {"list-type": "2", "prefix": prefix, "encoding-type": "url"})
    found = _items(told.body) if told and told.status == 200 else ()
    if not found or len(found) > most or not all(key.startswith(prefix) for key, _, _ in found):
        return None
    folder = f"{SCHEME}{location.bucket}/"
    files = [(key, etag) for key, size, etag in found if size != "0" or not key.endswith("/")]
    return [Entry(folder + key, key[len(prefix) :], revision=revision(etag)) for key, etag in files] or None


def _items(document: bytes) -> Sequence[tuple[str, str, str]]:
    """Return key, size and ETag of each object in a list; nothing of a list that goes on, or is none."""
    from xml.etree import ElementTree  # for folders alone

    try:
        root = ElementTree.fromstring(document)  # noqa: S314 - botocore reads the same answer by the same parser
    except ElementTree.ParseError:
        return ()
    if root.findtext("{*}IsTruncated") != "false":
        return ()
    decode = unquote_plus if root.findtext("{*}EncodingType") == "url" else str
    fields = ("Key", "Size", "ETag")
    items = [[item.findtext(f"{{*}}{name}", "") for name in fields] for item in root.iterfind("{*}Contents")]
    return [(decode(key), size, etag) for key, size, etag in items]
