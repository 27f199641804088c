"""What a refusal of S3 means and what to do about it, in words. Knows codes and names of exceptions, no client."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.process import mask
from nuwrap_runtime.host.stores import StoreError
from nuwrap_runtime.host.stores.s3_settings import Location

MESSAGE_CHARACTERS = 300
SIGN_IN = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with AWS_SESSION_TOKEN when they came with one), AWS_PROFILE, or "
    "AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE"
)
_ENDPOINT = "AWS_ENDPOINT_URL_S3 (or S3_ENDPOINT_URL, AWS_ENDPOINT_URL)"
_NO_BUCKET = ("there is no bucket {bucket!r}", f"check its name, and the server's address: {_ENDPOINT}")
_NO_OBJECT = ("there is no such object", "check the key; it is taken literally, `%20` is no space")
_DENIED = ("these credentials may not do that", "ask for {permission} on it, or name others: " + SIGN_IN)
_EXPIRED = ("the credentials have expired", "get new ones; " + SIGN_IN)
_REGION = ("the bucket is in another region{region}", "set AWS_REGION{setting}")
_BUSY = ("the server is busy or broken, after several attempts", "try again later, or read fewer files at a time")
_CHANGED = ("it changed while it was read", "try again when nobody writes to it")
_PARSE = ("what answers is no S3 server", f"check the address: {_ENDPOINT}; it is the one of the API, not of a console")
_CLOSED = ("the connection was cut off, at each of several attempts", "check the network, proxies and the server's log")
_SLOW = ("the server did not answer in time", "check the network, proxies and the server's load")
_CONFIG = ("the configuration is not valid", "check the AWS_* variables and the profile's files")

_ABSENCES: Final = ("404", "NoSuchKey", "NotFound")

_CODES: Final[Mapping[str, tuple[str, str]]] = {
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": ("{bucket!r} can be no bucket's name", "check the address: s3://BUCKET/KEY"),
    **dict.fromkeys(_ABSENCES, _NO_OBJECT),
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": ("the session token is not valid", "check AWS_SESSION_TOKEN: it belongs to the two keys"),
    "InvalidIdentityToken": ("the web identity is not valid", "check the file AWS_WEB_IDENTITY_TOKEN_FILE"),
    "InvalidAccessKeyId": ("the server does not know the access key", "check AWS_ACCESS_KEY_ID and " + _ENDPOINT),
    "SignatureDoesNotMatch": (
        "the server computes another signature",
        "check AWS_SECRET_ACCESS_KEY, AWS_REGION, and S3_SIGNATURE_VERSION (s3v4, s3)",
    ),
    "RequestTimeTooSkewed": ("this machine's clock differs from the server's", "set the clock"),
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "PreconditionFailed": _CHANGED,
    "InvalidObjectState": ("the object is archived", "restore it first"),
    "EntityTooLarge": ("the server takes no file of this size", "write smaller files"),
    "QuotaExceeded": ("the store is full", "ask for more space"),
    "XMinioStorageFull": ("the store is full", "ask for more space"),
    "SlowDown": _BUSY,
    "InternalError": _BUSY,
    "ServiceUnavailable": _BUSY,
}
# A HEAD has no body, so its code is the status alone; some servers have codes of their own.
_STATUS: Final[Mapping[int, tuple[str, str]]] = {
    301: _REGION,
    307: _REGION,
    403: _DENIED,
    412: _CHANGED,
    500: _BUSY,
    502: _BUSY,
    503: _BUSY,
    504: _BUSY,
}
_OTHER = ("the server refuses it", "see what it says")
# botocore's and s3transfer's exceptions; the first name among a class and its bases counts.
_FAILURES: Final[Mapping[str, tuple[str, str]]] = {
    "ProxyConnectionError": ("the proxy does not answer", "check network.proxies, or HTTPS_PROXY and HTTP_PROXY"),
    "SSLError": ("the server's certificate is not trusted", "set network.ca (or AWS_CA_BUNDLE) to your CA's file"),
    "ConnectTimeoutError": _SLOW,
    "ReadTimeoutError": _SLOW,
    "EndpointConnectionError": ("the server cannot be reached", f"check its address: {_ENDPOINT}"),
    "ConnectionClosedError": _CLOSED,
    "IncompleteReadError": _CLOSED,
    "ResponseStreamingError": _CLOSED,
    "HTTPClientError": _CLOSED,
    "ResponseParserError": _PARSE,
    "S3DownloadFailedError": _CHANGED,
    "S3ValidationError": _CHANGED,
    "NoRegionError": ("no region is set", "set AWS_REGION"),
    "ParamValidationError": ("it can be no address", "allowed: s3://BUCKET/KEY, s3://BUCKET/PREFIX/"),
    "ProfileNotFound": ("the profile is not there", "check AWS_PROFILE, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE"),
    "PartialCredentialsError": ("half of the credentials is missing", SIGN_IN),
    "CredentialRetrievalError": ("the credentials cannot be had", SIGN_IN),
    "TokenRetrievalError": ("the credentials cannot be had", "sign in again, or " + SIGN_IN),
    "BotoCoreError": _CONFIG,
    "ValueError": _CONFIG,
}
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PERMISSIONS: Final = {
    "read": "s3:GetObject",
    "list": "s3:ListBucket",
    "write": "s3:PutObject",
    "remove": "s3:DeleteObject",
}


class Refused(StoreError):
    """The server answered, and what it said is no; `code` is S3's word for it, or the status as text."""

    def __init__(self, text: str, code: str, status: int) -> None:
        super().__init__(text)
        self.code, self.status = code, status

    @property
    def is_absence(self) -> bool:
        return self.code in _ABSENCES and self.status == 404


@dataclass(frozen=True)
class Asking:
    """Who asks which server: for messages. `secrets` are the values that no message may show."""

    endpoint: str
    is_signed: bool
    secrets: tuple[str, ...] = ()

    def refused(self, response: Mapping[str, Any], doing: str, location: object) -> Refused:
        """Return what to raise for an answer that is an error; `doing` is read, list, write, remove or another verb."""
        error, about = response.get("Error", {}), response.get("ResponseMetadata", {})
        code, status = str(error.get("Code", "")), int(about.get("HTTPStatusCode", 0))
        headers = about.get("HTTPHeaders", {})
        reason, advice = _CODES.get(code) or (_is_page(status, headers) and _PARSE) or _STATUS.get(status) or _OTHER
        if (reason, advice) == _DENIED and not self.is_signed:
            reason, advice = "it is not public, and no credentials were found", SIGN_IN
        region = headers.get("x-amz-bucket-region") or error.get("Region", "")
        words = {
            "bucket": location.bucket if isinstance(location, Location) else "",
            "permission": _PERMISSIONS.get(doing, "the role"),
            "region": f", {region}" if region else "",
            "setting": f"={region}" if region else " to it",
        }
        said = " ".join(dict.fromkeys([str(status), code, self._message(error)])).strip()
        text = f"cannot {doing} {location}: {reason.format(**words)} ({self._server} said {said}); "
        return Refused(text + advice.format(**words), code, status)

    def failed(self, exc: BaseException, doing: str, location: object) -> StoreError:
        """Return what to raise for an exception that is no answer: of the network, the configuration, the disk."""
        names = [kind.__name__ for kind in type(exc).__mro__]
        found = next((_FAILURES[name] for name in names if name in _FAILURES), None)
        if found is None and isinstance(exc, OSError):
            return _disk_failed(exc, location)
        reason, advice = found or _CLOSED
        detail = self._detail(exc, reason)
        where = "" if reason == _CONFIG[0] else f" ({self._server}{detail and ': '}{detail})"
        return StoreError(f"cannot {doing} {location}: {reason}{where or f': {detail}'}; {advice}")

    @property
    def _server(self) -> str:
        return shown(self.endpoint) or "S3"

    def _message(self, error: Mapping[str, Any]) -> str:
        message = " ".join(str(error.get("Message") or "").split())
        return mask(message, self.secrets)[:MESSAGE_CHARACTERS]

    def _detail(self, exc: BaseException, reason: str) -> str:
        roots = [cause for cause in _causes(exc) if isinstance(cause, OSError) and cause.strerror]
        if roots:
            return str(getattr(roots[-1], "verify_message", "") or roots[-1].strerror)
        if reason in (_CONFIG[0], _PARSE[0]) or "Error" not in type(exc).__name__:
            return mask(shown(" ".join(str(exc).split())), self.secrets)[:MESSAGE_CHARACTERS]
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(exc).__name__.replace("Error", "")).lower()


def _is_page(status: int, headers: Mapping[str, str]) -> bool:
    """Return whether a web page answered; botocore makes a 500 of one that came with 200."""
    return status in (404, 405, 500) and "html" in headers.get("content-type", "")


def _causes(exc: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    following: Any = exc
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        following = following.__cause__ or following.__context__


def _disk_failed(exc: OSError, location: object) -> StoreError:
    path = f" {exc.filename!r}" if exc.filename else ""
    if exc.errno in _FULL:
        return StoreError(f"cannot keep {location}: no space is left on the disk{path}; make room, or use another")
    return StoreError(f"cannot keep or read the local file{path} of {location}: {exc.strerror or exc}")
