"""The launch's `network` as what this machine's programs read: a file of authorities, and the usual variables."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from nuwrap_runtime.errors import PlatformError
from nuwrap_runtime.host.workspace import read_regular, remove_tree, undisturbed, write_whole
from nuwrap_runtime.launch import Network

AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO")


@contextmanager
def settled(network: Network, environ: Mapping[str, str]) -> Iterator[Network]:
    """Give the network with `ca_text` as a file, which `ca` names; it stays in `$NUWRAP_WORK`, else goes at the end.

    Raises PlatformError when it cannot be written.
    """
    if not network.ca_text:
        yield network
        return
    work = environ.get("NUWRAP_WORK", "")
    try:
        folder = os.path.realpath(work or tempfile.mkdtemp(prefix="nuwrap-ca-"))
        os.makedirs(folder, exist_ok=True)
        path = _write(folder, network.ca_text)
    except OSError as exc:
        raise PlatformError(f"network.ca_text cannot be written to a file: {exc}; set NUWRAP_WORK to a folder") from exc
    try:
        yield replace(network, ca=path, ca_text="")
    finally:
        if not work:
            with undisturbed():
                remove_tree(folder)


def network_variables(network: Network) -> dict[str, str]:
    """Return the network's proxies and authorities as the variables that most programs read."""
    made = {name: os.path.abspath(network.ca) for name in AUTHORITIES if network.ca}
    for scheme, url in network.proxies.items():
        made.update({f"{scheme.lower()}_proxy": url, f"{scheme.upper()}_PROXY": url})
    return made


def with_network(environ: Mapping[str, str], network: Network) -> dict[str, str]:
    """Return the environment with the network's variables in the place of its own: for what fetches and stores."""
    return {**environ, **network_variables(network)}


def where_unset(environ: Mapping[str, str], network: Network) -> dict[str, str]:
    """Return the environment with those of the network's variables that it has in neither case: for the function."""
    there = {name.lower() for name, value in environ.items() if value}
    return {**environ, **{name: one for name, one in network_variables(network).items() if name.lower() not in there}}


def _write(folder: str, text: str) -> str:
    """Write the file, unless it is there from an earlier start, and return its path."""
    path = os.path.join(folder, f".nuwrap-ca-{hashlib.sha256(text.encode()).hexdigest()[:12]}.pem")
    try:
        if read_regular(path) == text:
            return path
    except (OSError, ValueError):
        pass
    write_whole(path, text, mode=0o644)
    return path
