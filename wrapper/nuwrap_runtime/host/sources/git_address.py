"""Cut `git+…://…?subdir=…#ref` into what git is given. Refuses, with the reason, text that git could misread."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.sources import Source

FORM: Final = "git+https|http|ssh|file://HOST/PATH[?subdir=FOLDER][#branch|tag|commit]"

# What the source's own transport, its redirects and its submodules may use: never one that is easier to listen to.
PROTOCOLS: Final[Mapping[str, str]] = {
    "file": "file:http:https:ssh",
    "http": "http:https:ssh",
    "https": "https:ssh",
    "ssh": "https:ssh",
}
TOKEN_PREFIXES: Final = ("github_pat_", "ghp_", "glpat-", "glpat_")
TOKEN_CHARACTERS: Final = 20  # a user name of an http(s) address that is as long is a token of another make

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"(?!-)(?:[\w.~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_UP_TO_AT = re.compile(r"(?<=:/).*@", re.DOTALL)
_NO_REF = re.compile(r"[\s~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.$|\.lock$")  # git-check-ref-format(1)


@dataclass(frozen=True)
class Address:
    """`url` is git's; `server` scheme, host and port, "" for a `file` one, whose folder is `path`.

    `ref` "" asks for the default branch. `shown` is the address as messages quote it.
    """

    scheme: str
    url: str
    server: str
    user: str
    ref: str
    subdir: str
    path: str
    shown: str


def parse_address(source: Source) -> Address:
    """Return the parts of a git source's location. Raises SourceError with the reason for what is refused."""
    try:
        if source.sha256:
            raise ValueError("sha256 is for single files and archives; pin git code by its commit: #COMMIT")
        return _parse(source)
    except ValueError as exc:
        shown = _UP_TO_AT.sub("/***@", source.location)  # what is refused may be refused for a password in it
        raise SourceError(f"code_src {shown!r}: {exc}") from exc


def _parse(source: Source) -> Address:
    if _CONTROL.search(unquote(source.location)):
        raise ValueError("line breaks and control characters are refused, percent-encoded ones too")
    address, hash_sign, fragment = source.location.partition("#")
    address, _, query = address.partition("?")
    _, separator, rest = address.partition("://")
    if not separator:
        raise ValueError(f"has not the form {FORM}")
    scheme = source.scheme[len("git+") :]
    netloc, _, path = rest.partition("/")
    userinfo, _, host = netloc.rpartition("@")
    _check_userinfo(scheme, userinfo)
    _check_host(scheme, netloc, host)
    if not path.strip("/"):
        raise ValueError(f"names no repository; allowed: {FORM}")
    return Address(
        scheme=scheme,
        url=f"{scheme}://{netloc}/{_encode(path)}",
        server=f"{scheme}://{host}" if host else "",
        user=unquote(userinfo),
        ref=_check_ref(unquote(fragment)) if hash_sign else "",
        subdir=_read_subdir(query),
        path=f"/{unquote(path)}" if scheme == "file" else "",
        shown=source.location,
    )


def _encode(path: str) -> str:
    """Return the path as a URL has it: percent signs of an encoding stay, what else needs one gets one."""
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", path), safe="/%:@!$&'()*+,;=~-._")


def _check_userinfo(scheme: str, userinfo: str) -> None:
    user = unquote(userinfo)
    is_token = user.startswith(TOKEN_PREFIXES) or (scheme != "ssh" and len(user) >= TOKEN_CHARACTERS)
    if ":" in user or is_token:
        advice = "GIT_SSH_KEY" if scheme == "ssh" else "GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD"
        raise ValueError(f"a password or token in an address is refused: it would show in logs; set {advice} instead")
    if user and not re.fullmatch(r"(?!-)[\w.@+~-]+", user):
        raise ValueError(f"user {user!r} is refused; allowed: letters, digits and . _ + ~ - @, no '-' in front")


def _check_host(scheme: str, netloc: str, host: str) -> None:
    if scheme == "file":
        if netloc:
            raise ValueError(f"a file address has no host, found {netloc!r}; write git+file:///ABSOLUTE/PATH")
    elif not _HOST.fullmatch(host):
        raise ValueError(f"host {host.partition(':')[0]!r} is refused; allowed: NAME or NAME:PORT, no '-' in front")


def _check_ref(ref: str) -> str:
    if not ref:
        raise ValueError("no ref after '#'; name a branch, a tag or a commit, or leave '#' out for the default branch")
    if ref.startswith("sha256=") or "&sha256=" in ref:
        raise ValueError("'sha256=' is for single files and archives; pin git code by its commit: #COMMIT")
    if ref.startswith("-"):
        raise ValueError(f"ref {ref!r} looks like an option and is refused")
    if "?" in ref:
        raise ValueError(f"ref {ref!r} is refused; '?subdir=' stands before '#'")
    if _NO_REF.search(ref):
        raise ValueError(f"ref {ref!r} is no name that git allows for a branch, a tag or a commit")
    return ref


def _read_subdir(query: str) -> str:
    found = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    unknown = [key for key, _ in found if key != "subdir"]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} after '?'; allowed: subdir")
    if len(found) > 1:
        raise ValueError("subdir is given twice")
    if not found:
        return ""
    subdir = unquote(found[0][1])
    parts = subdir.rstrip("/").split("/")
    if os.path.isabs(subdir) or {"", os.pardir, ".git"} & set(parts):
        raise ValueError(f"subdir {subdir!r} is refused; name a folder of the repository, without '..'")
    return os.path.normpath(subdir)
