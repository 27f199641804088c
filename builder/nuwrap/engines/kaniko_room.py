"""The folder that one build has inside the executor's container: what kaniko reads, and where it leaves what it made.

It lies below `/kaniko`, which kaniko leaves out of every snapshot; anything else may be overwritten by the base image.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Final

from nuwrap.engines import Order
from nuwrap.engines.build_network import network_file
from nuwrap.errors import BuildError
from nuwrap.registry.credentials import HUB_KEY, Credentials, find_credentials
from nuwrap.spec.build import RegistryAccess
from nuwrap.spec.reference import HUB, parse_reference

KANIKO: Final = "/kaniko"
SECRETS: Final = "NUWRAP_SECRETS"
_LOOPBACK: Final = re.compile(r"(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?")
_FROM: Final = re.compile(r"^FROM\s+(?:--\S+\s+)*(\S+)|^COPY\s.*--from=(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Room:
    """The places of a room, as the executor names them."""

    root: str

    def at(self, *parts: str) -> str:
        """Return the place of a file of the room."""
        return "/".join((self.root, *parts))

    @property
    def dockerfile(self) -> str:
        """The Dockerfile, outside of the context."""
        return self.at("Dockerfile")

    @property
    def context(self) -> str:
        """The build's context."""
        return self.at("context")

    @property
    def docker(self) -> str:
        """The folder of Docker's `config.json`."""
        return self.at("docker")

    @property
    def digest(self) -> str:
        """The file that gets the image's digest."""
        return self.at("digest")

    @property
    def names(self) -> str:
        """The file that gets each destination with the digest."""
        return self.at("names")

    @property
    def archive(self) -> str:
        """The image as a tar archive."""
        return self.at("image.tar")

    @property
    def layout(self) -> str:
        """The image as an OCI layout."""
        return self.at("layout")

    def secret(self, name: str) -> str:
        """The file of a secret."""
        return self.at("secrets", name)

    def certificate(self, number: int, kind: str) -> str:
        """A registry's PEM file; `kind` is `authority`, `client` or `key`."""
        return self.at("certificates", f"{number}-{kind}.pem")


@dataclass(frozen=True)
class RoomFile:
    """A file of the room: its place, and its content, or the file or folder that it is copied from."""

    place: str
    content: bytes = field(default=b"", repr=False)
    copied_from: str = ""
    is_private: bool = False


def list_files(order: Order, room: Room, credentials: Mapping[str, Credentials]) -> Iterator[RoomFile]:
    """Give all that the executor is to find. Raises BuildError for a file that cannot be read."""
    dockerfile = without_labels(_read(order.dockerfile, "the Dockerfile"), order.plan.labels)
    yield RoomFile(room.dockerfile, with_room(dockerfile) if order.network else dockerfile)
    yield RoomFile(room.context, copied_from=order.context)
    yield RoomFile(f"{room.docker}/config.json", docker_config(credentials), is_private=True)
    for name in [one for one in order.plan.secrets if one not in order.settings.cluster.get("secrets", {})]:
        if name not in order.secrets:
            raise BuildError(f"secret {name!r} is mounted by the plan, but has no value")
        yield RoomFile(room.secret(name), order.secrets[name].encode("utf-8", "surrogateescape"), is_private=True)
    for name, text in network_file(order).items():
        yield RoomFile(room.secret(name), text.encode(), is_private=True)
    access = order.settings.access
    for number, (registry, path) in enumerate(access.certificates.items()):
        yield RoomFile(room.certificate(number, "authority"), _read(path, f"the certificate of {registry}"))
    for number, (registry, pair) in enumerate(access.client_certificates.items()):
        for kind, path in zip(("client", "key"), pair, strict=True):
            content = _read(path, f"the {kind} certificate of {registry}")
            yield RoomFile(room.certificate(number, kind), content, is_private=True)


def without_labels(dockerfile: bytes, labels: Mapping[str, str]) -> bytes:
    """Return the Dockerfile without the lines of these labels, which the command line has.

    With a cache kaniko carries a LABEL out twice, and takes quotes out of its value the second time too
    (pkg/commands/label.go of v1.28.3; Google's 1.24.0 always).
    """
    starts = tuple(f"LABEL {name}=".encode() for name in labels)
    return b"\n".join(line for line in dockerfile.split(b"\n") if not (starts and line.startswith(starts)))


def with_room(dockerfile: bytes) -> bytes:
    """Return the Dockerfile with the argument that leads an installer to the room's secrets where none are mounted."""
    return re.sub(rb"^RUN (?=.*\bid=NUWRAP_NETWORK\b)", f"ARG {SECRETS}\nRUN ".encode(), dockerfile, flags=re.MULTILINE)


def read_credentials(order: Order) -> dict[str, Credentials]:
    """Return what the registries in play are given, by their names; those that take anyone are left out."""
    access, environ = order.settings.access, order.environ
    named = registries(order).items()
    found = {name: find_credentials(name, access, environ, repository=repository) for name, repository in named}
    return {name: one for name, one in found.items() if not one.is_anonymous}


def docker_config(credentials: Mapping[str, Credentials]) -> bytes:
    """Return a `config.json` with all of them, those of helpers too: their programs are not in the container."""
    found = {HUB_KEY if name == HUB else name: _entry(one) for name, one in credentials.items()}
    return json.dumps({"auths": found}).encode()


def list_hidden(order: Order, credentials: Mapping[str, Credentials]) -> list[str]:
    """Return what must not show in the log: the secrets, and passwords and tokens of registries."""
    texts = [text for one in credentials.values() for text in (one.password, one.identity_token, _joined(one))]
    return [text for text in (*order.secrets.values(), *texts) if text]


def registries(order: Order) -> dict[str, str]:
    """Return the registries that the build talks to, each with the first repository it is asked for: destinations,
    cache, images of the Dockerfile, mirrors.
    """
    images = [first or second for first, second in _FROM.findall(order.plan.dockerfile)]
    cache = order.settings.cache_repo
    names = [*order.destinations, *([cache] if cache and not cache.startswith("oci:") else []), *images]
    found: dict[str, str] = {}
    for one in map(parse_reference, [name for name in names if name != "scratch"]):
        found.setdefault(one.registry, one.repository)
    for name in substitutes(order.settings.access):
        found.setdefault(bare(name).partition("/")[0], "")
    return found


def has_loopback(order: Order) -> bool:
    """Tell whether a registry in play is at an address of the machine itself, which no container network has."""
    return any(_LOOPBACK.fullmatch(name) for name in registries(order))


def substitutes(access: RegistryAccess) -> list[str]:
    """Return what is asked instead of other registries; each may have a scheme and a folder."""
    return [*access.mirrors, *(name for names in access.map.values() for name in names)]


def bare(name: str) -> str:
    """Return a substitute as kaniko takes it, without its scheme."""
    return name.partition("://")[2].rstrip("/") if "://" in name else name


def _entry(one: Credentials) -> Mapping[str, str]:
    fields = {"auth": _joined(one), "identitytoken": one.identity_token}
    return {name: text for name, text in fields.items() if text}


def _joined(one: Credentials) -> str:
    return base64.b64encode(f"{one.user}:{one.password}".encode()).decode() if one.user else ""


def _read(path: str, what: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as stream:
            return stream.read()
    except OSError as exc:
        raise BuildError(f"{what} {path!r} cannot be read: {exc.strerror}") from exc


def pack(target: IO[bytes], files: Sequence[RoomFile]) -> None:
    """Write the files as a tar archive from the root on; all is root's, as it would be in a container."""
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for one in files:
            name = one.place.removeprefix("/")
            if one.copied_from:
                archive.add(one.copied_from, name, filter=_as_root)
                continue
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(one.content), 0o600 if one.is_private else 0o644
            archive.addfile(info, io.BytesIO(one.content))


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info
