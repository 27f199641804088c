"""HTTP to the API server: log-in, TLS, proxies, retries of what may be asked twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import urllib3

from nuwrap.cluster.connecting import Where
from nuwrap.cluster.errors import ClusterError, refusal

CONNECT_S, READ_S = 5.0, 60.0
ANSWER_BYTES: Final = 64 * 1024 * 1024
ERROR_BYTES: Final = 256 * 1024
RETRIES: Final = 4
RETRY_STATUS: Final = frozenset({429, 500, 502, 503, 504})
PAUSE_S: Final = 0.25


class Transport:
    """Requests to one API server; threads may share it."""

    def __init__(self, configuration: Any, where: Where) -> None:
        self._configuration = configuration
        self.where = where
        self._pool = _make_pool(configuration)

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
                with self._send(method, path, query, body, content_type, READ_S) as answer:
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
            with self._send("GET", path, query, None, "", read_s) as answer:
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
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content_type: str, read_s: float
    ) -> Iterator[Any]:
        headers = {"Accept": "application/json", **self.login()}
        if body is not None:
            headers["Content-Type"] = content_type
        answer = self._pool.request(
            method,
            self.where.server.rstrip("/") + path + (f"?{_encode(query)}" if query else ""),
            headers=headers,
            body=None if body is None else json.dumps(body).encode(),
            timeout=urllib3.Timeout(connect=CONNECT_S, read=read_s),
            preload_content=False,
            retries=False,
            redirect=False,
        )
        try:
            yield answer
        finally:
            with suppress(Exception):  # another thread may be reading: that alone ends its wait
                answer.shutdown()
            with suppress(Exception):
                answer.close()
            answer.release_conn()

    def login(self) -> dict[str, str]:
        """Return the headers that say who asks, refreshed where they have run out. Raises ClusterError."""
        try:
            found = self._configuration.auth_settings()
        except Exception as exc:  # an exec plugin that is not there, a log-in that cannot be refreshed
            raise ClusterError(f"the kubeconfig's log-in for {self.where.server} cannot be had: {exc}") from exc
        return {one["key"]: one["value"] for one in found.values() if one.get("in") == "header" and one.get("value")}

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


def _encode(query: Mapping[str, str]) -> str:
    return urlencode(query)


def uses_proxy(configuration: Any) -> bool:
    """Tell whether the server is reached by the configuration's proxy."""
    if not configuration.proxy:
        return False
    host = urlsplit(configuration.host).hostname or ""
    listed = str(getattr(configuration, "no_proxy", "") or "").split(",")
    suffixes = [one.strip().lstrip("*.").lower() for one in listed if one.strip()]
    return not any(host == one or host.endswith(f".{one}") for one in suffixes)


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
