"""What the headers of an http answer say of a file, and what we say in a request's. Knows no connection."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Optional

from nuwrap_runtime import __version__

HEADERS: Final = {"User-Agent": f"nuwrap/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
ETAG: Final = "etag:"  # so begins the revision of a file that has a strong one
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,512}"')  # RFC 9110, 8.8.3; what is no ASCII could not be sent back
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)


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


def known_etag(revision: str) -> str:
    """Return the strong ETag that a revision of ours holds, "" for another."""
    return strong_etag({"etag": revision[len(ETAG) :]}) if revision.startswith(ETAG) else ""


def retry_after(headers: Mapping[str, str]) -> Optional[float]:
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
