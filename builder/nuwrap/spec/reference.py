"""Names of images as Docker reads them: `python:3.10-slim` is `docker.io/library/python` with that tag.

The grammar is that of distribution/reference (reference.go, normalize.go).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from nuwrap.errors import SpecError
from nuwrap_runtime.schema import show

HUB: Final = "docker.io"
OFFICIAL: Final = "library/"
NAME_CHARACTERS: Final = 255  # of registry and repository together

_PART: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST: Final = re.compile(rf"(?:{_PART}(?:\.{_PART})*|\[[0-9a-fA-F:]+\])(?::(?P<port>[0-9]{{1,5}}))?")
_PATH: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}")
_IMAGE_ID: Final = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True)
class Reference:
    """An image's name, complete: `registry` is `host[:port]`, `tag` and `digest` are "" where none is given."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository, as `docker.io/library/python`."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The whole as people write it, as `python:3.10-slim`; parsed, it is the same reference."""
        short = self.repository.removeprefix(OFFICIAL)
        first, slash, _ = self.repository.partition("/")
        if self.registry != HUB or (slash and _is_host(first)):
            return str(self)
        return f"{self.repository if '/' in short else short}{self._version}"

    @property
    def version(self) -> str:
        """What a registry is asked for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    @property
    def _version(self) -> str:
        return f"{self.tag and ':'}{self.tag}{self.digest and '@'}{self.digest}"

    def pin(self, digest: str) -> Reference:
        """Return the same image by digest alone."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        return f"{self.name}{self._version}"


def parse_reference(text: str) -> Reference:
    """Return what the text names; neither tag nor digest is made up.

    Raises SpecError for one that Docker would refuse, or that is an image's id, with the reason.
    """
    if text.startswith(("http://", "https://", "docker://")):
        raise _refuse(text, f"a name has no scheme; leave {text.partition('//')[0]}// out")
    rest, _, digest = text.partition("@")
    if "@" in text and not _DIGEST.fullmatch(digest):
        raise _refuse(text, f"digest {show(digest)} is not sha256: and 64 digits of 0-9 and a-f")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:  # the colon is that of a port
        head, tag = rest, ""
    elif not _TAG.fullmatch(tag):
        raise _refuse(text, f"tag {show(tag)} is not 1 to 128 letters, digits, '_', '.' and '-', no '.' or '-' first")
    registry, repository = _split(head)
    _check_name(text, registry, repository)
    return Reference(registry, repository, tag, digest)


def check_digest(text: object) -> str:
    """Return the text, which is a digest. Raises ValueError for what is none."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise ValueError(f"{show(text)} is no digest")
    return text


def _split(name: str) -> tuple[str, str]:
    """Return registry and repository; a first part is a host when it cannot be a folder of Docker Hub."""
    first, slash, rest = name.partition("/")
    if not slash or not _is_host(first):
        first, rest = HUB, name
    if first == f"index.{HUB}":  # as it was called once
        first = HUB
    if first == HUB and "/" not in rest:
        rest = f"{OFFICIAL}{rest}"
    return first, rest


def _is_host(part: str) -> bool:
    return "." in part or ":" in part or part == "localhost" or part.lower() != part


def _check_name(text: str, registry: str, repository: str) -> None:
    host = _HOST.fullmatch(registry)
    if not host or int(host["port"] or 0) > 65535:
        raise _refuse(text, f"registry {show(registry)} is not a host name with an optional port, as host:5000")
    path = repository.removeprefix(OFFICIAL) if registry == HUB and repository.startswith(OFFICIAL) else repository
    if not path:
        raise _refuse(text, "it has no name before its tag or digest")
    if _IMAGE_ID.fullmatch(path):
        raise _refuse(text, "it is an image's id; name the image by repository and tag")
    for part in path.split("/"):
        if not _PATH.fullmatch(part):
            raise _refuse(text, _say_part(part))
    if len(f"{registry}/{repository}") > NAME_CHARACTERS:
        raise _refuse(text, f"its name is longer than {NAME_CHARACTERS} characters")


def _say_part(part: str) -> str:
    if not part:
        return "it has an empty part: a '/' at its begin or end, or two in a row"
    if part.lower() != part and _PATH.fullmatch(part.lower()):
        return f"part {show(part)} has capitals; write {part.lower()!r}"
    return f"part {show(part)} is not small letters and digits, with one '.', one or two '_', or '-' between them"


def _refuse(text: str, why: str) -> SpecError:
    return SpecError(f"{show(text)} names no image: {why}; the form is [host[:port]/]name[:tag][@sha256:digest]")
