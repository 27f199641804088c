"""What an installer, and so a package's own build, may see of the host's environment: index, CA, proxies, a clean home.

The machine's own settings of uv and pip hold (variables, and the user's files: a laptop that reaches its index from a
shell reaches it from here), unless `network.index` names other indexes: then the user's uv.toml is left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from nuwrap_runtime.host.process import MASK, mask
from nuwrap_runtime.launch import Network

_INDEX = (
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_NO_INDEX",
)
_CHOICE = (
    *("UV_FIND_LINKS", "UV_INDEX_STRATEGY", "UV_PRERELEASE", "UV_RESOLUTION", "UV_EXCLUDE_NEWER", "UV_NO_BINARY"),
    *("UV_NO_BUILD", "UV_NO_BUILD_PACKAGE", "UV_NO_BINARY_PACKAGE", "UV_TORCH_BACKEND"),
    *("PIP_FIND_LINKS", "PIP_PRE", "PIP_NO_BINARY", "PIP_ONLY_BINARY", "PIP_PREFER_BINARY"),
)
_REACH = (
    *("UV_CACHE_DIR", "UV_CONCURRENT_BUILDS", "UV_CONCURRENT_DOWNLOADS", "UV_CONCURRENT_INSTALLS", "UV_CONFIG_FILE"),
    *(
        "UV_HTTP_TIMEOUT",
        "UV_HTTP_CONNECT_TIMEOUT",
        "UV_REQUEST_TIMEOUT",
        "UV_HTTP_RETRIES",
        "UV_INSECURE_HOST",
        "UV_KEYRING_PROVIDER",
    ),
    *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_OFFLINE"),
    *("PIP_CACHE_DIR", "PIP_NO_CACHE_DIR", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_CONFIG_FILE", "PIP_DEFAULT_TIMEOUT"),
    *("PIP_TIMEOUT", "PIP_KEYRING_PROVIDER", "PIP_PROXY", "PIP_RETRIES", "PIP_TRUSTED_HOST"),
)
_SYSTEM = (
    *("LANG", "LANGUAGE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("GIT_SSL_CAINFO", "NETRC", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),  # some interpreters do not start without
)
_KEPT = frozenset((*_INDEX, *_CHOICE, *_REACH, *_SYSTEM))
# `user:password@` without `//`; neither a scheme's colon nor a port's. The counts bound the search in a long line.
_BARE_LOGIN = re.compile(r"(?<![^\s/@:'\"])[^\s/@:'\"]{1,128}:(?!//|\d+/)[^\s@]{1,512}(?:@[^\s@/]{0,256}){0,4}@")
LINE_CHARACTERS = 1024 * 1024
_NAME = re.compile(r"^[A-Za-z0-9._-]+=(?=\w+://)")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CA = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
_FIXED = {
    "UV_NO_CONFIG": "1",  # no uv.toml or pyproject.toml of a folder above; the user's own comes by UV_CONFIG_FILE
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_LINK_MODE": "copy",  # a hard link would share content and mode bits with uv's cache
    "UV_NO_PROGRESS": "1",
    "NO_COLOR": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    "GIT_TERMINAL_PROMPT": "0",
}


def installer_environment(environ: Mapping[str, str], network: Network, work: str, cache: str) -> dict[str, str]:
    """Return the whole environment of an installer; `work` is a private folder that holds its `home` and `tmp`."""
    made = {name: value for name, value in environ.items() if _is_kept(name)}
    made.update(_user_files(environ, made, own_index=bool(network.index)))
    made.update(_pip_settings(made))
    made.update(download_caches(environ, made, cache))
    made.update(_FIXED)
    made["PATH"] = _path(environ)
    made["HOME"], made["TMPDIR"] = os.path.join(work, "home"), os.path.join(work, "tmp")
    if network.index:
        made = {name: value for name, value in made.items() if name not in _INDEX}
        made.update(_index_variables(network.index))
    if network.ca:
        made.update(dict.fromkeys(_CA, network.ca))
    for scheme, url in network.proxies.items():
        made.update({f"{scheme.upper()}_PROXY": url, f"{scheme.lower()}_proxy": url})
    return made


def index_choice(environ: Mapping[str, str], network: Network) -> list[str]:
    """Return what decides which packages are offered, for a key: other indexes, another resolution."""
    names = _CHOICE if network.index else (*_INDEX, *_CHOICE)
    return [*network.index, *(f"{name}={environ[name]}" for name in names if environ.get(name))]


def url_secrets(texts: Iterable[str]) -> tuple[str, ...]:
    """Return every password, and every long user name that stands alone as a token does, in the texts' addresses."""
    found: list[str] = []
    for text in texts:
        for user, password in re.findall(r"//([^/@:\s]*)(?::([^/\s]*))?@", text):
            secret = password or (user if len(user) >= 8 else "")  # `git@` is no secret
            found += [one for one in (secret, unquote(secret)) if one]
    return tuple(dict.fromkeys(found))


def hide(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without the secrets and without what stands before an `@` in any address, `user:pw@` included."""
    return _BARE_LOGIN.sub(f"{MASK}@", re.sub(r"//[^/\s]+@", f"//{MASK}@", mask(text, tuple(secrets))))


def _is_kept(name: str) -> bool:
    is_login = name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD"))
    return name in _KEPT or name.upper() in _PROXIES or name.startswith("LC_") or is_login


def _index_variables(index: tuple[str, ...]) -> dict[str, str]:
    """Return the indexes as both installers read them: uv asks them in this order; pip knows no order, only more."""
    first, *rest = (_NAME.sub("", one) for one in index)  # a name is for uv, which looks for its log-in by that
    made = {"PIP_INDEX_URL": first, "PIP_EXTRA_INDEX_URL": " ".join(rest), "UV_DEFAULT_INDEX": index[-1]}
    if rest:
        made["UV_INDEX"] = " ".join(index[:-1])  # uv asks these before the default one
    return made


def _pip_settings(made: Mapping[str, str]) -> dict[str, str]:
    """Return pip's own variables as uv reads them, where nothing is set for uv: a company's image knows pip alone."""
    own = ("UV_CONFIG_FILE", *(name for name in _INDEX if name.startswith("UV_")))
    pairs = {"SSL_CERT_FILE": "PIP_CERT"}
    if not any(made.get(name) for name in own):
        pairs.update({"UV_DEFAULT_INDEX": "PIP_INDEX_URL", "UV_INDEX": "PIP_EXTRA_INDEX_URL"})
    return {name: made[other] for name, other in pairs.items() if made.get(other) and not made.get(name)}


def with_mounted(environ: Mapping[str, str], folder: str) -> dict[str, str]:
    """Return the environment with those secrets that are named as an installer's variable or ours: a build's are files.

    A secret `netrc` or `NETRC` is such a file itself. What the environment has already stays.
    """
    found = {}
    for name in _names(folder):
        path = os.path.join(folder, name)
        if name.upper() == "NETRC":
            found["NETRC"] = path
        elif _is_kept(name) or name == "NUWRAP_NETWORK":
            found[name] = _read_line(path)
    return {**found, **environ}


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _read_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read(LINE_CHARACTERS).strip()
    except (OSError, ValueError):  # another user's, or no text: then it is no setting
        return ""


def _user_files(environ: Mapping[str, str], made: Mapping[str, str], *, own_index: bool) -> dict[str, str]:
    """Name the user's own settings files, which the private home would hide."""
    home = environ.get("HOME", "")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    places = {
        "UV_CONFIG_FILE": () if own_index else (os.path.join(config, "uv", "uv.toml"), "/etc/uv/uv.toml"),
        "PIP_CONFIG_FILE": (os.path.join(config, "pip", "pip.conf"), os.path.join(home, ".pip", "pip.conf")),
        "NETRC": (os.path.join(home, ".netrc"),),
    }
    found: dict[str, str] = {}
    for name, paths in places.items():
        there = [path for path in paths if os.path.isabs(path) and os.path.isfile(path)]
        if there and name not in made:
            found[name] = there[0]
    return found


def download_caches(environ: Mapping[str, str], made: Mapping[str, str], cache: str) -> dict[str, str]:
    """Share the downloads with the user's own uv and pip where his cache can be written, else keep them in ours."""
    home = environ.get("HOME", "")
    base = environ.get("XDG_CACHE_HOME") or (os.path.join(home, ".cache") if home not in ("", "/") else "")
    places = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip"}
    return {
        name: os.path.join(base if _can_have(base, program) else cache, program)
        for name, program in places.items()
        if name not in made
    }


def _can_have(base: str, name: str) -> bool:
    """Tell whether the folder `name` can be written there, the nearest one that exists deciding."""
    path = os.path.join(base, name)
    if not os.path.isabs(base) or not os.path.isdir(os.path.dirname(base)):
        return False
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return os.access(path, os.W_OK | os.X_OK)


def _path(environ: Mapping[str, str]) -> str:
    """Return PATH without the image's own programs: a build must not find our uv or our host."""
    here = os.path.dirname(os.path.abspath(__file__))
    ours = os.path.join(os.path.abspath(os.path.join(here, *[os.pardir] * 3)), "bin")
    parts = environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(part for part in parts if part and os.path.abspath(part) != ours)
