"""How to reach http servers, by `network` and by the environment: proxies, CA certificates, logins of netrc."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Optional
from urllib.parse import unquote

from nuwrap_runtime.host.stores import StoreError
from nuwrap_runtime.host.stores.http_address import Url
from nuwrap_runtime.launch import Network

CA_VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class Proxy:
    """A proxy: `url` without a login, which `login` is, as a header has it."""

    url: str
    login: str = ""


@dataclass(frozen=True)
class Login:
    """What netrc knows of a host: a header, and what no message may show of it; else `problem` says why not."""

    header: str = ""
    secrets: tuple[str, ...] = ()
    problem: str = ""


def find_proxy(url: Url, network: Network, environ: Mapping[str, str]) -> Optional[Proxy]:
    """Return the proxy for the address: `network.proxies`, else `HTTP_PROXY` and the like, except for NO_PROXY.

    Keys are those of the variables: http, https, all, no. Lower-case variables win, as they do for curl.
    """
    text, name = proxy_setting(url, network, environ)
    return _parse_proxy(text, name)


def proxy_setting(url: Url, network: Network, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return what names the address's proxy as it is written, and the setting's name; ("", "") without a proxy."""
    given = {name.lower(): value for name, value in network.proxies.items()}
    if _is_skipped(url, given.get("no", _variable(environ, "no_proxy"))):
        return "", ""
    for name in (url.scheme, "all"):
        if name in given:
            return given[name], f"network.proxies.{name}"
    for name in (f"{url.scheme}_proxy", "all_proxy"):
        value = _variable(environ, name)
        if value:
            return value, name.upper()
    return "", ""


def make_tls(network: Network, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context that trusts `network.ca`, else what SSL_CERT_FILE and the like name, else the system's CAs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    names = [name for name in CA_VARIABLES if environ.get(name)]
    if network.ca:
        _trust(context, network.ca, "network.ca")
    elif names:
        _trust(context, environ[names[0]], names[0])
    elif environ.get("SSL_CERT_DIR"):
        _trust(context, environ["SSL_CERT_DIR"], "SSL_CERT_DIR")
    else:
        context.load_default_certs()
    return context


def find_login(host: str, environ: Mapping[str, str]) -> Login:
    """Return what `$NETRC`, else `~/.netrc`, has for the host or as default.

    A file that cannot be read is no failure: it counts only when the server wants a login.
    """
    home = environ.get("HOME", "")
    path = environ.get("NETRC") or (os.path.join(home, ".netrc") if home else "")
    if not path or not os.path.isfile(path):
        return Login(problem=f"NETRC names {path!r}, which is no file" if environ.get("NETRC") else "")
    import netrc

    try:
        found = netrc.netrc(path).authenticators(host)
    except netrc.NetrcParseError as exc:  # its text may quote a password
        return Login(problem=f"netrc file {path!r} cannot be read: line {exc.lineno} is not understood")
    except (OSError, UnicodeError) as exc:
        return Login(problem=f"netrc file {path!r} cannot be read: {getattr(exc, 'strerror', 'it is not UTF-8')}")
    if not found or not (found[0] or found[2]):
        return Login()
    user, password = found[0] or "", found[2] or ""
    header = _basic(f"{user}:{password}")
    return Login(header, (header.partition(" ")[2], password))


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper(), "")


def _basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def _parse_proxy(text: str, name: str) -> Optional[Proxy]:
    """Return the proxy that the setting `name` names; its text may hold a password and is never shown."""
    text = text.strip()
    if not text:
        return None
    scheme, mark, rest = text.partition("://") if "://" in text else ("http", "://", text)
    scheme, netloc = scheme.lower(), rest.partition("/")[0]
    login, _, server = netloc.rpartition("@")
    if scheme not in ("http", "https"):
        raise StoreError(f"{name} names a proxy of scheme {scheme!r}; allowed: http://HOST:PORT and https://HOST:PORT")
    if not server.partition(":")[0] or any(one in server for one in " \t?#\\"):
        raise StoreError(f"{name} has not the form http(s)://[USER:PASSWORD@]HOST:PORT")
    return Proxy(f"{scheme}{mark}{server}", _basic(unquote(login)) if login else "")


def _is_skipped(url: Url, skipped: str) -> bool:
    """Tell whether NO_PROXY has the host: `*`, a name and all below it, an address, a network in CIDR form, :PORT."""
    return any(_matches(url, one.strip().lower()) for one in skipped.split(",") if one.strip())


def _matches(url: Url, pattern: str) -> bool:
    if pattern == "*":
        return True
    name, mark, port = pattern.rpartition(":")
    if mark and port.isdigit() and (":" not in name or name.endswith("]")):
        if int(port) != url.port:
            return False
        pattern = name
    pattern = pattern.strip("[]").lstrip("*").lstrip(".")
    return url.host == pattern or url.host.endswith(f".{pattern}") or ("/" in pattern and _is_in(url.host, pattern))


def _is_in(host: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _trust(context: ssl.SSLContext, path: str, name: str) -> None:
    try:
        context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})
    except (OSError, ValueError) as exc:  # SSLError is an OSError
        reason = "it holds no PEM" if isinstance(exc, (ssl.SSLError, ValueError)) else exc.strerror
        raise StoreError(f"{name} {path!r} cannot be read: {reason}; name a file with CA certificates in PEM") from exc
