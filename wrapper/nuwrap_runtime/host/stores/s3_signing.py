"""Sign one request to S3 without a body, as AWS describes it: "Authenticating Requests: AWS Signature Version 4".

For questions that are asked before boto3 is loaded; a test holds it to botocore's own signatures.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

ALGORITHM: Final = "AWS4-HMAC-SHA256"
NO_BODY: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Account:
    """Who asks, and the region that the signature is for; `token` is that of a session, "" for none."""

    key: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    region: str


def encoded_key(key: str) -> str:
    """Return an object's key as an address has it."""
    return quote(key, safe="/~")


def encoded_query(query: Mapping[str, str]) -> str:
    """Return the query in the one form that can be signed."""
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def sign(method: str, host: str, target: str, account: Account, moment: str) -> dict[str, str]:
    """Return the headers that sign a request, Host left out; `target` is encoded, `moment` is as 20260131T235959Z."""
    headers = {"host": host, "x-amz-content-sha256": NO_BODY, "x-amz-date": moment}
    if account.token:
        headers["x-amz-security-token"] = account.token
    path, _, query = target.partition("?")
    names = ";".join(headers)  # they stand in the alphabet's order
    lines = [f"{name}:{value.strip()}" for name, value in headers.items()]
    request = "\n".join([method, path, query, *lines, "", names, NO_BODY])
    scope = f"{moment[:8]}/{account.region}/s3/aws4_request"
    text = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    signature = hmac.new(_signing_key(account, moment[:8]), text.encode(), hashlib.sha256).hexdigest()
    signed = f"{ALGORITHM} Credential={account.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**{name: value for name, value in headers.items() if name != "host"}, "authorization": signed}


def _signing_key(account: Account, day: str) -> bytes:
    found = f"AWS4{account.secret}".encode()
    for part in (day, account.region, "s3", "aws4_request"):
        found = hmac.new(found, part.encode(), hashlib.sha256).digest()
    return found
