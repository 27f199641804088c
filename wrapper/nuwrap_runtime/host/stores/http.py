"""Files of http and https servers: conditional, resumed, redirected with care, within the deadline."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Optional

from nuwrap_runtime.host.stores import Access, Entry, StoreError
from nuwrap_runtime.host.stores.http_address import Url, parse_redirect, parse_url
from nuwrap_runtime.host.stores.http_answer import explain_status, foreign_encoding
from nuwrap_runtime.host.stores.http_connections import BLOCK_BYTES, Answer, Connections, Failed, Late
from nuwrap_runtime.host.stores.http_headers import (
    ETAG,
    HEADERS,
    content_length,
    content_type,
    known_etag,
    read_rest,
    strong_etag,
    validator,
)
from nuwrap_runtime.host.stores.http_network import find_login
from nuwrap_runtime.host.stores.http_part import Part

ATTEMPTS: Final = 5  # in a row that bring less than a block
BACK_OFF_SECONDS: Final = 0.4  # before the second attempt; doubled before each further one
LONGEST_WAIT_SECONDS: Final = 300.0  # of a Retry-After; who asks for more is told to come again
REDIRECTS: Final = 10
REDIRECT_STATUSES: Final = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class HttpEntry(Entry):
    """A file that was downloaded. `content_type` is the server's word, `text/html` and the like, or "".

    `revision` is `etag:"…"`, the strong ETag with its quotes, or "" without one. `is_redirected` tells that another
    address than the one that was asked has it.
    """

    content_type: str = ""
    is_redirected: bool = False


def open_store(access: Access) -> HttpStore:
    """Return the store for http and https; its connections are shared by all who use it."""
    return HttpStore(access)


class HttpStore:
    """Files at http addresses. What is behind `#` is none of the server's business and is left out."""

    def __init__(self, access: Access) -> None:
        self._access, self._connections = access, Connections(access)

    def find(self, address: str) -> Sequence[Entry]:
        """Return the file at the address, without asking: that is cheaper together with the download."""
        parse_url(address)
        return (Entry(address.partition("#")[0]),)

    def download(self, entry: Entry, target: str, *, known: str = "") -> Optional[HttpEntry]:
        """Write the file to `target`; None when the server's ETag is still the one of the revision `known`."""
        url = parse_url(entry.address)
        try:
            with Part(target, self._access.progress) as part:
                return _Download(self._access, self._connections, entry, url, part).run(known)
        except StoreError as exc:
            raise StoreError(f"{url.shown!r}: {exc}") from exc


class _Download:
    """One file on its way, over as many attempts as it takes."""

    def __init__(self, access: Access, connections: Connections, entry: Entry, url: Url, part: Part) -> None:
        self._access, self._connections, self._part = access, connections, part
        self._entry, self._url = entry, url
        self._login = find_login(url.host, access.environ)
        self._known = self._validator = ""
        self._total: Optional[int] = None

    def run(self, known: str) -> Optional[HttpEntry]:
        """Return what was written to the part's target, None when it still is the known one."""
        self._known = known_etag(known)
        failures, most = 0, 0
        while True:
            try:
                return self._attempt()
            except Late:
                raise StoreError(self._late()) from None
            except Failed as exc:
                has_moved = self._part.size >= most + BLOCK_BYTES
                failures, most = 1 if has_moved else failures + 1, max(most, self._part.size)
                self._wait(exc, failures)

    def _attempt(self) -> Optional[HttpEntry]:
        with closing(self._follow()) as answer:
            if answer.status == 304 and self._known and not self._part.size:
                return None
            if answer.status == 200 and self._known and strong_etag(answer.headers) == self._known:
                return None  # a server that knows no conditions
            self._begin(answer)
            while True:
                block = answer.read()
                if not block:
                    return self._end(answer)
                self._part.write(block)

    def _follow(self) -> Answer:
        """Return the first answer that is no redirect. The login goes to the server that was asked for, to no other."""
        seen = [self._url]
        while True:
            answer = self._connections.ask(seen[-1], self._headers(seen[-1]))
            if answer.status not in REDIRECT_STATUSES:
                return answer
            answer.close()
            target = self._redirect(answer)
            if target in seen:
                circle = " → ".join(one.shown for one in (*seen[seen.index(target) :], target))
                raise StoreError(f"it is redirected in a circle: {circle}")
            if len(seen) > REDIRECTS:
                raise StoreError(f"it is redirected more than {REDIRECTS} times, at last to {target.shown!r}")
            seen.append(target)

    def _redirect(self, answer: Answer) -> Url:
        location = answer.headers.get("location", "").strip()
        if not location:
            raise StoreError(f"{answer.url.server} answered {answer.status}, a redirect, without saying where to")
        try:
            return parse_redirect(answer.url, location)
        except ValueError as exc:
            raise StoreError(str(exc)) from exc

    def _headers(self, url: Url) -> dict[str, str]:
        headers = dict(HEADERS)
        if self._login.header and url.origin == self._url.origin:
            headers["Authorization"] = self._login.header
        if self._part.size:
            headers.update({"Range": f"bytes={self._part.size}-", "If-Range": self._validator})
        elif self._known:
            headers["If-None-Match"] = self._known
        return headers

    def _begin(self, answer: Answer) -> None:
        """Make the part ready for the answer's body. Raises Failed, StoreError for an answer that is no file."""
        if answer.status not in (200, 206) or (answer.status == 206 and not self._part.size):
            raise self._refuse(answer)
        encoding = foreign_encoding(answer)
        if encoding:
            raise StoreError(
                f"{answer.url.server} sent it encoded as {re.sub('[^ -~]', '?', encoding)!r}, though the file itself "
                "was asked for; switch that off there, or take another address"
            )
        if answer.status == 206:
            self._go_on(answer)
        else:
            self._part.restart()
            self._validator, self._total = validator(answer.headers), content_length(answer.headers)
        if self._total is not None:
            self._part.expect(self._total)

    def _go_on(self, answer: Answer) -> None:
        """See that the answer brings the rest of the same file."""
        rest, etag = read_rest(answer.headers), strong_etag(answer.headers)
        is_same = not etag or not self._validator.startswith('"') or etag == self._validator
        is_as_long = rest is not None and (self._total is None or rest.total in (None, self._total))
        if rest is None or rest.begin != self._part.size or not is_same or not is_as_long:
            self._anew()
            raise Failed(f"{answer.url.server} sent another part than the missing one", may_pass=True)
        self._total = rest.total if self._total is None else self._total

    def _end(self, answer: Answer) -> HttpEntry:
        """See that all has come, and make it the target."""
        size, total = self._part.size, self._total
        if total is not None and size > total:
            self._anew()
            raise Failed(f"{answer.url.server} sent more than the {total} bytes that it announced", may_pass=True)
        if total is not None and size < total:
            raise Failed(f"the answer ended after {size} of {total} bytes", may_pass=True)
        self._part.finish()
        etag = strong_etag(answer.headers) or (self._validator if self._validator.startswith('"') else "")
        revision = f"{ETAG}{etag}" if etag else ""
        is_redirected = answer.url != self._url
        name, media_type = self._entry.name, content_type(answer.headers)
        return HttpEntry(self._entry.address, name, size, revision, media_type, is_redirected)

    def _refuse(self, answer: Answer) -> Failed:
        if answer.status == 416 and self._part.size:
            self._anew()
            return Failed(f"{answer.url.server} has no rest of the file", may_pass=True)
        return explain_status(answer, self._url, self._login)

    def _anew(self) -> None:
        self._part.restart()
        self._validator, self._total = "", None

    def _wait(self, failure: Failed, failures: int) -> None:
        """Sleep until the next attempt, which goes on where this one ended if that is safe. Raises StoreError."""
        size, total = self._part.size, self._total
        cut = f" after {size} bytes" + ("" if total is None else f" of {total}") if size else ""
        if not failure.may_pass:
            raise StoreError(f"{failure}") from failure
        if failures >= ATTEMPTS:
            raise StoreError(f"{failure}{cut}, {ATTEMPTS} times in a row") from failure
        if not self._validator:
            self._anew()
        wait_s = failure.wait_s
        if wait_s is None:
            wait_s = BACK_OFF_SECONDS * 2 ** (failures - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        elif wait_s > LONGEST_WAIT_SECONDS:
            raise StoreError(f"{failure}, and asks to come again in {wait_s:g} s") from failure
        if time.monotonic() + wait_s >= self._access.deadline:
            raise StoreError(
                f"{failure}{cut}, and {self._access.deadline_key} ends before another attempt"
            ) from failure
        self._sleep(wait_s)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._access.progress.add(0)  # raises when another transfer has failed
            time.sleep(max(0.0, min(0.25, until - time.monotonic())))

    def _late(self) -> str:
        size, total = self._part.size, self._total
        done = f"{size} of {total} bytes had come" if total is not None else f"{size} bytes had come"
        return f"it took longer than {self._access.deadline_key} allows; {done}"
