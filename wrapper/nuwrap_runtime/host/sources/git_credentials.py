"""What git may know and use for one source: its environment, its configuration, and a login it has to ask for.

All configuration of ours is one temporary file that git reads as the user's (GIT_CONFIG_GLOBAL): unlike `-c` and
GIT_CONFIG_COUNT it also reaches submodules and the `upload-pack` of a local repository (git's local_repo_env).
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host import askpass
from nuwrap_runtime.host.credentials import SOURCE_PREFIX
from nuwrap_runtime.host.sources.git_address import PROTOCOLS, TOKEN_PREFIXES, Address
from nuwrap_runtime.launch import Network

# The one user's variables of git that a fetch may follow. All others (GIT_DIR, GIT_CONFIG_COUNT, GIT_TRACE…, secrets)
# would change what is fetched, undo our configuration or show what must not show.
_KEPT: Final = {
    "GIT_ASKPASS",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_EXEC_PATH",
    "GIT_HTTP_LOW_SPEED_LIMIT",
    "GIT_HTTP_LOW_SPEED_TIME",
    "GIT_HTTP_USER_AGENT",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "GIT_SSL_NO_VERIFY",
}


@dataclass(frozen=True)
class Credentials:
    """A login for http(s) and a key for ssh; empty where there is none. Keys and hosts are texts, not paths."""

    username: str = ""
    password: str = ""
    ssh_key: str = ""
    known_hosts: str = ""


@dataclass(frozen=True)
class Access:
    """What git gets: the address, its whole environment, descriptors to inherit; values that no message may show.

    A user name in the address gives way to a login of ours (`has_login`).
    """

    url: str
    environ: Mapping[str, str]
    descriptors: Sequence[int] = ()
    secrets: Sequence[str] = ()

    @property
    def has_login(self) -> bool:
        """Whether an http(s) server gets a name and a password from us when it asks."""
        return askpass.DESCRIPTOR in self.environ


def read_credentials(environ: Mapping[str, str], user: str) -> Credentials:
    """Return what the variables say, `NUWRAP_SOURCE_X` before `X`; `user` is the address's own, for a bare password.

    Raises SourceError for an SSH key or a list of known hosts that is neither text nor a file.
    """

    def value(name: str) -> str:
        return environ.get(SOURCE_PREFIX + name, "") or environ.get(name, "")

    username, password = value("GIT_USERNAME") or value("GIT_USER") or user, value("GIT_PASSWORD").strip()
    token = value("GIT_TOKEN").strip()
    if token:
        username, password = login_of_token(token)
    elif not username or not password:
        username = password = ""
    if "\n" in username + password:
        raise SourceError("GIT_TOKEN, GIT_USERNAME or GIT_PASSWORD holds a line break; git cannot send it")
    return Credentials(
        username,
        password,
        _text_or_file("GIT_SSH_KEY", value("GIT_SSH_KEY"), mark="PRIVATE KEY"),
        _text_or_file("GIT_SSH_KNOWN_HOSTS", value("GIT_SSH_KNOWN_HOSTS"), mark=" "),
    )


def login_of_token(token: str) -> tuple[str, str]:
    """Return user name and password for a token.

    Source: DigitalHub's rule (digitalhub-runtime-python, utils/configuration.py; core's builder-tool.sh).
    """
    return ("oauth2", token) if token.startswith(TOKEN_PREFIXES) else (token, "x-oauth-basic")


@contextmanager
def open_access(
    address: Address, network: Network, environ: Mapping[str, str], folder: str, ceiling: str
) -> Iterator[Access]:
    """Give what git needs to reach the address; files of it lie in the private folder, which the caller removes.

    `ceiling` is the folder above which git looks for no repository.
    """
    credentials = read_credentials(environ, address.user)
    made = {name: value for name, value in environ.items() if not name.startswith(("GIT_", SOURCE_PREFIX))}
    made.update({name: environ[name] for name in _KEPT if name in environ})
    made.pop("SSH_ASKPASS", None)  # git would open its window for a password
    made.update(_network_variables(network))
    made.update(
        GIT_ALLOW_PROTOCOL=PROTOCOLS[address.scheme],
        GIT_CEILING_DIRECTORIES=ceiling,
        GIT_CONFIG_GLOBAL=_write(folder, "config", _config(address, credentials, environ, folder)),
        GIT_NO_LAZY_FETCH="1",
        GIT_PYTHON_REFRESH="quiet",
        GIT_TERMINAL_PROMPT="0",
    )
    made.update(_ssh_variables(credentials, folder))
    with tempfile.TemporaryFile() as login:
        descriptors, url = [], address.url
        if credentials.password and address.scheme in ("http", "https"):
            record = {"url": address.server, "username": credentials.username, "password": credentials.password}
            login.write(json.dumps(record).encode())
            login.flush()
            descriptors.append(login.fileno())
            made[askpass.DESCRIPTOR] = str(login.fileno())
            made["GIT_ASKPASS"] = _write_askpass(folder)
            url = address.server + "/" + url.split("/", 3)[3]
        yield Access(url, made, descriptors, _secrets(environ, credentials, network))


def _write_askpass(folder: str) -> str:
    """Make the program that GIT_ASKPASS names: git gives it one argument, so interpreter and script need a shell."""
    command = shlex.join([sys.executable, "-I", "-S", os.path.abspath(askpass.__file__)])
    return _write(folder, "askpass", f'#!/bin/sh\nexec {command} "$1"\n', mode=0o700)


def _config(address: Address, credentials: Credentials, environ: Mapping[str, str], folder: str) -> str:
    """Return the configuration: before the user's own files what they may overrule, after them what they may not."""
    empty = os.path.join(folder, "empty")
    os.mkdir(empty)
    lines = [] if environ.get("GIT_SSH") else ["[core]", "sshCommand = ssh -o BatchMode=yes"]
    for path in _user_files(environ):
        lines += ["[include]", f"path = {_quoted(path)}"]
    lines += ["[core]", f"hooksPath = {_quoted(empty)}", "fsmonitor = false"]
    lines += ["[init]", f"templateDir = {_quoted(empty)}", "defaultBranch = main"]
    lines += ["[gc]", "auto = 0", "[maintenance]", "auto = false"]  # they would outlive us in the background
    lines += ["[submodule]", "recurse = false", "[http]", "followRedirects = initial"]
    if credentials.password and address.server:
        lines += [f"[credential {_quoted(address.server)}]", "helper =", "useHttpPath = false"]
    for path in _owned_paths(address.path):
        lines += ["[safe]", f"directory = {_quoted(path)}"]
    return "\n".join(lines) + "\n"


def _user_files(environ: Mapping[str, str]) -> list[str]:
    """Return the files that git takes for the user's configuration, existing or not (git-config(1), FILES)."""
    if "GIT_CONFIG_GLOBAL" in environ:
        return [os.path.abspath(environ["GIT_CONFIG_GLOBAL"])] if environ["GIT_CONFIG_GLOBAL"] else []
    home = environ.get("HOME", "")
    folder = environ.get("XDG_CONFIG_HOME", "") or (os.path.join(home, ".config") if home else "")
    found = [os.path.join(folder, "git", "config")] if folder else []
    return found + ([os.path.join(home, ".gitconfig")] if home else [])


def _owned_paths(path: str) -> list[str]:
    """Return the folders that the check of `safe.directory` may name for a repository that exists at the path."""
    bases = [path, os.path.realpath(path)] if path else []
    found = [base.rstrip("/") + end for base in bases for end in ("", ".git", "/.git")]
    return [one for one in dict.fromkeys(found) if os.path.isdir(one)]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _network_variables(network: Network) -> dict[str, str]:
    made = {f"{scheme.lower()}_proxy": proxy for scheme, proxy in network.proxies.items()}
    if network.ca:
        made["GIT_SSL_CAINFO"] = os.path.abspath(network.ca)
    return made


def _ssh_variables(credentials: Credentials, folder: str) -> dict[str, str]:
    """Return nothing without a key or hosts of ours: then the user's own agent, keys and command serve."""
    options = ["-o", "BatchMode=yes"]
    if credentials.ssh_key:
        key = _write(folder, "key", credentials.ssh_key)
        options += ["-o", "IdentitiesOnly=yes", "-o", _ssh_path("IdentityFile", key)]
    if credentials.known_hosts:
        hosts = _write(folder, "known_hosts", credentials.known_hosts)
        options += ["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"]
        options += ["-o", _ssh_path("UserKnownHostsFile", hosts)]
    if not credentials.ssh_key and not credentials.known_hosts:
        return {}
    return {"GIT_SSH_COMMAND": shlex.join(["ssh", *options]), "GIT_SSH_VARIANT": "ssh"}


def _ssh_path(option: str, path: str) -> str:
    return f'{option}="{path.replace("%", "%%")}"'  # ssh_config(5): words end at spaces, % begins a token


def _text_or_file(name: str, value: str, *, mark: str) -> str:
    """Return the text, or what is in the file; ssh takes no key that others can read, as mounted ones often are."""
    path = os.path.expanduser(value)
    if os.path.isfile(path):
        try:
            with open(path, encoding="utf-8") as stream:
                value = stream.read()
        except (OSError, UnicodeDecodeError) as exc:
            raise SourceError(f"{name} names a file that cannot be read: {exc}") from exc
    elif value and mark not in value:
        raise SourceError(f"{name} is neither a file here nor a text with {mark!r} in it")
    return value.replace("\r\n", "\n").rstrip("\n") + "\n" if value else ""


def _write(folder: str, name: str, text: str, *, mode: int = 0o600) -> str:
    path = os.path.join(folder, name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
        stream.write(text)
    return path


def _secrets(environ: Mapping[str, str], credentials: Credentials, network: Network) -> tuple[str, ...]:
    names = ("GIT_TOKEN", "GIT_PASSWORD", "GIT_SSH_KEY")
    found = [environ.get(prefix + name, "") for prefix in ("", SOURCE_PREFIX) for name in names]
    found += [credentials.ssh_key, *(urlsplit(proxy).password or "" for proxy in network.proxies.values())]
    plain = {value.strip() for value in found if value.strip()}
    header = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
    return (*plain, *(quote(value, safe="") for value in plain), header)
