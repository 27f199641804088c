"""Speak HTTP to a registry. With `sdk/invoke.py` the toolkit's user of requests; knows nothing of images.

Bounded in time and size. Redirects are followed by hand: what lies behind one gets neither credentials nor the
client's certificate.
"""

from __future__ import annotations

import ssl
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

import requests
from requests.adapters import HTTPAdapter

from nuwrap.errors import RegistryError
from nuwrap.registry.endpoints import Endpoint, find_setting, is_loopback
from nuwrap.spec.build import RegistryAccess

TIMEOUT: Final = (10.0, 30.0)  # to connect, and between two bytes of the answer
ANSWER_SECONDS: Final = 60  # for an answer that is kept in memory
ATTEMPTS: Final = 3
PAUSE_SECONDS: Final = 0.5  # before the second attempt, doubled before the third
REDIRECTS: Final = 5
READ_BYTES: Final = 64 * 1024
SAFE_METHODS: Final = ("GET", "HEAD")
PASSING_STATUSES: Final = (500, 502, 503, 504)
BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Answer:
    """What a registry has answered; `headers` by small letters, `url` is where the answer came from."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class _Adapter(HTTPAdapter):
    """Connections that trust what the context trusts."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more, ssl_context=self._context)


class Client:
    """Connections to one registry and to what it sends its callers to, until `close`."""

    def __init__(self, endpoint: Endpoint, access: RegistryAccess, environ: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._environ = environ
        self._session = requests.Session()
        self._session.trust_env = False  # nothing of ~/.netrc; proxies and bundles are those of `environ`
        self._session.headers.update({"User-Agent": "nuwrap", "Accept-Encoding": "identity"})
        self._authority = access.certificates.get(find_setting(list(access.certificates), endpoint.registry), "")
        self._certificate = access.client_certificates.get(
            find_setting(list(access.client_certificates), endpoint.registry)
        )
        self._is_mounted = False

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        most_bytes: int,
    ) -> Answer:
        """Return what is answered, be it an error. Raises RegistryError for no answer, or one above the bound."""
        with self._open(method, url, headers=headers, form=form) as response:
            body, deadline = bytearray(), time.monotonic() + ANSWER_SECONDS
            for piece in response.iter_content(READ_BYTES):
                body += piece
                if len(body) > most_bytes:
                    raise self._fault(f"its answer has more than {most_bytes} bytes", response.url, "protocol")
                if time.monotonic() > deadline:
                    raise self._fault(f"its answer takes more than {ANSWER_SECONDS} seconds", response.url)
            return Answer(response.status_code, _lower(response.headers), bytes(body), response.url)

    @contextmanager
    def stream(self, url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """Lend the answer to a GET, its body in pieces as they come."""
        with self._open("GET", url, headers=headers) as response:
            response.raw.headers.pop("Content-Encoding", None)  # a packed blob stays packed, whatever is said of it
            answer = Answer(response.status_code, _lower(response.headers), b"", response.url)
            yield answer, response.iter_content(READ_BYTES)

    @contextmanager
    def _open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Iterator[requests.Response]:
        """Lend the response whose body is yet to be read. Faults of the connection in the body are RegistryErrors."""
        response = self._follow(method, url, dict(headers or {}), form)
        try:
            yield response
        except requests.RequestException as exc:
            raise self._fault(_say_cause(exc), response.url) from exc
        finally:
            response.close()

    def _follow(
        self, method: str, url: str, headers: dict[str, str], form: Mapping[str, str] | None
    ) -> requests.Response:
        for _ in range(REDIRECTS + 1):
            response = self._attempt(method, url, headers, form)
            target = response.headers.get("Location", "")
            if method not in SAFE_METHODS or response.status_code not in (301, 302, 303, 307, 308) or not target:
                return response
            response.close()
            after = urljoin(url, target)
            self._check_redirect(url, after)
            if _origin(after) != _origin(url):
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url = after
        raise self._fault(f"it redirects more than {REDIRECTS} times", url, "protocol")

    def _check_redirect(self, before: str, after: str) -> None:
        """Raise for a target that is no HTTP address, or less safe than what was asked."""
        scheme = urlsplit(after).scheme
        if scheme not in ("http", "https"):
            raise self._fault(f"it redirects to {after[:200]!r}, which is no HTTP address", before, "protocol")
        if before.startswith("https:") and scheme == "http" and not is_loopback(urlsplit(after).netloc):
            raise self._fault(f"it redirects from https to {_origin(after)}, which has no TLS", before, "protocol")

    def _attempt(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> requests.Response:
        """Send it; what changes nothing is sent again where the connection or the server fails."""
        attempts = ATTEMPTS if method in SAFE_METHODS else 1
        for number in range(1, attempts + 1):
            try:
                response = self._request(method, url, headers, form)
            except requests.RequestException as exc:
                if number == attempts or not _may_pass(exc):
                    raise self._fault(_say_cause(exc), url) from exc
            else:
                if number == attempts or response.status_code not in PASSING_STATUSES:
                    return response
                response.close()
            time.sleep(PAUSE_SECONDS * 2 ** (number - 1))
        raise AssertionError("the last attempt returns or raises")

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> requests.Response:
        is_own = urlsplit(url).netloc == self._endpoint.host
        is_verified = self._endpoint.is_verified or not is_own
        if url.startswith("https:"):
            self._mount()
        with nullcontext() if is_verified else warnings.catch_warnings():
            if not is_verified:  # which the user knows, who has named the registry insecure
                warnings.filterwarnings("ignore", message="Unverified HTTPS request")
            return self._session.request(
                method,
                url,
                headers=dict(headers),
                data=dict(form) if form else None,
                proxies=self._find_proxies(url),
                verify=is_verified,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
            )

    def _mount(self) -> None:
        """Make the connections that https needs, once: reading the system's authorities takes 20 ms and more."""
        if self._is_mounted:
            return
        try:
            self._session.mount("https://", _Adapter(self._make_context()))
            if self._certificate:
                own = _Adapter(self._make_context(self._certificate))
                self._session.mount(f"https://{self._endpoint.host}/".lower(), own)
        except OSError as exc:  # ssl.SSLError too
            files = ", ".join(repr(one) for one in (self._authority, *(self._certificate or ())) if one)
            msg = f"registry {self._endpoint.registry} cannot be used: a file of {files or 'the system'} is no "
            raise RegistryError(f"{msg}certificate or key in PEM form: {exc.strerror or exc}", "network") from exc
        self._is_mounted = True

    def _find_proxies(self, url: str) -> dict[str, str]:
        host = urlsplit(url).netloc.rpartition("@")[2]
        values = {name: _variable(self._environ, f"{name}_proxy") for name in ("http", "https", "no", "all")}
        if is_loopback(host) or proxy_bypass_environment(host, values):
            return {}
        return {name: values[name] or values["all"] for name in ("http", "https") if values[name] or values["all"]}

    def _make_context(self, certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
        """Return what is trusted: the system's authorities, those of the environment's bundle, the registry's own."""
        context = ssl.create_default_context()
        if not self._endpoint.is_verified:
            context.check_hostname = False
        bundles = [self._environ[name] for name in BUNDLES if self._environ.get(name)][:1]
        for path in (*bundles, *([self._authority] if self._authority else [])):
            context.load_verify_locations(cafile=path)
        if certificate:
            context.load_cert_chain(*certificate, password=_refuse_to_ask)
        return context

    def _fault(self, what: str, url: str, kind: str = "network") -> RegistryError:
        host = urlsplit(url).netloc
        behind = f" at {host}" if host != self._endpoint.registry else ""
        return RegistryError(f"registry {self._endpoint.registry} cannot be used{behind}: {what}", kind)


def _refuse_to_ask() -> bytes:
    """Stand in for OpenSSL's question on the terminal: a key with a password is an error."""
    return b""


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or {'http': 80, 'https': 443}.get(parts.scheme)}"


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _may_pass(exc: requests.RequestException) -> bool:
    """Tell whether another attempt may do better; who has waited for an answer in vain is not kept waiting."""
    lasting = (requests.Timeout, requests.exceptions.SSLError, requests.exceptions.ProxyError)
    return isinstance(exc, requests.ConnectionError) and not isinstance(exc, lasting)


def _say_cause(exc: BaseException) -> str:
    """Return what went wrong beneath the library's wrapping, and what helps."""
    if isinstance(exc, requests.Timeout):
        return f"no answer within {TIMEOUT[0]:g} seconds to connect and {TIMEOUT[1]:g} between two bytes"
    inner = _innermost(exc)
    if isinstance(exc, requests.exceptions.ProxyError):
        return f"the proxy that https_proxy or http_proxy names fails: {getattr(inner, 'strerror', '') or inner}"[:300]
    if isinstance(inner, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({inner.verify_message}); name its authority's PEM file with "
            "`nuwrap config set registries.certificates HOST=ca.pem`"
        )
    if isinstance(inner, ssl.SSLError):
        return (
            f"TLS failed ({inner.reason or inner}); one without TLS is named with "
            "`nuwrap config set registries.insecure HOST`"
        )
    return str((isinstance(inner, OSError) and inner.strerror) or inner)[:300]


def _innermost(exc: BaseException) -> BaseException:
    seen: list[BaseException] = []
    at: BaseException | None = exc
    while at is not None and at not in seen:
        seen.append(at)
        reasons = (getattr(at, "reason", None), *at.args, at.__cause__, at.__context__)
        at = next((one for one in reasons if isinstance(one, BaseException)), None)
    return seen[-1]
