"""Call a service. The toolkit's one user of requests."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests

from nuwrap.errors import PlatformError, UsageError
from nuwrap.store import ENDED

if TYPE_CHECKING:
    from nuwrap.sdk.runs import Run

Response = requests.Response
TIMEOUT = (10.0, 300.0)  # to connect, and between two bytes of the answer
BODIES = ("data", "json", "files")


def invoke(run: Run, method: str | None, url: str | None, options: Mapping[str, Any]) -> Response:
    """Send the request; see `Run.invoke`."""
    has_body = any(options.get(name) is not None for name in BODIES)
    target = _target(run, url)
    with requests.Session() as session:
        session.trust_env = not _is_loopback(target)
        try:
            return session.request(method or ("POST" if has_body else "GET"), target, **{"timeout": TIMEOUT, **options})
        except requests.ConnectionError as exc:
            if url is not None or run.state not in ENDED:
                raise
            raise PlatformError(f"{run!r} ended: {run.status.message or 'no reason is known'}; see run.logs()") from exc


def _target(run: Run, url: str | None) -> str:
    if url is not None and not url.startswith("/"):
        return url
    if run.action != "serve":
        raise UsageError(f"{run!r} is no service, so it has no address; call one that function.run('serve') started")
    base = run.url
    if base is None:
        raise PlatformError(f"{run!r} has no address; wait until it is ready: run.wait()")
    return urljoin(base, url) if url else base


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
