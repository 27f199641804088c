"""The log-in to one API server: had again from where it came from when the server does not take it any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from nuwrap.cluster.connecting import Access, Where
from nuwrap.cluster.errors import ClusterError, refusal
from nuwrap.errors import PlatformError

FIRST_PAUSE_S, MOST_PAUSE_S = 1.0, 30.0  # between two looks for another log-in, which may start a person's browser
UNKNOWN: Final = 401
Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Session:
    """A log-in as it was read once. Those of the same `proof` are one."""

    access: Access
    proof: tuple[Headers, bytes] = field(repr=False)

    def headers(self) -> Headers:
        """Return the headers that say who asks, refreshed where they have run out. Raises ClusterError."""
        return _headers(self.access)


class Login:
    """Threads may share it: whoever is refused first looks for another log-in, for all of them.

    While there is none nothing is asked at the server but once in a while, and `is_out` is true.
    """

    def __init__(self, access: Access, again: Callable[[], Access]) -> None:
        self._again = again
        self._session = _begin(access)
        self._lock = threading.Lock()
        self._pause_s = self._next_look = 0.0
        self.is_out = False

    @property
    def where(self) -> Where:
        """The cluster, and who asks."""
        return self._session.access.where

    def session(self, what: str) -> Session:
        """Return the log-in to ask with. Raises ClusterError while there is none, and it is too early to ask again."""
        if self.is_out and time.monotonic() < self._next_look:
            raise refusal(what, UNKNOWN, b"", server=self.where.server, user=self.where.user)
        return self._session

    def renew(self, refused: Session) -> bool:
        """Tell whether there is another log-in than the refused one, read anew."""
        with self._lock:
            if self._session is not refused:
                return True
            now = time.monotonic()
            if now < self._next_look:
                return False
            self._pause_s = min(2 * self._pause_s or FIRST_PAUSE_S, MOST_PAUSE_S)
            try:
                found = _begin(self._again())
            except PlatformError:  # who logs in just now is writing it
                found = refused
            self._next_look = time.monotonic() + self._pause_s
            # A context that leads elsewhere by now is another cluster's: neither may hear the other's log-in.
            if found.access.where.server != refused.access.where.server or found.proof == refused.proof:
                return False
            self._session = found
            return True

    def note(self, status: int) -> None:
        """Take into account what the server has answered."""
        self.is_out = status == UNKNOWN
        if not self.is_out:
            self._pause_s = self._next_look = 0.0


def _begin(access: Access) -> Session:
    return Session(access, (_headers(access), _certificate(access.configuration)))


def _headers(access: Access) -> Headers:
    where = access.where
    try:
        found = access.configuration.auth_settings()
    except Exception as exc:  # an exec plugin that is not there, a log-in that cannot be refreshed
        text = f"the kubeconfig's log-in for {where.server} cannot be had: {exc}"
        raise ClusterError(text, status=UNKNOWN) from exc
    own = [(one["key"], one["value"].strip()) for one in found.values() if one.get("in") == "header" and one["value"]]
    return [*own, *access.impersonation]


def _certificate(configuration: Any) -> bytes:
    if not configuration.cert_file:
        return b""
    try:
        with open(configuration.cert_file, "rb") as file:
            return file.read()
    except OSError as exc:
        raise ClusterError(f"the kubeconfig's client certificate cannot be read: {exc.strerror}") from exc


def uses_proxy(configuration: Any) -> bool:
    """Tell whether the server is reached by the configuration's proxy."""
    if not configuration.proxy:
        return False
    host = urlsplit(configuration.host).hostname or ""
    listed = str(getattr(configuration, "no_proxy", "") or "").split(",")
    suffixes = [one.strip().lstrip("*.").lower() for one in listed if one.strip()]
    return not any(host == one or host.endswith(f".{one}") for one in suffixes)
