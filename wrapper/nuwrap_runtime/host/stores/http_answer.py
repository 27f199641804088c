"""What an answer that brings no file means: something to ask for again, a refusal and its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from nuwrap_runtime.host.process import mask
from nuwrap_runtime.host.stores.http_address import Url
from nuwrap_runtime.host.stores.http_connections import Answer, Failed
from nuwrap_runtime.host.stores.http_headers import content_type, retry_after
from nuwrap_runtime.host.stores.http_network import Login

MAY_PASS: Final = (408, 425, 429)  # and every 5xx
TEXT_CHARACTERS: Final = 200
_TEXT_TYPES: Final = ("text/plain", "application/json", "application/problem+json", "application/xml", "text/xml")
_ENCODED_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "gzip": (".gz", ".tgz"),
    "x-gzip": (".gz", ".tgz"),
    "zstd": (".zst", ".tzst"),
}


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
    return Failed(reason, may_pass=may_pass, wait_s=retry_after(answer.headers) if may_pass else None)


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
