"""What an answer's status and headers say: a file, the rest of one, something to ask for again, a refusal."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Optional

from nuwrap_runtime.host.process import mask
from nuwrap_runtime.host.stores.http_address import Url
from nuwrap_runtime.host.stores.http_connections import Answer, Failed
from nuwrap_runtime.host.stores.http_network import Login

MAY_PASS: Final = (408, 425, 429)  # and every 5xx
TEXT_CHARACTERS: Final = 200
_TEXT_TYPES: Final = ("text/plain", "application/json", "application/problem+json", "application/xml", "text/xml")
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,512}"')  # RFC 9110, 8.8.3; what is no ASCII could not be sent back
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)
_ENCODED_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "gzip": (".gz", ".tgz"),
    "x-gzip": (".gz", ".tgz"),
    "zstd": (".zst", ".tzst"),
}


@dataclass(frozen=True)
class Rest:
    """What a 206 brings: the bytes from `begin` on; `total` is the whole file's size, None when it is not told."""

    begin: int
    total: Optional[int]


def strong_etag(headers: Mapping[str, str]) -> str:
    """Return the ETag with its quotes, "" for none and for a weak one: equal weak ones may differ in bytes."""
    etag = headers.get("etag", "").strip()
    return etag if _STRONG_ETAG.fullmatch(etag) else ""


def validator(headers: Mapping[str, str]) -> str:
    """Return what If-Range takes to go on with this very file, "" when nothing makes sure of it.

    A Last-Modified does when it is at least a second before Date: RFC 9110, 8.8.2.2.
    """
    if headers.get("accept-ranges", "").strip().lower() == "none":
        return ""
    etag, modified = strong_etag(headers), _moment(headers.get("last-modified", ""))
    if etag or modified is None:
        return etag
    now = _moment(headers.get("date", ""))
    return headers["last-modified"].strip() if now is not None and now - modified >= 1 else ""


def content_type(headers: Mapping[str, str]) -> str:
    """Return `text/html` and the like, in lower case, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def content_length(headers: Mapping[str, str]) -> Optional[int]:
    """Return the length of the body, None where it is not told before its end."""
    text = headers.get("content-length", "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) and "transfer-encoding" not in headers else None


def read_rest(headers: Mapping[str, str]) -> Optional[Rest]:
    """Return what a 206 says that it brings, None when it contradicts itself or has several parts."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if not found:
        return None
    begin, last, total = int(found.group(1)), int(found.group(2)), found.group(3)
    length = content_length(headers)
    is_whole = last >= begin and (length is None or length == last - begin + 1)
    return Rest(begin, None if total == "*" else int(total)) if is_whole else None


def foreign_encoding(answer: Answer) -> str:
    """Return the Content-Encoding that keeps the body from being the file, "" for none.

    Servers call a `.tar.gz` gzip-encoded, and send it as it is: that is the file.
    """
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    path = answer.url.text.partition("?")[0].lower()
    return "" if encoding in ("", "identity") or path.endswith(_ENCODED_FILES.get(encoding, ())) else encoding


def explain_status(answer: Answer, asked: Url, login: Login) -> Failed:
    """Return why the answer is no file: what the server says, and what to do about it."""
    said = f"{answer.url.server} answered {answer.status} {_phrase(answer, login)}".rstrip()
    text = _one_line(answer, login)
    reason = said + (f" ({text})" if text else "") + _advice(answer, asked, login)
    may_pass = answer.status in MAY_PASS or 500 <= answer.status < 600
    return Failed(reason, may_pass=may_pass, wait_s=_retry_after(answer.headers) if may_pass else None)


def _advice(answer: Answer, asked: Url, login: Login) -> str:
    if answer.status in (404, 410):
        return "; there is no such file, check the address"
    if answer.status == 407:
        return "; give the proxy USER:PASSWORD@ in its address"
    if answer.status in (401, 403):
        return f"; {_login_advice(answer, asked, login)}"
    return ""


def _login_advice(answer: Answer, asked: Url, login: Login) -> str:
    if answer.url.origin != asked.origin:
        return f"it was redirected from {asked.server}, and a login goes to no other server: ask for its own address"
    if login.problem:
        return login.problem
    if login.header:
        return f"the login for {asked.host} in the netrc file is not accepted"
    signed = "a signed link may have expired, else " if "?" in asked.text else ""
    return (
        f"{signed}if a login is needed, write `machine {asked.host} login USER password PASSWORD` into a netrc file "
        "($NETRC, else ~/.netrc)"
    )


def _phrase(answer: Answer, login: Login) -> str:
    """Return the server's own words for the status, else the usual ones."""
    if answer.reason:
        return _clean(answer.reason, answer.url, login)
    try:
        return HTTPStatus(answer.status).phrase
    except ValueError:
        return ""


def _one_line(answer: Answer, login: Login) -> str:
    """Return what has come by now of an error's text, "" for a page or anything else."""
    if content_type(answer.headers) not in _TEXT_TYPES or answer.headers.get("content-encoding"):
        return ""
    try:
        text = answer.read()[:4096].decode("utf-8", "replace")
    except Failed:
        return ""
    return _clean(re.sub(r"<\?xml[^>]*>", "", text), answer.url, login)


def _clean(text: str, url: Url, login: Login) -> str:
    """Return the text on one line, not long, without what the address or the login keeps secret."""
    text = mask(text, (*login.secrets, *url.query_values))
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return text if len(text) <= TEXT_CHARACTERS else f"{text[:TEXT_CHARACTERS]}…"


def _retry_after(headers: Mapping[str, str]) -> Optional[float]:
    """Return how many seconds the server asks to wait; it says that in seconds or as a moment."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    moment = _moment(text)
    return None if moment is None else max(0.0, moment - time.time())


def _moment(text: str) -> Optional[float]:
    """Return an HTTP date in seconds since 1970, None for none."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
