"""How runs reach package indexes and servers, as a user has set it for all of them: the launch's `network`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from nuwrap.errors import UsageError
from nuwrap_runtime.errors import LaunchError
from nuwrap_runtime.launch import API, Network, parse_launch
from nuwrap_runtime.schema import did_you_mean, show

SCHEMES: Final = ("http", "https", "all", "no")
VARIABLE: Final = "NUWRAP_NETWORK"
CA_BYTES: Final = 512 * 1024
_LOGIN = re.compile(r"^(?:[\w.+-]+=)?(?:\w+://)?[^/\s]*@")
_INDEX = re.compile(r"(?:[\w.-]+=)?(?:https?|file)://\S+")


def faults(name: str, value: Any) -> list[str]:
    """List what is wrong with the value of a setting that has its form. A log-in in an address is not shown."""
    addresses = value if name == "network.index" else value.values() if name == "network.proxies" else ()
    if any(_LOGIN.match(one) for one in addresses):
        instead = "a netrc file (NETRC), or UV_INDEX_NAME_USERNAME and UV_INDEX_NAME_PASSWORD with it as NAME=URL"
        instead = "HTTPS_PROXY and HTTP_PROXY" if name == "network.proxies" else instead
        return [f"{name}: an address has a log-in, and settings keep none; give it as a secret or variables: {instead}"]
    if name == "network.index":
        wrong = [one for one in addresses if not _INDEX.fullmatch(one)]
        return [f"{name}: {show(one)} is no address; allowed: [NAME=]https://HOST/PATH" for one in wrong]
    keys = value if name == "network.proxies" else ()
    return [
        f"{name}: {show(one)} is not known; allowed: {', '.join(SCHEMES)}{did_you_mean(one, list(SCHEMES))}"
        for one in keys
        if one not in SCHEMES
    ]


def read_network(values: Mapping[str, Any]) -> Network:
    """Return the network that the settings describe, the authorities as text: a path means nothing elsewhere.

    Raises UsageError for a file that cannot be read or has more than certificates.
    """
    proxies = dict(values["network.proxies"])
    if "no" in proxies:
        proxies["no"] = ",".join(re.split(r"[;,\s]+", proxies["no"].strip()))
    path = values["network.ca"]
    return Network(index=tuple(values["network.index"]), ca_text=_read_ca(path) if path else "", proxies=proxies)


def with_network(environ: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a host on this machine that gets no run's launch; a NUWRAP_NETWORK of its own wins.

    The authorities are a path there: a variable has no room for a bundle. Raises UsageError as `read_network` does.
    """
    network = read_network(values)
    if environ.get(VARIABLE) or network == Network():
        return dict(environ)
    told: dict[str, Any] = {"index": list(network.index), "proxies": dict(network.proxies)}
    if network.ca_text:
        told["ca"] = _whole(values["network.ca"])
    return {**environ, VARIABLE: json.dumps({key: value for key, value in told.items() if value})}


def network_of_steps(
    environ: Mapping[str, str], values: Mapping[str, Any], secrets: Collection[str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the block that a build's steps get, {} for none; a NUWRAP_NETWORK of the environment wins over settings,
    one among the build's secrets over both.

    No engine gets an address with a log-in: the block stays here then, and `say` tells so. Raises UsageError as
    `read_network` does, and for a NUWRAP_NETWORK that cannot be read.
    """
    if VARIABLE in secrets:
        return {}
    network = _read_variable(environ[VARIABLE]) if environ.get(VARIABLE) else read_network(values)
    if any(_LOGIN.match(one) for one in (*network.index, *network.proxies.values())):
        say(
            f"{VARIABLE} has a log-in, so the steps of the build get none of it; a secret of that name gives it to them"
        )
        return {}
    told = {"index": list(network.index), "ca_text": network.ca_text, "proxies": dict(network.proxies)}
    return {key: value for key, value in told.items() if value}


def _read_variable(text: str) -> Network:
    """Return what the variable says, the authorities as text. Raises UsageError."""
    try:
        network = parse_launch({"api": API, "handler": "f", "code": "f", "network": json.loads(text)}).network
    except (ValueError, LaunchError) as exc:
        raise UsageError(f"{VARIABLE} cannot be read: {exc}") from exc
    return replace(network, ca="", ca_text=_read_ca(network.ca)) if network.ca else network


def proxy_variables(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the proxies of the settings as variables that programs know. Raises UsageError as `read_network` does."""
    return {f"{scheme.upper()}_PROXY": address for scheme, address in read_network(values).proxies.items()}


def _whole(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _read_ca(path: str) -> str:
    try:
        with open(_whole(path), encoding="ascii", errors="replace") as stream:
            text = stream.read(CA_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"network.ca {path!r} cannot be read: {exc.strerror}; name a file of certificates") from exc
    allowed = f"allowed: certificates alone, as PEM, {CA_BYTES // 1024} KiB at most"
    if len(text) > CA_BYTES:
        raise UsageError(f"network.ca {path!r} has more than {CA_BYTES} bytes; {allowed}")
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise UsageError(f"network.ca {path!r} has no certificate; {allowed}")
    if "PRIVATE KEY-----" in text:
        raise UsageError(f"network.ca {path!r} has a private key, which would go to every run; {allowed}")
    return text
