"""Answer a registry's challenge: the value of `Authorization` that its caller may send.

The protocol is that of distribution/distribution (docs/content/spec/auth: token.md, oauth.md).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from nuwrap.errors import RegistryError
from nuwrap.registry.challenge import Challenge, say_errors
from nuwrap.registry.credentials import Credentials
from nuwrap.registry.endpoints import Endpoint

if TYPE_CHECKING:
    from nuwrap.registry.client import Answer, Client

TOKEN_BYTES: Final = 1024 * 1024


def authorize(
    client: Client, endpoint: Endpoint, challenge: Challenge, credentials: Credentials, scopes: Sequence[str]
) -> str:
    """Return the header's value; a bearer's token is got where the challenge says.

    Raises RegistryError: `auth` when there are no credentials that do, `protocol` for a challenge of another kind.
    """
    if challenge.scheme == "basic":
        if not credentials.user:
            raise refuse(endpoint, credentials, "asks for user and password")
        return _basic(credentials)
    if challenge.scheme != "bearer":
        raise RegistryError(
            f"registry {endpoint.registry} asks for {challenge.scheme!r} log-in; Basic and Bearer are what can be met",
            "protocol",
        )
    realm = challenge.parameters.get("realm", "")
    _check_realm(endpoint, realm)
    return f"Bearer {_fetch_token(client, endpoint, challenge, credentials, scopes)}"


def refuse(endpoint: Endpoint, credentials: Credentials, what: str) -> RegistryError:
    """Return the error for a registry that does not let us in: what it did, the credentials used, what helps."""
    said = f"registry {endpoint.registry} {what} for {endpoint.repository!r}"
    if credentials.is_anonymous and not credentials.looked:
        return RegistryError(f"{said} and asks for no log-in", "auth")
    used = f"the credentials used are from {credentials.source}"
    if credentials.is_anonymous:
        used = f"no credentials were found ({credentials.looked})"
    return RegistryError(f"{said}; {used}; `{credentials.login}` writes new ones", "auth")


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.user}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _check_realm(endpoint: Endpoint, realm: str) -> None:
    """Raise for a place that tokens cannot be got from, or that would get the credentials without TLS."""
    parts = urlsplit(realm)
    may_be_plain = "http" in endpoint.schemes
    if parts.scheme not in ("https", "http") or not parts.netloc or (parts.scheme == "http" and not may_be_plain):
        raise RegistryError(
            f"registry {endpoint.registry} sends its callers to {realm[:200]!r} for a token, which is no https address",
            "protocol",
        )


def _fetch_token(
    client: Client, endpoint: Endpoint, challenge: Challenge, credentials: Credentials, scopes: Sequence[str]
) -> str:
    realm, service = challenge.parameters["realm"], challenge.parameters.get("service", "")
    if credentials.identity_token:
        form = {
            "grant_type": "refresh_token", "service": service, "client_id": "nuwrap", "scope": " ".join(scopes),
            "refresh_token": credentials.identity_token,
        }  # fmt: skip
        answer = client.send("POST", realm, form=form, most_bytes=TOKEN_BYTES)
    else:
        query = urlencode([*([("service", service)] if service else []), *(("scope", one) for one in scopes)])
        headers = {"Authorization": _basic(credentials)} if credentials.user else {}
        joined = f"{realm}{'&' if urlsplit(realm).query else '?'}{query}"
        answer = client.send("GET", joined, headers=headers, most_bytes=TOKEN_BYTES)
    return _read_token(answer, endpoint, credentials)


def _read_token(answer: Answer, endpoint: Endpoint, credentials: Credentials) -> str:
    place = urlsplit(answer.url).netloc
    if answer.status in (400, 401, 403):  # 400 is OAuth's invalid_grant
        said = say_errors(answer.body)
        raise refuse(endpoint, credentials, f"gives no token at {place} (status {answer.status}{said and ': '}{said})")
    if answer.status != 200:
        raise RegistryError(
            f"registry {endpoint.registry} gives no token at {place}: status {answer.status}",
            "network" if answer.status >= 429 else "protocol",
        )
    try:
        document = json.loads(answer.body)
        token = document.get("token") or document["access_token"]
    except (ValueError, KeyError, AttributeError, RecursionError):
        token = None
    if not isinstance(token, str) or not token.isprintable() or not token.isascii():
        raise RegistryError(f"registry {endpoint.registry} answers at {place} without a token", "protocol")
    return token
