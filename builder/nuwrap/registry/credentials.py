"""Find the credentials that Docker would use for a registry: its config's entries and credential helpers.

Forms: docker/cli (cli/config/configfile, cli/config/credentials), docker-credential-helpers (the program's protocol),
containers-auth.json(5) for `REGISTRY_AUTH_FILE`. What is found shows in no message and no repr.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nuwrap.command import Command, Completed, run
from nuwrap.errors import PlatformError
from nuwrap.spec.build import RegistryAccess
from nuwrap.spec.reference import HUB
from nuwrap_runtime.schema import did_you_mean, show

HUB_KEY: Final = "https://index.docker.io/v1/"
CONFIG_BYTES: Final = 1024 * 1024
HELPER_SECONDS: Final = 30
SHOWN_ENTRIES: Final = 8
_HELPER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO_USER: Final = "<token>"  # a helper's user name when the secret is an identity token


@dataclass(frozen=True)
class Credentials:
    """What a registry is given, all empty for an anonymous caller.

    For messages: `source` tells where it stands, `looked` what was read in vain when there is none ("" when nobody has
    looked), `login` is the command that writes new ones.
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    source: str = ""
    looked: str = ""
    login: str = ""

    @property
    def is_anonymous(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.user or self.password or self.identity_token)


class _Unusable(Exception):
    """A config, an entry or a helper that cannot be used; the text says why."""


@dataclass(frozen=True)
class _Config:
    """A parsed config, with how messages name it; `is_docker` when Docker's own rules for keys hold."""

    title: str
    document: Mapping[str, Any]
    is_docker: bool = True

    def table(self, name: str) -> Mapping[str, Any]:
        value = self.document.get(name)
        return value if isinstance(value, dict) else {}


def find_credentials(
    registry: str, access: RegistryAccess, environ: Mapping[str, str], *, repository: str = ""
) -> Credentials:
    """Return the credentials for a registry as references name it; never raises: the result says what was wrong.

    `DOCKER_AUTH_CONFIG` comes before the file. The file is `access.docker_config`, `$DOCKER_CONFIG` or `~/.docker`,
    and where that has no config `$REGISTRY_AUTH_FILE`. A file's helper for the registry comes before its entries.
    """
    login = _login_command(registry, access.docker_config)
    looked = []
    for read in (_read_variable, _read_file):
        try:
            config = read(access, environ)
            if config:
                return replace(_look_up(config, registry, repository, environ), login=login)
        except _Unusable as exc:
            looked.append(str(exc))
    return Credentials(looked="; ".join(looked), login=login)


def _login_command(registry: str, folder: str) -> str:
    """Return the command by which a user puts credentials where they are looked for."""
    argv = ["docker", *(("--config", folder) if folder else ()), "login", *(() if registry == HUB else (registry,))]
    return shlex.join(argv)


def _read_variable(_access: RegistryAccess, environ: Mapping[str, str]) -> _Config | None:
    text = environ.get("DOCKER_AUTH_CONFIG", "")
    return _parse("$DOCKER_AUTH_CONFIG", text.encode()) if text else None


def _read_file(access: RegistryAccess, environ: Mapping[str, str]) -> _Config | None:
    """Return the config that counts. Raises _Unusable for one that is not there or cannot be read."""
    folder = access.docker_config or environ.get("DOCKER_CONFIG") or os.path.join(_home(environ), ".docker")
    path = os.path.join(folder, "config.json")
    foreign = environ.get("REGISTRY_AUTH_FILE", "")
    if foreign and not access.docker_config and not os.path.exists(path):
        return _parse(f"{foreign} (REGISTRY_AUTH_FILE)", _read_bytes(foreign), is_docker=False)
    return _parse(path, _read_bytes(path))


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(CONFIG_BYTES + 1)
    except FileNotFoundError:
        raise _Unusable(f"{path} does not exist") from None
    except OSError as exc:
        raise _Unusable(f"{path} cannot be read: {exc.strerror}") from exc
    if len(content) > CONFIG_BYTES:
        raise _Unusable(f"{path} is larger than {CONFIG_BYTES} bytes")
    return content


def _parse(title: str, content: bytes, *, is_docker: bool = True) -> _Config:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):  # whose texts quote what they read
        raise _Unusable(f"{title} is not JSON") from None
    if not isinstance(document, dict):
        raise _Unusable(f"{title} is not a JSON object")
    return _Config(title, document, is_docker)


def _look_up(config: _Config, registry: str, repository: str, environ: Mapping[str, str]) -> Credentials:
    """Return what the config has. Raises _Unusable with what it has instead."""
    key = HUB_KEY if registry == HUB else registry
    helper = config.table("credHelpers").get(key) or config.document.get("credsStore")
    if helper:
        return _ask_helper(config, str(helper), key, environ)
    entries = config.table("auths")
    for name in _matching(entries, config, registry, repository):
        if isinstance(entries[name], dict):
            return _read_entry(config, name, entries[name])
    raise _Unusable(_say_missing(config, registry, key, list(entries)))


def _matching(entries: Mapping[str, Any], config: _Config, registry: str, repository: str) -> list[str]:
    """Return the keys that count, the best first: the repository's own, the registry's, one of a like host."""
    host = "index.docker.io" if registry == HUB else registry
    parts = f"{registry}/{repository}".split("/") if repository else [registry]
    exact = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    if registry == HUB and config.is_docker:  # Docker does not find `docker.io`
        exact = []
    wanted = [*exact, HUB_KEY] if registry == HUB else exact
    return [name for name in wanted if name in entries] + [name for name in entries if _host_of(name) == host]


def _host_of(key: str) -> str:
    """Return the host of a key as docker/cli takes it (credentials.ConvertToHostname)."""
    return key.removeprefix("http://").removeprefix("https://").partition("/")[0]


def _read_entry(config: _Config, name: str, entry: Mapping[str, Any]) -> Credentials:
    source = f"entry {name!r} of {config.title}"
    user, password = _text(entry, "username"), _text(entry, "password")
    if _text(entry, "auth"):
        user, password = _decode(_text(entry, "auth"), source)
    found = Credentials(user, password, _text(entry, "identitytoken"), source)
    if found.is_anonymous:
        raise _Unusable(f"{source} is empty, and the file names no credential helper (credsStore, credHelpers)")
    return found


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def _decode(auth: str, source: str) -> tuple[str, str]:
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user, colon, password = "", "", ""
    if not colon or not user:
        raise _Unusable(f"{source} has an `auth` that is not user:password in base64")
    return user, password.strip("\0")


def _say_missing(config: _Config, registry: str, key: str, entries: Sequence[str]) -> str:
    named = "Docker Hub" if registry == HUB else registry
    if not entries:
        return f"{config.title} has no entries"
    for name in entries:
        if registry == HUB and _host_of(name) in (HUB, f"registry-1.{HUB}", f"hub.{HUB}"):
            return f"{config.title} has {name!r}, but Docker Hub's key is {key!r}"
        if registry != HUB and _host_of(name).partition(":")[0] == registry.partition(":")[0]:
            return f"{config.title} has {name!r}, but the port counts: the key is {key!r}"
    shown = ", ".join(show(name) for name in entries[:SHOWN_ENTRIES])
    more = f" and {len(entries) - SHOWN_ENTRIES} more" if len(entries) > SHOWN_ENTRIES else ""
    return f"{config.title} has no entry for {named}, only {shown}{more}{did_you_mean(key, list(entries))}"


def _ask_helper(config: _Config, helper: str, key: str, environ: Mapping[str, str]) -> Credentials:
    """Return what `docker-credential-HELPER get` answers for the key. Raises _Unusable."""
    program = f"docker-credential-{helper}"
    if not _HELPER_NAME.fullmatch(helper):
        raise _Unusable(f"{config.title} names {show(helper)}, which is no name of a credential helper")
    if not shutil.which(program, path=environ.get("PATH", os.defpath)):
        raise _Unusable(f"{config.title} names {program}, which is not on PATH")
    try:
        answer = _run_helper(program, key, environ)
    except PlatformError as exc:
        raise _Unusable(str(exc)) from exc
    if answer.returncode != 0:
        raise _Unusable(f"{program} has none for {key} ({_say_failure(answer)})")
    try:
        document = json.loads(answer.output)
        user, secret = document["Username"], document["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _Unusable(f"{program} answered for {key} with no JSON of Username and Secret") from None
    source = f"{program}, named in {config.title}"
    if user == _NO_USER:
        return Credentials(identity_token=str(secret), source=source)
    return Credentials(str(user), str(secret), source=source)


def _run_helper(program: str, key: str, environ: Mapping[str, str]) -> Completed:
    reader, writer = os.pipe()
    try:
        os.write(writer, key.encode())  # a pipe takes 4 KiB and more before anyone reads
    finally:
        os.close(writer)
    try:
        return run(Command([program, "get"], environ, stdin=reader), timeout_s=HELPER_SECONDS)
    finally:
        os.close(reader)


def _say_failure(answer: Completed) -> str:
    """Return the program's first line; nothing that looks like an answer, which has a secret."""
    lines = answer.output.decode("utf-8", "replace").strip().splitlines()
    said = lines[0] if lines and "{" not in lines[0] else ""
    return show(said) if said else f"exit code {answer.returncode}"
