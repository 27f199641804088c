"""HTTP to the API server: retries of what may be asked twice, and once more with another log-in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlencode

import urllib3

from nuwrap.cluster.connecting import Where
from nuwrap.cluster.errors import ClusterError, refusal
from nuwrap.cluster.login import UNKNOWN, Login, Session, uses_proxy

CONNECT_S, READ_S = 5.0, 60.0
ANSWER_BYTES: Final = 64 * 1024 * 1024
ERROR_BYTES: Final = 256 * 1024
RETRIES: Final = 4
RETRY_STATUS: Final = frozenset({429, 500, 502, 503, 504})
PAUSE_S: Final = 0.25


class Transport:
    """Requests to one API server; threads may share it."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self._opened: tuple[Session | None, Any] = (None, None)

    @property
    def where(self) -> Where:
        """The cluster, and who asks."""
        return self.login.where

    def ask(
        self,
        method: str,
        path: str,
        *,
        what: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """Return the answer's document. Raises ClusterError."""
        may_repeat = method == "GET" or body is None
        for attempt in range(RETRIES + 1):
            is_last = attempt == RETRIES or not may_repeat
            try:
                with self._send(method, path, query, body, content_type, READ_S, what=what) as answer:
                    data = answer.read(ANSWER_BYTES + 1)
                    status, wait = answer.status, answer.headers.get("Retry-After", "")
            except urllib3.exceptions.HTTPError as exc:
                if is_last:
                    raise self._unreachable(what, exc) from exc
                time.sleep(PAUSE_S * 2**attempt)
                continue
            if status in RETRY_STATUS and (not is_last or status == 429) and attempt < RETRIES:
                time.sleep(min(float(wait), 10.0) if wait.isdecimal() else PAUSE_S * 2**attempt)
                continue
            return self._document(what, status, data)
        raise AssertionError  # every way out of the loop is above

    @contextmanager
    def stream(self, path: str, *, what: str, query: Mapping[str, str], read_s: float) -> Iterator[Iterator[bytes]]:
        """Give the answer's pieces as they come; leaving the body ends the connection. Raises ClusterError."""
        try:
            with self._send("GET", path, query, None, "", read_s, what=what) as answer:
                if answer.status != 200:
                    data = answer.read(ERROR_BYTES)
                    raise refusal(what, answer.status, data, server=self.where.server, user=self.where.user)
                yield self._pieces(answer, what)
        except urllib3.exceptions.HTTPError as exc:
            raise self._unreachable(what, exc) from exc

    def _pieces(self, answer: Any, what: str) -> Iterator[bytes]:
        try:
            while piece := answer.read1(65536):
                yield piece
        except urllib3.exceptions.HTTPError as exc:
            raise self._unreachable(what, exc) from exc

    @contextmanager
    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        content_type: str,
        read_s: float,
        *,
        what: str,
    ) -> Iterator[Any]:
        """Give the answer; what is refused for its log-in was not done, and is asked again with another one."""

        def request(session: Session) -> Any:
            return self._pool(session).request(
                method,
                self.where.server.rstrip("/") + path + (f"?{urlencode(query)}" if query else ""),
                headers=_headers(session, content_type if body is not None else ""),
                body=None if body is None else json.dumps(body).encode(),
                timeout=urllib3.Timeout(connect=CONNECT_S, read=read_s),
                preload_content=False,
                retries=False,
                redirect=False,
            )

        session = self.login.session(what)
        answer = request(session)
        if answer.status == UNKNOWN and self.login.renew(session):
            _leave(answer)
            answer = request(self.login.session(what))
        self.login.note(answer.status)
        try:
            yield answer
        finally:
            _leave(answer)

    def _pool(self, session: Session) -> Any:
        """Return the connections of the log-in: those that another has opened are another's."""
        if self._opened[0] is not session:
            self._opened = (session, _make_pool(session.access.configuration))
        return self._opened[1]

    def _document(self, what: str, status: int, data: bytes) -> dict[str, Any]:
        if status >= 400:
            server, user = self.where.server, self.where.user
            raise refusal(what, status, data[:ERROR_BYTES], server=server, user=user)
        if len(data) > ANSWER_BYTES:
            raise ClusterError(f"cannot {what}: the answer has more than {ANSWER_BYTES} bytes", status=status)
        try:
            found = json.loads(data) if data else {}
        except (ValueError, RecursionError) as exc:
            text = f"{self.where.server} does not answer as an API server: {exc}"
            raise ClusterError(f"cannot {what}: {text}", status=status) from exc
        if not isinstance(found, dict):
            raise ClusterError(f"cannot {what}: {self.where.server} does not answer as an API server", status=status)
        return found

    def _unreachable(self, what: str, exc: BaseException) -> ClusterError:
        reason = getattr(exc, "reason", None) or exc
        return ClusterError(
            f"cannot {what}: {self.where.server} (context {self.where.context!r}) cannot be reached: {reason}"
        )


def _headers(session: Session, content_type: str) -> urllib3.HTTPHeaderDict:
    made = urllib3.HTTPHeaderDict({"Accept": "application/json"})
    if content_type:
        made["Content-Type"] = content_type
    for name, value in session.headers():
        made.add(name, value.encode().decode("latin-1"))  # which is how the client writes it: names have any letters
    return made


def _leave(answer: Any) -> None:
    with suppress(Exception):  # another thread may be reading: that alone ends its wait
        answer.shutdown()
    with suppress(Exception):
        answer.close()
    answer.release_conn()


def _make_pool(configuration: Any) -> Any:
    tls: dict[str, Any] = {
        "cert_reqs": "CERT_REQUIRED" if configuration.verify_ssl else "CERT_NONE",
        "ca_certs": configuration.ssl_ca_cert,
        "cert_file": configuration.cert_file,
        "key_file": configuration.key_file,
    }
    if getattr(configuration, "tls_server_name", None):
        tls["server_hostname"] = configuration.tls_server_name
    if configuration.assert_hostname is not None:
        tls["assert_hostname"] = configuration.assert_hostname
    if uses_proxy(configuration):
        headers = configuration.proxy_headers
        return urllib3.ProxyManager(configuration.proxy, proxy_headers=headers, maxsize=8, **tls)
    return urllib3.PoolManager(maxsize=8, **tls)
