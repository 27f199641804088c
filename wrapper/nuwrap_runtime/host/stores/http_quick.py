"""Ask an http server whether a file is still the same, without a client. See `find_quickly`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from nuwrap_runtime.host.stores import Access, Entry
from nuwrap_runtime.host.stores.http_address import parse_url
from nuwrap_runtime.host.stores.http_ask import ask
from nuwrap_runtime.host.stores.http_headers import HEADERS, known_etag, strong_etag
from nuwrap_runtime.host.stores.http_network import find_login, find_proxy, make_tls


def find(address: str, known: str, access: Access) -> Optional[Sequence[Entry]]:
    """Return the file with the revision `known` when the server says that it still has it, else None."""
    etag, url = known_etag(known), parse_url(address)
    if not etag or find_proxy(url, access.network, access.environ):
        return None
    login = find_login(url.host, access.environ)
    headers = {**HEADERS, "If-None-Match": etag, **({"Authorization": login.header} if login.header else {})}
    trust = make_tls(access.network, access.environ) if url.scheme == "https" else None
    told = ask(url, headers, trust, access.deadline)
    if told and (told.status == 304 or (told.status == 200 and strong_etag(told.headers) == etag)):
        return (Entry(address.partition("#")[0], revision=known),)
    return None
