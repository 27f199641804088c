"""The second port's pages: method, path and the service's status in, a page out. Knows no socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from nuwrap_runtime.host.service import docs_page, metrics, openapi

_JSON = "application/json"
_HTML = "text/html; charset=utf-8"
_RETRY = {"Retry-After": "1"}
_SHARED = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Page:
    """A whole answer. HEAD gets GET's page; who sends it leaves the body out."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """What the service says of itself now.

    `phase` is launch, source, requirements, start, load, init, ready, stopping or failed, `seconds` the time in it.
    `reason` says more of it, "" for nothing. `description` is the worker's own, None until one was ready. `metrics`
    returns the text of a scrape. `address` is the service's (`http://host:port`), not the second port's.
    """

    is_ready: bool
    phase: str
    reason: str
    seconds: float
    description: Optional[Mapping[str, Any]]
    metrics: Callable[[], bytes]
    function: str
    project: str
    address: str
    version: str


def admin_page(method: str, path: str, status: Status) -> Page:
    """Return the page of a request; what follows a `?` in the path is ignored."""
    name = path.partition("?")[0]
    page = _PAGES.get(name)
    if page is None:
        return _json(404, {"error": f"there is no page {name[:200]!r} here", "paths": list(_PAGES)})
    if method not in ("GET", "HEAD"):
        return _json(405, {"error": f"method {method[:20]!r}: allowed: GET, HEAD"}, {"Allow": "GET, HEAD"})
    return page(status)


def _ready(status: Status) -> Page:
    return _json(200, {"ready": True}) if status.is_ready else _not_yet(status)


def _live(_status: Status) -> Page:
    return _json(200, {"live": True})


def _metrics(status: Status) -> Page:
    return _page(200, metrics.CONTENT_TYPE, status.metrics())


def _openapi(status: Status) -> Page:
    document = document_of(status)
    return _not_yet(status) if document is None else _json(200, document)


def _docs(status: Status) -> Page:
    document = document_of(status)
    if document is None:
        return _not_yet(status)
    return _page(200, _HTML, docs_page.docs_page(document), {"Content-Security-Policy": docs_page.POLICY})


def _root(_status: Status) -> Page:
    return _page(302, "text/plain; charset=utf-8", b"see /docs\n", {"Location": "/docs"})


_PAGES: Mapping[str, Callable[[Status], Page]] = {
    "/": _root,
    "/ready": _ready,
    "/live": _live,
    "/metrics": _metrics,
    "/openapi.json": _openapi,
    "/docs": _docs,
}


def document_of(status: Status) -> Optional[dict[str, Any]]:
    """Return the service's OpenAPI document, None until a worker was ready."""
    if status.description is None:
        return None
    return openapi.openapi_document(
        status.description,
        function=status.function,
        project=status.project,
        address=status.address,
        version=status.version,
    )


def _not_yet(status: Status) -> Page:
    told = {"ready": status.is_ready, "phase": status.phase, "reason": status.reason}
    return _json(503, {**told, "seconds": round(status.seconds, 3)}, _RETRY)


def _json(code: int, value: Any, headers: Mapping[str, str] = _SHARED) -> Page:
    return _page(code, _JSON, json.dumps(value).encode("ascii") + b"\n", headers)


def _page(code: int, content_type: str, body: bytes, headers: Mapping[str, str] = _SHARED) -> Page:
    return Page(code, content_type, body, {**_SHARED, **headers})
