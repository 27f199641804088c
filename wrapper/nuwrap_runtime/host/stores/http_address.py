"""Http addresses: what is asked of whom, how they are shown, where a redirect may lead."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urljoin

from nuwrap_runtime.host.addresses import shown
from nuwrap_runtime.host.process import MASK
from nuwrap_runtime.host.stores import StoreError

FORM: Final = "http(s)://HOST[:PORT]/PATH[?QUERY]"
PORTS: Final = {"http": 80, "https": 443}
SHOWN_CHARACTERS: Final = 500
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PARTS = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"(?!-)([\w.~-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_QUERY_VALUE = re.compile(r"([^&=#]*=)?[^&#]+")


@dataclass(frozen=True)
class Url:
    """An address that can be asked: `text` is ASCII and has neither login nor fragment; `host` has no brackets."""

    scheme: str
    host: str
    port: int
    text: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a login is for."""
        return (self.scheme, self.host, self.port)

    @property
    def server(self) -> str:
        """Host and port as messages quote them, the port of the scheme left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The address as messages quote it."""
        return shown_url(self.text)

    @property
    def query_values(self) -> tuple[str, ...]:
        """What a server's text may repeat of a signed link."""
        query = self.text.partition("?")[2]
        return tuple(part.rpartition("=")[2] for part in query.split("&"))


def shown_url(address: str) -> str:
    """Return the address without login and fragment; every value of its query is `***`, for it may be a signature."""
    address, mark, query = shown(_CONTROL.sub("?", address.partition("#")[0])).partition("?")
    text = address + mark + _QUERY_VALUE.sub(rf"\g<1>{MASK}", query)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def parse_url(address: str) -> Url:
    """Return what the address asks for. Raises StoreError, with the reason, for what is refused."""
    try:
        return _parse(address)
    except ValueError as exc:
        raise StoreError(f"{shown_url(address)!r}: {exc}") from exc


def parse_redirect(url: Url, location: str) -> Url:
    """Return where the answer of `url` leads. Raises ValueError where no redirect may lead.

    `location` is a header as http.client reads it, bytes as Latin-1; servers send UTF-8.
    """
    try:
        location = location.encode("latin-1").decode("utf-8")
    except UnicodeError:
        pass  # Latin-1 it is
    if _CONTROL.search(location):
        raise ValueError("a redirect with control characters is refused")
    address = urljoin(url.text, location)
    try:
        target = _parse(address)
    except ValueError as exc:
        raise ValueError(f"a redirect to {shown_url(address)!r} is refused: {exc}") from exc
    if url.scheme == "https" and target.scheme == "http":
        raise ValueError(f"a redirect from https to http is refused: {target.shown!r}; anybody could change the answer")
    return target


def _parse(address: str) -> Url:
    if _CONTROL.search(address):
        raise ValueError("line breaks and control characters are refused")
    parts = _PARTS.match(address)
    if not parts:
        raise ValueError(f"has not the form {FORM}")
    scheme, netloc, path, query = parts.group(1).lower(), parts.group(2), parts.group(3), parts.group(4)
    if "@" in netloc:
        raise ValueError(
            "a login in an address is refused: it would show in logs; write `machine HOST login USER password PASSWORD`"
            " into a netrc file ($NETRC, else ~/.netrc) instead"
        )
    host, port = _parse_netloc(netloc, scheme)
    text_host = f"[{host}]" if ":" in host else host
    text = f"{scheme}://{text_host}" + ("" if port == PORTS[scheme] else f":{port}") + (_encode(path) or "/")
    return Url(scheme, host, port, text + ("" if query is None else f"?{_encode(query)}"))


def _parse_netloc(netloc: str, scheme: str) -> tuple[str, int]:
    """Return host, in ASCII, and port."""
    found = _HOST.fullmatch(netloc)
    if not found:
        # neither the host nor the port is quoted: what does not parse may be half of a password
        raise ValueError("its host is refused; allowed: NAME, NAME:PORT, [IPv6] or [IPv6]:PORT, no '-' in front")
    port = int(found.group(2) or PORTS[scheme])
    if not 0 < port < 65536:
        raise ValueError(f"port {port} is refused; allowed: 1 to 65535")
    host = found.group(1).lower()
    if host.startswith("["):
        return host[1:-1], port
    try:
        return host.encode("idna").decode("ascii"), port
    except UnicodeError as exc:
        raise ValueError(f"host {host!r} is no name: each part between dots has 1 to 63 characters") from exc


def _encode(text: str) -> str:
    """Return it as a URL has it: percent signs of an encoding stay, what else needs one gets one."""
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text), safe="/%:@!$&'()*+,;=~-._?[]")
